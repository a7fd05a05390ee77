"""Speed and memory of the evaluator beside a plain argsort evaluator and beside the matrix product.

    python benchmarks/evaluation.py                          # given distances, Market-1501 size
    python benchmarks/evaluation.py --distractors 500000     # from 512-d features

Prints ratios measured in one run, on two threads; the ratio of processor times holds on a busy machine
too. Peak memory is that of the process, so the features
(1 GB with 500,000 distractors) are part of it.
"""

import argparse
import resource
import time

import numpy as np
import torch

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
    """The evaluator as usually written: argsort all, then loop over queries in Python."""
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


def from_distances() -> None:
    query, gallery = market(DISTRACTORS, 128, noise=1.5)
    matrix = product(query, gallery)
    rows = Features({"row": torch.arange(QUERIES)[:, None].float()}, {}, query.pid, query.camid)

    def given(part: Features, _: Features) -> torch.Tensor:
        first = int(part.embeddings["row"][0])
        return matrix[first : first + len(part)]

    def ours() -> Metrics:
        return evaluate(rows, gallery, distance=given, protocol=Protocol.MARKET, block=BLOCK)

    seconds, _, metrics = timed(ours, repeats=3)
    reference_seconds, _, reference = timed(lambda: argsort_evaluator(matrix.numpy(), query, gallery))
    assert (metrics.rank == reference.rank).all()
    assert np.allclose(metrics.ap, reference.ap)
    assert np.allclose(metrics.inp, reference.inp)
    print(f"{QUERIES} x {len(gallery)} given distances, mAP {metrics.mAP:.3f}")
    print(f"  Python evaluator {reference_seconds:7.2f} s")
    print(f"  reidlib          {seconds:7.2f} s   ratio {reference_seconds / seconds:.0f}x")


def from_features(distractors: int) -> None:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--distractors", type=int, default=100_000)
    torch.set_num_threads(2)
    from_distances()
    from_features(parser.parse_args().distractors)
