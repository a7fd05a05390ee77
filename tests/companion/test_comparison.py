"""The comparison of all models, on the committed records."""

import itertools

import numpy as np
import pandas as pd
import pytest

from companion.comparison import ENTRANTS, GALLERY, Comparison
from companion.paper import Paper
from companion.papers import paper
from companion.report import comparing


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison("cpu")


def test_all_models_are_compared_in_the_same_worlds_by_one_recipe(comparison):
    worlds = {tuple(found) for found in comparison.records.values()}
    assert worlds == {tuple(comparison.worlds)}
    assert len(comparison.worlds) >= 2
    assert len({run.train for run in comparison.runs.values()}) == 1
    assert len({run.model_config.backbone for run in comparison.runs.values()}) == 1
    for world in comparison.worlds:
        contents = {found[world].provenance["data"]["content"] for found in comparison.records.values()}
        assert len(contents) == 1


def test_differences_are_paired_and_change_sign_with_their_order(comparison):
    found = comparison.differences(comparison.occluded)
    assert len(found) == len(ENTRANTS) * (len(ENTRANTS) - 1)
    one, other = found["BPBreID", "PCB"], found["PCB", "BPBreID"]
    assert one.estimate == -other.estimate
    assert one.half == other.half
    values = [
        [record.value(comparison.occluded, "default", "mAP") for record in comparison.records[title].values()]
        for title in ("BPBreID", "PCB")
    ]
    assert one.estimate == pytest.approx(np.subtract(*values).mean())


def test_pairs_are_told_apart_by_holm_over_all_of_them(comparison):
    found, apart = (f(comparison.occluded) for f in (comparison.differences, comparison.apart))
    assert apart.keys() == found.keys()
    assert all(told == apart[b, a] for (a, b), told in apart.items())
    alone = {pair for pair, interval in found.items() if interval.excludes(0.0)}
    assert {pair for pair, told in apart.items() if told} <= alone
    pairs = [pair for pair in found if pair in itertools.combinations(ENTRANTS, 2)]
    smallest = sorted(pairs, key=lambda pair: found[pair].p)
    assert apart[smallest[0]] == (found[smallest[0]].p * len(pairs) < 0.05)


def test_the_matrix_of_pairs_and_what_to_pick_go_by_the_same_correction(comparison, monkeypatch):
    monkeypatch.setattr(
        Comparison, "apart", lambda self, *_: dict.fromkeys(self.differences("synth-market"), False)
    )
    figure = comparing.every_pair(comparison, comparison.occluded)
    assert {text.get_fontweight() for text in figure.axes[0].texts} == {"normal"}
    said = " ".join(text.get_text() for text in (figure._suptitle, figure._supxlabel))
    for words in (
        comparison.occluded,
        "preset cpu",
        "Holm",
        "AlignedReID++ and AaP-ReID are trained for 25 %",
    ):
        assert words in said
    assert [("world 1 alone" in axes.get_title("left")) for axes in figure.axes] == [False, True, True]
    cost = pd.DataFrame({"model": list(ENTRANTS), "bytes": 1, "milliseconds": 1.0})
    assert "by more than chance" not in comparing.pick(comparison, cost)


def test_models_trained_shorter_than_in_their_notebook_are_named(comparison):
    assert comparison.shortened == {"AlignedReID++": 0.25, "AaP-ReID": 0.25}
    assert "AlignedReID++ and AaP-ReID" in comparing.order(comparison, comparison.occluded).caption
    assert "AlignedReID++ and AaP-ReID" in comparing.foot(comparison)


def test_measures_against_the_truth_say_who_is_trained_shorter_and_where_chance_has_no_value(comparison):
    table = comparing.truths(comparison)
    short = table.data["model"].str.endswith("25 % of the steps")
    assert set(table.data["model"][short].str.partition(",")[0]) == set(comparison.shortened)
    assert (table.data["by chance"][short] != "–").all()
    assert "no one value (–)" in table.caption


def test_the_order_descends_and_leads_add_up(comparison):
    order = comparison.order(comparison.occluded)
    assert order["mean"].is_monotonic_decreasing
    assert order["ahead"][:-1].sum() == pytest.approx(order["mean"].iloc[0] - order["mean"].iloc[-1])


def test_hits_agree_with_the_records_and_queries_are_counted_once(comparison):
    hits = comparison.hits(comparison.occluded)
    for row, title in zip(hits, ENTRANTS):
        known = comparison.records[title][1].value(comparison.occluded, "default", "rank1")
        assert row.mean() == pytest.approx(known, abs=1e-5)
    frame = comparison.alone(comparison.occluded)
    exactly_one = (hits.sum(0) == 1).sum()
    assert frame["right alone"].sum() == exactly_one
    phi, gain = comparison.agreement(comparison.occluded)
    assert np.allclose(np.diag(phi), 1)
    assert (gain >= 0).all()


def test_costs_are_those_of_the_distance(comparison, monkeypatch):
    monkeypatch.setattr("companion.comparison.GALLERY", 50)
    cost = comparison.cost().set_index("model")
    width = comparison.runs["BoT"].model_config.width
    assert cost["bytes"]["BoT"] == 4 * 128 * width  # one vector of the last stage's channels
    assert (cost["milliseconds"] > 0).all()
    assert cost["operations"]["AaP-ReID"] > cost["operations"]["AlignedReID++"]  # which keeps its last stride
    best = comparison.best_buys(cost.reset_index(), comparison.occluded)
    assert best["accuracy"].iloc[-1] == comparison.order(comparison.occluded)["mean"].max()


def test_lengths_of_training_are_compared_in_the_worlds_that_have_all(comparison):
    frame = comparison.by_length()
    assert set(frame["series"]) == {"450 steps", "1,800 steps"}
    assert "PCB" not in set(frame["row"])
    assert frame["worlds"].nunique() == 1
    study = comparison.studies["aap"]
    known = [r.value(comparison.occluded, "default", "mAP") for r in study.records("aap")]
    long = frame[frame["series"] == "1,800 steps"].set_index(["panel", "row"])["mean"]
    found = long[comparison.occluded, "AaP-ReID"]
    assert found == pytest.approx(np.mean(known[: frame["worlds"].max()]))


def test_a_preset_that_cannot_be_compared_says_why():
    with pytest.raises(ValueError, match="recipes and data sets of their own"):
        comparing.open_comparison(preset="real", seeds=None)


def test_a_model_without_record_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("companion.places.RESULTS", tmp_path)
    with pytest.raises(ValueError, match="BoT, PCB.* has no record.*--only bot"):
        comparing.open_comparison(preset="cpu", seeds=None)


def test_entrants_are_rows_of_their_papers():
    assert GALLERY == 19732 - 3819
    for slug, row in ENTRANTS.values():
        found: Paper = paper(slug)
        assert not found.row(row).scratch
