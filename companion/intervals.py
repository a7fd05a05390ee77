"""Intervals over worlds: Student's t, the variance of each difference moderated towards the others of its family.

Five worlds say little of a variance. Differences of one family (a paper's contrasts in one metric, say) vary alike,
so each variance is drawn towards what they share: the empirical Bayes of limma.

Source: G. K. Smyth, *Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments*, Statistical Applications in Genetics and Molecular Biology 3 (2004), sections 4 to 6.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma, polygamma
from scipy.stats import norm
from scipy.stats import t as students_t

LEVEL = 0.95
RESAMPLES = 2000
_MANY = 10_000  # worlds from which Student's t is the normal distribution

Worlds = Float[np.ndarray, "_"]
"""One value per world; differences of a family may have different worlds."""


@dataclass(frozen=True)
class Prior:
    """What a family says of a variance: ``1 / variance`` is about ``chi2(freedom) / (freedom * variance)``.

    Args:
        freedom: degrees of freedom d0 that it is worth; 0 says nothing, infinite gives all one variance.
        variance: s0^2.
    """

    freedom: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True)
class Interval:
    """A mean over worlds, its standard error, and the degrees of freedom of Student's t behind it."""

    estimate: float
    error: float = math.nan  # NaN with one world
    freedom: float = 0.0
    worlds: int = 0

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval; NaN with one world."""
        return float(students_t.ppf((1 + LEVEL) / 2, self.freedom) * self.error) if self.freedom else math.nan

    @property
    def low(self) -> float:
        return self.estimate - self.half

    @property
    def high(self) -> float:
        return self.estimate + self.half

    @property
    def p(self) -> float:
        """Two-sided, of no difference; NaN with one world."""
        above = self.above(0.0)
        return 2 * min(above, 1 - above)

    def above(self, edge: float) -> float:
        """How sure it is that the effect lies above an edge: the share of the t distribution; NaN with one world."""
        if not self.freedom:
            return math.nan
        if not self.error:
            return float(self.estimate > edge) if self.estimate != edge else 0.5
        return float(students_t.sf((edge - self.estimate) / self.error, self.freedom))

    def excludes(self, edge: float) -> bool:
        """Whether an effect lies outside; never with one world."""
        return bool(edge < self.low or edge > self.high)

    def corrected(self, *, among: int) -> tuple[float, float]:
        """Both bounds where this difference was looked for among so many (Bonferroni)."""
        half = float(students_t.ppf(_share(among), self.freedom) * self.error) if self.freedom else math.nan
        return self.estimate - half, self.estimate + half

    def worlds_to_exclude(self, edge: float, *, among: int = 1) -> float:
        """How many worlds, more than these, would exclude an effect if estimate and spread stayed; NaN with one world.

        Args:
            among: how many differences this one was looked for among.
        """
        if not self.freedom:
            return math.nan
        distance, spread = abs(self.estimate - edge), self.error * math.sqrt(self.worlds)
        if not distance:
            return math.inf
        least = math.ceil((norm.ppf(_share(among)) * spread / distance) ** 2)  # if the spread were known
        worlds = max(self.worlds + 1, least)
        while worlds < _MANY and self._half_of(worlds, among=among) > distance:
            worlds += 1
        return float(worlds)

    def _half_of(self, worlds: int, *, among: int) -> float:
        """Half-width that the interval would have with more worlds."""
        t = students_t.ppf(_share(among), self.freedom + worlds - self.worlds)
        return float(t * self.error * math.sqrt(self.worlds / worlds))


def _share(among: int) -> float:
    """Of the t distribution, below the upper bound."""
    return 1 - (1 - LEVEL) / (2 * among)


def prior(variances: Sequence[float], freedoms: Sequence[int]) -> Prior:
    """The prior that a family of sample variances suggests, by the moments of their logarithms.

    With ``e = log s^2 - digamma(d / 2) + log(d / 2)``, the variance of ``e`` over the family less the mean of
    ``trigamma(d / 2)`` is ``trigamma(d0 / 2)``; where nothing is left, d0 is infinite. The mean of ``e`` is
    ``log s0^2 - digamma(d0 / 2) + log(d0 / 2)``.

    Args:
        variances: s^2 of each difference; those of zero count as 1e-5 of the median.
        freedoms: degrees of freedom d of each.

    Returns:
        One of no freedom where fewer than two variances are there, or most are zero.
    """
    s, half = np.asarray(variances, dtype=float), np.asarray(freedoms, dtype=float) / 2
    if len(s) < 2 or np.median(s) <= 0:
        return Prior()
    e = np.log(np.maximum(s, 1e-5 * np.median(s))) - digamma(half) + np.log(half)
    left = e.var(ddof=1) - polygamma(1, half).mean()
    if left <= 0:
        return Prior(math.inf, float(np.exp(e.mean())))
    d0 = 2 * inverse_trigamma(float(left))
    return Prior(d0, float(np.exp(e.mean() + digamma(d0 / 2) - np.log(d0 / 2))))


def inverse_trigamma(value: float) -> float:
    """The x > 0 of which ``trigamma`` gives a value > 0, by Newton's method on its reciprocal (Smyth, appendix)."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        now = float(polygamma(1, x))
        step = now * (1 - now / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


@dataclass(frozen=True)
class Moderation:
    """What a family of differences says of the variance of each.

    The variance is ``(d0 s0^2 + d s^2) / (d0 + d)``, with ``d0 + d`` degrees of freedom, but no more than the whole
    family has, since a prior from few differences is itself uncertain. limma counts all as independent; differences
    from one row correlate by a half and their sample variances by a quarter, so that G of them are worth
    ``G / (1 + (G - 1) / 4)`` independent ones.

    Args:
        prior: of the family.
        most: degrees of freedom of the whole family.
    """

    prior: Prior = Prior()
    most: float = 0.0

    @classmethod
    def of(cls, family: Sequence[Worlds]) -> "Moderation":
        """Of differences with a value per world; those of one world or none say nothing."""
        known = [values for values in family if len(values) > 1]
        freedoms = [len(values) - 1 for values in known]
        shared = prior([values.var(ddof=1) for values in known], freedoms)
        return cls(shared, sum(freedoms) / (1 + (len(known) - 1) / 4))

    def interval(self, values: Worlds) -> Interval:
        """Of a difference: one world gives no interval, none gives NaN."""
        count = len(values)
        if count < 2:
            return Interval(float(values[0]) if count else math.nan, worlds=count)
        own, freedom, shared = float(values.var(ddof=1)), count - 1, self.prior
        weight = 1.0 if math.isinf(shared.freedom) else shared.freedom / (shared.freedom + freedom)
        variance = weight * shared.variance + (1 - weight) * own
        freedom = min(shared.freedom + freedom, max(self.most, freedom))
        return Interval(float(values.mean()), math.sqrt(variance / count), float(freedom), count)


def moderated(family: Sequence[Worlds]) -> list[Interval]:
    """The interval of every difference of a family; of a difference by itself, Student's t."""
    shared = Moderation.of(family)
    return [shared.interval(values) for values in family]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values: of all that fall below 0.05, none is a false alarm in 95 % of families."""
    order = np.argsort(p)
    steps = np.array(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def bootstrap(
    difference: Float[np.ndarray, " Q"], identities: Int[np.ndarray, " Q"], *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The interval that queries alone would give a difference of one training each: percentiles over people.

    No verdict rests on it; it is what the A-A test is compared with.

    Args:
        difference: per query; NaN where the query has no match.
        identities: person of each query; the queries of a person are resampled together.
    """
    names, index = np.unique(identities, return_inverse=True)
    known = ~np.isnan(difference)
    sums = np.bincount(index, np.where(known, difference, 0))
    counts = np.bincount(index, known)
    draws = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )
    total, number = draws @ sums, draws @ counts
    low, high = np.quantile(total[number > 0] / number[number > 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
