"""Verdicts from records made by hand: endpoints, words, the gate, corrections, and the csv behind them."""

import csv
import io
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from companion import checks, claims, places, published, views
from companion.again import Again, again
from companion.claims import POINT, Verdict, verdicts
from companion.contrasts import contrasts, differences, identity, in_words
from companion.intervals import Interval
from companion.papers import PAPERS
from companion.papers.dpti import followed
from companion.records import RunRecord
from companion.report import learned_answer, pages, tables
from companion.study import Study
from companion.words import Status, word
from reidlib.types import ReIDOutput

SETS = ("synth-market", "synth-occluded", "synth-occluded-transfer", "synth-partial")


def record(study, slug, world, level, *, alarms=(), measures=None, history=None, arrays=None):
    """A record whose accuracies are a function of row, scoring, test set, metric and world."""
    run = study.run(slug, seed=world)
    metrics = {
        test_set: {
            scoring: {m: float(level(slug, scoring, test_set, m, world)) for m in ("rank1", "rank5", "mAP")}
            for scoring in run.scorings
        }
        for test_set in SETS
    }
    return RunRecord(
        config={}, hash=run.hash, name=run.name, paper=run.paper, preset=run.preset, seed=world, provenance={},
        history=history or {}, alarms=list(alarms), metrics=metrics, measures=measures or {}, slices={}, behaviour=[],
        test_scorings=0, parameters=0, arrays=arrays or {},
    )  # fmt: skip


@pytest.fixture
def recorded(monkeypatch):
    """Give a paper hand-made records: a function of row, scoring, test set, metric and world, for some rows."""

    def fill(slug, level, *, worlds=5, rows=None, **more):
        study = Study(PAPERS[slug], "cpu")
        known = {
            row.slug: [record(study, row.slug, world, level, **more) for world in range(1, worlds + 1)]
            for row in study.paper.rows
            if rows is None or row.slug in rows
        }
        monkeypatch.setattr(Study, "records", lambda self, name, **_: known.get(name, []))
        return study, known

    return fill


def by_row(gains, *, base=0.5, jitter=0.002, holistic=False):
    """Accuracy by row, or by row and scoring; a world moves all rows alike.

    Args:
        gains: on sets with occluded or cropped people, if ``holistic`` on the other one too.
    """

    def level(slug, scoring, test_set, metric, world):
        gain = gains.get((slug, scoring), gains.get(slug, 0.0)) * (holistic or test_set != "synth-market")
        own = np.random.default_rng([world, *f"{slug}{scoring}{test_set}{metric}".encode()]).normal(0, jitter)
        return base + 0.03 * np.sin(world) + gain + own

    return level


def of(study, claim) -> Verdict:
    """The verdict on one claim; what a computation decides takes seconds and is left out where it is not asked for."""
    with pytest.MonkeyPatch.context() as patch:
        if claim not in study.paper.exact:
            patch.setattr(claims, "_computed", lambda _, verdict: verdict)
        return next(verdict for verdict in verdicts(study) if verdict.claim == claim)


# -- words --------------------------------------------------------------------------------------------


def interval(low, high):
    """An interval with these bounds."""
    half = Interval(0.0, 1.0, 4.0, 5).half
    return Interval((low + high) / 2, (high - low) / 2 / half, 4.0, 5)


@pytest.mark.parametrize(
    ("low", "high", "printed", "status"),
    [
        (0.01, 0.05, 0.03, Status.HOLDS),
        (0.04, 0.05, 0.03, Status.HOLDS),
        (0.01, 0.05, np.nan, Status.HOLDS),
        (0.01, 0.05, 0.06, Status.SMALLER),
        (-0.01, 0.02, 0.06, Status.NONE),
        (-0.01, 0.07, 0.06, Status.UNDECIDED),
        (-0.01, 0.07, np.nan, Status.UNDECIDED),
        (-0.01, 0.07, -0.05, Status.UNDECIDED),
        (-0.05, -0.01, 0.03, Status.OPPOSITE),
        (-0.05, -0.01, np.nan, Status.OPPOSITE),
    ],
)
def test_the_word_for_a_contrast(low, high, printed, status):
    assert word(interval(low, high), expected=printed) == status


@pytest.mark.parametrize(
    ("low", "high", "equivalence", "no_gain"),
    [
        (-0.005, 0.009, Status.HOLDS, Status.HOLDS),
        (-0.005, 0.02, Status.UNDECIDED, Status.HOLDS),
        (0.02, 0.03, Status.OPPOSITE, Status.HOLDS),
        (-0.02, 0.02, Status.UNDECIDED, Status.UNDECIDED),
        (-0.03, -0.02, Status.OPPOSITE, Status.OPPOSITE),
    ],
)
def test_the_word_for_what_changes_little(low, high, equivalence, no_gain):
    """An equivalence has two bounds; a gain that does not matter has one: its other side is a loss."""
    assert word(interval(low, high), kind="equivalence", margin=0.01) == equivalence
    assert word(interval(low, high), kind="no-gain", margin=0.01) == no_gain


def test_one_world_decides_nothing():
    assert word(Interval(0.2, worlds=1), expected=0.1) == Status.UNDECIDED


def made(status, endpoint, *, kind="contrast", printed=np.nan, margin=0.0):
    return Verdict(
        "p", "1", "It helps", "Table 1", kind, "cpu", status, endpoint, printed, printed, margin=margin
    )  # fmt: skip


def test_how_many_worlds_an_undecided_claim_would_take():
    end = Interval(0.01, 0.01, 4.0, 5)
    assert made(Status.UNDECIDED, end).needed == end.worlds_to_exclude(0.0) == 22.0
    assert Interval(0.01, 0.0041, 2.0, 3).worlds_to_exclude(0.0) == 5.0  # never so few as did not do
    assert made(Status.UNDECIDED, end, printed=0.05).needed == end.worlds_to_exclude(0.05)
    assert np.isnan(made(Status.HOLDS, end).needed)
    assert np.isnan(Interval(0.01, worlds=1).worlds_to_exclude(0.0))
    below = replace(made(Status.UNDECIDED, Interval(-0.01, 0.005, 4.0, 5), kind="each"), among=12)
    assert (
        below.needed
        == below.endpoint.worlds_to_exclude(0.0, among=12)
        > below.endpoint.worlds_to_exclude(0.0)
    )
    assert np.isnan(made(Status.UNDECIDED, Interval(0.01, worlds=1)).needed)
    inside = made(Status.UNDECIDED, Interval(0.002, 0.01, 4.0, 5), kind="equivalence", margin=0.01)
    assert inside.needed == inside.endpoint.worlds_to_exclude(0.01)
    beyond = replace(inside, endpoint=Interval(0.015, 0.01, 4.0, 5))
    assert beyond.needed == beyond.endpoint.worlds_to_exclude(0.01)
    gain = replace(inside, kind="no-gain")
    assert gain.needed == gain.endpoint.worlds_to_exclude(-0.01)


def test_how_sure_an_effect_is_adds_up():
    sure = made(Status.HOLDS, Interval(0.01, 0.005, 4.0, 5)).sure
    assert sum(sure) == pytest.approx(1)
    assert sure[0] == pytest.approx(0.5)
    assert POINT == 0.01


# -- endpoints ----------------------------------------------------------------------------------------


def test_nothing_recorded_is_said_of_every_claim(scratch):
    for paper in PAPERS.values():
        study = Study(paper, "cpu")
        found = verdicts(study)
        assert [v.claim for v in found] == [str(n) for n in range(1, len(found) + 1)]
        open_ones = [v for v in found if v.kind not in ("exact", "untestable")]
        assert {v.status for v in open_ones} <= {Status.UNMEASURED, Status.NOT_COMPARABLE}
        page = pages.paper_page(study, found)
        assert "preset cpu, 0 worlds" in page
        assert "Of 0 contrasts that claim a side" in page
        assert pages.finding(study, found, found).endswith("nothing recorded yet.")
        assert all(tables.answer(verdict) for verdict in found)
        tables.verdict_table(found).to_html()
    assert "no row is recorded twice" in pages.network_luck([study])


def test_an_endpoint_is_the_paired_average_of_its_contrasts(recorded):
    """BPBreID C7: the averaged triplet against one per part, in rank-1 and in mAP."""
    study, _ = recorded("bpbreid", by_row({"k8": 0.10, "per-part-triplet": 0.06}))
    found = of(study, "7")
    assert found.endpoint.estimate == pytest.approx(0.04, abs=0.002)
    assert found.printed == pytest.approx((0.023 + 0.02) / 2)
    assert (found.worlds, len(found.outcomes), found.status) == (5, 2, Status.HOLDS)
    assert found.endpoint.half < 0.005  # worlds move by three points, but all rows alike
    assert "(printed +2.2 points). Here, on synthetic data: " in tables.answer(found)


def test_what_is_said_of_each_backbone_must_hold_with_each(recorded):
    """PAN C4: a shared layer against one of each mask's own; with one backbone it loses."""
    found = of(recorded("pan", by_row({"pan": 0.10, "unshared": 0.02, "osnet-unshared": 0.02}))[0], "4")
    assert found.status == Status.OPPOSITE
    assert found.endpoint.estimate == pytest.approx(-0.02, abs=0.003)


def test_what_is_said_of_each_data_set_must_hold_on_each(recorded):
    """DPTI C1: a gain on one of three sets does not carry the claim."""

    def level(slug, scoring, test_set, metric, world):
        gain = 0.20 if (slug, test_set) == ("gd", "synth-partial") else 0.0
        return by_row({})(slug, scoring, test_set, metric, world) + gain

    found = of(recorded("dpti", level)[0], "1")
    assert found.status == Status.NONE
    assert found.decisive.startswith("of 3: ")
    assert "synth-partial" not in found.decisive


def test_one_comparison_without_its_printed_effect_is_enough(recorded):
    """BPBreID C8: the row that decides need not be the one that reaches lowest."""

    def level(slug, scoring, test_set, metric, world):
        gain = {"k8": 0.10, "objective-idx11": 0.09, "objective-idx7": 0.10}.get(slug, 0.0)
        rough = 0.02 * (-1) ** world if slug == "objective-idx11" else 0.0
        there = by_row({})(slug, scoring, test_set, metric, world)
        return there + (gain + rough) * (test_set != "synth-market")

    found = of(recorded("bpbreid", level)[0], "8")
    assert found.status == Status.NONE
    assert "losses of row 7" in found.decisive


@pytest.mark.parametrize(("base", "status"), [(0.5, Status.NONE), (0.98, Status.UNDECIDED)])
def test_an_effect_for_which_there_is_no_room_is_not_expected(recorded, base, status):
    """AaP C1 prints 2.2 points of mAP over 79.6; a row of 98 % can lose as large a share of its errors, not more."""
    study, _ = recorded("aap", by_row({"stride": 0.001}, holistic=True, base=base, jitter=0.003))
    found = of(study, "1")
    assert found.printed == pytest.approx(0.022)
    assert found.expected == pytest.approx(0.022 * min(1, (1 - base) / 0.204), rel=0.2)
    assert found.status == status
    assert ("as a share of the errors" in tables.remark(found)) == (base > 0.9)


def test_other_readings_stand_beside_a_claim_with_their_own_word(recorded):
    """QPM C23: pooling trained with the part losses decides; without them it says the opposite, and says so."""
    gains = {"qpm": 0.10, "agfe": 0.05, "gap-parts": 0.05, "gap": 0.30}
    found = of(recorded("qpm", by_row(gains, jitter=0.0001))[0], "23")
    assert found.printed == pytest.approx(0.164, abs=5e-4)
    assert found.status == Status.SMALLER
    assert [aside.status for aside in found.asides][:2] == [Status.OPPOSITE] * 2  # a test set each
    assert "*opposite*" in tables.beside_it(found)
    assert not found.clear


def test_what_is_not_clear_is_not_named_as_clearest():
    sure = made(Status.HOLDS, Interval(0.05, 0.001, 4.0, 5))
    against = claims.Aside("rows as printed", 0.1, Interval(-0.02, 0.001, 4.0, 5), Status.OPPOSITE)
    within = replace(against, interval=Interval(-0.02, 0.02, 4.0, 5))
    assert sure.clear
    assert replace(sure, asides=(within,), learned=(0.5, 0.4)).clear
    assert not replace(sure, asides=(against,)).clear
    unlike = replace(sure, learned=(0.64, 0.27))
    assert not unlike.clear
    assert "fell by 64.0 and 27.0 %" in tables.remark(unlike)


def test_few_effects_of_many_looks_are_no_discoveries():
    one = made(Status.HOLDS, Interval(0.01, 0.003, 4.0, 5))
    sure = made(Status.HOLDS, Interval(0.05, 0.001, 4.0, 5))
    nothing = [made(Status.UNDECIDED, Interval(0.001, 0.01, 4.0, 5)) for _ in range(20)]
    assert claims.discoveries([one])[0] == [one]
    found, alone, tested = claims.discoveries([one, sure, *nothing])
    assert (found, alone, tested) == ([sure], 2, 22)
    assert claims.discoveries([]) == ([], 0, 0)


def test_of_a_claim_about_each_of_several_the_least_decides(recorded):
    """BPBreID C10: losses 5 against GiLt, with both architectures; QPM C7: both branches against either."""
    gains = {"k8": 0.10, "objective-idx5": 0.04, "stripes-gilt": 0.02, "stripes-idx5": 0.0}
    found = of(recorded("bpbreid", by_row(gains))[0], "10")
    assert found.endpoint.estimate == pytest.approx(0.02, abs=0.003)
    assert found.printed == pytest.approx((0.036 + 0.028) / 2)
    assert found.status == Status.SMALLER
    assert found.decisive.startswith("of 2: PCB architecture, GiLt losses − ")
    assert "worst of 2" in tables.verdict_line(found)["remark"]
    gains = {
        "qpm": 0.10,
        "part-branch": 0.14,
        "agfe": 0.0,
    }  # the average of both gains would be on the claimed side
    found = of(recorded("qpm", by_row(gains))[0], "7")
    assert found.status == Status.OPPOSITE
    assert found.endpoint.estimate == pytest.approx(-0.04, abs=0.003)


def test_of_each_of_several_none_may_lack_its_interval(recorded):
    study, known = recorded("qpm", by_row({"qpm": 0.10, ("qpm", "agfe"): 0.05}))
    assert of(study, "7").endpoint.low > 0
    known["part-branch"] = known["part-branch"][:1]
    found = of(study, "7")
    assert (found.status, found.reason) == (Status.UNDECIDED, "one world: no interval")


def test_a_row_in_the_middle_counts(recorded):
    """PAN C7, from 7 over 14 to 28: steps whose sum would not see the row between."""
    study, _ = recorded("pan", by_row({"pan": 0.10, "n512": 0.12, "n1024": 0.0}))
    found = of(study, "7")
    assert (found.status, found.worlds) == (Status.OPPOSITE, 5)
    assert found.endpoint.estimate == pytest.approx(-0.02, abs=0.003)


def test_differences_that_cancel_are_no_equivalence(recorded):
    """PAN C15: with one backbone sharing gains three points, with the other it loses as many."""
    gains = {"pan": 0.03, "osnet-unshared": 0.03}
    found = of(recorded("pan", by_row(gains, holistic=True))[0], "15")
    assert found.status == Status.OPPOSITE
    assert abs(found.endpoint.estimate) == pytest.approx(0.03, abs=0.003)
    assert "worst of 4" in tables.verdict_line(found)["remark"]
    assert of(recorded("pan", by_row({}))[0], "15").status == Status.HOLDS


@pytest.mark.parametrize(("lost", "status"), [(0.0, Status.SMALLER), (0.07, Status.OPPOSITE)])
def test_where_a_claim_names_the_metrics_none_makes_up_for_another(recorded, lost, status):
    """AaP C11 in mAP and in rank-1: what is lost in one metric, the other would outweigh."""

    def level(slug, scoring, test_set, metric, world):
        gain = {"rank1": 0.08}.get(metric, 0.05 - lost) if slug == "aap" else 0.0
        return by_row({slug: gain}, holistic=True)(slug, scoring, test_set, metric, world)

    found = of(recorded("aap", level)[0], "11")
    assert found.status == status
    assert "of 4: " in found.decisive
    assert found.decisive.endswith(", mAP")


def test_that_one_of_many_looks_fails_is_corrected_for():
    low = interval(-0.02, -0.0001)
    assert word(low, kind="each") == Status.OPPOSITE
    assert word(low, kind="each", among=13) == Status.UNDECIDED
    assert word(interval(0.0001, 0.02), kind="each", among=13) == Status.HOLDS


def test_only_worlds_that_have_all_rows_count(recorded):
    study, known = recorded("bpbreid", by_row({"k8": 0.1}))
    known["bot"] = known["bot"][1:4]
    assert of(study, "4").worlds == 3
    known["bot"] = known["bot"][:1]
    alone = of(study, "4")
    assert (alone.worlds, alone.status, alone.reason) == (1, Status.UNDECIDED, "one world: no interval")
    assert "one world: no interval" in tables.verdict_line(alone)["remark"]
    assert "one world" in tables.answer(alone)
    known["bot"] = []
    gone = of(study, "4")
    assert (gone.status, gone.reason) == (Status.UNMEASURED, "nothing recorded of BoT")


def test_a_missing_printed_value_leaves_the_word_without_it(recorded):
    study, _ = recorded("bpbreid", by_row({"k8": 0.02, ("k8", "no-visibility"): 0.0}))
    found = of(study, "6")
    assert np.isnan(found.printed)
    assert found.status == Status.HOLDS
    assert of(study, "5").printed == pytest.approx(0.15)  # printed of other rows than ours


def test_contrasts_beside_a_claim_do_not_enter_its_endpoint(recorded):
    gains = {"k8": 0.05, ("k8", "no-visibility"): 0.0, ("k8", "soft"): -0.2, ("k8", "threshold"): 0.3}
    study, _ = recorded("bpbreid", by_row(gains))
    found = of(study, "6")
    assert found.endpoint.estimate == pytest.approx(0.05, abs=0.003)
    beside = [outcome for outcome in found.outcomes if outcome.contrast.beside]
    assert len(beside) == 10
    assert all(np.isnan(outcome.p) and outcome.counts for outcome in beside)


def test_endpoints_lend_each_other_their_variance(recorded):
    study, _ = recorded("bpbreid", by_row({"k8": 0.1}))
    assert of(study, "4").endpoint.freedom > 4


def test_a_difference_has_one_interval_wherever_it_stands(recorded):
    """In the table of contrasts, in a figure of gains, in a sweep; a row less itself is nothing, for sure."""
    study, _ = recorded("bpbreid", by_row({"k8": 0.05}))
    known = {
        in_words(study, o.contrast): o.interval
        for v in verdicts(study)
        for o in v.outcomes
        if o.contrast.metric == "mAP"
    }
    gains = views.gains(study, "table2", baseline="bot", metric="mAP")
    sweep = views.sweep(study, "table5", ["k2", "k8"], baseline="k8", metric="mAP")
    row = gains["rows"].index("BPBreID")
    claimed = known["BPBreID − BoT, synth-occluded"]
    assert claimed.freedom > 4
    assert (gains["ours"][row], gains["half"][row]) == pytest.approx((claimed.estimate, claimed.half))
    assert sweep["half"].tolist() == pytest.approx(
        [known["BPBreID − BPBreID, 2 parts, synth-occluded"].half, 0]
    )


def test_a_measure_against_ground_truth_is_no_accuracy(recorded):
    """QPM C12: behind objects less behind people, in one row."""
    measures = {"synth-occluded": {"drop-object": 0.3, "drop-person": 0.1, "focus-person": 0.2}}
    study, _ = recorded("qpm", by_row({}), measures=measures)
    found = of(study, "12")
    assert found.endpoint.estimate == pytest.approx(0.2)
    assert not found.points
    assert "+20.0 [+20.0,\u00a0+20.0] hundredths of a log score" in tables.answer(found)
    assert tables.sureness(found) == "–"


def test_the_same_numbers_count_once_wherever_they_are_printed(recorded):
    """BPBreID C8 and C10 share a contrast; so do Tables 2 and 4."""
    study, _ = recorded("bpbreid", by_row({"k8": 0.05}))
    found = [
        o for v in verdicts(study) for o in v.outcomes if in_words(study, o.contrast).startswith("BPBreID −")
    ]
    keys = {}
    for outcome in found:
        keys.setdefault(identity(study, outcome.contrast), []).append(outcome)
    shared = [same for same in keys.values() if len(same) > 1]
    assert shared
    for same in shared:
        assert len({outcome.interval for outcome in same}) == 1


def test_p_values_are_corrected_over_all_contrasts_of_the_paper(recorded):
    study, _ = recorded("bpbreid", by_row({"k8": 0.003}))
    found = [outcome for verdict in verdicts(study) for outcome in verdict.outcomes]
    known = [outcome for outcome in found if not np.isnan(outcome.p)]
    assert len(known) > 100
    assert all(outcome.p >= outcome.interval.p for outcome in known)
    assert max(outcome.p for outcome in known) <= 1
    least = min(known, key=lambda outcome: outcome.interval.p)
    unique = {identity(study, outcome.contrast) for outcome in known}
    assert least.p == pytest.approx(min(1, least.interval.p * len(unique)))
    assert "contrasts that claim a side" in tables.tally(verdicts(study))


# -- the gate -----------------------------------------------------------------------------------------


def test_a_collapsed_training_decides_nothing(recorded):
    study, known = recorded("bpbreid", by_row({"k8": 0.1}))
    known["bot"][2].alarms.append("identity loss never left its start")
    found = of(study, "4")
    assert found.status == Status.NOT_COMPARABLE
    assert found.reason == "BoT: identity loss never left its start (world 3)"
    assert tables.verdict_line(found)["ours"] == "–"
    tested = [outcome for outcome in found.outcomes if not outcome.contrast.beside]
    assert all(not outcome.counts and np.isnan(outcome.p) for outcome in tested)
    assert of(study, "7").status != Status.NOT_COMPARABLE


def test_a_row_far_below_the_main_one_on_holistic_data_decides_nothing(recorded):
    study, _ = recorded("pan", by_row({"osnet": -0.12, "softmax": -0.08, "pan-scratch": -0.3}, holistic=True))
    assert of(study, "4").status == Status.NOT_COMPARABLE
    assert "PAN-OSNet: holistic rank-1 1" in of(study, "4").reason
    assert of(study, "11").status == Status.HOLDS  # eight points are an effect, twelve a failed training
    assert study.unconverged("pan-scratch") == []
    assert of(study, "3").reason.startswith("the preset lacks equal maps")


def test_the_gate_compares_within_worlds(recorded):
    """A row of the hardest world alone is not held against the main row's other worlds."""
    study, known = recorded("bpbreid", lambda slug, *_: 0.9)
    known["bot"] = [record(study, "bot", 5, lambda *_: 0.6)]
    known["k8"][4] = record(study, "k8", 5, lambda *_: 0.65)
    assert study.unconverged("bot") == []


def test_what_the_small_presets_lack_is_there_in_the_large_one(scratch):
    assert of(Study(PAPERS["bpbreid"], "cpu"), "22").status == Status.NOT_COMPARABLE
    assert of(Study(PAPERS["bpbreid"], "gpu"), "22").status == Status.UNMEASURED


# -- what a computation decides ------------------------------------------------------------------------


def templates(count):
    regions = np.concatenate([np.full((4, 1), 0.5), 2 * np.eye(4), np.zeros((4, 1))], 1)
    found = {"mask_regions": regions[:count].tolist(), "entropy": 0.5, "cosine": 0.3}
    return {"synth-occluded": {"templates": found}}


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ([3, 4, 3, 2, 2, 3], Status.HOLDS),
        ([1, 1, 1, 1, 1, 1], Status.FAILS),
        ([1, 3, 1, 3, 3, 1], Status.UNDECIDED),
        ([3, 3, 3], Status.UNDECIDED),
        ([4], Status.UNDECIDED),
        ([], Status.UNMEASURED),
    ],
)
def test_templates_differ_where_they_follow_more_than_one_part(monkeypatch, counts, status):
    study = Study(PAPERS["dpti"], "cpu")
    known = [record(study, "gd", w + 1, lambda *_: 0.5, measures=templates(n)) for w, n in enumerate(counts)]
    monkeypatch.setattr(Study, "records", lambda self, name, **_: known if name == "gd" else [])
    found = of(study, "10")
    assert found.status == status
    assert not counts or f"in {sum(n > 1 for n in counts)} of {len(counts)} worlds" in found.found


def test_a_map_follows_a_part_only_if_it_is_high_there_and_nowhere_higher():
    regions = np.array([[0.5, 2.0, 1.0, np.nan, 0.2], [3.0, 2.0, 1.0, 1.0, 0.2], [0.9, 1.2, 1.0, 1.0, 0.2]])
    assert followed(regions) == {1}
    assert followed(np.ones((8, 5))) == set()


def with_losses(monkeypatch, losses):
    """A study of AaP-ReID with records whose loss ends at ``losses(row)``, nearly alike in all worlds."""
    study = Study(PAPERS["aap"], "cpu")

    def records(self, name, **_):
        return [
            record(
                study, name, world, lambda *_: 0.5,
                history={
                    "identity": [5.0] * 18 + [1.0 + losses(name) + 0.001 * (world * len(name) % 7)] * 2,
                    "lr": [9.0] * 20,
                },
            )
            for world in range(1, 4)
        ]  # fmt: skip

    monkeypatch.setattr(Study, "records", records)
    return study


@pytest.mark.parametrize(
    ("gap", "status"), [(0.1, Status.HOLDS), (-0.1, Status.OPPOSITE), (0.0, Status.UNDECIDED)]
)
def test_losses_at_the_end_are_compared_between_worlds(monkeypatch, gap, status):
    study = with_losses(monkeypatch, lambda name: 0.0 if name.endswith("cwa-mul") else gap)
    found = of(study, "12")
    assert found.status == status
    assert ("intervals, 16 above zero and 0 below" in found.found) == (gap > 0)


def test_one_lower_loss_is_enough_to_refute_the_lowest(monkeypatch):
    def losses(name):
        return {"resnet34-eca": -0.1}.get(name, 0.0 if name.endswith("cwa-mul") else 0.1)

    found = of(with_losses(monkeypatch, losses), "12")
    assert found.status == Status.OPPOSITE
    assert "worst of 16: ResNet-34, ECA − CWA(x), -0.1" in found.found
    assert "15 above zero and 1 below" in found.found


@pytest.mark.parametrize(("gap", "status"), [(0.1, Status.HOLDS), (-0.1, Status.OPPOSITE)])
def test_spatial_attention_is_compared_on_the_two_small_backbones(monkeypatch, gap, status):
    def losses(name):
        return gap * (name in ("resnet18-sp", "resnet34-sp"))

    found = of(with_losses(monkeypatch, losses), "16")
    assert found.status == status
    assert "worst of 8: ResNet-" in found.found


class ReadsMasks(nn.Module):
    """Embeddings, or losses alone, that depend on part labels."""

    def __init__(self, *, in_loss: bool):
        super().__init__()
        self.in_loss = in_loss

    def forward(self, images, masks=None):
        shift = 0.0 if masks is None or self.in_loss else masks.mean()
        return ReIDOutput({"global": images.mean((2, 3)) + shift}, {}, {}, {})

    def loss(self, output, labels, *, masks=None):
        return {"id": output.embeddings["global"].sum() + (0.0 if masks is None else masks.sum())}


@pytest.mark.parametrize("in_loss", [True, False])
def test_a_model_that_reads_part_labels_is_found_out(monkeypatch, in_loss):
    study = Study(PAPERS["pan"], "cpu")
    assert checks.reads_no_labels(study)[0] == Status.HOLDS
    monkeypatch.setattr(checks, "initial", lambda *_, **__: ReadsMasks(in_loss=in_loss))
    status, found = checks.reads_no_labels(study)
    assert status == Status.FAILS
    assert "losses in training with and without part labels are different" in found
    assert checks.reads_no_labels(study, training=False)[0] == (Status.HOLDS if in_loss else Status.FAILS)


@pytest.mark.parametrize(("least", "status"), [(1.4, Status.HOLDS), (0.2, Status.OPPOSITE)])
def test_masks_lie_on_bodies_if_they_do_on_every_part(recorded, least, status):
    study, known = recorded("pan", lambda *_: 0.9, worlds=3, rows={"pan"})
    for found in known["pan"]:
        regions = [0.8, 2.0, 1.6, 1.7, least, 2.2, 1.5]
        regions[0] += 0.01 * found.seed
        found.measures["synth-occluded"] = {"fusion_regions": regions}
    verdict = of(study, "19")
    assert verdict.status == status
    assert f"parts of the body {least:.2f} to 2.20" in verdict.found


def test_how_far_trainings_came_is_said_and_listed(recorded):
    losses = {
        "id_parts": [3.0] * 19 + [0.5],
        "id_global": [1.0] * 20,
        "triplet": [9.0] * 20,
        "lr": [1.0] * 20,
    }
    study, known = recorded("pan", lambda *_: 0.9, worlds=2, rows={"pan", "softmax"}, history=losses)
    assert known["pan"][0].learned == pytest.approx(5 / 12)
    assert "of 2 rows fell by 42% (PAN) to 42% (PAN)" in learned_answer(study)
    page = pages.paper_page(study, verdicts(study))
    assert "| PAN | 41.7 |" in page.partition("## Training")[2]


def test_a_row_without_an_identity_loss_has_learned_none(recorded):
    study, known = recorded("pan", lambda *_: 0.9, rows={"pan"}, history={"triplet": [9.0], "lr": [1.0]})
    assert np.isnan(known["pan"][0].learned)
    assert learned_answer(study) == "No training with an identity loss is recorded yet."


def test_real_data_has_no_ground_truth_to_compute_from(scratch):
    assert of(Study(PAPERS["dpti"], "real"), "10").status == Status.UNMEASURED


# -- the A-A test --------------------------------------------------------------------------------------


def test_two_networks_of_a_row_hardly_ever_differ(recorded):
    study, _ = recorded("bpbreid", by_row({}, jitter=0.01), worlds=5)
    found = again([study])
    assert found.pairs == 2 * 4 * (
        3 + 1
    )  # two metrics, four test sets, three scorings of one row and one of the other
    assert found.different / found.pairs < 0.15
    assert found.chance[0] == 0.0 < found.chance[1] <= 0.25
    assert found.queries == 0
    assert "% of 32 comparisons" in pages.network_luck([study])


def test_a_row_that_differs_from_itself_is_found(recorded):
    study, _ = recorded("bpbreid", by_row({"k8-again": 0.05}, holistic=True))
    found = again([study])
    assert found.different >= 24
    low, high = found.chance  # shuffled, they seldom agree in all worlds; if so, in all pairs of the row
    assert low < 0.1 < high == 0.75


def test_the_queries_of_one_world_are_compared_where_they_are_kept(recorded):
    study, known = recorded("bpbreid", by_row({}), rows=("bot", "bot-again"), worlds=1)
    for row, rank in (("bot", 1), ("bot-again", 2)):
        known[row][0].arrays.update(
            {
                "synth-market/default/rank": np.full(30, rank, dtype=np.uint16),
                "synth-market/default/ap": np.full(30, 1 / rank, dtype=np.float16),
                "synth-market/pid": np.arange(30, dtype=np.int16),
            }
        )
    found = again([study])
    assert replace(found, chance=(0.0, 0.0)) == Again(0, 0, queries=2, queries_different=2, chance=(0.0, 0.0))
    assert np.isnan(found.chance).all()


# -- order of rows -------------------------------------------------------------------------------------


def test_rows_are_ranked_as_printed_or_not(recorded):
    order = {"k2": 0.0, "k3": 0.01, "k4": 0.02, "k6": 0.03, "k5": 0.04, "k8": 0.07, "k11": 0.05}
    study, _ = recorded("bpbreid", by_row(order, jitter=0.0))
    found = claims.rank_correlations(study).set_index(["table", "dataset", "metric"])
    assert found.loc[("table5", "occluded-duke", "mAP"), "rows"] == 7
    assert 0.8 < found.loc[("table5", "occluded-duke", "mAP"), "rho"] <= 1
    assert "+0." in pages.paper_page(study, verdicts(study))
    study, _ = recorded("aap", by_row({("aap", "reranked"): 0.1, "aap": 0.05}))
    found = claims.rank_correlations(study).set_index(["table", "dataset", "metric"])
    assert found.loc[
        [("table1", "cuhk03", "mAP"), ("table1, re-ranked", "cuhk03", "mAP")], "rows"
    ].tolist() == [5, 5]


def test_rows_are_put_in_order_in_the_worlds_that_all_have(recorded):
    """A world that is ten points richer lifts the rows that have it, and must not put them first."""

    def level(slug, scoring, test_set, metric, world):
        order = {"k2": 0.0, "k3": 0.01, "k4": 0.02, "k5": 0.03, "k6": 0.04, "k8": 0.06, "k11": 0.05}
        return 0.5 + order.get(slug, 0.0) + 0.1 * (world == 5)

    study, known = recorded("bpbreid", level)
    for slug in ("k5", "k6", "k8", "k11"):
        known[slug] = known[slug][:4]
    cells = [study.paper.cell("table5", row, "occluded-duke") for row in ("k2", "k8")]
    assert study.shared(cells, "mAP").index.tolist() == [1, 2, 3, 4]
    found = claims.rank_correlations(study).set_index(["table", "dataset", "metric"])
    whole, _ = recorded("bpbreid", level)
    expected = claims.rank_correlations(whole).set_index(["table", "dataset", "metric"])
    assert found.loc[("table5", "occluded-duke", "mAP"), "rho"] == pytest.approx(
        expected.loc[("table5", "occluded-duke", "mAP"), "rho"]
    )


def test_a_row_held_to_one_that_failed_cannot_be_compared_either(recorded):
    study, known = recorded("qpm", by_row({}, base=0.05))
    assert not study.unconverged("part-branch")
    known["qpm"] = [replace(record, alarms=["id_parts has learned nothing"]) for record in known["qpm"]]
    assert "which it is held to" in study.unconverged("part-branch")[0]


def test_effects_at_full_scale_that_turn_are_named(recorded):
    study, _ = recorded("bpbreid", by_row({"k8": 0.10, "bot": 0.20}), worlds=1, rows=("k8", "bot"))
    four = replace(of(study, "4"), preset="cpu", status=Status.HOLDS, endpoint=Interval(0.03, 0.005, 4.0, 5))
    told = pages.full_scale(pages.at_full_scale({"bpbreid": [four]}))
    assert "none keep their sign; turned are BPBreID C4 (+3.0 [" in told[0]
    assert "one world" in told[0]
    assert pages.at_full_scale({"bpbreid": [replace(four, status=Status.UNDECIDED)]}) == []
    assert pages.full_scale([]) == []


# -- the csv -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", PAPERS)
def test_every_contrast_names_cells_that_exist_and_no_row_from_noise(slug):
    paper = PAPERS[slug]
    found = contrasts(paper)
    assert found
    for contrast in found:
        for term in contrast.terms:
            row = paper.row(term.cell.run)
            assert not any((row.scratch, row.again))
    numbers = published.claims().query("paper == @slug")["claim"]
    assert numbers.tolist() == [str(n) for n in range(1, len(numbers) + 1)]


def test_every_printed_value_that_a_line_names_is_printed():
    named = published.contrasts().query("printed_plus != ''")
    assert len(named.query("role == ''")) == 11
    for line in named.itertuples():
        beside = line.role == "beside"
        found = [c for c in contrasts(PAPERS[line.paper]) if (c.claim, c.beside) == (line.claim, beside)]
        assert any(not np.isnan(contrast.printed) for contrast in found), line


UNSAID = {"bpbreid": {"13"}, "dpti": {"4"}, "qpm": {"4", "13"}}
"""Claims of which a printed number says the opposite, as their notes tell."""


@pytest.mark.parametrize(
    ("slug", "count"), [("bpbreid", 19), ("qpm", 16), ("pan", 12), ("dpti", 10), ("aap", 11)]
)
def test_the_paper_itself_passes_the_claims_it_prints(slug, count):
    """The printed average of every claim lies on its claimed side; single contrasts do, but for known ties."""
    lines = {line.claim: line for line in published.claims().query("paper == @slug").itertuples()}
    sums = {}
    for contrast in contrasts(PAPERS[slug]):
        if not contrast.beside:
            sums.setdefault(contrast.claim, []).append(contrast.printed)
    printed = {claim: np.mean(values) for claim, values in sums.items() if not np.isnan(np.mean(values))}
    assert len(printed) == count
    for claim, value in printed.items():
        margin = float(lines[claim].margin or 0) / 100
        match lines[claim].kind:
            case "equivalence":
                assert abs(value) < margin
            case "no-gain":
                assert value > -margin
            case "contrast" | "each" | "each-set" | "each-metric":
                assert value > 0
                if claim not in UNSAID.get(slug, ()):
                    assert min(sums[claim]) > -1e-9, claim


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plus": "table2/nobody"}, "contrasts.csv, bpbreid claim 4: bpbreid table2 has no row 'nobody'"),
        ({"role": "aside"}, "contrasts.csv, bpbreid claim 4: role 'aside' is unknown"),
        ({"claim": "99"}, "claims.csv: bpbreid claim 4 is contrast"),
    ],
)
def test_a_wrong_line_is_one_clear_error(monkeypatch, change, message):
    frame = published.contrasts().copy()
    row = frame.index[(frame["paper"] == "bpbreid") & (frame["claim"] == "4")]
    for column, value in change.items():
        frame.loc[row, column] = value
    monkeypatch.setattr(published, "contrasts", lambda: frame)
    with pytest.raises(ValueError, match=message):
        verdicts(Study(PAPERS["bpbreid"], "cpu"))


@pytest.mark.parametrize(
    ("claim", "change", "message"),
    [
        (
            "4",
            {"kind": "hunch"},
            "claim 4 has unknown kind 'hunch'; expected one of contrast, each, each-set, each-metric, equivalence",
        ),
        ("4", {"kind": "exact"}, "claim 4 is exact: it and contrasts.csv do not agree"),
        ("1", {"kind": "exact"}, "claim 1 is exact, but its wing computes no such claim"),
    ],
)
def test_a_wrong_kind_is_one_clear_error(monkeypatch, claim, change, message):
    frame = published.claims().copy()
    row = frame.index[(frame["paper"] == "bpbreid") & (frame["claim"] == claim)]
    for column, value in change.items():
        frame.loc[row, column] = value
    monkeypatch.setattr(published, "claims", lambda: frame)
    with pytest.raises(ValueError, match=message):
        verdicts(Study(PAPERS["bpbreid"], "cpu"))


NAMES = ("claims.csv", "contrasts.csv", "bpbreid.csv")
READERS = (published.claims, published.contrasts, partial(published.printed, "bpbreid"))
FIELDS = st.sampled_from(
    ["", " ", "bpbreid", "bpbried", "1", "-3", "nan", "1e999", "own", "rank1", '"', "a\nb", "\0"]
)


def reread(reader):
    """What a reader says of a file that has changed."""
    getattr(reader, "func", reader).cache_clear()
    try:
        return reader()
    finally:
        getattr(reader, "func", reader).cache_clear()


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A copy of the printed tables, to be edited."""
    shutil.copytree(places.PUBLISHED, tmp_path / "published")
    monkeypatch.setattr(places, "PUBLISHED", tmp_path / "published")
    return tmp_path / "published"


@pytest.mark.parametrize("name", ["claims", "contradictions", "bpbreid_gilt_grid"])
def test_a_table_that_no_paper_prints_is_no_paper(edited, name):
    path = edited / "claims.csv"
    path.write_text(path.read_text().replace("bpbreid,1,", f"{name},1,", 1))
    with pytest.raises(ValueError, match=f"paper is '{name}'; expected the name of a paper's file"):
        reread(published.claims)


@pytest.mark.parametrize(("name", "reader"), zip(NAMES, READERS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tables_of_anything_are_read_as_they_stand_or_refused_in_one_line(edited, name, reader, data):
    """No field moves, no line is lost, no number becomes none."""
    columns = {"claims.csv": published.CLAIMS, "contrasts.csv": published.CONTRASTS}.get(
        name, published.PRINTED
    )
    lines = data.draw(st.lists(st.lists(FIELDS, min_size=6, max_size=9), max_size=3))
    text = io.StringIO()
    csv.writer(text).writerows([columns, *lines])
    raw = data.draw(st.sampled_from([text.getvalue().encode(), text.getvalue().encode()[:-9]]) | st.binary())
    (edited / name).write_bytes(raw)
    try:
        found = reread(reader)
    except ValueError as error:
        assert name in str(error)  # noqa: PT017
        return
    texts = found.astype(str).drop(columns="value", errors="ignore")
    asked = [[f for c, f in zip(columns, line) if c in texts] for line in lines]
    if raw == text.getvalue().encode():
        assert texts.to_numpy().tolist() == asked


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("claims.csv", "bpbreid,4,", "bpbried,4,", "claims.csv, bpbried 4: paper is 'bpbried'; expected the name"),
        ("claims.csv", "bpbreid,4,", "bpbreid,3,", "claims.csv, bpbreid 3: claim is '3'; expected each number once"),
        ("claims.csv", ",lacks,", ",lack,", "claims.csv has columns paper,.*lack, note; expected paper,"),
        ("contrasts.csv", "bpbreid,4,rank1 mAP,", "bpbreid,4,,", "contrasts.csv, bpbreid 4: metric is ''"),
        ("contrasts.csv", "table2/bot,,,", "table2/bot,,,,", "contrasts.csv: 9 fields in line 'bpbreid,4,"),
        ("bpbreid.csv", ",own,", ",onw,", "bpbreid.csv, table1 .*: kind is 'onw'; expected own or cited"),
        ("bpbreid.csv", ",rank1,", ",rank1,o", "bpbreid.csv, table1 .*: value is 'o.*'; expected a number or nothing"),
    ],
)  # fmt: skip
def test_a_slip_in_a_table_is_one_clear_error(edited, name, old, new, words):
    text = (edited / name).read_text()
    assert old in text
    (edited / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        reread(READERS[NAMES.index(name)])


def test_a_contrast_reads_as_titles_of_rows():
    study = Study(PAPERS["qpm"], "cpu")
    first = reversed(contrasts(PAPERS["qpm"]))
    found = {(c.claim, c.metric): in_words(study, c) for c in first}
    fall = "fall of a hidden stripe's score behind"
    assert found["12", "drop"] == f"QPM ({fall} things) − QPM ({fall} people), synth-occluded"
    assert found["2", "mAP"] == "Baseline with triplet − Baseline: stripes, identity loss, synth-occluded"
    pan = Study(PAPERS["pan"], "cpu")
    text = next(in_words(pan, c) for c in contrasts(PAPERS["pan"]) if c.claim == "14")
    assert text.startswith("(PAN on synth-occluded + PCB baseline on synth-market) − (")


def test_differences_are_signed_sums_within_worlds(recorded):
    study, _ = recorded("pan", by_row({"pan": 0.04}, jitter=0.0))
    found = next(c for c in contrasts(PAPERS["pan"]) if c.claim == "1")
    pd.testing.assert_series_equal(
        differences(study, found), pd.Series(0.04, index=range(1, 6)), check_names=False
    )
