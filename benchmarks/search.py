"""Retrieval through a FAISS index: what of each paper's distance can be indexed, and what must be measured again.

    python benchmarks/search.py                # a million vectors; needs the extra faiss

First one vector an image, as PAN, DPTI and BoT compare it: time, bytes and recall of an exact index, of cells that
are searched in part, and of codes of 4 bits a number whose nearest are measured again. Then the distances of all five
papers: how many of the true ten nearest are among the nearest by the part that an inner product can tell. Vectors are
drawn, people around whose centres images scatter, and compared on one thread; a network's scatter otherwise.
"""

import argparse
import time

import numpy as np
import torch
from einops import rearrange
from machine import keep
from torch import Tensor
from torch.nn.functional import normalize

from reidlib.models import MODELS
from reidlib.types import Features

VECTORS, QUERIES, WIDTH, CELLS, NEAREST = 1_000_000, 200, 128, 1024, 10
IMAGES, ASKED, SLOT, PARTS = 50_000, 50, 32, {"bpbreid": 8, "qpm": 6, "aap": 8}
EACH = 20  # images of a person
NOISE = 0.7  # beside a centre of length one
SHORT = (10, 30, 100, 1000)


def drawn(count: int, queries: int, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of unit length of queries and a gallery, some of every person."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count // EACH, *shape), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=-1, keepdims=True)

    def images(people: np.ndarray) -> np.ndarray:
        found = random.standard_normal((len(people), *shape), dtype=np.float32)
        found *= NOISE / shape[-1] ** 0.5
        found += centres[people]
        found /= np.linalg.norm(found, axis=-1, keepdims=True)
        return found

    return images(np.arange(queries) % len(centres)), images(np.arange(count) % len(centres))


def found(near: np.ndarray, true: np.ndarray) -> float:
    """Share of the true nearest that are among those found."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(near, true)]))


def indices(vectors: int) -> dict[str, float]:
    """Exact, by cells, by codes: milliseconds of processor a query, bytes a vector, recall of the ten nearest."""
    import faiss

    faiss.omp_set_num_threads(1)
    query, gallery = drawn(vectors, QUERIES, WIDTH)
    sample, numbers = gallery[:: max(len(gallery) // (40 * CELLS), 1)], {}
    exact = faiss.IndexFlatIP(WIDTH)
    exact.add(gallery)
    started = time.process_time()
    _, true = exact.search(query, NEAREST)
    numbers["exact_ms"] = 1e3 * (time.process_time() - started) / QUERIES
    del exact
    print(
        f"{vectors} vectors of {WIDTH}: exact {numbers['exact_ms']:.1f} ms a query, {4 * WIDTH} bytes a vector"
    )
    for name, factory, again in (
        ("cells", f"IVF{CELLS},Flat", 0),
        ("codes", f"IVF{CELLS},SQ4", 0),
        ("again", f"IVF{CELLS},SQ4", 200),
    ):
        if name != "again":
            index = faiss.index_factory(WIDTH, factory, faiss.METRIC_INNER_PRODUCT)
            faiss.extract_index_ivf(index).cp.niter = 6
            started = time.process_time()
            index.train(sample)
            index.add(gallery)
            numbers[f"{name}_build_s"] = time.process_time() - started
        faiss.extract_index_ivf(index).nprobe = 32
        started = time.process_time()
        _, near = index.search(query, again or NEAREST)
        if again:  # measure the nearest again by the vectors themselves, which may lie on a disk
            score = np.einsum("qd,qnd->qn", query, gallery[near])
            near = np.take_along_axis(near, np.argsort(-score, axis=1)[:, :NEAREST], axis=1)
        numbers[f"{name}_ms"] = 1e3 * (time.process_time() - started) / QUERIES
        numbers[f"{name}_recall"] = found(near, true)
        told = f", {again} measured again" if again else f", built in {numbers[f'{name}_build_s']:.0f} s"
        print(f"  {factory:14} {numbers[f'{name}_ms']:6.2f} ms, recall {numbers[f'{name}_recall']:.3f}{told}")
    return numbers


def features(vectors: dict[str, np.ndarray], visibility: dict[str, np.ndarray]) -> Features:
    count = len(next(iter(vectors.values())))
    named = [
        {name: torch.from_numpy(array) for name, array in part.items()} for part in (vectors, visibility)
    ]
    nothing = torch.zeros(count, dtype=torch.long)
    return Features(*named, nothing, nothing)


def both(names: dict[str, tuple[int, ...]], scores: str | None = None, parts: int = 0) -> list[Features]:
    """Queries and a gallery with embeddings of some shapes, of the same people, and scores of their parts."""
    pairs = {name: drawn(IMAGES, ASKED, *shape, seed=i) for i, (name, shape) in enumerate(names.items())}
    random = np.random.default_rng(9)
    sides = []
    for side, count in ((0, ASKED), (1, IMAGES)):
        seen = random.random((count, parts), dtype=np.float32)
        seen = (seen < 0.75).astype(np.float32) if scores == "argmax" else 0.1 + 0.9 * seen
        sides.append(
            features({name: pair[side] for name, pair in pairs.items()}, {scores: seen} if scores else {})
        )
    return sides


def weighted(slots: Tensor, weights: Tensor) -> Tensor:
    """Slots in one vector of unit length, each as long as its weight: inner products add up its cosines."""
    joined = rearrange(normalize(slots, dim=-1) * weights[..., None], "n k d -> n (k d)")
    return normalize(joined, dim=-1)


def indexed(name: str) -> tuple[list[Features], dict[str, tuple[Tensor, Tensor]]]:
    """Images of a paper, and the vectors of them that an index of inner products can hold."""
    k = PARTS.get(name, 0)
    match name:
        case "bpbreid":
            sides = both({"parts": (k, SLOT), "foreground_bn": (SLOT,)}, "argmax", k)
            vectors = {"foreground alone": [f.embeddings["foreground_bn"] for f in sides]}
            vectors["all slots, weighted"] = [
                weighted(
                    torch.cat([f.embeddings["foreground_bn"][:, None], f.embeddings["parts"]], 1),
                    torch.cat([torch.ones(len(f), 1), f.visibility["argmax"].sqrt()], 1),
                )
                for f in sides
            ]
        case "qpm":
            sides = both({"parts": (k, SLOT), "stripes": (k, SLOT)}, "quality", k)
            vectors = {
                "parts, weighted": [weighted(f.embeddings["parts"], f.visibility["quality"]) for f in sides]
            }
        case "aap":
            sides = both({"pooled": (8 * SLOT,), "stripes": (k, SLOT)})
            vectors = {"global": [f.embeddings["pooled"] for f in sides]}
            flat = torch.ones(1, k)
            vectors["global and stripes"] = [
                torch.cat([f.embeddings["pooled"], weighted(f.embeddings["stripes"], flat)], 1) for f in sides
            ]
        case _:
            embedding = {"pan": "concat_bn", "dpti": "descriptor_bn"}[name]
            sides = both({embedding: (8 * SLOT,)})
            vectors = {"the embedding": [f.embeddings[embedding] for f in sides]}
    return sides, {title: tuple(pair) for title, pair in vectors.items()}


def distances() -> dict[str, float]:
    """Of every paper: how many of the ten nearest by its whole distance are on the lists by what is indexed."""
    numbers = {}
    for name in ("pan", "dpti", "bpbreid", "qpm", "aap"):
        (query, gallery), vectors = indexed(name)
        scoring = MODELS[name].SCORINGS["part" if name == "qpm" else "default"]
        started = time.process_time()
        whole = MODELS[name].distance(query, gallery, scoring=scoring)
        spent = 1e9 * (time.process_time() - started) / (ASKED * IMAGES)
        true = whole.topk(NEAREST, largest=False).indices.numpy()
        numbers[f"{name}_ns"] = spent
        for title, (left, right) in vectors.items():
            near = (left @ right.mT).topk(max(SHORT), dim=1).indices.numpy()
            recalls = [found(near[:, :count], true) for count in SHORT]
            numbers |= {f"{name}: {title}, {count}": recall for count, recall in zip(SHORT, recalls)}
            told = ", ".join(f"{recall:.3f} of {count}" for count, recall in zip(SHORT, recalls))
            print(f"  {name:8} {title:20} recall {told}; whole distance {spent:.0f} ns a pair")
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vectors", type=int, default=VECTORS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        import faiss  # noqa: F401
    except ImportError:
        print("search: skipped, faiss is not installed (extra faiss)")
        return
    keep("search", vectors=options.vectors, **indices(options.vectors), **distances())


if __name__ == "__main__":
    main()
