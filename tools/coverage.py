"""Do moderated intervals cover what they should? Simulated families of differences, as papers have them.

Prints two tables for ``docs/verdicts.md``: how many of the 95 % intervals hold the true difference, of all and of the
third that varies most, moderated and by Student's t alone, and how much narrower moderated ones are on average; and how
often the word on a claim about each of several comparisons is wrong.
"""

from argparse import ArgumentParser

import numpy as np
from scipy.stats import t as students_t

from companion.intervals import LEVEL, moderated
from companion.words import Status, worst

SPREADS = {
    "all equal": lambda random, n: np.ones(n),
    "scaled inverse chi2, 8 degrees": lambda random, n: 8 / random.chisquare(8, n),
    "scaled inverse chi2, 3 degrees": lambda random, n: 3 / random.chisquare(3, n),
    "log-normal, a factor of 3 each way": lambda random, n: np.exp(random.normal(0, np.log(3), n)),
    "two groups, one 10 times the other": lambda random, n: np.where(random.random(n) < 0.3, 10.0, 1.0),
}
"""How true variances differ within a family."""


def coverage(
    spread: str, *, worlds: int, contrasts: int, families: int, shared: float = 0.0, seed: int = 0
) -> tuple[float, float, float, float]:
    """Share of intervals that hold the truth, moderated and not, the ratio of their mean widths, and the share of
    moderated ones that hold it among the third of a family's differences that varies most.

    Args:
        spread: one of ``SPREADS``.
        worlds: how many values each difference has.
        contrasts: how many differences a family has.
        families: how many are simulated.
        shared: correlation of all differences of a family, which have cells in common.
    """
    random, hits, widths, rough = np.random.default_rng(seed), np.zeros(2), np.zeros(2), 0
    for _ in range(families):
        deviations = np.sqrt(SPREADS[spread](random, contrasts))[:, None]
        common, own = random.normal(size=(1, worlds)), random.normal(size=(contrasts, worlds))
        values = deviations * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
        found = moderated(list(values))
        errors = np.array([interval.error for interval in found]), values.std(1, ddof=1) / np.sqrt(worlds)
        for kind, (error, freedom) in enumerate(zip(errors, (found[0].freedom, worlds - 1))):
            half = students_t.ppf((1 + LEVEL) / 2, freedom) * error
            held = np.abs(values.mean(1)) <= half
            hits[kind] += held.sum()
            widths[kind] += half.sum()
            if kind == 0:
                rough += held[np.argsort(deviations[:, 0], kind="stable")[-(contrasts // 3) :]].sum()
    hits /= families * contrasts
    share = rough / (families * (contrasts // 3))
    return float(hits[0]), float(hits[1]), float(widths[0] / widths[1]), float(share)


EFFECT = 3.0
"""Printed effect of the simulated claims about each of several, in typical standard deviations between worlds."""

TRUTHS = {
    "all as printed": (lambda n: np.full(n, EFFECT), (Status.SMALLER, Status.NONE, Status.OPPOSITE)),
    "all as printed but one of zero": (
        lambda n: np.r_[0.0, np.full(n - 1, EFFECT)],
        (Status.HOLDS, Status.SMALLER, Status.OPPOSITE),
    ),
    "all zero": (np.zeros, (Status.HOLDS, Status.SMALLER, Status.OPPOSITE)),
}
"""True effects of the comparisons, and the words that are wrong then."""


def errors(truth: str, *, spread: str, among: int, worlds: int, families: int, seed: int = 0) -> float:
    """Share of families of correlated comparisons on which the word is wrong.

    Args:
        truth: one of ``TRUTHS``.
        spread: one of ``SPREADS``.
        among: how many comparisons the claim is about.
        worlds: how many values each has.
        families: how many are simulated.
    """
    random, wrong = np.random.default_rng(seed), 0
    effects, mistaken = TRUTHS[truth]
    for _ in range(families):
        deviations = np.sqrt(SPREADS[spread](random, among))[:, None]
        common, own = random.normal(size=(1, worlds)), random.normal(size=(among, worlds))
        values = effects(among)[:, None] + deviations * np.sqrt(0.5) * (common + own)
        _, status = worst(moderated(list(values)), expected=[EFFECT] * among)
        wrong += status in mistaken
    return wrong / families


def main() -> None:
    """Print the tables."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=1000)
    families = parser.parse_args().families
    counts = (3, 5, 10)
    print("| true variances of a family | contrasts | correlation | 3 worlds | 5 worlds | 10 worlds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for spread in SPREADS:
        for contrasts, shared in ((12, 0.0), (12, 0.5), (60, 0.5)):
            cells = []
            for worlds in counts:
                ours, plain, width, rough = coverage(
                    spread, worlds=worlds, contrasts=contrasts, families=families, shared=shared
                )
                cells.append(f"{100 * ours:.1f} ({100 * plain:.1f}), {width:.2f}; {100 * rough:.1f}")
            print(f"| {spread} | {contrasts} | {shared:g} | {' | '.join(cells)} |")
    print("\n| true effects | comparisons | 3 worlds | 5 worlds | 10 worlds |")
    print("| --- | --- | --- | --- | --- |")
    for truth in TRUTHS:
        for among in (3, 12):
            options = {"among": among, "families": families}
            found = [
                max(errors(truth, spread=spread, worlds=worlds, **options) for spread in SPREADS)
                for worlds in counts
            ]
            print(f"| {truth} | {among} | {' | '.join(f'{100 * share:.1f}' for share in found)} |")


if __name__ == "__main__":
    main()
