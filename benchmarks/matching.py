"""Time of matching one query by QPM: the part branch alone, and with its nearest thirty refined.

    python benchmarks/matching.py

Random features of the literal model (K = 6, d = 1024) against a gallery of Market-1501's size. The paper's
Table VIII claims that the refinement keeps the cost near that of the part branch; the limit is 1.3 times.
"""

import time

import torch
from machine import keep

from reidlib.models.qpm import QPM, SCORINGS
from reidlib.types import Features

QUERIES, GALLERY, PARTS, WIDTH, REPEATS = 128, 15_913, 6, 1024, 5


def draw(count: int, *, seed: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    embeddings = {
        name: torch.randn(count, PARTS, WIDTH, generator=generator) for name in ("parts", "stripes")
    }
    nothing = torch.zeros(count, dtype=torch.long)
    return Features(embeddings, {"quality": torch.rand(count, PARTS, generator=generator)}, nothing, nothing)


def main() -> None:
    query, gallery = draw(QUERIES, seed=0), draw(GALLERY, seed=1)
    best = dict.fromkeys(("part", "default"), float("inf"))
    for _ in range(REPEATS):
        for name in best:
            started = time.process_time()
            QPM.distance(query, gallery, scoring=SCORINGS[name])
            best[name] = min(best[name], time.process_time() - started)
    for name, title in (("part", "part branch"), ("default", "nearest 30 refined")):
        print(f"{title:20} {1e3 * best[name] / QUERIES:8.2f} ms of processor time per query")
    print(f"{'ratio':20} {best['default'] / best['part']:8.2f}   (limit 1.3)")
    keep("matching", refined=best["default"] / best["part"])


if __name__ == "__main__":
    main()
