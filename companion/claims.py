"""Verdicts: a claim is a set of contrasts between cells, and a paired bootstrap decides it.

A contrast is a signed sum of cells, a metric, and the side of a margin on which it should lie. Every cell
is averaged over its seeds. The interval resamples query identities (the queries of one person are not
independent), paired: every cell with the same draws; cells on different real data sets have their own. The
luck of training is added from the spread between seeds that the paper's repeated runs show (those of all
papers, where it has none), the less of it the more seeds a cell has: three seeds resampled, let alone one,
would say little of it.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from companion import published
from companion.papers import Cell
from companion.papers.aap import BACKBONES, literal
from companion.runner import build
from companion.study import Study
from companion.truth import NoTruth
from companion.views import total_loss
from reidlib.complexity import complexity
from reidlib.models import aap, dpti, pan, qpm

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
        real=study.preset_name == "real",
    )
    match first["kind"]:
        case "untestable":
            return decided(Status.UNTESTABLE)
        case "exact":
            try:
                status, found = EXACT[f"{study.paper}-{claim}"](study)
            except NoTruth as error:
                status, found = Status.NOT_TESTED, str(error)
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
    return f"{cell.run} on {cell.dataset}" if study.preset_name == "real" else cell.run


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
        squares += (weight * spread * _quantile(freedom)) ** 2 / seeds[run]
    return float(np.sqrt(squares))


def _quantile(freedom: int) -> float:
    """Student's t at 97.5 %: an expansion around the normal distribution, good to .05 from four degrees on."""
    z = 1.96
    if not freedom:
        return z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


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
    text = f"{ratio:.3f} times the multiplications of the part branch alone, counted from the paper's sizes"
    return _holds(ratio < 1.3), text


def _pan_size(study: Study) -> tuple[Status, str]:
    """PAN claim 13: the printed digits, counted at 256x128; the proposed model shares its layer."""
    configs = {
        "PAN": pan.Config(),
        "PAN, a layer per mask": pan.Config(shared=False),
        "baseline": pan.Config.baseline(),
    }
    found = {}
    for name, config in configs.items():
        cost = complexity(partial(pan.PAN, config))
        found[name] = {"params_m": round(cost.parameters / 1e6, 1), "gflops": round(cost.operations / 1e9, 2)}
    own = published.printed(study.paper).query("table == 'text'").set_index(["row", "metric"])["value"]
    rows = {"PAN": "pan-resnet50", "baseline": "pcb-baseline"}
    same = all(
        float(own[rows[name], metric]) == found[name][metric] for name in rows for metric in found[name]
    )
    text = ", ".join(f"{name} {n['params_m']} M and {n['gflops']} G" for name, n in found.items())
    return _holds(same), text


def _squares_make_orthogonal(_: Study) -> tuple[Status, str]:
    """DPTI claim 8: eight vectors, pushed apart by the diversity loss and by the same without its square."""
    found = {}
    for power in (2, 1):
        vectors = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for _step in range(1000):
            (gradient,) = torch.autograd.grad(dpti.diversity_loss(vectors, power=power), vectors)
            vectors = (vectors - gradient).detach().requires_grad_()
        unit = torch.nn.functional.normalize(vectors.detach()[0], dim=-1)
        found[power] = (unit @ unit.T)[~torch.eye(8, dtype=torch.bool)]
    squared, plain = found[2].abs().max().item(), found[1].mean().item()
    text = f"largest |cosine| of two vectors {squared:.2f} with the square; mean cosine {plain:+.2f} without"
    return _holds(squared < 0.05 and plain < -0.1), text


def _templates_are_distinct(study: Study) -> tuple[Status, str]:
    """DPTI claim 10: do dynamic templates look at different parts of the body, rather than anywhere?

    Reproduced if so in every training, contradicted if in none.
    """
    found = [measures["templates"] for measures in study.measured("gd")]
    if not found:
        return Status.NOT_TESTED, "no usable record of gd"
    parts = [len(_followed(np.array(measures["mask_regions"]))) for measures in found]
    spread = float(np.mean([measures["entropy"] for measures in found]))
    held = [count >= 3 and measures["entropy"] < 0.95 for count, measures in zip(parts, found)]
    counts = ", ".join(map(str, parts))
    text = f"{counts} parts of the body are followed by some template; entropy of maps {spread:.2f} of the largest"
    return _holds(all(held)) if len({*held}) == 1 else Status.INCONCLUSIVE, text


def _followed(weights: Float[np.ndarray, "K R"]) -> set[int]:
    """Parts of the body on which some map is highest, and half as high again as its mean."""
    best = np.nanargmax(weights, axis=1)
    body = range(1, weights.shape[1] - 1)  # neither background nor what is in front
    return {int(b) for b, row in zip(best, weights) if b in body and row[b] >= 1.5}


AAP_IDENTITIES = {"market1501": 751, "dukemtmc": 702, "cuhk03": 767}
"""Training identities, which the classifiers of AaP-ReID's printed sizes have."""


def printed_sizes() -> pd.DataFrame:
    """Every size that AaP-ReID prints, beside the exact count in training, cut and rounded to its two decimals.

    Returns:
        Columns table, row, dataset, printed (millions), exact, truncated, rounded, rule.
    """
    own = published.printed("aap").query("metric == 'params_m'")
    lines = []
    for cell in own.itertuples():
        exact = _aap_parameters(cell.row, AAP_IDENTITIES[cell.dataset])
        digits = {"truncated": exact // 10_000 / 100, "rounded": round(exact / 1e6, 2)}
        rule = next((name for name, value in digits.items() if value == float(cell.value)), "neither")
        lines.append(
            {"table": cell.table, "row": cell.row, "dataset": cell.dataset, "printed": float(cell.value)}
            | {"exact": exact, **digits, "rule": rule}
        )
    return pd.DataFrame(lines)


@cache
def _aap_parameters(row: str, identities: int) -> int:
    with torch.device("meta"):
        model = aap.AaP(literal(row), identities=identities)
    return sum(parameter.numel() for parameter in model.parameters())


def _aap_size(_: Study) -> tuple[Status, str]:
    """AaP-ReID claim 10: order of the attentions' sizes, and the printed digits."""
    sizes = printed_sizes()
    exact = sizes.query("table == 'table3'").set_index("row")["exact"]
    ordered = all(
        exact[f"{name}-eca"] < exact[f"{name}-cwa-mul"] == exact[f"{name}-cwa-add"]
        and exact[f"{name}-cwa-mul"] < exact[f"{name}-sp"] < exact[f"{name}-bam"]
        for name in BACKBONES
    )
    counts = sizes["rule"].value_counts().to_dict()
    tally = ", ".join(f"{number} {rule}" for rule, number in counts.items())
    order = "ECA < CWA < SP < BAM" if ordered else "another order"
    text = f"{order} on the four backbones; printed sizes equal to the exact count {tally}"
    return _holds(ordered and "neither" not in counts), text


def _lowest_loss(study: Study) -> tuple[Status, str]:
    """AaP-ReID claim 12: the training loss at the end, by attention, on each backbone."""
    statuses, found = [], []
    for name in BACKBONES:
        ends = {kind: final_loss(study, f"{name}-{kind}") for kind in aap.ATTENTIONS}
        missing = [f"{name}-{kind}" for kind, end in ends.items() if end is None]
        if missing:
            return Status.NOT_TESTED, f"no usable record of {', '.join(missing)}"
        mine, error = ends.pop("cwa-mul")
        best = min(ends, key=lambda kind: ends[kind][0])
        gap, noise = mine - ends[best][0], 2 * float(np.hypot(error, ends[best][1]))
        statuses.append(
            Status.CONTRADICTED if gap > noise else Status.REPRODUCED if gap < -noise else Status.INCONCLUSIVE
        )
        found.append(f"{name} {gap:+.3f} ± {noise:.3f} against {best}")
    return combine(statuses), f"loss at the end, CWA(x) less the best other: {'; '.join(found)}"


def final_loss(study: Study, name: str) -> tuple[float, float] | None:
    """Mean total loss over the last tenth of a run's training, over its seeds, and its standard error; None if none."""
    records = study.records(name)
    if not records or study.collapsed(name):
        return None
    ends = np.stack([total_loss(record.history) for record in records])
    ends = ends[:, -max(2, ends.shape[1] // 10) :].mean(0)
    return float(ends.mean()), float(ends.std(ddof=1) / np.sqrt(len(ends)))


def _holds(condition: bool) -> Status:
    return Status.REPRODUCED if condition else Status.CONTRADICTED


EXACT: dict[str, Callable[[Study], tuple[Status, str]]] = {
    "bpbreid-17": _needs_no_masks,
    "qpm-11": _refinement_is_cheap,
    "pan-13": _pan_size,
    "dpti-8": _squares_make_orthogonal,
    "dpti-10": _templates_are_distinct,
    "aap-10": _aap_size,
    "aap-12": _lowest_loss,
}
"""Claims that a computation decides: the verdict, and what was found."""
