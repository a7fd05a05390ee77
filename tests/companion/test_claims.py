"""Verdicts: the bootstrap against simulation, the parser, and how contrasts combine."""

from types import SimpleNamespace

import numpy as np
import pytest

from companion import published
from companion.claims import (
    Contrast,
    Outcome,
    Status,
    bootstrap,
    combine,
    find_cell,
    outcome,
    parse,
)
from companion.papers import PAPERS
from companion.papers.dpti import followed
from companion.study import Study

CONTRAST = Contrast("rank1", ("table2/bpbreid-rn",), ("table2/bot",), ">")


def test_bootstrap_interval_matches_the_normal_approximation():
    difference = np.random.default_rng(0).normal(0.1, 0.5, size=900)
    people = np.repeat(np.arange(300), 3)
    estimate, low, high = bootstrap(difference, people)
    assert estimate == pytest.approx(difference.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / 30, rel=0.15)


def test_bootstrap_is_wider_when_the_queries_of_a_person_agree():
    person = np.random.default_rng(1).normal(size=100)
    difference = np.repeat(person, 6)
    alone = bootstrap(difference, np.arange(600))
    together = bootstrap(difference, np.repeat(np.arange(100), 6))
    assert together[2] - together[1] > 2 * (alone[2] - alone[1])


def test_bootstrap_leaves_out_queries_without_a_match():
    difference = np.tile([1.0, np.nan, 0.0, np.nan], 10)
    estimate, low, high = bootstrap(difference, np.repeat(np.arange(10), 4))
    assert estimate == low == high == 0.5


@pytest.mark.parametrize(
    ("sign", "low", "high", "status"),
    [
        (">", 0.01, 0.05, Status.REPRODUCED),
        (">", -0.01, 0.05, Status.INCONCLUSIVE),
        (">", -0.05, -0.01, Status.CONTRADICTED),
        ("<", -0.05, -0.01, Status.REPRODUCED),
        ("<", 0.01, 0.05, Status.CONTRADICTED),
    ],
)
def test_status_of_one_contrast(sign, low, high, status):
    contrast = Contrast("mAP", ("a",), ("b",), sign)
    assert Outcome(contrast, (low + high) / 2, low, high, 1).status == status


def test_one_contradicted_contrast_contradicts_the_claim():
    assert combine([Status.REPRODUCED, Status.CONTRADICTED, Status.NOT_TESTED]) == Status.CONTRADICTED
    assert combine([Status.REPRODUCED, Status.NOT_TESTED]) == Status.NOT_TESTED
    assert combine([Status.REPRODUCED, Status.INCONCLUSIVE]) == Status.INCONCLUSIVE
    assert combine([Status.REPRODUCED]) == Status.REPRODUCED


def test_no_claim_rests_on_a_collapsed_training(monkeypatch):
    """Whatever its numbers, a run that tripped a collapse alarm decides nothing."""
    study = Study(PAPERS["bpbreid"], "cpu")
    if not (study.records("k8") and study.records("bot")):
        pytest.skip("the cpu records of k8 and bot are not there")
    assert outcome(study, CONTRAST).status != Status.NOT_TESTED
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: ["stuck"] if name == "bot" else [])
    found = outcome(study, CONTRAST)
    assert found.status == Status.NOT_TESTED
    assert found.missing == ("bot (collapsed)",)


def test_a_measure_against_ground_truth_decides_like_an_accuracy(monkeypatch):
    """A contrast of one cell alone, on values that exist for some queries only."""
    study = Study(PAPERS["qpm"], "cpu")
    drop = np.where(np.arange(60) % 2, np.nan, 0.2)[None]
    monkeypatch.setattr(Study, "per_query", lambda self, cell, metric: (drop, [0]))
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(60) // 3)
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: [])
    found = outcome(study, Contrast("drop-object", ("table5/qpm",), (), ">"))
    assert (found.estimate, found.status) == (pytest.approx(0.2), Status.REPRODUCED)
    assert (
        outcome(study, Contrast("drop-object", ("table5/qpm",), (), "<", 0.1)).status == Status.CONTRADICTED
    )
    monkeypatch.setattr(Study, "per_query", lambda self, cell, metric: (np.empty((0, 60)), []))
    assert outcome(study, Contrast("drop-object", ("table5/qpm",), (), ">")).missing == ("qpm",)


def test_the_luck_of_training_widens_the_interval_less_with_more_seeds(monkeypatch):
    """Two trainings have their own luck each; two scorings of one training share it."""
    study, sure = Study(PAPERS["bpbreid"], "cpu"), np.full((1, 600), 0.05)
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(600) // 3)
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: [])
    monkeypatch.setattr(Study, "spread", lambda self, test_set, metric: (0.02, 10**6))
    seeds = {"k8": 1, "bot": 1}
    values = {"k8": sure, "bot": 0 * sure}
    monkeypatch.setattr(
        Study,
        "per_query",
        lambda self, cell, metric: (
            np.repeat(values[cell.run], seeds[cell.run], 0),
            list(range(seeds[cell.run])),
        ),
    )
    for count, half in ((1, 1.96 * 0.02 * 2**0.5), (4, 1.96 * 0.02 * 1.25**0.5)):
        seeds["k8"] = count
        found = outcome(study, CONTRAST)
        assert (found.low, found.high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-6)
        assert found.seeds == 1
    assert found.status == Status.REPRODUCED
    same = outcome(study, Contrast("rank1", ("table2/bpbreid-rn",), ("table2/wo-visibility-scores",), ">"))
    assert same.low == same.high == 0


def test_a_cell_is_the_mean_of_all_its_seeds(monkeypatch):
    """Also where runs have different seeds, so that a contrast is the difference of two numbers in the tables."""
    study = Study(PAPERS["bpbreid"], "cpu")
    values = {"k8": np.array([[0.2] * 9, [0.4] * 9, [np.nan] * 9]), "bot": np.full((1, 9), 0.1)}
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(9))
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: [])
    monkeypatch.setattr(Study, "spread", lambda self, test_set, metric: (0.0, 0))
    monkeypatch.setattr(
        Study, "per_query", lambda self, cell, metric: (values[cell.run], list(range(len(values[cell.run]))))
    )
    assert outcome(study, CONTRAST).estimate == pytest.approx(0.2)


def test_spread_pools_the_runs_that_have_several_seeds(monkeypatch):
    def record(value):
        values = np.array([value, np.nan, value])
        return SimpleNamespace(has=lambda *_: True, per_query=lambda *_: values, alarms=[])

    known = {"fixed-attention": [0.1, 0.3], "bot": [0.5, 0.5, 0.8], "pcb": [0.9]}
    monkeypatch.setattr(Study, "records", lambda self, name, **_: [record(v) for v in known.get(name, [])])
    expected = ((2 * 0.1**2 + 0.1**2 * 2 + 0.2**2) / 3) ** 0.5
    assert Study(PAPERS["bpbreid"], "cpu").spread("synth-market", "made") == (pytest.approx(expected), 3)
    assert Study(PAPERS["qpm"], "cpu").spread("synth-market", "made") == (
        0,
        0,
    )  # no row of its own is repeated
    known["qpm"] = [0.0, 0.2]
    assert Study(PAPERS["qpm"], "cpu").spread("synth-market", "made") == (pytest.approx(0.02**0.5), 1)
    known.clear()
    assert Study(PAPERS["bpbreid"], "cpu").spread("synth-market", "made") == (0, 0)


def test_few_repeated_runs_say_less_of_the_spread(monkeypatch):
    """Student's t: 12.7 standard deviations at one degree of freedom, 1.96 at many."""
    study, sure = Study(PAPERS["bpbreid"], "cpu"), np.full((1, 600), 0.05)
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(600) // 3)
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: [])
    monkeypatch.setattr(Study, "per_query", lambda self, cell, metric: (sure, [0]))
    for freedom, quantile in ((1, 12.7062), (4, 2.7764), (10**9, 1.95996)):
        monkeypatch.setattr(Study, "spread", lambda self, test_set, metric: (0.01, freedom))  # noqa: B023
        found = outcome(study, Contrast("rank1", ("table2/bpbreid-rn",), (), ">"))
        assert found.high - found.estimate == pytest.approx(0.01 * quantile, rel=1e-4)


def test_cells_with_other_queries_are_not_paired(monkeypatch):
    """Their intervals are independent: half-widths add as squares, where paired ones would cancel."""
    study, values = Study(PAPERS["bpbreid"], "cpu"), np.tile([0.0, 1.0], 300)[None]
    monkeypatch.setattr(Study, "collapsed", lambda self, name, **_: [])
    monkeypatch.setattr(Study, "spread", lambda self, test_set, metric: (0.0, 0))
    monkeypatch.setattr(Study, "per_query", lambda self, cell, metric: (values, [0]))
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(600))
    paired = outcome(study, CONTRAST)
    assert paired.low == paired.high == paired.estimate == 0
    monkeypatch.setattr(Study, "identities", lambda self, cell: np.arange(600) + (cell.run == "bot"))
    apart = outcome(study, CONTRAST)
    assert apart.estimate == pytest.approx(0)
    assert (apart.high, -apart.low) == pytest.approx((1.96 * 0.5 * (2 / 600) ** 0.5,) * 2, rel=0.1)


def test_templates_follow_a_part_only_if_they_are_high_there_and_nowhere_higher():
    regions = np.array([[0.5, 2.0, 1.0, np.nan, 0.2], [3.0, 2.0, 1.0, 1.0, 0.2], [0.9, 1.2, 1.0, 1.0, 0.2]])
    assert followed(regions) == {1}
    assert followed(np.ones((8, 5))) == set()


@pytest.mark.parametrize(
    ("trainings", "status"),
    [
        ([3, 4], Status.REPRODUCED),
        ([3, 2], Status.INCONCLUSIVE),
        ([1, 2], Status.CONTRADICTED),
        ([], Status.NOT_TESTED),
    ],
)
def test_distinct_templates_must_be_so_in_every_training(monkeypatch, trainings, status):
    regions = np.concatenate([np.full((4, 1), 0.5), 2 * np.eye(4), np.zeros((4, 1))], 1)
    measures = [
        {"templates": {"mask_regions": regions[:count].tolist(), "entropy": 0.5}} for count in trainings
    ]
    monkeypatch.setattr(Study, "measured", lambda self, name: measures)
    found, text = PAPERS["dpti"].exact["10"](Study(PAPERS["dpti"], "cpu"))
    assert found == status
    assert ", ".join(map(str, trainings)) in text


def test_every_contrast_in_the_csv_names_cells_that_exist():
    frame = published.claims().query("kind == 'contrast'")
    for row in frame.itertuples():
        study = Study(PAPERS[row.paper], "cpu")
        for contrast in parse(row):
            for reference in (*contrast.plus, *contrast.minus):
                find_cell(study, reference)


def test_bpbreid_has_its_eighteen_claims():
    assert published.claims().query("paper == 'bpbreid'")["claim"].nunique() == 18


TIES = {("qpm", "9", "mAP")}
"""Contrasts that the paper prints as equal, which the claim's note says."""


@pytest.mark.parametrize(
    ("paper", "count"), [("bpbreid", 107), ("qpm", 54), ("pan", 42), ("dpti", 35), ("aap", 49)]
)
def test_the_paper_itself_passes_the_contrasts_it_prints(paper, count):
    """The direction of every contrast agrees with the printed numbers, where both cells are printed."""
    frame = published.printed(paper).set_index(["table", "row", "dataset", "metric"])["value"]
    study, checked = Study(PAPERS[paper], "cpu"), 0
    for row in published.claims().query("paper == @paper and kind == 'contrast'").itertuples():
        for contrast in parse(row):
            cells = [(find_cell(study, r), 1) for r in contrast.plus] + [
                (find_cell(study, r), -1) for r in contrast.minus
            ]
            keys = [(c.table, c.row, c.dataset, contrast.metric) for c, _ in cells]
            if not all(key in frame.index for key in keys):
                continue
            total = sum(sign * frame[key] for key, (_, sign) in zip(keys, cells, strict=True))
            beyond = total - contrast.margin if contrast.sign == ">" else contrast.margin - total
            tie = (paper, row.claim, contrast.metric) in TIES and beyond == 0
            assert beyond > 0 or tie, contrast
            checked += 1
    assert checked == count
