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
from scipy.sparse import csc_array, csr_array
from torch import Tensor

from reidlib.distances import full_precision
from reidlib.options import check_count
from reidlib.types import Distance, Features

WIDE = 4  # times k1: how many nearest are kept; where sets reach further, images are measured again
ROUNDING = 1e-5  # of a row's largest distance: how far below zero its smallest may lie
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
        distance: between a block of images and all of them; smaller is closer, finite, from 0 on but for rounding.
            It is not squared here.
        k1: how many nearest make a neighbourhood.
        k2: over how many nearest encodings are averaged; 1 leaves them as they are.
        weight: lambda, of the original distance.
        block: images per call of ``distance``; bounds the memory, does not change the result.

    Raises:
        ValueError: a number out of range, or a distance that is not finite or is negative.

    Source: Zhong et al., sections 3.2 to 3.5. Deviation: none; their released function squares the distances
        that it is given, which is left to the caller.
    """
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= weight <= 1:
        raise ValueError(
            f"k1 = {k1}, k2 = {k2}, weight = {weight}; expected k1 >= 1, 1 <= k2 <= k1 + 1, 0 <= weight <= 1"
        )
    check_count("block", block)
    for name, features in (("query", query), ("gallery", gallery)):
        if len(features) == 0:
            raise ValueError(f"{name} is empty; expected at least one image: check the data set's folder")
    everyone = _joined(query, gallery)
    near, original = _nearest_of_everyone(
        everyone, len(query), distance=distance, count=WIDE * (k1 + 1), block=block
    )
    sets = _neighbourhoods(near.index, k1=k1)
    sets.data = np.exp(-_measured(sets, near, everyone, distance=distance, block=block)).astype(np.float64)
    sets.data /= np.repeat(sets.sum(1), np.diff(sets.indptr))
    encoding = _expanded(sets, near.index[:, :k2]) if k2 > 1 else sets
    by_column = encoding[len(query) :].tocsc()
    for start in range(0, len(query), QUERIES):
        rows = np.arange(start, min(start + QUERIES, len(query)))
        overlap = _overlap(encoding, by_column, rows, gallery=len(gallery))
        overlap = overlap.astype(near.largest.dtype)
        jaccard = 1 - overlap / (2 - overlap)  # encodings sum to one, so that max = 2 - min
        original[start:][: len(rows)].mul_(weight).add_(torch.from_numpy(jaccard), alpha=1 - weight)
    return original


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


def _nearest_of_everyone(
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
        rows = full_precision(distance(everyone[start : start + block], everyone).detach())
        if (shape := tuple(rows.shape)) != (expected := (min(block, images - start), images)):
            raise ValueError(f"distance returned shape {shape}; expected one row per image, {expected}")
        smallest, largest = rows.aminmax(dim=1)
        if not (smallest.isfinite() & largest.isfinite()).all():
            raise ValueError("distance is not finite for some pair of images; k-reciprocal needs numbers")
        if (smallest < -ROUNDING * largest.abs()).any():
            raise ValueError(
                f"distance is negative for some pair of images ({smallest.min():g}); expected 0 or more: "
                "pass one minus a similarity"
            )
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


def _neighbourhoods(near: Int[np.ndarray, "N W"], *, k1: int) -> csr_array:
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
    columns, ends = np.concatenate(columns), np.concatenate(counts).cumsum()
    return csr_array((np.ones(len(columns)), columns, np.concatenate([[0], ends])), shape=(images, images))


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
    sets: csr_array, near: _Near, everyone: Features, *, distance: Distance, block: int
) -> Float[np.ndarray, " E"]:
    """Scaled distance of every pair of a sparse table; rows that reach beyond the kept ones are measured again."""
    images = len(near.index)
    keys = (near.index.astype(np.int64) + images * np.arange(images)[:, None]).ravel()
    order = keys.argsort()
    row = np.repeat(np.arange(images), np.diff(sets.indptr))
    wanted = sets.indices + images * row
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    values, known = near.distance.ravel()[place], keys[place] == wanted
    for start in range(0, images, block):
        rows = np.arange(start, min(start + block, images))
        places = np.arange(sets.indptr[rows[0]], sets.indptr[rows[-1] + 1])
        places = places[~known[places]]
        if not len(places):
            continue
        lacking, which = np.unique(row[places], return_inverse=True)
        table = full_precision(distance(everyone[torch.from_numpy(lacking)], everyone).detach()).cpu().numpy()
        values[places] = table[which, sets.indices[places]] / near.largest[lacking][which]
    return values


def _expanded(encoding: csr_array, near: Int[np.ndarray, "N k2"]) -> csr_array:
    """Each image's encoding averaged with those of its nearest (local query expansion).

    Source: Zhong et al., Eq. 11.
    """
    images, k2 = near.shape
    ends = np.arange(0, near.size + 1, k2)
    total = csr_array((np.ones(near.size), near.ravel(), ends), shape=(images, images)) @ encoding
    total.data /= k2
    total.sort_indices()
    return total


def _places(matrix: csr_array | csc_array, lines: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the entries of some rows (columns of a csc), which may be asked for often; and how many each has."""
    counts = np.diff(matrix.indptr)[lines]
    ends = counts.cumsum()
    return np.arange(counts.sum()) + np.repeat(matrix.indptr[lines] - (ends - counts), counts), counts


def _overlap(
    encoding: csr_array, by_column: csc_array, rows: Int[np.ndarray, " q"], *, gallery: int
) -> Float[np.ndarray, "q G"]:
    """Sum over columns of the smaller of two encodings, for some queries and every gallery image.

    Source: Zhong et al., Eq. 9 and 10.
    """
    mine, counts = _places(encoding, rows)
    theirs, times = _places(by_column, encoding.indices[mine])
    target = np.repeat(np.repeat(np.arange(len(rows)), counts), times) * gallery + by_column.indices[theirs]
    smaller = np.minimum(np.repeat(encoding.data[mine], times), by_column.data[theirs])
    total = np.bincount(target, weights=smaller, minlength=len(rows) * gallery)
    total = total.astype(float, copy=False)  # of nothing, bincount counts in integers
    return total.reshape(len(rows), gallery)
