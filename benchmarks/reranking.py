"""Time and memory of k-reciprocal re-ranking beside the dense form in plain numpy.

    python benchmarks/reranking.py                   # 19,281 images, as Market-1501 has
    python benchmarks/reranking.py --images 5000

512-d features of Market's proportions; the same distances, the same neighbourhoods (k1 = 20, k2 = 6). Each form
runs in a process of its own, so that its peak memory is its own; the ratio of processor times holds on a busy
machine too. Limits: a tenth of the dense form's time, under 1 GB beyond what importing takes.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from machine import keep
from torch.nn.functional import normalize

from reidlib.reranking import k_reciprocal
from reidlib.types import Features

QUERIES, IMAGES, PER_PERSON, WIDTH, NOISE = 3368 / 19_281, 19_281, 20, 512, 1.2
K1, K2, WEIGHT = 20, 6, 0.3


def draw(count: int) -> Features:
    generator = torch.Generator().manual_seed(0)
    pid = torch.arange(count) % max(count // PER_PERSON, 1)
    centres = torch.randn(int(pid.max()) + 1, WIDTH, generator=generator)
    vectors = normalize(centres[pid] + NOISE * torch.randn(count, WIDTH, generator=generator), dim=1)
    return Features({"embedding": vectors}, {}, pid, torch.zeros_like(pid))


def squared(query: Features, gallery: Features) -> torch.Tensor:
    """Squared Euclidean distances of unit vectors."""
    two = query.embeddings["embedding"].new_full((), 2.0)
    product = torch.addmm(two, query.embeddings["embedding"], gallery.embeddings["embedding"].T, alpha=-2)
    return product.clamp_min_(0)


def sparse(everyone: Features, queries: int) -> np.ndarray:
    pair = everyone[slice(0, queries)], everyone[slice(queries, None)]
    return k_reciprocal(*pair, distance=squared, k1=K1, k2=K2, weight=WEIGHT).numpy()


def dense(everyone: Features, queries: int) -> np.ndarray:
    """The usual form: full tables of distances, ranks and encodings, a Python loop over the images."""
    original = squared(everyone, everyone).numpy()
    rank = np.argsort(original, axis=1, kind="stable").astype(np.int32)
    original /= original.max(1, keepdims=True)
    encoding = np.zeros_like(original)
    for i in range(len(rank)):
        own = reciprocal(rank, i, K1)
        wider = own
        for candidate in own:
            theirs = reciprocal(rank, candidate, round(K1 / 2))
            if len(np.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                wider = np.append(wider, theirs)
        wider = np.unique(wider)
        values = np.exp(-original[i, wider])
        encoding[i, wider] = values / values.sum()
    original = original[:queries]
    averaged = np.zeros_like(encoding)
    for i in range(len(rank)):
        averaged[i] = encoding[rank[i, :K2]].mean(0)
    encoding = averaged
    columns = [np.flatnonzero(encoding[:, i]) for i in range(len(rank))]
    final = np.empty_like(original)
    for i in range(queries):
        shared = np.zeros(len(rank), dtype=np.float32)
        for column in np.flatnonzero(encoding[i]):
            rows = columns[column]
            shared[rows] += np.minimum(encoding[i, column], encoding[rows, column])
        final[i] = (1 - shared / (2 - shared)) * (1 - WEIGHT) + original[i] * WEIGHT
    return final[:, queries:]


def reciprocal(rank: np.ndarray, i: int, k: int) -> np.ndarray:
    nearest = rank[i, : k + 1]
    return nearest[(rank[nearest, : k + 1] == i).any(1)]


def measure(form: str, images: int) -> None:
    """Print the cost of one form, and some of its values, as a line of JSON."""
    everyone, queries = draw(images), round(QUERIES * images)
    sparse(draw(500), 100)  # first calls set up threads and caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, work = time.perf_counter(), time.process_time()
    found = {"sparse": sparse, "dense": dense}[form](everyone, queries)
    cost = {"seconds": time.perf_counter() - wall, "work": time.process_time() - work}
    cost["gib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(json.dumps(cost | {"some": found[:5, ::97].ravel().tolist()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--form", choices=("sparse", "dense"), help="measure one form in this process")
    options = parser.parse_args()
    if options.form:
        measure(options.form, options.images)
        return
    costs = {}
    for form in ("sparse", "dense"):
        command = [sys.executable, __file__, "--form", form, "--images", str(options.images)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        costs[form] = cost = json.loads(done.stdout)
        print(f"{form:7} {cost['seconds']:7.1f} s {cost['work']:7.1f} s of processor {cost['gib']:6.2f} GiB")
    ratios = [costs["dense"][key] / costs["sparse"][key] for key in ("seconds", "work")]
    print(f"{ratios[0]:.1f} times as fast, {ratios[1]:.1f} times by processor time")
    if options.images == IMAGES:  # which the targets are for
        keep("reranking", peer=ratios[1], gigabytes=costs["sparse"]["gib"] * 2**30 / 1e9)
    assert np.allclose(costs["dense"]["some"], costs["sparse"]["some"], atol=1e-4)


if __name__ == "__main__":
    main()
