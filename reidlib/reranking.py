"""Re-ranking by k-reciprocal encoding, sparse: the memory of O(N k) neighbours and of one block of distances.

An image is encoded by those that are among its nearest as it is among theirs, and by their own such
neighbours; two images are near if their encodings overlap. Only neighbours ever matter, so of the table of all
distances each row keeps its nearest entries and its largest one; what comes out is the table of queries and
gallery alone. Ties are resolved by the order of the images, queries first, as a stable sort does.

Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reidlib.types import Distance, Features

WIDE = (
    4  # times k1: how many nearest are kept; the sets of a few images reach further, which are measured again
)
ROWS = 512  # images at a time while neighbourhoods are compared
QUERIES = 16  # queries at a time while encodings are compared


def k_reciprocal(
    query: Features,
    gallery: Features,
    *,
    distance: Distance,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    block: int = 256,
) -> Float[Tensor, "Q G"]:
    """Distances of queries to the gallery, re-ranked by what all images have in common.

    (1 - weight) Jaccard + weight d, with d divided by the largest value of its row over all images.

    Args:
        query: features of Q images.
        gallery: features of G images.
        distance: between a block of images and all of them; smaller is closer, finite. It is not squared here.
        k1: how many nearest make a neighbourhood.
        k2: over how many nearest encodings are averaged; 1 leaves them as they are.
        weight: lambda, of the original distance.
        block: images per call of ``distance``; bounds the memory, does not change the result.

    Raises:
        ValueError: a number out of range, or a distance that is not finite.

    Source: Zhong et al., sections 3.2 to 3.5. Deviation: none; their released function squares the distances
        that it is given, which is left to the caller.
    """
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= weight <= 1:
        raise ValueError(
            f"k1 = {k1}, k2 = {k2}, weight = {weight}; expected k1 >= 1, 1 <= k2 <= k1 + 1, 0 <= weight <= 1"
        )
    everyone = _joined(query, gallery)
    near, original = _nearest(everyone, len(query), distance=distance, count=WIDE * (k1 + 1), block=block)
    sets = _neighbourhoods(near.index, k1=k1)
    values = np.exp(-_measured(sets, near, everyone, distance=distance, block=block))
    encoding = _Sparse(sets.indptr, sets.index, values / np.repeat(sets.sums(values), sets.counts))
    if k2 > 1:
        encoding = _expanded(encoding, near.index[:, :k2])
    by_column = encoding.transposed(len(query))
    for start in range(0, len(query), QUERIES):
        rows = np.arange(start, min(start + QUERIES, len(query)))
        overlap = _overlap(encoding, by_column, rows, gallery=len(gallery))
        overlap = overlap.astype(near.largest.dtype)
        jaccard = 1 - overlap / (2 - overlap)  # encodings sum to one, so that max = 2 - min
        original[start:][: len(rows)].mul_(weight).add_(torch.from_numpy(jaccard), alpha=1 - weight)
    return original


@dataclass(frozen=True)
class _Sparse:
    """Rows of some (column, value) pairs each, columns in increasing order."""

    indptr: Int[np.ndarray, " _"]  # where each row starts, and the end
    index: Int[np.ndarray, " E"]
    value: np.ndarray | None = None  # [E]

    @property
    def counts(self) -> Int[np.ndarray, " N"]:
        return np.diff(self.indptr)

    @property
    def row(self) -> Int[np.ndarray, " E"]:
        """The row of every pair."""
        return np.repeat(np.arange(len(self.indptr) - 1), self.counts)

    def sums(self, value: np.ndarray) -> np.ndarray:
        """Sum of each row."""
        return np.bincount(self.row, weights=value, minlength=len(self.indptr) - 1)

    def pairs(self, rows: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Places of all pairs of some rows (one row may be asked for often), and how many each row has."""
        counts = self.counts[rows]
        ends = counts.cumsum()
        return np.arange(counts.sum()) + np.repeat(self.indptr[rows] - (ends - counts), counts), counts

    def transposed(self, first: int) -> "_Sparse":
        """The same pairs column by column, without the rows before the ``first``, which becomes number 0."""
        start = self.indptr[first]
        column, row = self.index[start:], self.row[start:] - first
        order = column.argsort(kind="stable")
        ends = np.bincount(column, minlength=len(self.indptr) - 1).cumsum()
        return _Sparse(np.concatenate([[0], ends]), row[order], self.value[start:][order])


@dataclass(frozen=True)
class _Near:
    """The nearest images of every image, ties by their order, and its largest distance."""

    index: Int[np.ndarray, "N W"]
    distance: Float[np.ndarray, "N W"]  # over the largest of the row
    largest: Float[np.ndarray, " N"]  # 1 where it would be zero


def _joined(query: Features, gallery: Features) -> Features:
    def joined(first: dict, second: dict) -> dict:
        return {name: torch.cat([first[name], second[name]]) for name in first}

    return Features(
        joined(query.embeddings, gallery.embeddings),
        joined(query.visibility, gallery.visibility),
        torch.cat([query.pid, gallery.pid]),
        torch.cat([query.camid, gallery.camid]),
    )


def _precision(features: Features) -> torch.dtype:
    """In which distances are kept: that of the embeddings, at least 32 bits."""
    return reduce(torch.promote_types, (e.dtype for e in features.embeddings.values()), torch.float32)


def _nearest(
    everyone: Features, queries: int, *, distance: Distance, count: int, block: int
) -> tuple[_Near, Float[Tensor, "Q G"]]:
    """The nearest ``count`` images of every image (or all, if fewer), and the scaled table of queries and gallery."""
    images, count = len(everyone), min(count, len(everyone))
    # all room is taken before the first block: kept pieces between the blocks would keep their memory from reuse
    original = torch.empty(queries, images - queries, dtype=_precision(everyone))
    precision = original.numpy().dtype
    near = _Near(
        np.empty((images, count), np.int32),
        np.empty((images, count), precision),
        np.empty(images, precision),
    )
    for start in range(0, images, block):
        rows = distance(everyone[start : start + block], everyone).detach()
        largest = rows.amax(1)
        if not largest.isfinite().all():
            raise ValueError("distance is not finite for some pair of images; k-reciprocal needs numbers")
        largest = torch.where(largest > 0, largest, 1.0)[:, None]
        columns, values = _smallest(rows, count)
        here = slice(start, start + block)
        near.index[here], near.distance[here] = columns.cpu().numpy(), (values / largest).cpu().numpy()
        near.largest[here] = largest[:, 0].cpu().numpy()
        mine = original[here]  # none for a block of gallery images
        mine.copy_(rows[: len(mine), queries:] / largest[: len(mine)])
        del rows  # or two blocks would be alive while the next is computed
    return near, original


def _smallest(
    rows: Float[Tensor, "b N"], count: int
) -> tuple[Int[Tensor, "b {count}"], Float[Tensor, "b {count}"]]:
    """Columns and values of the smallest entries, in the order of a stable sort, mostly without sorting."""
    more = min(count + 1, rows.shape[1])
    values, index = rows.topk(more, largest=False)
    tied = values[:, count - 1] == values[:, -1] if more > count else torch.zeros(len(rows), dtype=torch.bool)
    values, index = values[:, :count].contiguous(), index[:, :count].contiguous()
    index, order = index.sort(1)  # by column first, so that the stable sort by value keeps that order
    values, order = values.gather(1, order).sort(dim=1, stable=True)
    index = index.gather(1, order)
    for row in tied.nonzero().flatten().tolist():  # which of the equal ones were taken is the library's whim
        values[row], index[row] = (found[:count] for found in rows[row].sort(stable=True))
    return index.int(), values


def _neighbourhoods(near: Int[np.ndarray, "N W"], *, k1: int) -> _Sparse:
    """R*: the k-reciprocal neighbours of every image, widened by those neighbours' own of half the size.

    A neighbour's set joins if more than two thirds of it are in the image's own.

    Source: Zhong et al., Eq. 3 to 5.
    """
    images = len(near)
    half = round(k1 / 2) + 1
    full, full_known = _reciprocal(near, k1 + 1)
    small, small_known = _reciprocal(near, half)
    size = small_known.sum(1)
    columns, counts = [], []
    for start in range(0, images, ROWS):
        own, known = full[start : start + ROWS], full_known[start : start + ROWS]  # [b, K]
        own = np.where(known, own, -1)
        theirs, there = small[own], small_known[own] & known[:, :, None]  # [b, K, H]
        shared = (_member(theirs, own) & there).sum(2)
        joins = shared > 2 / 3 * size[own]  # a set without members never joins
        wider = np.where(there & joins[:, :, None], theirs, -1).reshape(len(own), -1)
        merged = np.sort(np.concatenate([own, wider], axis=1), axis=1)
        first = merged >= 0
        first[:, 1:] &= merged[:, 1:] != merged[:, :-1]
        columns.append(merged[first])
        counts.append(first.sum(1))
    return _Sparse(np.concatenate([[0], np.concatenate(counts).cumsum()]), np.concatenate(columns))


def _reciprocal(near: Int[np.ndarray, "N W"], count: int) -> tuple[np.ndarray, Bool[np.ndarray, "N K"]]:
    """The nearest ``count`` images, and which of them have the image among their own nearest."""
    near = near[:, :count]
    known = np.empty(near.shape, dtype=bool)
    for start in range(0, len(near), ROWS):
        rows = near[start : start + ROWS]
        myself = np.arange(start, start + len(rows), dtype=near.dtype)[:, None, None]
        known[start : start + ROWS] = (near[rows] == myself).any(2)
    return near, known


def _member(wanted: Int[np.ndarray, "b K H"], own: Int[np.ndarray, "b K"]) -> Bool[np.ndarray, "b K H"]:
    """Whether each image is in its row's own set (-1 stands for none): bisection in all rows at once."""
    step = wanted.max(initial=0) + 2  # keeps the rows apart
    offset = np.arange(len(own), dtype=np.int64)[:, None] * step
    ordered = np.sort(own + 1 + offset, axis=1).ravel()
    keys = (wanted + 1 + offset[:, :, None]).ravel()
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return (ordered[place] == keys).reshape(wanted.shape)


def _measured(
    sets: _Sparse, near: _Near, everyone: Features, *, distance: Distance, block: int
) -> Float[np.ndarray, " E"]:
    """Scaled distance of every pair of a sparse table; rows that reach beyond the kept ones are measured again."""
    images = len(near.index)
    keys = (near.index.astype(np.int64) + images * np.arange(images)[:, None]).ravel()
    order = keys.argsort()
    wanted = sets.index + images * sets.row.astype(np.int64)
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    values, known = near.distance.ravel()[place], keys[place] == wanted
    for start in range(0, images, block):
        rows = np.arange(start, min(start + block, images))
        places = np.arange(sets.indptr[rows[0]], sets.indptr[rows[-1] + 1])
        places = places[~known[places]]
        if not len(places):
            continue
        lacking, which = np.unique(sets.row[places], return_inverse=True)
        table = distance(everyone[torch.from_numpy(lacking)], everyone).detach().cpu().numpy()
        values[places] = table[which, sets.index[places]] / near.largest[lacking][which]
    return values


def _expanded(encoding: _Sparse, near: Int[np.ndarray, "N k2"]) -> _Sparse:
    """Each image's encoding averaged with those of its nearest (local query expansion).

    Source: Zhong et al., Eq. 11.
    """
    images, k2 = near.shape
    parts = []
    for start in range(0, images, ROWS):
        rows = near[start : start + ROWS]
        places, counts = encoding.pairs(rows.ravel())
        row = np.repeat(np.repeat(np.arange(len(rows)), k2), counts)
        keys, which = np.unique(row * images + encoding.index[places], return_inverse=True)
        value = np.bincount(which, weights=encoding.value[places]) / k2
        parts.append((np.bincount(keys // images, minlength=len(rows)), keys % images, value))
    counts, index, value = (np.concatenate(part) for part in zip(*parts))
    return _Sparse(np.concatenate([[0], counts.cumsum()]), index, value)


def _overlap(
    encoding: _Sparse, by_column: _Sparse, rows: Int[np.ndarray, " q"], *, gallery: int
) -> Float[np.ndarray, "q G"]:
    """Sum over columns of the smaller of two encodings, for some queries and every gallery image.

    Source: Zhong et al., Eq. 9 and 10.
    """
    mine, counts = encoding.pairs(rows)
    theirs, times = by_column.pairs(encoding.index[mine])
    target = np.repeat(np.repeat(np.arange(len(rows)), counts), times) * gallery + by_column.index[theirs]
    smaller = np.minimum(np.repeat(encoding.value[mine], times), by_column.value[theirs])
    total = np.bincount(target, weights=smaller, minlength=len(rows) * gallery)
    return total.astype(float).reshape(len(rows), gallery)  # nothing at all to count gives whole numbers
