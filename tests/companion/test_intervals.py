"""Intervals over worlds: limma's worked values, edge cases, coverage by simulation."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import t as students_t

from companion.intervals import Interval, Prior, bootstrap, holm, inverse_trigamma, moderated, prior

SOURCE = Path(__file__).parents[2] / "tools" / "coverage.py"


@pytest.mark.parametrize("x", [1e-4, 0.3, 1.0, 7.5, 400.0])
def test_trigamma_is_inverted(x):
    assert inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-6)


def test_a_family_that_differs_only_by_chance_shares_one_variance():
    found = prior([1.0] * 8, [4] * 8)
    assert math.isinf(found.freedom)
    assert found.variance == pytest.approx(math.exp(np.log(2) - digamma(2)))


def test_the_prior_is_found_again_in_a_large_family():
    random = np.random.default_rng(0)
    true = 12 / random.chisquare(6, 40_000)
    found = prior([*(true * random.chisquare(4, 40_000) / 4)], [4] * 40_000)
    assert (found.freedom, found.variance) == pytest.approx((6, 2), rel=0.05)


def test_nothing_is_shared_by_one_difference_or_by_zeros():
    assert prior([2.0], [4]) == prior([], []) == prior([0.0, 0.0, 0.0, 1.0], [2] * 4) == Prior()


def test_a_difference_alone_has_students_interval():
    values = np.array([0.01, 0.03, 0.02])
    found = moderated([values])[0]
    half = students_t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert found.worlds == 3


def test_variances_move_towards_each_other_and_the_narrow_one_gains_freedom():
    random = np.random.default_rng(1)
    family = [*random.normal(0, [[1.0], [1.0], [1.0], [5.0]], size=(4, 5))]
    found = moderated(family)
    alone = [moderated([values])[0] for values in family]
    assert {interval.freedom > 4 for interval in found} == {True}
    assert found[3].error < alone[3].error
    assert min(found, key=lambda i: i.error).error > min(alone, key=lambda i: i.error).error
    assert [i.estimate for i in found] == [i.estimate for i in alone]


def test_one_world_or_none_give_no_interval():
    one, none = moderated([np.array([0.1]), np.array([])])
    assert (one.estimate, one.worlds) == (0.1, 1)
    assert none.worlds == 0
    for found in (one, none):
        assert all(math.isnan(value) for value in (found.half, found.low, found.high, found.p))
        assert math.isnan(found.above(0.0))
        assert not found.excludes(5.0)


def test_worlds_that_all_agree_are_sure():
    found = moderated([np.full(4, 0.02)])[0]
    assert found.low == found.high == 0.02
    assert (found.p, found.above(0.01), found.above(0.02), found.above(0.03)) == (0, 1, 0.5, 0)


def test_sureness_and_p_agree_with_the_interval():
    found = Interval(0.02, 0.01, 5.0, 6)
    edge = found.low
    assert found.above(edge) == pytest.approx(0.975)
    assert Interval(found.half, 0.01, 5.0, 6).p == pytest.approx(0.05)


def test_how_many_worlds_would_exclude_an_effect():
    found = Interval(0.01, 0.01, 4.0, 5)  # a deviation of .0224 between worlds
    assert found.worlds_to_exclude(0.0) == 22  # 20 if the spread were known
    t, before = (students_t.ppf(0.975, 4 + more) * math.sqrt(5 / (5 + more)) for more in (17, 16))
    assert t < 1 < before
    assert found.worlds_to_exclude(0.01) == math.inf


def test_holm_is_stepwise_and_monotone():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_bootstrap_over_queries_is_wider_when_the_queries_of_a_person_agree():
    person = np.random.default_rng(1).normal(size=100)
    difference = np.repeat(person, 6)
    low, high = bootstrap(difference, np.arange(600))
    assert (high - low) / 2 == pytest.approx(1.96 * person.std() / math.sqrt(600), rel=0.15)
    together = bootstrap(difference, np.repeat(np.arange(100), 6))
    assert together[1] - together[0] > 2 * (high - low)


def test_the_bootstrap_leaves_out_queries_without_a_match():
    difference = np.tile([1.0, np.nan, 0.0, np.nan], 10)
    assert bootstrap(difference, np.repeat(np.arange(10), 4)) == (0.5, 0.5)


@pytest.fixture(scope="module")
def tool():
    """The simulations behind docs/verdicts.md, of which tests make short runs."""
    spec = importlib.util.spec_from_file_location("coverage", SOURCE)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.mark.parametrize("worlds", [3, 5, 10])
def test_intervals_cover_the_truth_where_variances_differ(tool, worlds):
    found = [
        tool.coverage(spread, worlds=worlds, contrasts=20, families=60, shared=shared, seed=3)
        for spread in tool.SPREADS
        for shared in (0.0, 0.5)
    ]
    assert 0.93 < np.mean([ours for ours, *_ in found]) < 0.97
    assert all(width < 1 for _, _, width, _ in found)


@pytest.mark.parametrize("truth", ["all as printed", "all as printed but one of zero", "all zero"])
def test_words_on_the_least_of_several_are_seldom_wrong(tool, truth):
    wrong = tool.errors(truth, spread="all equal", among=4, worlds=3, families=200)
    assert wrong < 0.07
