"""Retrieval metrics: CMC, mAP and mINP per query, exact, with the memory of one block of distances.

Only the correct gallery images are ranked. A block of distances is sorted by value, without indices,
which vector units do several times faster than an argsort, and the rank of a correct image is read off
by bisection. Ties are resolved by gallery order, as a stable sort does: of two gallery images at the
same distance the one that comes first in the gallery ranks first. Infinite distances (pairs that cannot
be compared) are legal and tie with each other; NaN is an error.

Source: the single-query protocol of Market-1501 (Zheng et al., ICCV 2015); mINP from Ye et al., "Deep
learning for person re-identification: a survey and outlook" (TPAMI 2021), Eq. 4.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from reidlib.protocol import DISTRACTOR, Protocol
from reidlib.types import Distance, Features, Metrics

CHUNK = 1 << 14  # distances sorted at a time: 64 kB, so that a sort stays in the cache


def evaluate(
    query: Features,
    gallery: Features,
    *,
    distance: Distance,
    protocol: Protocol,
    block: int = 256,
    trapezoid: bool = False,
) -> Metrics:
    """Rank the gallery for every query and score the ranking.

    Args:
        query: features of Q query images.
        gallery: features of G gallery images; identity 0 marks distractors.
        distance: distance between a block of queries and the whole gallery, [q, G].
        protocol: which gallery images count for a query.
        block: queries per call of ``distance``; bounds the memory, does not change the result.
        trapezoid: average precision as the area under the interpolated curve, as Oxford's buildings
            toolbox has it, instead of the mean precision at each hit.

    Returns:
        Metrics per query; a query without a match has rank 0 and NaN for the rest.

    Raises:
        ValueError: query or gallery is empty, the gallery holds junk, no query has a match, or a
            distance is NaN.
    """
    index = _Index.of(query, gallery, protocol=protocol)
    index.require_matches()
    threads = torch.get_num_threads()
    ranks: list[np.ndarray] = []
    with ThreadPoolExecutor(threads) as pool:
        for start, distances in _blocks(query, gallery, distance=distance, block=block):
            rows = np.array_split(np.arange(len(distances)), threads)
            jobs = [pool.submit(_rank_rows, distances, part, index=index, start=start) for part in rows]
            ranks += [row for job in jobs for row in job.result()]
            del distances, jobs  # or two blocks would be alive while the next is computed
    scores = [_score(row, trapezoid=trapezoid) for row in ranks]
    rank, ap, inp = (np.array(column) for column in zip(*scores))
    return Metrics(rank, ap, inp)


def ranking(
    query: Features,
    gallery: Features,
    *,
    distance: Distance,
    protocol: Protocol,
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
    index = _Index.of(query, gallery, protocol=protocol)
    nearest = np.full((len(query), top), -1)
    correct = np.zeros((len(query), top), dtype=bool)
    for start, distances in _blocks(query, gallery, distance=distance, block=block):
        for offset, row in enumerate(distances):
            hits, dropped = index[start + offset]
            found = _nearest(_without(row, dropped), count=min(top, len(row) - len(dropped)))
            nearest[start + offset, : len(found)] = found
            correct[start + offset, : len(found)] = np.isin(found, hits)
    return nearest, correct


@dataclass(frozen=True)
class _Index:
    """Where each query's identity sits in the gallery: one slice of ``order`` per identity."""

    protocol: Protocol
    query: Int[np.ndarray, "Q 2"]  # identity and camera
    order: Int[np.ndarray, " G"]  # gallery positions by identity, then by gallery order
    pid: Int[np.ndarray, " G"]  # identity and camera in that order
    camid: Int[np.ndarray, " G"]

    @classmethod
    def of(cls, query: Features, gallery: Features, *, protocol: Protocol) -> "_Index":
        for name, features in (("query", query), ("gallery", gallery)):
            if len(features) == 0:
                raise ValueError(f"{name} is empty; expected at least one image: check the data set's folder")
        pid, camid = gallery.pid.cpu().numpy(), gallery.camid.cpu().numpy()
        if pid.min() < DISTRACTOR:
            raise ValueError(f"gallery holds junk (pid {pid.min()}); drop negative identities when loading")
        order = np.argsort(pid, kind="stable")
        asked = torch.stack([query.pid, query.camid], dim=1).cpu().numpy()
        return cls(protocol, asked, order, pid[order], camid[order])

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Gallery positions that match the query, and those that do not count for it."""
        pid, camid = self.query[number]
        same = slice(*np.searchsorted(self.pid, [pid, pid + (pid != DISTRACTOR)]))
        left_out = self.protocol.left_out(int(camid), self.camid[same])
        return self.order[same][~left_out], self.order[same][left_out]

    def require_matches(self) -> None:
        if not any(len(self[number][0]) for number in range(len(self.query))):
            raise ValueError(
                f"gallery: none of {len(self.order)} images matches any of the {len(self.query)} queries; "
                "check that both come from the same data set and, under protocol 'market', that identities "
                "are seen by a second camera"
            )


def _blocks(
    query: Features, gallery: Features, *, distance: Distance, block: int
) -> Iterator[tuple[int, Float[np.ndarray, "q G"]]]:
    """Checked distances of a block of queries, with the number of its first query."""
    if block < 1:
        raise ValueError(f"block is {block}; expected at least one query")
    for start in range(0, len(query), block):
        part = query[start : start + block]
        distances = distance(part, gallery).detach().cpu().numpy()
        if distances.shape != (len(part), len(gallery)):
            raise ValueError(
                f"distance returned shape {distances.shape}; expected {(len(part), len(gallery))}"
            )
        broken = np.isnan(distances.max(axis=1))  # a maximum passes NaN on
        if broken.any():
            raise ValueError(
                f"distance is NaN for query {start + broken.argmax()}; expected numbers or +inf: "
                "look for embeddings that are not finite or a division by zero visibility"
            )
        yield start, distances


def _rank_rows(distances: np.ndarray, rows: np.ndarray, *, index: _Index, start: int) -> list[np.ndarray]:
    return [_ranks(distances[row], *index[start + row]) for row in rows]


def _ranks(row: Float[np.ndarray, " G"], hits: np.ndarray, dropped: np.ndarray) -> Int[np.ndarray, " hits"]:
    """Increasing 1-based ranks of the gallery positions ``hits``, as if ``dropped`` were not there."""
    if len(hits) == 0:
        return np.zeros(0, dtype=int)
    wanted = row[hits]
    nearer, as_near = np.zeros((2, len(hits)), dtype=int)
    for chunk in range(0, len(row), CHUNK):
        ordered = np.sort(row[chunk : chunk + CHUNK])
        below = np.searchsorted(ordered, wanted, side="left")
        nearer += below
        as_near += np.searchsorted(ordered, wanted, side="right") - below
    for tied in np.flatnonzero(as_near > 1):
        nearer[tied] += np.count_nonzero(row[: hits[tied]] == wanted[tied])
    if len(dropped):
        value = row[dropped]
        first = (value == wanted[:, None]) & (dropped < hits[:, None])
        nearer -= ((value < wanted[:, None]) | first).sum(axis=1)
    return np.sort(nearer) + 1


def _without(row: Float[np.ndarray, " G"], dropped: np.ndarray) -> Float[np.ndarray, " G"]:
    """A copy in which ``dropped`` is NaN: sorted last, and near to nothing."""
    row = row.copy()
    row[dropped] = np.nan
    return row


def _score(ranks: Int[np.ndarray, " n"], *, trapezoid: bool) -> tuple[int, float, float]:
    """Rank of the first hit, average precision, and inverse negative penalty."""
    if len(ranks) == 0:
        return 0, np.nan, np.nan
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    if trapezoid:  # the precision just before each hit counts as much; it is 1 before the first image
        before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    return int(ranks[0]), float(precision.mean()), len(ranks) / int(ranks[-1])


def _nearest(row: Float[np.ndarray, " G"], *, count: int) -> Int[np.ndarray, " count"]:
    """Positions of the smallest values, in the order of a stable sort, without sorting the row."""
    if count == 0:
        return np.zeros(0, dtype=int)
    candidates = np.flatnonzero(row <= np.partition(row, count - 1)[count - 1])
    return candidates[np.argsort(row[candidates], kind="stable")][:count]
