"""Verdicts: a claim is a set of contrasts between cells, and a paired bootstrap decides it.

A contrast is a signed sum of cells, a metric, and the side of a margin on which it should lie. Every cell
is averaged over its seeds. The interval resamples query identities (the queries of one person are not
independent), paired: every cell with the same draws; cells on different real data sets have their own. The
luck of training is added from the spread between seeds that the paper's repeated runs show, the less of it
the more seeds a cell has: three seeds resampled, let alone one, would say little of it.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import t as students_t

from companion import published
from companion.inputs import NoTruth
from companion.paper import Cell
from companion.study import Study

RESAMPLES = 2000
LEVEL = 0.95


class Status(StrEnum):
    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested"
    UNTESTABLE = "untestable"


@dataclass(frozen=True)
class Contrast:
    """A signed sum of cells and where it should lie: ``sum > margin`` or ``sum < margin``."""

    metric: str  # rank1, mAP, or a per-query measure of the records
    plus: tuple[str, ...]  # cells as table/row@dataset
    minus: tuple[str, ...]
    sign: str  # ">" or "<"
    margin: float = 0.0  # fraction


@dataclass(frozen=True)
class Outcome:
    """A contrast's estimate and interval (fractions).

    ``missing`` names runs that cannot be compared: without a record, or whose training collapsed.
    """

    contrast: Contrast
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    seeds: int = 0
    missing: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        if self.missing:
            return Status.NOT_TESTED
        below, above = self.high < self.contrast.margin, self.low > self.contrast.margin
        if self.contrast.sign == "<":
            below, above = above, below
        return Status.REPRODUCED if above else Status.CONTRADICTED if below else Status.INCONCLUSIVE


@dataclass(frozen=True)
class Verdict:
    """What became of one claim."""

    paper: str
    claim: str  # number within the paper
    statement: str
    source: str
    status: Status
    outcomes: tuple[Outcome, ...] = ()
    note: str = ""  # why untestable, or what in the paper itself speaks against the claim
    found: str = ""  # what a computation gave
    real: bool = False  # measured on the papers' data sets, not on synthetic ones

    @property
    def seeds(self) -> int:
        return min((o.seeds for o in self.outcomes if not o.missing), default=0)


def verdicts(study: Study) -> list[Verdict]:
    """The verdict on every claim of a paper, computed from the records of a study."""
    frame = published.claims()
    chosen = frame[frame["paper"] == study.paper.slug]
    return [_verdict(study, claim, rows) for claim, rows in chosen.groupby("claim", sort=False)]


def _verdict(study: Study, claim: str, rows) -> Verdict:
    first = rows.iloc[0]
    decided = partial(
        Verdict,
        study.paper.slug,
        claim,
        first["statement"],
        first["source"],
        note=" ".join(n for n in rows["note"] if n),
        real=study.real,
    )
    match first["kind"]:
        case "untestable":
            return decided(Status.UNTESTABLE)
        case "exact":
            try:
                status, found = _exact(study, claim)(study)
            except NoTruth as error:
                status, found = Status.NOT_TESTED, str(error)
            return decided(status, found=found)
        case "contrast":
            outcomes = tuple(outcome(study, contrast) for row in rows.itertuples() for contrast in parse(row))
            return decided(combine([o.status for o in outcomes]), outcomes)
    raise ValueError(f"claims.csv: {study.paper.slug} claim {claim} has unknown kind {first['kind']!r}")


def _exact(study: Study, claim: str) -> Callable[[Study], tuple[Status, str]]:
    if claim not in study.paper.exact:
        raise ValueError(
            f"claims.csv: {study.paper.slug} claim {claim} is exact, but its wing computes no such claim"
        )
    return study.paper.exact[claim]


def parse(row) -> list[Contrast]:
    """The contrasts of one line of claims.csv, one per metric it names."""
    side = re.fullmatch(r"([<>])\s*([-\d.]*)", row.sign)
    if side is None:
        raise ValueError(
            f"claims.csv: {row.paper} claim {row.claim} has sign {row.sign!r}; expected > or <, and a margin"
        )
    sign, margin = side.groups()
    return [
        Contrast(metric, tuple(row.plus.split()), tuple(row.minus.split()), sign, float(margin or 0) / 100)
        for metric in row.metric.split()
    ]


def combine(statuses: list[Status]) -> Status:
    """Contradicted if any contrast is; not tested if any has no record; reproduced only if all are."""
    for status in (Status.CONTRADICTED, Status.NOT_TESTED, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.REPRODUCED


def find_cell(study: Study, reference: str) -> Cell:
    """The cell that ``table/row`` or ``table/row@dataset`` names (Occluded-Duke unless it says otherwise)."""
    table, rest = reference.split("/", 1)
    known = {cell.dataset for cell in study.paper.cells}
    row, _, dataset = rest.rpartition("@")
    if dataset not in known:
        row, dataset = rest, "occluded-duke"
    return study.paper.cell(table, row, dataset)


def outcome(study: Study, contrast: Contrast) -> Outcome:
    """Estimate and bootstrap interval of a contrast; names the missing runs instead where there are any."""
    terms = [(find_cell(study, ref), 1) for ref in contrast.plus] + [
        (find_cell(study, r), -1) for r in contrast.minus
    ]
    missing = {_run_of(study, c) for c, _ in terms if not study.per_query(c, contrast.metric)[1]}
    collapsed = {_run_of(study, c) for c, _ in terms if study.collapsed(c.run, dataset=c.dataset)}
    if missing or collapsed:
        return Outcome(
            contrast, missing=(*sorted(missing), *(f"{run} (collapsed)" for run in sorted(collapsed)))
        )
    differences, seeds = {}, {}
    for cell, sign in terms:
        values, known = study.per_query(cell, contrast.metric)
        people = study.identities(cell)
        pooled = differences.setdefault(people.tobytes(), [0.0, people])  # the same queries are paired
        pooled[0] = pooled[0] + sign * _mean_over_seeds(values)
        seeds[_run_of(study, cell)] = len(known)
    found = np.array([bootstrap(difference, people) for difference, people in differences.values()])
    estimate = found[:, 0].sum()
    noise = _training_noise(study, terms, metric=contrast.metric, seeds=seeds)
    below, above = (np.hypot(np.linalg.norm(found[:, side] - found[:, 0]), noise) for side in (1, 2))
    return Outcome(
        contrast, float(estimate), float(estimate - below), float(estimate + above), min(seeds.values())
    )


def _run_of(study: Study, cell: Cell) -> str:
    """The name of the training behind a cell: at ``real`` there is one for each data set."""
    return f"{cell.run} on {cell.dataset}" if study.real else cell.run


def _mean_over_seeds(values: Float[np.ndarray, "S Q"]) -> Float[np.ndarray, " Q"]:
    """NaN where no seed has a value."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def _training_noise(
    study: Study, terms: list[tuple[Cell, int]], *, metric: str, seeds: dict[str, int]
) -> float:
    """Half-width of the interval that training anew gives a signed sum of cells.

    Cells of one training on one test set share its luck, so their signs are added first; different test sets
    count as independent.
    """
    weights = Counter()
    for cell, sign in terms:
        weights[_run_of(study, cell), study.test_set(cell)] += sign
    squares = 0.0
    for (run, name), weight in weights.items():
        spread, freedom = study.spread(name, metric)
        quantile = students_t.ppf((1 + LEVEL) / 2, freedom) if freedom else 0.0
        squares += (weight * spread * quantile) ** 2 / seeds[run]
    return float(np.sqrt(squares))


def gains(study: Study, table: str, *, baseline: str, metric: str, dataset: str = "occluded-duke") -> dict:
    """Gain of every row of a table's column over a baseline row, printed and ours with interval, as fractions.

    Returns:
        rows, printed, ours, low, high: arrays in the table's order, NaN where nothing is printed or recorded.
    """
    column = study.frame(table).query("metric == @metric and dataset == @dataset")
    frame = column.query("row != @baseline")
    base = column.query("row == @baseline")["printed"].iloc[0]
    cells = [f"{table}/{row.row}@{row.dataset}" for row in frame.itertuples()]
    zero = f"{table}/{baseline}@{dataset}"
    found = [outcome(study, Contrast(metric, (cell,), (zero,), ">")) for cell in cells]
    ours = {name: np.array([getattr(o, name) for o in found]) for name in ("estimate", "low", "high")}
    return {
        "rows": frame["row"].tolist(),
        "printed": (frame["printed"] - base).to_numpy(),
        "ours": ours["estimate"],
        "low": ours["low"],
        "high": ours["high"],
    }


def bootstrap(
    difference: Float[np.ndarray, " Q"], identities: Int[np.ndarray, " Q"], *, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Mean of paired differences and its percentile interval, resampling query identities.

    Args:
        difference: per query; NaN where the query has no match.
        identities: person of each query; the queries of a person are resampled together.
    """
    names, index = np.unique(identities, return_inverse=True)
    known = ~np.isnan(difference)
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    np.add.at(sums, index, np.where(known, difference, 0))
    np.add.at(counts, index, known)
    draws = _draws(len(names), resamples)
    total, number = draws @ sums, draws @ counts
    drawn = number > 0  # where few queries have a value, a draw may hold none of them
    low, high = np.quantile(total[drawn] / number[drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.nansum(difference) / known.sum()), float(low), float(high)


@cache
def _draws(people: int, resamples: int) -> Int[np.ndarray, "B P"]:
    """How often each resample holds each person, the same for all contrasts."""
    return np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), size=resamples)


def holds(condition: bool) -> Status:
    """The verdict of a claim that a computation decides."""
    return Status.REPRODUCED if condition else Status.CONTRADICTED
