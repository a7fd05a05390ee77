"""Verdicts: a claim has one endpoint, and an interval over worlds decides it.

``claims.csv`` holds the claims, ``contrasts.csv`` their contrasts, each with its claimed side positive. The endpoint is
their average, or, where a claim says something of each of several comparisons, the one whose word is worst. What a
word means stands in ``companion.words``, how an interval comes about in ``companion.intervals``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, spearmanr

from companion import published
from companion.contrasts import (
    Contrast,
    Term,
    contrasts,
    differences,
    expected,
    identity,
    in_words,
    incomparable,
    places,
    unrecorded,
)
from companion.formats import few, metric_in_words
from companion.inputs import NoTruth
from companion.intervals import LEVEL, Interval, Moderation, holm, moderated
from companion.paper import Cell
from companion.presets import preset
from companion.published import SIDED
from companion.study import WORLDS, Study
from companion.words import KINDS, SIDES, Status, word, worst

UNLIKE = 0.25
"""By how much more of their start the losses of one side must fall, so that it is said of a claim."""

POINT = 0.01
"""The smallest difference of accuracy that matters here: how sure we are of more, of less, and of the opposite."""


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
class Aside:
    """Another reading of a claim, which decides nothing: what is compared, printed and ours, and the word of it."""

    compared: str
    printed: float
    interval: Interval
    status: Status


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    ``endpoint`` and ``printed`` are averages, as fractions, over the contrasts that are not beside the claim; where
    each of several comparisons must be as claimed, over those of the one whose word is worst, ``decisive``.
    ``expected`` is the printed effect as far as there is room for it here (``contrasts.expected``); words go by it.
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
    expected: float = np.nan
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""  # why there is no decision
    found: str = ""  # what a computation gave
    note: str = ""  # what limits the claim in the paper, or our test of it
    margin: float = 0.0  # of an equivalence, a fraction
    unit: str = "points"  # of a hundredth of its numbers
    decisive: str = ""  # in words, where one of several decides
    compared: str = ""  # in words, where ours reads other rows than are printed
    among: int = 1  # how many it was chosen from
    asides: tuple[Aside, ...] = ()
    unmoderated: Status | None = None  # the word by Student's t alone
    learned: tuple[float, float] = (np.nan, np.nan)  # by which share identity losses fell, on either side

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
        """Whether its endpoint is a difference of accuracies, not of a measure against ground truth."""
        return self.unit == "points"

    @property
    def looks(self) -> int:
        """How often its interval was looked at: at five worlds, and at ten if five had left it undecided."""
        return 2 if self.worlds > WORLDS else 1

    @property
    def clear(self) -> bool:
        """Whether nothing speaks against it.

        No single contrast, and no other reading, shows an effect on the other side of its endpoint's, and the
        trainings behind it came about as far.
        """
        side = np.sign(self.endpoint.estimate) if self.endpoint else 0.0
        others = [o.interval for o in self.outcomes if o.counts] + [aside.interval for aside in self.asides]
        return not self.unlike and not any(i.excludes(0.0) and i.estimate * side < 0 for i in others)

    @property
    def unlike(self) -> bool:
        """Whether the trainings on one side came much further than those on the other."""
        return abs(self.learned[0] - self.learned[1]) > UNLIKE

    @property
    def sure(self) -> tuple[float, float, float]:
        """Shares of the t distribution above one point, within one, and below minus one; NaN with one world."""
        if self.endpoint is None:
            return np.nan, np.nan, np.nan
        above, least = self.endpoint.above(POINT), self.endpoint.above(-POINT)
        return above, least - above, 1 - least

    @property
    def uncorrected(self) -> Status:
        """The word if its endpoint had been the only one to look at."""
        if self.endpoint is None or self.among == 1:
            return self.status
        return word(self.endpoint, kind=self.kind, expected=self.expected, margin=self.margin)

    @property
    def needed(self) -> float:
        """How many worlds would decide an undecided claim if the estimate stayed; NaN for others."""
        if self.status != Status.UNDECIDED or self.worlds < 2:
            return np.nan
        exclude = self.endpoint.worlds_to_exclude
        if self.kind == "no-gain":
            return exclude(-self.margin)
        if self.kind == "equivalence":
            return max(map(exclude, (-self.margin, self.margin)))
        looks = 1 if self.endpoint.estimate > 0 else self.among  # that all are as claimed needs no correction
        zero = exclude(0.0, among=looks)
        return zero if np.isnan(self.expected) else min(zero, exclude(self.expected, among=self.among))


def discoveries(verdicts: Iterable[Verdict]) -> tuple[list[Verdict], int, int]:
    """The claims with an effect that stay so when the false discovery rate over all of them is held at 5 %.

    Returns:
        Those claims; how many have an effect each by itself; and among how many that name a side.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995). Claims share rows and so
        depend on each other, positively for the most part, which the procedure allows.
    """
    tested = [v for v in verdicts if v.kind in SIDED and not v.reason and v.endpoint and v.endpoint.freedom]
    p = [min(1.0, v.endpoint.p * v.looks * (1 if v.endpoint.estimate > 0 else v.among)) for v in tested]
    rates = false_discovery_control(p) if p else []
    found = [(v, rate) for v, rate in zip(tested, rates) if v.status in SIDES]
    return [v for v, rate in found if rate < 1 - LEVEL], len(found), len(tested)


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
    parts, beside = {}, {}
    for line in lines:
        tested, shown = [], []
        for outcome in claims[line.claim]:
            (shown if outcome.contrast.beside else tested).append(outcome)
        parts[line.claim] = _parts(study, line.kind, tested)
        beside[line.claim] = _parts(study, "beside", [o for o in shown if o.counts and o.contrast.points])
    every = [part for known in parts.values() for part in known]
    ends = _endpoints(study, every)
    asides = _endpoints(study, [*every, *(part for known in beside.values() for part in known)])
    return [
        replace(
            _verdict(study, line, claims[line.claim], [(p, ends[_key(study, p)]) for p in parts[line.claim]]),
            asides=tuple(_aside(study, line, p, asides[_key(study, p)]) for p in beside[line.claim]),
        )
        for line in lines
    ]


def _aside(study: Study, line: tuple, part: "Part", interval: Interval) -> Aside:
    """A comparison of rows beside a claim, on one data set, an average over metrics."""
    kind, margin = "contrast" if line.kind in SIDED else line.kind, float(line.margin or 0) / 100
    room = _mean(expected(study, outcome.contrast) for outcome in part)
    status = word(interval, kind=kind, expected=room, margin=margin)
    printed = _mean(outcome.contrast.printed for outcome in part)
    return Aside(_told(study, part), printed, interval, status)


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
        if any(c.claim == line.claim and c.points == bool(line.unit) for c in contrasts(study.paper)):
            raise ValueError(f"{here} needs a unit if contrasts.csv names a measure, and only then")
        if line.kind == "exact" and line.claim not in study.paper.exact:
            raise ValueError(f"{here} is exact, but its wing computes no such claim")
    if unknown := tested - {line.claim for line in lines}:
        raise ValueError(f"contrasts.csv: {study.paper.slug} has no claims {', '.join(sorted(unknown))}")


def outcomes(study: Study) -> list[Outcome]:
    """All single contrasts of a paper, moderated within a metric and test set, p-values corrected over all."""
    known = [(contrast, differences(study, contrast)) for contrast in contrasts(study.paper)]
    lacks = _lacks(study)
    found = [
        Outcome(contrast, _alone(values), _reason(study, contrast, values) or lacks.get(contrast.claim, ""))
        for contrast, values in known
    ]
    for family in _families(study).values():
        for number, interval in _moderated(study, family).items():
            found[number] = replace(found[number], interval=interval)
    return _corrected(study, found)


Family = dict[int, tuple[Contrast, pd.Series]]
"""Contrasts that are moderated together, by their number within the paper, and their differences in every world."""


@lru_cache(maxsize=16)
def _families(study: Study) -> dict[tuple, Family]:
    """The contrasts that count, by metric and test set."""
    families: dict[tuple, Family] = {}
    lacks = _lacks(study)
    for number, contrast in enumerate(contrasts(study.paper)):
        values = differences(study, contrast)
        if len(values) > 1 and not _reason(study, contrast, values) and contrast.claim not in lacks:
            key = contrast.metric, places(study, [contrast])
            families.setdefault(key, {})[number] = contrast, values
    return families


def compared(study: Study, plus: Cell, minus: Cell, metric: str) -> Interval:
    """One cell less another, moderated as if it were a contrast of the paper; if it is one, the same interval."""
    asked, turned = (
        Contrast("", metric, (Term(plus, metric, sign), Term(minus, metric, -sign))) for sign in (1, -1)
    )
    values = differences(study, asked)
    if len(values) < 2 or not values.any() or _reason(study, asked, values):  # not any: a row less itself
        return _alone(values)
    family = _families(study).get((metric, places(study, [asked])), {})
    if identity(study, turned) in (identity(study, contrast) for contrast, _ in family.values()):
        found = _moderated(study, {**family, -1: (turned, -values)})[-1]
        return replace(found, estimate=-found.estimate)
    return _moderated(study, {**family, -1: (asked, values)})[-1]


@lru_cache(maxsize=256)
def moderation(study: Study, metric: str, test_set: str) -> Moderation:
    """What the paper's contrasts in a metric on a test set say of the variance of each."""
    family = _families(study).get((metric, (test_set,)), {})
    return Moderation.of([*_unique(study, family).values()])


def _lacks(study: Study) -> dict[str, str]:
    """Claims that a small preset cannot test by construction, and why."""
    if preset(study.preset_name).embedding_divisor == 1:
        return {}
    frame = published.claims()
    lines = frame[(frame["paper"] == study.paper.slug) & (frame["lacks"] != "")]
    return {line.claim: f"the preset lacks {line.lacks}" for line in lines.itertuples()}


@lru_cache(maxsize=16)
def lacking(study: Study) -> dict[str, str]:
    """Rows of which a claim says what the preset lacks, and what that is; the main row is none of them."""
    lacks, main = _lacks(study), study.paper.main
    known = [(contrast, term.cell.run) for contrast in contrasts(study.paper) for term in contrast.terms]
    return {run: lacks[c.claim] for c, run in reversed(known) if c.claim in lacks and run != main}


def _alone(values: pd.Series) -> Interval:
    return moderated([values.to_numpy(float)])[0]


def _moderated(study: Study, family: Family) -> dict[int, Interval]:
    """Intervals of a family in which each difference counts once, wherever the paper prints it again."""
    unique = _unique(study, family)
    intervals = dict(zip(unique, moderated([*unique.values()])))
    return {number: intervals[identity(study, contrast)] for number, (contrast, _) in family.items()}


def _unique(study: Study, family: Family) -> dict[tuple, np.ndarray]:
    return {identity(study, contrast): values.to_numpy(float) for contrast, values in family.values()}


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
    """What of a claim must be as claimed by itself: all as one, each comparison of rows, data set, or contrast.

    What stands ``beside`` a claim is averaged over metrics alone.
    """
    parts: dict[tuple, list[Outcome]] = {}
    for number, outcome in enumerate(found):
        parts.setdefault(_group(study, kind, outcome.contrast, number), []).append(outcome)
    return [tuple(part) for part in parts.values()]


def _group(study: Study, kind: str, contrast: Contrast, number: int) -> tuple:
    """What the contrasts of a part have in common."""
    if kind in ("each-metric", "equivalence"):
        return (number,)
    if kind == "each-set":
        return places(study, [contrast])
    rows = tuple((term.sign, term.cell.run, term.cell.scoring) for term in contrast.terms)
    if kind == "beside":
        return rows, places(study, [contrast])
    return rows if kind == "each" else ()


def _key(study: Study, part: Part) -> tuple:
    return tuple(sorted(identity(study, outcome.contrast) for outcome in part))


def _endpoints(study: Study, parts: Sequence[Part]) -> dict[tuple, Interval]:
    """The average of every part's contrasts; those of accuracies on the same test sets are moderated together.

    A single contrast has its interval, moderated among its own, already.
    """
    ends: dict[tuple, Interval] = {}
    families: dict[tuple, dict[tuple, np.ndarray]] = {}
    for part in parts:
        key, found = _key(study, part), _average(study, part)
        if len(part) == 1:
            ends[key] = part[0].interval
            continue
        ends[key] = _alone(found)
        if all(outcome.counts and outcome.contrast.points for outcome in part):
            where = places(study, [outcome.contrast for outcome in part])
            families.setdefault(where, {})[key] = found.to_numpy(float)
    for family in families.values():
        ends |= dict(zip(family, moderated([*family.values()])))
    return ends


def _average(study: Study, part: Part) -> pd.Series:
    """The average of a part's contrasts in every world that has all of them."""
    every = [differences(study, outcome.contrast) for outcome in part]
    return pd.concat(every, axis=1, join="inner").mean(axis=1)


def _verdict(
    study: Study, line: tuple, found: list[Outcome], parts: Sequence[tuple[Part, Interval]]
) -> Verdict:
    verdict = Verdict(
        study.paper.slug, line.claim, line.statement, line.source, line.kind, study.preset_name,
        Status.UNTESTABLE, outcomes=tuple(found), note=line.note, margin=float(line.margin or 0) / 100,
        unit=line.unit or "points",
    )  # fmt: skip
    if line.kind == "untestable":
        return verdict
    if line.kind == "exact":
        return _computed(study, verdict)
    known = [one for one in parts if one[1].worlds] or parts
    rooms = [_mean(expected(study, outcome.contrast) for outcome in part) for part, _ in known]
    place, status = worst([end for _, end in known], kind=line.kind, expected=rooms, margin=verdict.margin)
    part, endpoint = known[place]
    printed = _mean(outcome.contrast.printed for outcome in part)
    verdict = replace(verdict, endpoint=endpoint, printed=printed, expected=rooms[place], among=len(parts))
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
    decisive = f"of {len(parts)}: {_told(study, part)}" if len(parts) > 1 else ""
    compared = _told(study, part) if any(outcome.contrast.elsewhere for outcome in part) else ""
    reason = "" if endpoint.freedom else "one world: no interval"
    alone = [_alone(_average(study, one)) for one, _ in known]
    _, unmoderated = worst(alone, kind=line.kind, expected=rooms, margin=verdict.margin)
    verdict = replace(verdict, decisive=decisive, compared=compared, learned=_learned(study, part))
    return replace(verdict, status=status, reason=reason, unmoderated=unmoderated)


def _learned(study: Study, part: Part) -> tuple[float, float]:
    """By which share of their start identity losses fell, averaged over the rows added and over those taken away."""
    sides: dict[int, list[float]] = {1: [], -1: []}
    for term in (term for outcome in part for term in outcome.contrast.terms):
        found = study.records(term.cell.run, dataset=term.cell.dataset)
        sides[term.sign] += [record.learned for record in found]
    first, second = (_mean(shares or [np.nan]) for shares in sides.values())
    return first, second


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([*values]))


def _told(study: Study, part: Part) -> str:
    """A part in words: its rows, and the test set and the metric where it has one only."""
    texts = [*dict.fromkeys(in_words(study, outcome.contrast) for outcome in part)]
    text = texts[0] if len(texts) == 1 else texts[0].rpartition(", ")[0]
    return text + (f", {metric_in_words(part[0].contrast.metric)}" if len(part) == 1 else "")


def _computed(study: Study, verdict: Verdict) -> Verdict:
    decide: Callable[[Study], tuple[Status, str]] = study.paper.exact[verdict.claim]
    try:
        status, found = decide(study)
    except NoTruth as error:
        status, found = Status.UNMEASURED, str(error)
    return replace(verdict, status=status, found=found)


def rank_correlations(study: Study) -> pd.DataFrame:
    """Does a printed column order its rows as ours does? Spearman's correlation over the rows that can be compared.

    Ours are means over the worlds that all of these rows have. Re-ranked rows are a column of their own: that all of
    them are above the others says nothing of the rows. Rows of which a claim says what the preset lacks are left out.

    Returns:
        Columns table, dataset, metric, rows (how many), rho; of columns with three such rows or more, not all alike.
    """
    lines, frame = [], study.frame().dropna(subset=["printed", "ours"])
    left_out = lacking(study)
    frame["table"] += np.where(frame["scoring"] == "reranked", ", re-ranked", "")
    for (table, dataset, metric), column in frame.groupby(["table", "dataset", "metric"], sort=False):
        kept = [run not in left_out and not study.unconverged(run, dataset=dataset) for run in column["run"]]
        known = column[kept]
        cells = [
            study.paper.cell(line.table.partition(",")[0], line.row, dataset) for line in known.itertuples()
        ]
        ours = study.shared(cells, metric).mean()
        if len(known) > 2 and min(known["printed"].nunique(), ours.nunique()) > 1:
            rho = float(spearmanr(known["printed"], ours).statistic)
            lines.append((table, dataset, metric, len(known), rho))
    return pd.DataFrame(lines, columns=["table", "dataset", "metric", "rows", "rho"])
