"""Contrasts: signed sums of cells as ``contrasts.csv`` lists them, in print and in every world."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import add

import numpy as np
import pandas as pd

from companion import published
from companion.formats import metric_in_words
from companion.paper import Cell, Paper
from companion.published import PERCENT
from companion.study import Study


@dataclass(frozen=True)
class Term:
    """A cell under a metric, added or taken away."""

    cell: Cell
    metric: str  # an accuracy, or a measure against ground truth
    sign: int


@dataclass(frozen=True)
class Contrast:
    """A signed sum of cells whose claimed side is positive.

    Args:
        claim: number within the paper.
        metric: in words for readers; the terms have their own.
        printed: the same sum of printed values, as a fraction; NaN where the paper prints no such number.
        beside: shown beside the claim, not part of its endpoint.
        left: the share of errors that the weaker row has in print; NaN where this is no difference of two accuracies.
        elsewhere: ours reads other cells than those whose printed values it is compared with.
    """

    claim: str
    metric: str
    terms: tuple[Term, ...]
    printed: float = np.nan
    beside: bool = False
    left: float = np.nan
    elsewhere: bool = False

    @property
    def points(self) -> bool:
        """Whether it is a difference of accuracies, rather than of a measure against ground truth."""
        return all(term.metric in PERCENT for term in self.terms)


def contrasts(paper: Paper) -> list[Contrast]:
    """All contrasts of a paper's claims, one per metric that a line names.

    Raises:
        ValueError: a line names a cell that the paper does not have.
    """
    frame = published.contrasts()
    return [
        contrast
        for line in frame[frame["paper"] == paper.slug].itertuples()
        for contrast in _parse(paper, line)
    ]


def _parse(paper: Paper, line: tuple) -> list[Contrast]:
    try:
        if line.role not in ("", "beside"):
            raise ValueError(f"role {line.role!r} is unknown; expected beside or nothing")
        return [_contrast(paper, line, metric) for metric in line.metric.split()]
    except ValueError as error:
        raise ValueError(f"contrasts.csv, {paper.slug} claim {line.claim}: {error}") from None


def _contrast(paper: Paper, line: tuple, metric: str) -> Contrast:
    terms = _terms(paper, line.plus, line.minus, metric=metric)
    elsewhere = bool(line.printed_plus or line.printed_minus)
    source = _terms(paper, line.printed_plus, line.printed_minus, metric=metric) if elsewhere else terms
    behind = [term for term in source if term.sign < 0]
    plain = len(source) == 2 and len(behind) == 1 and all(term.metric in PERCENT for term in source)
    left = 1 + printed_sum(paper, behind) if plain else np.nan  # of these terms the sign is negative
    printed = printed_sum(paper, source)
    return Contrast(line.claim, metric, terms, printed, line.role == "beside", left, elsewhere)


def _terms(paper: Paper, plus: str, minus: str, *, metric: str) -> tuple[Term, ...]:
    return tuple(
        _term(paper, reference, metric=metric, sign=sign)
        for side, sign in ((plus, 1), (minus, -1))
        for reference in side.split()
    )


def _term(paper: Paper, reference: str, *, metric: str, sign: int) -> Term:
    """``table/row@dataset:metric``; Occluded-Duke and the line's metric unless it says otherwise."""
    place, _, own = reference.partition(":")
    table, _, rest = place.partition("/")
    row, _, dataset = rest.rpartition("@")
    if dataset not in {cell.dataset for cell in paper.cells}:  # a row's own name may hold an @
        row, dataset = rest, "occluded-duke"
    return Term(paper.cell(table, row, dataset), own or metric, sign)


def printed_sum(paper: Paper, terms: Sequence[Term]) -> float:
    """The signed sum of printed values; NaN where one of them is not printed."""
    known = _printed(paper.slug)
    keys = [(term.cell.table, term.cell.row, term.cell.dataset, term.metric) for term in terms]
    return float(sum(term.sign * known.get(key, np.nan) for key, term in zip(keys, terms)))


@cache
def _printed(slug: str) -> dict[tuple[str, str, str, str], float]:
    """Printed values by table, row, data set and metric; of two at one place the first."""
    lines = reversed([*published.printed(slug).itertuples()])
    return {(line.table, line.row, line.dataset, line.metric): line.value for line in lines}


def differences(study: Study, contrast: Contrast) -> pd.Series:
    """The signed sum in every world that has all of it, as fractions."""
    found = [term.sign * study.values(term.cell, term.metric) for term in contrast.terms]
    return reduce(add, found).dropna()


def expected(study: Study, contrast: Contrast) -> float:
    """The printed effect, or the same share of the errors that are left here, where those are fewer.

    A row of 95 % cannot gain the six points that a row of 80 % gained; it can lose as large a share of its errors.
    """
    behind = [term for term in contrast.terms if term.sign < 0]
    if not contrast.printed > 0 or np.isnan(contrast.left) or len(behind) != 1:
        return contrast.printed
    weaker = study.values(behind[0].cell, behind[0].metric)
    left = 1 - weaker[differences(study, contrast).index].mean()
    return contrast.printed * (left / contrast.left if left < contrast.left else 1.0)


def places(study: Study, found: Iterable[Contrast]) -> tuple[str, ...]:
    """The test sets that contrasts are measured on: differences on one set vary alike, those of two sets do not."""
    return tuple(sorted({study.test_set(term.cell) for contrast in found for term in contrast.terms}))


def unrecorded(study: Study, contrast: Contrast) -> list[str]:
    """Rows that no world has, in words."""
    return _rows(study, [term for term in contrast.terms if study.values(term.cell, term.metric).empty])


def incomparable(study: Study, contrast: Contrast) -> list[str]:
    """Rows that the convergence gate keeps out, and why."""
    reasons = {}
    for term in contrast.terms:
        if found := study.unconverged(term.cell.run, dataset=term.cell.dataset):
            reasons[study.paper.title_of(term.cell.run)] = found[0]
    return [f"{title}: {reason}" for title, reason in reasons.items()]


def _rows(study: Study, terms: Sequence[Term]) -> list[str]:
    return [*dict.fromkeys(study.paper.title_of(term.cell.run) for term in terms)]


def identity(study: Study, contrast: Contrast) -> tuple:
    """What two contrasts have in common that are the same numbers, wherever the paper prints them."""
    terms = []
    for term in contrast.terms:
        where = term.cell.dataset if study.real else term.cell.test_set
        terms.append((study.run(term.cell.run).name, term.cell.scoring, where, term.metric, term.sign))
    return tuple(sorted(terms))


def in_words(study: Study, contrast: Contrast) -> str:
    """The signed sum as titles of rows, and the test set where all have one."""
    where = {study.test_set(term.cell) for term in contrast.terms}
    sides = []
    for sign in (1, -1):
        names = [
            study.paper.title_of(term.cell.run, term.cell.scoring)
            + (f" ({metric_in_words(term.metric)})" if term.metric != contrast.metric else "")
            + (f" on {study.test_set(term.cell)}" if len(where) > 1 else "")
            for term in contrast.terms
            if term.sign == sign
        ]
        sides.append(f"({' + '.join(names)})" if len(names) > 1 else "".join(names))
    return " − ".join(filter(None, sides)) + (f", {where.pop()}" if len(where) == 1 else "")
