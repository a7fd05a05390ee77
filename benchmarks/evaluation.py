"""Speed and memory of the evaluator beside torchreid's loop in Python and beside the matrix product.

    python benchmarks/evaluation.py                          # given distances, Market-1501 size; 512-d features
    python benchmarks/evaluation.py --distractors 100000     # with fewer distractors

Prints ratios measured in one run on two threads; those of processor time hold on a busy machine too. Peak memory is
that of the process, so the features
(1 GB with 500,000 distractors) are part of it.
"""

import argparse
import resource
import time

import numpy as np
import torch
from machine import keep

from reidlib.evaluation import evaluate
from reidlib.protocol import Protocol
from reidlib.types import Features, Metrics

QUERIES, IDENTITIES, IMAGES, DISTRACTORS, CAMERAS = 3368, 750, 13115, 2798, 6  # Market-1501
BLOCK = 128
NOISE = 2.0  # mAP 0.9 without, 0.8 with 100,000 distractors, as good models have it


def market(distractors: int, width: int, *, noise: float, seed: int = 0) -> tuple[Features, Features]:
    """Features with Market's counts; an image is its identity's centre plus noise."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(IDENTITIES, width, generator=generator)

    def draw(pid: torch.Tensor) -> Features:
        embedding = torch.randn(len(pid), width, generator=generator).mul_(noise)
        known = pid > 0
        embedding[known] += centres[pid[known] - 1]
        torch.nn.functional.normalize(embedding, dim=1, out=embedding)
        camid = torch.randint(CAMERAS, (len(pid),), generator=generator)
        return Features({"embedding": embedding}, {}, pid, camid)

    def pids(count: int) -> torch.Tensor:
        return torch.arange(count) % IDENTITIES + 1

    order = torch.randperm(IMAGES + distractors, generator=generator)
    gallery = torch.cat([pids(IMAGES), torch.zeros(distractors, dtype=torch.long)])[order]
    return draw(pids(QUERIES)), draw(gallery)


def product(query: Features, gallery: Features) -> torch.Tensor:
    """Cosine distance up to a constant: the matrix product alone."""
    return (-query.embeddings["embedding"]) @ gallery.embeddings["embedding"].T


def argsort_evaluator(distances: np.ndarray, query: Features, gallery: Features) -> Metrics:
    """As torchreid publishes it (``eval_market1501``): argsort all, then loop over queries in Python."""
    order = np.argsort(distances, axis=1, kind="stable")
    gallery_pid, gallery_camid = gallery.pid.numpy(), gallery.camid.numpy()
    rank, ap, inp = [], [], []
    for row, pid, camid in zip(order, query.pid.numpy(), query.camid.numpy()):
        keep = ~((gallery_pid[row] == pid) & (gallery_camid[row] == camid))
        matches = (gallery_pid[row] == pid)[keep].astype(int)
        found = matches.cumsum()
        rank.append(int(matches.argmax()) + 1)
        precision = [x / (i + 1.0) for i, x in enumerate(found)]
        ap.append((np.asarray(precision) * matches).sum() / matches.sum())
        inp.append(matches.sum() / (np.flatnonzero(matches)[-1] + 1))
    return Metrics(np.array(rank), np.array(ap), np.array(inp))


def timed(function, repeats: int = 1):
    """Wall and processor time of the fastest of a few calls, and the last result."""
    best = (np.inf, np.inf)
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        result = function()
        best = min(best, (time.perf_counter() - start[0], time.process_time() - start[1]))
    return *best, result


def from_distances() -> float:
    query, gallery = market(DISTRACTORS, 128, noise=1.5)
    matrix = product(query, gallery)
    rows = Features({"row": torch.arange(QUERIES)[:, None].float()}, {}, query.pid, query.camid)

    def given(part: Features, _: Features) -> torch.Tensor:
        first = int(part.embeddings["row"][0])
        return matrix[first : first + len(part)]

    def ours() -> Metrics:
        return evaluate(rows, gallery, distance=given, protocol=Protocol.MARKET, block=BLOCK)

    seconds, work, metrics = timed(ours, repeats=3)
    reference_seconds, reference_work, reference = timed(
        lambda: argsort_evaluator(matrix.numpy(), query, gallery)
    )
    assert (metrics.rank == reference.rank).all()
    assert np.allclose(metrics.ap, reference.ap)
    assert np.allclose(metrics.inp, reference.inp)
    print(f"{QUERIES} x {len(gallery)} given distances, mAP {metrics.mAP:.3f}")
    print(f"  Python evaluator {reference_seconds:7.2f} s")
    print(
        f"  reidlib          {seconds:7.2f} s   ratio {reference_seconds / seconds:.0f}x, "
        f"of processor time {reference_work / work:.0f}x"
    )
    return reference_work / work


def from_features(distractors: int) -> tuple[float, float]:
    query, gallery = market(distractors, 512, noise=NOISE)
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def product_alone() -> None:
        for start in range(0, QUERIES, BLOCK):
            product(query[start : start + BLOCK], gallery)

    product_seconds, product_work, _ = timed(product_alone)
    seconds, work, metrics = timed(
        lambda: evaluate(query, gallery, distance=product, protocol=Protocol.MARKET, block=BLOCK)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{QUERIES} x {len(gallery)} from 512-d features, mAP {metrics.mAP:.3f}")
    print(f"  matrix product   {product_seconds:7.2f} s")
    ratio, work_ratio = seconds / product_seconds, work / product_work
    print(f"  reidlib          {seconds:7.2f} s   ratio {ratio:.2f}x, of processor time {work_ratio:.2f}x")
    print(f"  peak memory      {peak:7.2f} GiB  ({peak_before:.2f} before evaluation)")
    return work_ratio, peak * 2**30 / 1e9


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--distractors", type=int, default=500_000)
    distractors = parser.parse_args().distractors
    torch.set_num_threads(2)
    peer = from_distances()
    ratio, peak = from_features(distractors)
    if distractors == parser.get_default("distractors"):  # which the targets are for
        keep("evaluation", peer=peer, product=ratio, gigabytes=peak)
