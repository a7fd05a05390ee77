"""Every table of every paper as a notebook draws it, whole and column by column."""

import numpy as np
import pytest

from companion.papers import PAPERS
from companion.papers.pan import fusion_table
from companion.report import paper_versus_ours
from companion.report.tables import BEST, CITED, DIM, _briefly, data_label, following, footnotes, looks, wide
from companion.study import Study, Value
from companion.views import MaskTruth


@pytest.mark.parametrize("slug", PAPERS)
def test_every_table_is_drawn(slug):
    study = Study(PAPERS[slug], "cpu")
    for table in dict.fromkeys(cell.table for cell in study.paper.cells):
        columns = dict.fromkeys(cell.dataset for cell in study.paper.cells if cell.table == table)
        for dataset in (None, *columns):
            page = paper_versus_ours(study, table, dataset=dataset).to_html()
            assert page.count("<tr>") > 1
            assert study.paper.title in page


def test_a_column_that_a_table_lacks_is_named():
    with pytest.raises(ValueError, match="pan table1 has no column 'cuhk03'"):
        paper_versus_ours(Study(PAPERS["pan"], "cpu"), "table1", dataset="cuhk03")


def table(slug, name, *, baseline=None):
    return paper_versus_ours(Study(PAPERS[slug], "cpu"), name, baseline=baseline)


def test_a_table_of_ours_has_no_printed_columns_and_names_our_set_alone():
    page = table("pan", "partial", baseline="pcb-baseline")
    assert not any(name.endswith("printed") for name in page.data)
    assert "synth-partial. Ours (" in page.caption
    assert "partial-reid" not in page.caption


def test_a_caption_counts_the_worlds_of_its_own_rows():
    page = table("bpbreid", "table2")
    assert f", {page.data['worlds'].iloc[0]} worlds;" in page.caption
    assert "fewer worlds" not in page.caption


def test_a_row_of_which_the_preset_lacks_something_is_marked_and_never_bold():
    study = Study(PAPERS["bpbreid"], "cpu")
    marked = wide(study, "table1")
    lacks = marked["row"].str.endswith("‡")
    assert set(marked["row"][lacks]) == {"BPBreID, ResNet-50-IBN ‡", "BPBreID, HRNet-W32 ‡"}
    assert (looks(marked)[lacks].filter(regex="ours$") == DIM).all(axis=None)
    assert any("‡ the preset lacks the printed backbones" in note for note in footnotes(study, "table1"))
    assert not wide(Study(PAPERS["bpbreid"], "gpu"), "table1")["row"].str.contains("‡").any()


def test_the_best_printed_number_is_bold_though_its_row_is_cited():
    frame = wide(Study(PAPERS["bpbreid"], "cpu"), "table1")
    css = looks(frame)
    column = frame[frame["printed on"] == "occluded-reid"]
    best = column["rank1 printed"].str.extract(r"([\d.]+)")[0].astype(float).idxmax()
    assert frame["in the paper"][best] == CITED
    assert css["rank1 printed"][best] == BEST
    assert css["row"][best] == DIM


def test_tables_are_called_as_their_paper_calls_them_and_metrics_as_people_do():
    page = table("qpm", "table5", baseline="baseline")
    assert page.caption.startswith("QPM, Table V, percent")
    assert {"rank-1 printed", "mAP ours"} <= set(page.data)
    assert table("pan", "length").caption.startswith("PAN, Length of training, percent")
    assert table("pan", "table1").caption.startswith("PAN, Table 1, percent")


def test_what_a_map_weighs_is_told_as_it_is_drawn():
    found = MaskTruth(
        ("a", "b"), ("head", "legs"), np.array([[1.5, 0.9], [1.0, 1.0]]), np.eye(2), fusion=np.ones(2)
    )
    assert following(found, less=1).data["highest on"].tolist() == ["head (+0.50)", "head (0.00)"]
    assert fusion_table(found).data.to_numpy().tolist() == [["mean magnitude", "1.00", "1.00"]]


def test_only_some_rows_are_drawn_where_asked():
    study = Study(PAPERS["bpbreid"], "cpu")
    rows = wide(study, "table4", baseline="gilt@pcb", rows=("gilt@pcb", "idx1@pcb"))["row"]
    assert rows.tolist() == ["PCB architecture, GiLt losses", "PCB architecture, losses of row 1"]


def test_a_footnote_on_one_number_names_it_and_one_alarm_in_many_worlds_is_told_once():
    assert "SGAM (mAP on market1501): doubt" in " ".join(footnotes(Study(PAPERS["bpbreid"], "cpu"), "table1"))
    alarms = [f"id began at 2.5{world} (world {world})" for world in (1, 3, 4)]
    assert _briefly([*alarms, "behind"]) == "id began at 2.51 (world 1), and so in 2 other worlds; behind"


def test_two_worlds_give_a_level_no_interval():
    assert np.isnan(Value.of([0.4, 0.5]).half)
    assert Value.of([0.4, 0.5, 0.6]).half > 0


def test_several_papers_of_a_preset_have_one_label(monkeypatch):
    counts = {"k8": 5, "qpm": 2}
    monkeypatch.setattr(Study, "records", lambda self, name, **_: [None] * counts.get(name, 3))
    two = [Study(PAPERS[slug], "cpu") for slug in ("bpbreid", "qpm")]
    assert data_label(two[0]) == "synthetic data, preset cpu, 3 to 5 worlds"
    assert data_label(*two) == "synthetic data, preset cpu, 2 to 5 worlds"
    assert data_label(*two, Study(PAPERS["pan"], "gpu")).endswith(
        "5 worlds; synthetic data, preset gpu, 3 worlds"
    )
