"""Verdicts: a claim is a set of contrasts between cells, and a paired bootstrap decides it.

A contrast is a signed sum of cells, a metric, and the side of a margin on which it should lie. Its
interval resamples seeds and query identities (the queries of one person are not independent), paired:
every cell of the contrast is resampled with the same draws.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int

from reidlib import published
from reidlib.experiments.grids import Cell
from reidlib.experiments.runner import build
from reidlib.experiments.study import Study
from reidlib.models import qpm

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

    @property
    def seeds(self) -> int:
        return min((o.seeds for o in self.outcomes if not o.missing), default=0)


def verdicts(study: Study) -> list[Verdict]:
    """The verdict on every claim of a paper, computed from the records of a study."""
    frame = published.claims()
    chosen = frame[frame["paper"] == study.paper]
    return [_verdict(study, claim, rows) for claim, rows in chosen.groupby("claim", sort=False)]


def _verdict(study: Study, claim: str, rows) -> Verdict:
    first = rows.iloc[0]
    decided = partial(
        Verdict,
        study.paper,
        claim,
        first["statement"],
        first["source"],
        note=" ".join(n for n in rows["note"] if n),
    )
    match first["kind"]:
        case "untestable":
            return decided(Status.UNTESTABLE)
        case "exact":
            status, found = EXACT[f"{study.paper}-{claim}"](study)
            return decided(status, found=found)
        case "contrast":
            outcomes = tuple(outcome(study, contrast) for row in rows.itertuples() for contrast in parse(row))
            return decided(combine([o.status for o in outcomes]), outcomes)
    raise ValueError(f"claims.csv: {study.paper} claim {claim} has unknown kind {first['kind']!r}")


def parse(row) -> list[Contrast]:
    """The contrasts of one line of claims.csv, one per metric it names."""
    sign, margin = re.fullmatch(r"([<>])\s*([-\d.]*)", row.sign).groups()
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
    known = {cell.dataset for cell in study.grid.cells}
    row, _, dataset = rest.rpartition("@")
    if dataset not in known:
        row, dataset = rest, "occluded-duke"
    return study.grid.cell(table, row, dataset)


def outcome(study: Study, contrast: Contrast) -> Outcome:
    """Estimate and bootstrap interval of a contrast; names the missing runs instead where there are any."""
    terms = [(find_cell(study, ref), 1) for ref in contrast.plus] + [
        (find_cell(study, r), -1) for r in contrast.minus
    ]
    runs = sorted({cell.run for cell, _ in terms})
    missing = [
        run
        for run in runs
        if not all(study.per_query(c, contrast.metric)[1] for c, _ in terms if c.run == run)
    ]
    missing += [f"{run} (collapsed)" for run in runs if study.collapsed(run)]
    if missing:
        return Outcome(contrast, missing=tuple(missing))
    found = [(*study.per_query(cell, contrast.metric), sign) for cell, sign in terms]
    shared = sorted(set.intersection(*(set(seeds) for _, seeds, _ in found)))
    difference = sum(sign * values[[seeds.index(seed) for seed in shared]] for values, seeds, sign in found)
    estimate, low, high = bootstrap(difference, study.identities(terms[0][0]))
    return Outcome(contrast, estimate, low, high, len(shared))


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
    difference: Float[np.ndarray, "S Q"], identities: Int[np.ndarray, " Q"], *, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Mean of paired differences and its percentile interval, resampling seeds and query identities.

    Args:
        difference: per seed and query; NaN where the query has no match.
        identities: person of each query; the queries of a person are resampled together.
    """
    names, index = np.unique(identities, return_inverse=True)
    known = ~np.isnan(difference)
    seeds = len(difference)
    sums, counts = np.zeros((seeds, len(names))), np.zeros((seeds, len(names)))
    for s in range(seeds):
        np.add.at(sums[s], index, np.where(known[s], difference[s], 0))
        np.add.at(counts[s], index, known[s])
    generator = np.random.default_rng(0)
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)  # [B, S]
    of_people = generator.multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )  # [B, P]
    total = np.einsum("bs,sp,bp->b", of_seeds, sums, of_people)
    number = np.einsum("bs,sp,bp->b", of_seeds, counts, of_people)
    low, high = np.quantile(total / number, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.nansum(difference) / known.sum()), float(low), float(high)


def _needs_no_masks(study: Study) -> tuple[Status, str]:
    """BPBreID claim 17: in evaluation, part masks are no input; the embeddings are the same without them."""
    run = study.run("k8")
    model = build(run, identities=4).eval()
    images = torch.rand(2, 3, run.data.height, run.data.width, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(2, run.model_config.parts + 1, run.data.height // 4, run.data.width // 4)
    with torch.inference_mode():
        without, given = model(images), model(images, masks)
    same = all(torch.equal(without.embeddings[name], given.embeddings[name]) for name in without.embeddings)
    return _holds(same), f"embeddings with and without masks are {'equal' if same else 'different'}"


def _refinement_is_cheap(_: Study) -> tuple[Status, str]:
    """QPM claim 11: multiplications of matching one query in Occluded-Duke's gallery, of 17,661 images."""
    paper, scoring, gallery = qpm.Config(), qpm.SCORINGS["default"], 17_661
    part = gallery * paper.parts * paper.dim
    refined = scoring.top * (2 * paper.parts * paper.global_dim + 3 * paper.global_dim)  # Eq. 9, 10; cosine
    ratio = 1 + refined / part
    return _holds(
        ratio < 1.3
    ), f"{ratio:.3f} times the multiplications of the part branch alone, counted from the paper's sizes"


def _holds(condition: bool) -> Status:
    return Status.REPRODUCED if condition else Status.CONTRADICTED


EXACT: dict[str, Callable[[Study], tuple[Status, str]]] = {
    "bpbreid-17": _needs_no_masks,
    "qpm-11": _refinement_is_cheap,
}
"""Claims that a computation decides: the verdict, and what was found."""
