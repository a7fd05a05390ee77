"""What figures are drawn from: values of several worlds, paired; groups of queries; rows without records."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from companion import records, views
from companion.formats import number, p_value, percent
from companion.inputs import Inputs
from companion.papers import PAPERS, aap, bpbreid, dpti
from companion.published import printed
from companion.records import RunRecord
from companion.report import sentences
from companion.report.notebook import recipe
from companion.report.tables import CITED, footnotes, wide
from companion.study import Study, Value
from companion.trained import Origin, Trained
from reidlib.training import History


def write(slug, row, seed, rank1, *, alarms=(), slices=None, measures=None):
    """A record with the same accuracy everywhere."""
    run = PAPERS[slug].run(row, preset_name="cpu", seed=seed)
    values = {name: rank1 for name in ("rank1", "rank3", "rank5", "rank10", "mAP", "mINP")}
    metrics = {name: dict.fromkeys(run.scorings, values) for name in run.data.test_sets}
    occluded = run.data.occluded
    record = RunRecord(
        config=run.identity(), hash=run.hash, name=run.name, paper=slug, preset="cpu", seed=seed, provenance={},
        history={"id": [1.0] * (100 if seed == 1 else 20), "lr": [0.1] * 20}, alarms=list(alarms),
        metrics=metrics, measures={occluded: measures or {}}, slices={occluded: slices or {}}, behaviour=[],
        test_scorings=0, parameters=1,
    )  # fmt: skip
    records.write(record, records.path(run))


def study(slug):
    return Study(PAPERS[slug], "cpu")


def test_a_gain_is_paired_within_worlds(scratch):
    for seed, base in ((1, 0.3), (2, 0.5), (3, 0.4)):
        write("bpbreid", "bot", seed, base)
        write("bpbreid", "k8", seed, base + 0.1)
    found = views.gains(study("bpbreid"), "table2", baseline="bot", metric="mAP")
    row = found["rows"].index("BPBreID")
    assert found["ours"][row] == pytest.approx(0.1)
    assert found["half"][row] == pytest.approx(0, abs=1e-12)  # though worlds differ by twenty points
    assert found["worlds"][row] == 3
    assert found["printed"][row] == pytest.approx(0.541 - 0.447)


def test_rows_that_do_not_count_say_why(scratch):
    write("bpbreid", "bot", 1, 0.3)
    write("bpbreid", "fixed-attention", 1, 0.3, alarms=["stuck"])
    found = views.gains(study("bpbreid"), "table2", baseline="bot", metric="mAP")
    states = dict(zip(found["rows"], found["states"]))
    assert states["BPBreID"] == "not recorded"
    assert states["BPBreID, fixed attention"] == "not comparable"


def test_a_sweep_has_its_zero_at_the_chosen_setting(scratch):
    for seed, base in ((1, 0.3), (2, 0.5)):
        write("bpbreid", "k8", seed, base)
        write("bpbreid", "k2", seed, base - 0.05)
    found = views.sweep(study("bpbreid"), "table5", ["k2", "k4", "k8"], baseline="k8", metric="mAP")
    np.testing.assert_allclose(found["ours"], [-0.05, np.nan, 0])
    np.testing.assert_allclose(found["lines"], [[-0.05, np.nan, 0]] * 2)
    assert found["printed"][2] == 0


def test_groups_of_queries_are_means_over_worlds(scratch):
    for seed, hits in ((1, 0.2), (2, 0.3), (3, 0.4)):
        groups = {"car": hits, "<40 %": 0.1}
        slices = {group: {"queries": 10 * seed, "default/rank1": value} for group, value in groups.items()}
        write("bpbreid", "bot", seed, 0.3, slices=slices)
    legend = {"BoT": ("bot", "default"), "BPBreID": ("k8", "default")}
    car = views.by_occlusion(study("bpbreid"), legend, by="occluder")
    assert car[["model", "group", "queries", "worlds"]].to_numpy().tolist() == [
        ["BoT", "car", 20, 3],
        ["BPBreID (not recorded)", "car", 0, 0],
    ]
    assert car["rank1"].iloc[0] == pytest.approx(0.3)
    expected = 4.303 * 0.1 / 3**0.5  # Student's t with two degrees of freedom
    assert car["half"].iloc[0] == pytest.approx(expected, rel=1e-3)
    shares = views.by_occlusion(study("bpbreid"), legend, by="visible_share")
    assert shares["group"].tolist() == ["<40 %"] * 2
    assert views.by_occlusion(study("pan"), {"PAN": ("pan", "default")}, by="occluder").empty


def test_one_world_has_no_interval():
    assert np.isnan(Value.of([0.5, np.nan]).half)
    assert Value.of([]).seeds == 0
    assert percent(0.5, half=Value.of([0.5]).half) == "50.0"
    assert number(0.5, half=0.1) == "0.50\u00a0±\u00a00.10"


def test_no_zero_has_a_sign_and_no_p_value_reads_as_zero():
    assert [percent(value, signed=True) for value in (-0.0004, 0.0004, -0.0006)] == ["0.0", "0.0", "-0.1"]
    assert number(-0.001) == "0.00"
    assert [p_value(p) for p in (0.0002, 0.05, np.nan)] == ["<0.001", "0.050", "–"]


@pytest.mark.parametrize("slug", PAPERS)
def test_every_cited_row_stands_in_a_table_and_names_are_words(slug, scratch):
    cited = printed(slug).query("kind == @CITED and metric in ('rank1', 'mAP')", local_dict={"CITED": CITED})
    for table in dict.fromkeys(cell.table for cell in PAPERS[slug].cells):
        frame = wide(study(slug), table)
        own = frame[frame["in the paper"] != CITED] if "in the paper" in frame else frame
        assert not own.duplicated(["row", "printed on"]).any(), table
        there = set(zip(frame["printed on"], frame["row"]))
        for line in cited[cited["table"] == table].itertuples():
            titles = {
                views.title(study(slug), c)
                for c in PAPERS[slug].cells
                if (c.table, c.row) == (table, line.row)
            }
            assert {(line.dataset, name) for name in titles or {line.variant}} & there, line
    assert {*cited["table"]} <= {cell.table for cell in PAPERS[slug].cells}


def test_a_table_marks_what_cannot_be_compared_and_its_notes_say_why(scratch):
    write("bpbreid", "k8", 1, 0.9)
    write("bpbreid", "k2", 1, 0.9, alarms=["triplet stuck"])
    rows = wide(study("bpbreid"), "table5")["row"].tolist()
    assert "BPBreID, 2 parts †" in rows
    assert any("BPBreID, 2 parts: † triplet stuck" in note for note in footnotes(study("bpbreid"), "table5"))


def test_what_the_start_changes_is_said_from_both_starts(scratch):
    assert "nothing can be said" in sentences.start_answer(views.starts(study("pan")))
    for row, rank1 in (
        ("pan", 0.5),
        ("pan-scratch", 0.2),
        ("pcb-baseline", 0.45),
        ("pcb-baseline-scratch", 0.3),
    ):
        write("pan", row, 1, rank1)
    said = sentences.start_answer(views.starts(study("pan")))
    assert "adds 15.0 to 30.0 points, and leaves the rows in another order" in said


def test_spread_is_told_apart_by_convergence(scratch):
    assert views.convergence(study("pan")).empty
    for seed, step in ((1, 0), (2, 0.01)):
        write("pan", "pan", seed, 0.96 + step)
        write("pan", "softmax", seed, 0.8 + 5 * step)
    said = sentences.spread_answer(views.convergence(study("pan")))
    assert "0.7 points in the 1 rows of 94% or more, 3.5 points in the 1 rows below that" in said


def test_recipes_print_whole_fields():
    text = recipe(PAPERS["bpbreid"].run("k8", preset_name="cpu")).to_html()
    assert "pretrained on other generated people" in text
    assert "..." not in text
    assert "share of images flipped" in text
    assert "augment.flip" not in text


def shown_model(row="k8"):
    """A model in hand, whose features and scores a test gives."""
    run = PAPERS["bpbreid"].run(row, preset_name="cpu")
    return Trained(Inputs(run, {}), torch.nn.Identity(), Origin(History(), [], "", {}))


def test_rivals_show_a_query_for_each_side(monkeypatch):
    ranks = {"k8": np.array([1, 9, 2]), "bot": np.array([30, 1, 2])}
    monkeypatch.setattr(Trained, "score", lambda self, *_: SimpleNamespace(rank=ranks[self.run.name]))
    asked = []

    def ranked(model, test_set, query, *, scorings, top):
        asked.append((model.run.name, query))
        blank = np.zeros((1, top, 4, 2, 3), np.uint8)
        return views.RankedView(blank[0, 0], blank, np.zeros((1, top), bool), np.zeros((1, top)), ("",))

    monkeypatch.setattr(views, "ranked", ranked)
    shown = views.rivals({"A": shown_model(), "B": shown_model("bot")}, "occluded")
    assert asked == [("k8", 0), ("bot", 0), ("k8", 1), ("bot", 1)]
    assert [view.titles for view in shown] == [("A", "B")] * 2
    assert shown[0].gallery.shape[0] == 2


def test_single_parts_are_those_that_the_query_shows(monkeypatch):
    seen = SimpleNamespace(visibility={"argmax": torch.tensor([[1, 0, 0, 1, 1, 1, 0, 0]])})
    monkeypatch.setattr(Trained, "features", lambda *_: (seen, None))
    assert list(bpbreid.visible_parts(shown_model(), "occluded", 0)) == ["part-1", "part-4", "part-5"]


def test_loss_curves_of_short_and_long_histories_share_their_stretches(scratch):
    for seed in (1, 2, 3):
        write("aap", "aap", seed, 0.5)
    curve = aap.loss_curves(study("aap"), {"AaP": "aap", "BaND": "band"})
    assert list(curve) == ["AaP"]
    np.testing.assert_allclose(curve["AaP"]["mean"], np.ones(20))
    np.testing.assert_allclose(curve["AaP"]["half"], np.zeros(20))


def test_what_templates_follow_is_said_from_the_records(scratch):
    assert "nothing can be said" in dpti.templates_answer(study("dpti"))
    weights = np.full((8, 7), 1.0)
    weights[0, 1] = weights[1, 3] = 2.0  # two templates single out a part of the body each
    for seed, cosine in ((1, 0.2), (2, 0.4)):
        maps = {"cosine": cosine, "entropy": 0.9, "mask_regions": weights.tolist()}
        write("dpti", "gd", seed, 0.5, measures={"templates": maps})
        write("dpti", "g", seed, 0.45)
    said = dpti.templates_answer(study("dpti"))
    assert "cosine of 0.30 (one" in said
    assert "**After 450 steps**, in 2 worlds: two maps" in said
    assert "some template singles out 2 of 5 body parts" in said
    assert "G: global only -5.0\u00a0±\u00a00.0" in said
    assert "1,800" not in said
    write("dpti", "gd-long", 1, 0.5, measures={"templates": maps | {"cosine": 0.1}})
    assert (
        "**After 1,800 steps**, in one world: two maps of dynamic templates have a mean cosine of 0.10"
        in (dpti.templates_answer(study("dpti")))
    )
    followed = dpti.followed_regions(study("dpti"), ("gd", "gt"))
    np.testing.assert_allclose(followed["G+D: dynamic templates (2 worlds)"], [0, 1, 0, 1, 0, 0, 0])
    assert np.isnan(followed["G+T: static templates (0 worlds)"]).all()


def test_measures_are_compared_within_worlds_and_named_in_words(scratch):
    for seed, share in ((1, 0.2), (2, 0.6)):
        write("aap", "aap", seed, 0.5, measures={"identity-person": share})
        write("aap", "band", seed, 0.5, measures={"identity-person": share - 0.1})
    words = {"identity-person": "Grad-CAM on the person"}
    table = sentences.contrast(study("aap"), "occluded", "aap-reid", minus="band", metrics=words).data
    assert table.to_numpy().tolist() == [["Grad-CAM on the person", "+10.0\u00a0±\u00a00.0", 2]]
