"""Retrieval metrics: CMC, mAP and mINP per query, exact, with the memory of one block of distances.

Only the correct gallery images are ranked. Of a block of distances, those up to the farthest correct one
are sorted by value, without indices, which vector units do several times faster than an argsort, and the
rank of a correct image is read off by bisection. Ties are resolved by gallery order, as a stable sort
does: of two gallery images at the same distance the one that comes first in the gallery ranks first.
Infinite distances (pairs that cannot be compared) are legal and tie with each other; NaN is an error.

Source: the single-query protocol of Market-1501 (Zheng et al., ICCV 2015); mINP from Ye et al., "Deep
learning for person re-identification: a survey and outlook" (TPAMI 2021), Eq. 4.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from reidlib.distances import full_precision
from reidlib.options import check_count
from reidlib.protocol import DISTRACTOR, Protocol
from reidlib.types import Distance, Features, Metrics

RANKS = (1, 3, 5, 10)
"""Of the CMC that ``single_shot`` gives."""

CHUNK = 1 << 14  # distances sorted at a time: 64 kB, so that a sort stays in the cache


def evaluate(
    query: Features,
    gallery: Features,
    *,
    distance: Distance,
    protocol: Protocol | str,
    block: int = 256,
    trapezoid: bool = False,
) -> Metrics:
    """Rank the gallery for every query and score the ranking.

    Args:
        query: features of Q query images.
        gallery: features of G gallery images; identity 0 marks distractors.
        distance: distance between a block of queries and the whole gallery, [q, G].
        protocol: which gallery images count for a query; a rule or its name.
        block: queries per call of ``distance``; bounds the memory, does not change the result.
        trapezoid: average precision as the area under the interpolated curve, as Oxford's buildings
            toolbox has it, instead of the mean precision at each hit; ``python -m reidlib rank --trapezoid``.

    Returns:
        Metrics per query; a query without a match has rank 0 and NaN for the rest.

    Raises:
        ValueError: query or gallery is empty, the gallery holds junk, no query has a match, a
            distance is NaN or -inf, or an argument is not what it should be.
    """
    same = _SameIdentity.of(query, gallery, protocol=protocol)
    same.require_hits(len(gallery))
    scores = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for rows, distances in _blocks(query, gallery, distance=distance, block=block):
            hit, rank = _ranks(distances, same[rows], pool=pool)
            scores.append(_score(hit, rank, trapezoid=trapezoid))
            del distances  # here and in _blocks, or two blocks would be alive at a time
    return Metrics(*(np.concatenate(column) for column in zip(*scores)))


def ranking(
    query: Features,
    gallery: Features,
    *,
    distance: Distance,
    protocol: Protocol | str,
    top: int = 10,
    block: int = 256,
) -> tuple[Int[np.ndarray, "Q top"], Bool[np.ndarray, "Q top"]]:
    """The nearest gallery images of every query, for figures.

    Args:
        query: features of Q query images.
        gallery: features of G gallery images.
        distance: distance between a block of queries and the whole gallery, [q, G].
        protocol: images that do not count for a query are not shown either.
        top: how many, nearest first; ties by gallery order.
        block: queries per call of ``distance``.

    Returns:
        Gallery indices, -1 where fewer than ``top`` images count, and whether each is correct.

    Raises:
        ValueError: as in `evaluate`, but a query without a match is fine.
    """
    check_count("top", top)
    same = _SameIdentity.of(query, gallery, protocol=protocol)
    nearest = np.full((len(query), top), -1)
    correct = np.zeros((len(query), top), dtype=bool)
    for rows, distances in _blocks(query, gallery, distance=distance, block=block):
        for number, row in zip(range(len(query))[rows], distances):
            hits, dropped = (same.position[number][mask[number]] for mask in (same.hit, same.dropped))
            found = _top_of_row(row, dropped, count=top)
            nearest[number, : len(found)] = found
            correct[number, : len(found)] = np.isin(found, hits)
    return nearest, correct


def single_shot(
    query: Features, gallery: Features, *, distance: Distance, protocol: Protocol | str, block: int = 256
) -> Float[np.ndarray, "Q 4"]:
    """CMC where the gallery shows every identity once, its image drawn at random: the expectation over all draws.

    Toolkits draw ten times a query and average; their numbers spread around this one. Average precision is not of
    this protocol: they take it from the whole gallery, as `evaluate` does.

    Args:
        query: features of Q query images.
        gallery: features of G gallery images; distractors count as one identity.
        distance: distance between a block of queries and the whole gallery, [q, G].
        protocol: which gallery images may be drawn for a query; ties are resolved as in `evaluate`.
        block: queries per call of ``distance``.

    Returns:
        Probability of a match among the first 1, 3, 5 and 10; NaN for a query without a match.

    Raises:
        ValueError: as in `evaluate`.

    Source: Li et al., DeepReID, CVPR 2014, section 5; ``eval_cuhk03`` of KaiyangZhou/deep-person-reid.
    """
    same = _SameIdentity.of(query, gallery, protocol=protocol)
    same.require_hits(len(gallery))
    _, person = np.unique(gallery.pid.cpu().numpy(), return_inverse=True)
    found = np.full((len(query), len(RANKS)), np.nan)
    for rows, distances in _blocks(query, gallery, distance=distance, block=block):
        for number, row in zip(range(len(query))[rows], distances):
            hits, dropped = (same.position[number][mask[number]] for mask in (same.hit, same.dropped))
            if len(hits):
                order = np.setdiff1d(np.arange(len(row)), dropped)  # in gallery order
                order = order[np.argsort(row[order], kind="stable")]
                found[number] = _drawn_once(person[order], np.flatnonzero(np.isin(order, hits)))
    return found


def _drawn_once(person: Int[np.ndarray, " G"], hits: Int[np.ndarray, " H"]) -> Float[np.ndarray, " 4"]:
    """For people in the order of their distance: how often the drawn one of the hits is among the first.

    Whether the drawn image of another person is nearer than a hit is one coin for each person; the number of heads
    is built up coin by coin.
    """
    total = np.bincount(person)
    others = np.delete(np.arange(len(total)), person[hits[0]])
    nearer = np.stack([np.bincount(person[:place], minlength=len(total)) for place in hits])  # [H, I]
    heads = (nearer[:, others] / np.maximum(total[others], 1)).T  # [I - 1, H]
    count = np.zeros((max(RANKS), len(hits)))  # probability of so many heads
    count[0] = 1
    for chance in heads[heads.any(axis=1)]:
        moved = np.vstack([np.zeros_like(chance), count[:-1] * chance])
        count = count * (1 - chance) + moved
    return count.cumsum(axis=0)[np.array(RANKS) - 1].mean(axis=1)


@dataclass(frozen=True)
class _SameIdentity:
    """The gallery images that share each query's identity, at most W, in gallery order."""

    position: Int[np.ndarray, "Q W"]  # in the gallery; arbitrary where neither hit nor dropped
    hit: Bool[np.ndarray, "Q W"]  # matches the query
    dropped: Bool[np.ndarray, "Q W"]  # does not count for the query

    @classmethod
    def of(cls, query: Features, gallery: Features, *, protocol: Protocol | str) -> "_SameIdentity":
        protocol = Protocol(protocol)
        for name, features in (("query", query), ("gallery", gallery)):
            if len(features) == 0:
                raise ValueError(f"{name} is empty; expected at least one image: check the data set's folder")
        pid, camid, asked_pid, asked_camid = (
            tensor.cpu().numpy() for tensor in (gallery.pid, gallery.camid, query.pid, query.camid)
        )
        if pid.min() < DISTRACTOR:
            raise ValueError(f"gallery holds junk (pid {pid.min()}); drop negative identities when loading")
        order = np.argsort(pid, kind="stable")
        first, last = (np.searchsorted(pid[order], asked_pid, side=side) for side in ("left", "right"))
        last = np.where(asked_pid == DISTRACTOR, first, last)
        slot = first[:, None] + np.arange((last - first).max())  # [Q, W]
        known = slot < last[:, None]
        position = order[np.minimum(slot, len(order) - 1)]
        left_out = protocol.left_out(asked_camid[:, None], camid[position])
        return cls(position, known & ~left_out, known & left_out)

    def __getitem__(self, rows: slice) -> "_SameIdentity":
        return _SameIdentity(self.position[rows], self.hit[rows], self.dropped[rows])

    def require_hits(self, gallery: int) -> None:
        if not self.hit.any():
            raise ValueError(
                f"gallery: none of its {gallery} images matches any of the {len(self.hit)} queries; check "
                "that both come from the same data set and, under protocol 'market', that identities are "
                "seen by a second camera (in a csv, leave camid empty if cameras do not matter)"
            )


def _blocks(
    query: Features, gallery: Features, *, distance: Distance, block: int
) -> Iterator[tuple[slice, Float[np.ndarray, "q G"]]]:
    """Checked distances of a block of queries, with the block's place among the queries."""
    check_count("block", block)
    for start in range(0, len(query), block):
        rows = slice(start, start + block)
        distances = full_precision(distance(query[rows], gallery).detach())
        if (shape := tuple(distances.shape)) != (expected := (len(query[rows]), len(gallery))):
            raise ValueError(f"distance returned shape {shape}; expected one row per query, {expected}")
        smallest = distances.amin(dim=1)  # passes NaN on
        broken = ~(smallest > -torch.inf)
        if broken.any():
            row = int(broken.nonzero()[0])
            raise ValueError(
                f"distance is {smallest[row]} for query {start + row}; expected numbers or inf: "
                "look for embeddings that are not finite or a division by zero visibility"
            )
        yield rows, distances.cpu().numpy()
        del distances  # or two blocks would be alive while the next is computed


def _ranks(
    distances: Float[np.ndarray, "q G"], same: _SameIdentity, *, pool: ThreadPoolExecutor
) -> tuple[Bool[np.ndarray, "q W"], Int[np.ndarray, "q W"]]:
    """1-based ranks of the images of the same identity, nearest first, and which of them are hits."""
    wanted = np.take_along_axis(distances, same.position, axis=1)
    limit = np.where(same.hit, wanted, -np.inf).max(axis=1, initial=-np.inf)
    nearer, as_near = _count(distances, wanted, limit=limit, pool=pool)
    for row, column in np.argwhere((as_near > 1) & same.hit):
        before = distances[row, : same.position[row, column]]
        nearer[row, column] += np.count_nonzero(before == wanted[row, column])
    order = np.argsort(np.where(same.hit | same.dropped, wanted, np.inf), axis=1, kind="stable")
    hit, dropped, nearer = (np.take_along_axis(a, order, axis=1) for a in (same.hit, same.dropped, nearer))
    return hit, nearer + 1 - dropped.cumsum(axis=1)


def _count(
    distances: Float[np.ndarray, "q G"],
    wanted: Float[np.ndarray, "q W"],
    *,
    limit: Float[np.ndarray, " q"],
    pool: ThreadPoolExecutor,
) -> tuple[Int[np.ndarray, "q W"], Int[np.ndarray, "q W"]]:
    """How many distances of its row are below each wanted value, and how many equal it, up to a limit."""
    below, upto = np.zeros((2, *wanted.shape), dtype=np.int64)

    def split(rows: np.ndarray) -> list[np.ndarray]:
        return np.array_split(rows, torch.get_num_threads())  # views

    for start in range(0, distances.shape[1], CHUNK):
        ordered = pool.map(_ordered, split(distances[:, start : start + CHUNK]), split(limit))
        for rows, values, left, right in zip(ordered, split(wanted), split(below), split(upto)):
            rows, values = torch.from_numpy(rows), torch.from_numpy(values)
            left += torch.searchsorted(rows, values).numpy()
            right += torch.searchsorted(rows, values, right=True).numpy()
    return below, upto - below


def _ordered(rows: Float[np.ndarray, "q G"], limit: Float[np.ndarray, " q"]) -> Float[np.ndarray, "q n"]:
    """Rows in increasing order; where few values are within the limit, only those, padded by +inf."""
    within = rows <= limit[:, None]
    if np.count_nonzero(within) * 4 > within.size:
        return np.sort(rows, axis=1)
    counts = within.sum(axis=1)
    few = np.full((len(rows), counts.max(initial=0)), np.inf, dtype=rows.dtype)
    few[np.arange(few.shape[1]) < counts[:, None]] = rows[within]
    return np.sort(few, axis=1)


def _score(
    hit: Bool[np.ndarray, "q W"], rank: Int[np.ndarray, "q W"], *, trapezoid: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank of the first hit, average precision, and inverse negative penalty of every query."""
    found = hit.cumsum(axis=1)
    hits = hit.sum(axis=1)
    precision = found / np.maximum(rank, 1)
    if trapezoid:  # the precision just before each hit counts as much; it is 1 before the first image
        before = np.where(rank > 1, (found - 1) / np.maximum(rank - 1, 1), 1.0)
        precision = (precision + before) / 2
    first = np.where(hit, rank, np.iinfo(rank.dtype).max).min(axis=1, initial=np.iinfo(rank.dtype).max)
    last = np.where(hit, rank, 0).max(axis=1, initial=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 = NaN marks a query without a match
        return np.where(hits > 0, first, 0), (precision * hit).sum(axis=1) / hits, hits / last


def _top_of_row(row: Float[np.ndarray, " G"], dropped: np.ndarray, *, count: int) -> Int[np.ndarray, " n"]:
    """Positions of the smallest values, in the order of a stable sort, without sorting the row."""
    kept = np.delete(np.arange(len(row)), dropped)
    values = row[kept]
    if count < len(kept):
        candidates = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
        kept, values = kept[candidates], values[candidates]
    return kept[np.argsort(values, kind="stable")][:count]
