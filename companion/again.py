"""The A-A test: two networks of one row in the same worlds must hardly ever come out different."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as students_t

from companion.claims import moderation
from companion.intervals import LEVEL, Moderation, bootstrap
from companion.records import RunRecord
from companion.study import METRICS, Study


@dataclass(frozen=True)
class Again:
    """How many differences of a row from itself come out different from zero.

    A pair is a row under a test-time variant, on a test set, in a metric. ``queries`` are pairs of two trainings
    in one world, to which a bootstrap over its queries alone was applied.

    Pairs of one row hang together, so that their share varies more than that of as many independent ones:
    ``chance`` is what 95 % of its values lie between if nobody knows which of the two networks came first.
    """

    pairs: int
    different: int
    queries: int
    queries_different: int
    chance: tuple[float, float] = (np.nan, np.nan)


Differences = Sequence[tuple[str, np.ndarray, Moderation]]
"""Each with its row, one value per world, and what the paper's contrasts say of its variance."""

SHUFFLES = 200


def again(studies: Iterable[Study]) -> Again:
    """Compare all rows that were trained again with their first trainings, as claims are decided and by queries."""
    found, naive = [], []
    for study in studies:
        for first, second in _pairs(study):
            row = f"{study.paper.slug} {second[0].name}"
            for test_set, scoring, metric in _shared(first[0], second[0]):
                values = _differences(first, second, test_set, scoring, metric)
                if not np.isfinite(values).all():  # a world lacks this scoring
                    continue
                found.append((row, values, moderation(study, metric, test_set)))
                naive += _by_queries(first[0], second[0], test_set, scoring, metric)
    flags = _different(found)
    chance = _chance(found) if flags else (np.nan, np.nan)
    return Again(len(flags), sum(flags), len(naive), sum(naive), chance)


def _different(found: Differences) -> list[bool]:
    """Of every difference with an interval, whether it excludes zero."""
    intervals = [shared.interval(values) for _, values, shared in found]
    known = np.array([(i.estimate, i.error, i.freedom) for i in intervals if i.freedom]).reshape(-1, 3).T
    return (np.abs(known[0]) > students_t.ppf((1 + LEVEL) / 2, known[2]) * known[1]).tolist()


def _chance(found: Differences) -> tuple[float, float]:
    """Between which shares 95 % lie, if in every world of a row either network may have come first."""
    random, shares = np.random.default_rng(0), []
    worlds = {row: len(values) for row, values, _ in found}
    for _ in range(SHUFFLES):
        signs = {row: random.choice([-1.0, 1.0], count) for row, count in worlds.items()}
        drawn = [(row, signs[row] * values, shared) for row, values, shared in found]
        shares.append(float(np.mean(_different(drawn))))
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


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
