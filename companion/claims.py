"""Verdicts: a claim has one endpoint, and an interval over worlds decides it.

``claims.csv`` holds the claims, ``contrasts.csv`` their contrasts, each with its claimed side positive. The endpoint is
their average, or, where a claim says something of each of several comparisons, the least of them. What a word means
stands at ``Status``, how an interval comes about in ``companion.intervals``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor, nn

from companion import published
from companion.contrasts import (
    Contrast,
    contrasts,
    differences,
    identity,
    in_words,
    incomparable,
    unrecorded,
)
from companion.inputs import NoTruth
from companion.intervals import Interval, holm, moderated
from companion.presets import preset
from companion.published import SIDED
from companion.study import Study
from companion.trained import initial

POINT = 0.01
"""The smallest difference of accuracy that matters here: how sure we are of more, of less, and of the opposite."""

SHOWN = 2
"""Names that a remark lists before it counts."""

KINDS = (*SIDED, "equivalence", "no-gain", "exact", "untestable")


class Status(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"  # the interval lies on the claimed side, or within the margin
    SMALLER = "holds, smaller"  # so, and wholly below the printed effect
    NONE = "no such effect"  # it excludes the printed effect and reaches zero
    OPPOSITE = "opposite"  # it lies on the other side, or beyond the margin
    UNDECIDED = "undecided"  # zero and the printed effect are both inside, or there is no interval
    FAILS = "does not hold"  # of what a computation decides
    NOT_COMPARABLE = (
        "not comparable"  # a row failed the convergence gate, or the preset lacks what it is about
    )
    UNMEASURED = "not measured"  # nothing is recorded
    UNTESTABLE = "untestable"  # it compares with cited rows only


@dataclass(frozen=True)
class Outcome:
    """A single contrast: ours, as fractions, and why it does not count where it does not.

    ``p`` is two-sided and corrected for all contrasts of the paper (Holm); NaN where it claims no side or is beside
    the claim.
    """

    contrast: Contrast
    interval: Interval
    reason: str = ""
    p: float = np.nan

    @property
    def counts(self) -> bool:
        """Whether it has an interval of trainings that can be compared."""
        return not self.reason and self.interval.worlds > 1


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    ``endpoint`` and ``printed`` are averages, as fractions, over the contrasts that are not beside the claim; where
    each of several comparisons must be as claimed, over those of the one that is farthest from it, ``decisive``.
    """

    paper: str
    claim: str  # number within the paper
    statement: str
    source: str
    kind: str  # one of KINDS
    preset: str
    status: Status
    endpoint: Interval | None = None
    printed: float = np.nan
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""  # why there is no decision
    found: str = ""  # what a computation gave
    note: str = ""  # what limits the claim in the paper, or our test of it
    margin: float = 0.0  # of an equivalence, a fraction
    decisive: str = ""  # in words, where one of several decides

    @property
    def real(self) -> bool:
        """Whether it was measured on the papers' data sets, not on synthetic ones."""
        return self.preset == "real"

    @property
    def said(self) -> bool:
        """Whether the paper says so itself, not only a table of it."""
        return not self.source.startswith("read from")

    @property
    def worlds(self) -> int:
        return self.endpoint.worlds if self.endpoint else 0

    @property
    def points(self) -> bool:
        """Whether its endpoint is a difference of accuracies."""
        return all(outcome.contrast.points for outcome in self.outcomes)

    @property
    def sure(self) -> tuple[float, float, float]:
        """Shares of the t distribution above one point, within one, and below minus one; NaN with one world."""
        if self.endpoint is None:
            return np.nan, np.nan, np.nan
        above, least = self.endpoint.above(POINT), self.endpoint.above(-POINT)
        return above, least - above, 1 - least

    @property
    def needed(self) -> float:
        """How many worlds would decide an undecided claim if the estimate stayed; NaN for others."""
        if self.status != Status.UNDECIDED or self.worlds < 2:
            return np.nan
        if self.kind == "no-gain":
            return self.endpoint.worlds_to_exclude(-self.margin)
        if self.kind == "equivalence":
            return max(map(self.endpoint.worlds_to_exclude, (-self.margin, self.margin)))
        edges = (0.0,) if np.isnan(self.printed) else (0.0, self.printed)
        return min(self.endpoint.worlds_to_exclude(edge) for edge in edges)


def holds(condition: bool) -> Status:
    """The verdict of a claim that a computation decides."""
    return Status.HOLDS if condition else Status.FAILS


def few(rows: Iterable[str]) -> str:
    """Some names of a list, and how many more there are."""
    first, more = [*rows][:SHOWN], [*rows][SHOWN:]
    return ", ".join(first) + (f" and {len(more)} more" if more else "")


def reads_no_labels(study: Study, *, training: bool = True) -> tuple[Status, str]:
    """Whether the paper's main model is the same without part labels.

    Args:
        training: its embeddings and losses in training too, not only its embeddings at test time.
    """
    run = study.run(study.paper.main).vary(weights=None)  # whatever the weights
    model, random = initial(run, identities=2), torch.Generator().manual_seed(0)
    height, width = run.data.height, run.data.width
    images = torch.rand(4, 3, height, width, generator=random)
    masks = torch.rand(4, (run.model_config.mask_parts or 1) + 1, height // 4, width // 4, generator=random)
    known = {"embeddings at test time": _same_embeddings(model.eval(), images, masks=masks)}
    if training:
        known["losses in training"] = _same_losses(model.train(), images, masks=masks)
    told = [
        f"{what} with and without part labels are {'equal' if same else 'different'}"
        for what, same in known.items()
    ]
    return holds(all(known.values())), ", ".join(told)


@torch.inference_mode()
def _same_embeddings(
    model: nn.Module, images: Float[Tensor, "N 3 H W"], *, masks: Float[Tensor, "N M _ _"]
) -> bool:
    without, given = model(images).embeddings, model(images, masks).embeddings
    return all(torch.equal(without[name], given[name]) for name in without)


@torch.inference_mode()
def _same_losses(
    model: nn.Module, images: Float[Tensor, "4 3 H W"], *, masks: Float[Tensor, "4 M _ _"]
) -> bool:
    labels, found = torch.tensor([0, 0, 1, 1]), []
    for given in (None, masks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # dropout draws alike
            found.append(model.loss(model(images, given), labels, masks=given))
    without, given = found
    return without.keys() == given.keys() and all(torch.equal(without[name], given[name]) for name in without)


def word(
    interval: Interval,
    *,
    kind: str = "contrast",
    printed: float = np.nan,
    margin: float = 0.0,
    among: int = 1,
) -> Status:
    """The word for an endpoint.

    Args:
        kind: contrast, each or each-metric (a side), equivalence (both bounds within the margin) or no-gain (the lower
            bound is).
        printed: the printed effect, NaN where there is none.
        margin: of an equivalence or of a gain that does not matter.
        among: how many comparisons this one is the least of. That all are as claimed needs no correction; that one
            is not, or is smaller than printed, being the worst of several looks, does.
    """
    if not interval.freedom:
        return Status.UNDECIDED
    if kind in SIDED:
        high = interval.upper(among=among)
        if interval.low > 0:
            return Status.SMALLER if high < printed else Status.HOLDS
        if high < 0:
            return Status.OPPOSITE
        return Status.NONE if high < printed else Status.UNDECIDED
    if interval.low > -margin and (kind == "no-gain" or interval.high < margin):
        return Status.HOLDS
    beyond = interval.high < -margin or (kind == "equivalence" and interval.low > margin)
    return Status.OPPOSITE if beyond else Status.UNDECIDED


def verdicts(study: Study) -> list[Verdict]:
    """The verdict on every claim of a paper, computed from the records of a study.

    Raises:
        ValueError: the claims or contrasts of the paper are not as they should be.
    """
    frame = published.claims()
    lines = [*frame[frame["paper"] == study.paper.slug].itertuples()]
    _check(study, lines)
    found = outcomes(study)
    claims = {line.claim: [o for o in found if o.contrast.claim == line.claim] for line in lines}
    parts = {line.claim: _parts(study, line.kind, claims[line.claim]) for line in lines}
    ends = _endpoints(study, [part for found in parts.values() for part in found])
    return [
        _verdict(
            study, line, claims[line.claim], [(part, ends[_key(study, part)]) for part in parts[line.claim]]
        )
        for line in lines
    ]


def _check(study: Study, lines: Sequence[tuple]) -> None:
    """Refuse a file that says something else than it means.

    Raises:
        ValueError: a kind, or a claim without contrasts, or the other way round.
    """
    tested = {contrast.claim for contrast in contrasts(study.paper) if not contrast.beside}
    for line in lines:
        here = f"claims.csv: {study.paper.slug} claim {line.claim}"
        if line.kind not in KINDS:
            raise ValueError(f"{here} has unknown kind {line.kind!r}; expected one of {', '.join(KINDS)}")
        if (line.kind not in ("exact", "untestable")) != (line.claim in tested):
            raise ValueError(f"{here} is {line.kind}: it and contrasts.csv do not agree")
        if line.kind == "exact" and line.claim not in study.paper.exact:
            raise ValueError(f"{here} is exact, but its wing computes no such claim")
    if unknown := tested - {line.claim for line in lines}:
        raise ValueError(f"contrasts.csv: {study.paper.slug} has no claims {', '.join(sorted(unknown))}")


def outcomes(study: Study) -> list[Outcome]:
    """All single contrasts of a paper: variances moderated within a metric, p-values corrected over all."""
    known = [(contrast, differences(study, contrast)) for contrast in contrasts(study.paper)]
    lacks = _lacks(study)
    found = [
        Outcome(contrast, _alone(values), _reason(study, contrast, values) or lacks.get(contrast.claim, ""))
        for contrast, values in known
    ]
    counted = [number for number, outcome in enumerate(found) if outcome.counts]
    for metric in dict.fromkeys(known[number][0].metric for number in counted):
        family = {number: known[number] for number in counted if known[number][0].metric == metric}
        for number, interval in _moderated(study, family).items():
            found[number] = replace(found[number], interval=interval)
    return _corrected(study, found)


def _lacks(study: Study) -> dict[str, str]:
    """Claims that a small preset cannot test by construction, and why."""
    if preset(study.preset_name).embedding_divisor == 1:
        return {}
    frame = published.claims()
    lines = frame[(frame["paper"] == study.paper.slug) & (frame["lacks"] != "")]
    return {line.claim: f"the preset lacks {line.lacks}" for line in lines.itertuples()}


def _alone(values: pd.Series) -> Interval:
    return moderated([values.to_numpy(float)])[0]


def _moderated(study: Study, family: dict[int, tuple[Contrast, pd.Series]]) -> dict[int, Interval]:
    """Intervals of a family in which each difference counts once, wherever the paper prints it again."""
    keys = {number: identity(study, contrast) for number, (contrast, _) in family.items()}
    unique = {keys[number]: values.to_numpy(float) for number, (_, values) in family.items()}
    intervals = dict(zip(unique, moderated(list(unique.values()))))
    return {number: intervals[key] for number, key in keys.items()}


def _reason(study: Study, contrast: Contrast, values: pd.Series) -> str:
    """Why a contrast does not count, in words; empty where it does."""
    if values.empty:
        rows = unrecorded(study, contrast)
        return f"nothing recorded of {few(rows)}" if rows else "no world has all rows"
    return "; ".join(incomparable(study, contrast))


def _corrected(study: Study, found: list[Outcome]) -> list[Outcome]:
    """The same outcomes with Holm's p-values over the different contrasts that claim a side."""
    frame = published.claims()
    sided = set(frame[(frame["paper"] == study.paper.slug) & frame["kind"].isin(SIDED)]["claim"])
    tested = {
        number: identity(study, outcome.contrast)
        for number, outcome in enumerate(found)
        if outcome.counts and not outcome.contrast.beside and outcome.contrast.claim in sided
    }
    raw = {key: found[number].interval.p for number, key in tested.items()}
    corrected = dict(zip(raw, holm(list(raw.values()))))
    return [
        replace(outcome, p=corrected[tested[number]]) if number in tested else outcome
        for number, outcome in enumerate(found)
    ]


Part = tuple[Outcome, ...]
"""Contrasts of a claim that are averaged."""


def _parts(study: Study, kind: str, found: Sequence[Outcome]) -> list[Part]:
    """What of a claim must be as claimed by itself: all as one, each comparison of rows, or each contrast."""
    tested = [outcome for outcome in found if not outcome.contrast.beside]
    if kind in ("each-metric", "equivalence"):
        return [(outcome,) for outcome in tested]
    parts: dict[tuple, list[Outcome]] = {}
    for outcome in tested:
        rows = ((term.sign, term.cell.run, term.cell.scoring) for term in outcome.contrast.terms)
        parts.setdefault(tuple(rows) if kind == "each" else (), []).append(outcome)
    return [tuple(part) for part in parts.values()]


def _key(study: Study, part: Part) -> tuple:
    return tuple(sorted(identity(study, outcome.contrast) for outcome in part))


def _endpoints(study: Study, parts: Sequence[Part]) -> dict[tuple, Interval]:
    """The average of every part's contrasts; those of accuracies that can be compared are moderated together.

    A single measure against ground truth has its interval, moderated among its own, already.
    """
    ends, family = {}, {}
    for part in parts:
        key, every = _key(study, part), [differences(study, outcome.contrast) for outcome in part]
        if len(part) == 1 and not part[0].contrast.points:
            ends[key] = part[0].interval
            continue
        found = pd.concat(every, axis=1, join="inner").mean(axis=1)
        ends[key] = _alone(found)
        if all(outcome.counts and outcome.contrast.points for outcome in part):
            family[key] = found.to_numpy(float)
    return ends | dict(zip(family, moderated([*family.values()])))


def _decisive(kind: str, parts: Sequence[tuple[Part, Interval]]) -> tuple[Part, Interval]:
    """The part that is farthest from what is claimed."""
    chosen = least([end for _, end in parts], largest=kind == "equivalence")
    return next(one for one in parts if one[1] is chosen)


def least(ends: Sequence[Interval], *, largest: bool = False) -> Interval:
    """The interval that reaches lowest, or farthest from zero; one of a single world before all others.

    Args:
        largest: whether it is distance from zero that counts.
    """

    def distance(end: Interval) -> float:
        if not end.freedom:
            return np.inf
        return end.half + (abs(end.estimate) if largest else -end.estimate)

    return max(ends, key=distance)


def _verdict(
    study: Study, line: tuple, found: list[Outcome], parts: Sequence[tuple[Part, Interval]]
) -> Verdict:
    verdict = Verdict(
        study.paper.slug, line.claim, line.statement, line.source, line.kind, study.preset_name,
        Status.UNTESTABLE, outcomes=tuple(found), note=line.note, margin=float(line.margin or 0) / 100,
    )  # fmt: skip
    if line.kind == "untestable":
        return verdict
    if line.kind == "exact":
        return _computed(study, verdict)
    part, endpoint = _decisive(line.kind, [one for one in parts if one[1].worlds] or parts)
    printed = float(np.mean([outcome.contrast.printed for outcome in part]))
    verdict = replace(verdict, endpoint=endpoint, printed=printed)
    if lacks := _lacks(study).get(line.claim):
        return replace(verdict, status=Status.NOT_COMPARABLE, reason=lacks)
    tested = [outcome for one, _ in parts for outcome in one]
    if lacking := [one for one, end in parts if not end.worlds]:
        rows = dict.fromkeys(
            row for one in lacking for outcome in one for row in unrecorded(study, outcome.contrast)
        )
        reason = f"nothing recorded of {few(rows)}" if rows else "no world has all its rows"
        return replace(verdict, status=Status.UNMEASURED, reason=reason)
    if reasons := dict.fromkeys(outcome.reason for outcome in tested if outcome.reason):
        return replace(verdict, status=Status.NOT_COMPARABLE, reason="; ".join(reasons))
    status = word(endpoint, kind=line.kind, printed=printed, margin=verdict.margin, among=len(parts))
    decisive = f"of {len(parts)}: {_told(study, part)}" if len(parts) > 1 else ""
    reason = "" if endpoint.freedom else "one world: no interval"
    return replace(verdict, status=status, reason=reason, decisive=decisive)


def _told(study: Study, part: Part) -> str:
    """A part in words: its rows, and the test set and the metric where it has one only."""
    texts = [*dict.fromkeys(in_words(study, outcome.contrast) for outcome in part)]
    text = texts[0] if len(texts) == 1 else texts[0].rpartition(", ")[0]
    return text + (f", {part[0].contrast.metric}" if len(part) == 1 else "")


def _computed(study: Study, verdict: Verdict) -> Verdict:
    decide: Callable[[Study], tuple[Status, str]] = study.paper.exact[verdict.claim]
    try:
        status, found = decide(study)
    except NoTruth as error:
        status, found = Status.UNMEASURED, str(error)
    return replace(verdict, status=status, found=found)


def rank_correlations(study: Study) -> pd.DataFrame:
    """Does a printed column order its rows as ours does? Spearman's correlation over the rows that can be compared.

    Re-ranked rows are a column of their own: that all of them are above the others says nothing of the rows.

    Returns:
        Columns table, dataset, metric, rows (how many), rho; of columns with three such rows or more, not all alike.
    """
    lines = []
    frame = study.frame().dropna(subset=["printed", "ours"])
    frame["table"] += np.where(frame["scoring"] == "reranked", ", re-ranked", "")
    for (table, dataset, metric), column in frame.groupby(["table", "dataset", "metric"], sort=False):
        known = column[[not study.unconverged(run, dataset=dataset) for run in column["run"]]]
        if min(known["printed"].nunique(), known["ours"].nunique()) > 1 and len(known) > 2:
            rho = float(spearmanr(known["printed"], known["ours"]).statistic)
            lines.append((table, dataset, metric, len(known), rho))
    return pd.DataFrame(lines, columns=["table", "dataset", "metric", "rows", "rho"])
