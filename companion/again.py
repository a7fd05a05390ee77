"""The A-A test: two networks of one row in the same worlds must hardly ever come out different."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from companion.intervals import bootstrap, moderated
from companion.records import RunRecord
from companion.study import METRICS, Study


@dataclass(frozen=True)
class Again:
    """How many differences of a row from itself come out different from zero.

    A pair is a row under a test-time variant, on a test set, in a metric. ``queries`` are pairs of two trainings
    in one world, to which a bootstrap over its queries alone was applied.
    """

    pairs: int
    different: int
    queries: int
    queries_different: int


def again(studies: Iterable[Study]) -> Again:
    """Compare all rows that were trained again with their first trainings, by both intervals."""
    flags, naive = [], []
    for study in studies:
        families = defaultdict(list)
        for first, second in _pairs(study):
            for test_set, scoring, metric in _shared(first[0], second[0]):
                families[metric].append(_differences(first, second, test_set, scoring, metric))
                naive += _by_queries(first[0], second[0], test_set, scoring, metric)
        for family in families.values():
            flags += [interval.excludes(0.0) for interval in moderated(family) if interval.freedom]
    return Again(len(flags), sum(flags), len(naive), sum(naive))


def _pairs(study: Study) -> list[tuple[list[RunRecord], list[RunRecord]]]:
    """The records of rows and of the same trained again, in the worlds that both have."""
    found = []
    first = {study.run(row.slug).hash: row.slug for row in study.paper.rows if not row.again}
    for row in study.paper.rows:
        if row.again:
            name = first[replace(study.run(row.slug), network=0).hash]
            both = [{record.seed: record for record in study.records(slug)} for slug in (name, row.slug)]
            if worlds := sorted(both[0].keys() & both[1].keys()):
                found.append(tuple([known[world] for world in worlds] for known in both))
    return found


def _shared(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str]]:
    return [
        (test_set, scoring, metric)
        for test_set, table in first.metrics.items()
        for scoring in table
        if scoring in second.metrics[test_set]
        for metric in METRICS
    ]


def _differences(
    first: list[RunRecord], second: list[RunRecord], test_set: str, scoring: str, metric: str
) -> np.ndarray:
    pairs = zip(first, second)
    return np.array(
        [a.value(test_set, scoring, metric) - b.value(test_set, scoring, metric) for a, b in pairs]
    )


def _by_queries(first: RunRecord, second: RunRecord, test_set: str, scoring: str, metric: str) -> list[bool]:
    """Whether the queries of one world tell the two apart; nothing where their values are not kept."""
    if not all(f"{test_set}/{scoring}/rank" in record.arrays for record in (first, second)):
        return []
    values = [record.per_query(test_set, scoring, metric) for record in (first, second)]
    low, high = bootstrap(values[0] - values[1], first.arrays[f"{test_set}/pid"])
    return [low > 0 or high < 0]
