"""Words: what an interval says of a claimed effect, and of several that must all be as claimed."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from companion.intervals import Interval
from companion.published import SIDED

KINDS = (*SIDED, "equivalence", "no-gain", "exact", "untestable")


class Status(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"  # the interval lies on the claimed side, or within the margin
    SMALLER = "holds, smaller"  # so, and wholly below the printed effect, in points and as a share of the errors left
    NONE = "no such effect"  # it excludes the printed effect, likewise, and reaches zero
    OPPOSITE = "opposite"  # it lies on the other side, or beyond the margin
    UNDECIDED = "undecided"  # zero and the printed effect are both inside, or there is no interval
    FAILS = "does not hold"  # of what a computation decides
    NOT_COMPARABLE = (
        "not comparable"  # a row failed the convergence gate, or the preset lacks what it is about
    )
    UNMEASURED = "not measured"  # nothing is recorded
    UNTESTABLE = "untestable"  # it compares with cited rows only


SIDES = (Status.HOLDS, Status.SMALLER, Status.OPPOSITE)
"""Words for an effect that is not zero, of claims that name a side."""


def word(
    interval: Interval,
    *,
    kind: str = "contrast",
    expected: float = np.nan,
    margin: float = 0.0,
    among: int = 1,
) -> Status:
    """The word for an endpoint.

    Args:
        kind: one of ``SIDED`` (a side), equivalence (both bounds within the margin) or no-gain (the lower
            bound is).
        expected: the printed effect, as far as there is room for it; NaN where there is none.
        margin: of an equivalence or of a gain that does not matter.
        among: how many comparisons the claim is about. That all are as claimed needs no correction; that one of them
            is not, or is smaller than printed, having been looked for among several, does.
    """
    if not interval.freedom:
        return Status.UNDECIDED
    low, high = interval.corrected(among=among)
    if kind in SIDED:
        if interval.low > 0:
            return Status.SMALLER if high < expected else Status.HOLDS
        if high < 0:
            return Status.OPPOSITE
        return Status.NONE if high < expected else Status.UNDECIDED
    if interval.low > -margin and (kind == "no-gain" or interval.high < margin):
        return Status.HOLDS
    beyond = high < -margin or (kind == "equivalence" and low > margin)
    return Status.OPPOSITE if beyond else Status.UNDECIDED


WORST = {Status.OPPOSITE: 0, Status.NONE: 1, Status.UNDECIDED: 2, Status.SMALLER: 3, Status.HOLDS: 3}
"""Words for one of several comparisons, in the order in which they decide a claim about all of them."""


def worst(
    ends: Sequence[Interval], *, kind: str = "each", expected: Sequence[float] = (), margin: float = 0.0
) -> tuple[int, Status]:
    """Which of several comparisons decides a claim about each of them, and its word.

    The one with the worst word; of several such the one that reaches lowest, or farthest from zero of an equivalence.

    Args:
        expected: of each, as in ``word``; nothing where none has a printed effect.
    """
    effects = expected or [np.nan] * len(ends)
    words = [
        word(end, kind=kind, expected=effect, margin=margin, among=len(ends))
        for end, effect in zip(ends, effects)
    ]

    def order(place: int) -> tuple[int, float]:
        end = ends[place]
        reach = end.half + (abs(end.estimate) if kind == "equivalence" else -end.estimate)
        return WORST[words[place]], -reach if end.freedom else -np.inf

    place = min(range(len(ends)), key=order)
    return place, words[place]
