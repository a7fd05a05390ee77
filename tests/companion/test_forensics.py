"""What printed numbers say of themselves: found in small tables made for it, and where the papers have it."""

import pandas as pd
import pytest

from companion import forensics, published
from companion.papers import PAPERS
from companion.report.figures import pictures
from companion.report.findings import ASKED

COLUMNS = ["table", "row", "variant", "dataset", "metric", "value", "kind", "note"]


def printed(monkeypatch, **papers):
    """Replace the published tables by lines of table, row, data set, metric, value and kind."""
    frames = {
        slug: pd.DataFrame([(t, r, r.upper(), d, m, v, k, "") for t, r, d, m, v, k in lines], columns=COLUMNS)
        for slug, lines in papers.items()
    }
    monkeypatch.setattr(published, "printed", frames.__getitem__)
    return [PAPERS[slug] for slug in papers]


def test_a_hit_within_five_is_one_within_ten(monkeypatch):
    ranks = [("table2", "a", "set", f"rank{k}", v, "own") for k, v in ((10, 0.7), (1, 0.5), (5, 0.8))]
    fine = [("table2", "b", "set", f"rank{k}", v, "cited") for k, v in ((1, 0.5), (5, 0.5), (10, 0.6))]
    found = forensics.impossible(printed(monkeypatch, qpm=ranks + fine))
    assert found.values.tolist() == [["QPM", "Table II: A, set", "rank-1 50.0, rank-5 80.0, rank-10 70.0"]]


def test_a_method_is_cited_in_two_ways_only_by_papers_that_cite_it(monkeypatch):
    one = [("table1", "a", "set", "mAP", 0.5, "cited"), ("table1", "b", "set", "mAP", 0.5, "cited")]
    other = [("table1", "a", "set", "mAP", 0.6, "cited"), ("table1", "b", "set", "mAP", 0.9, "own")]
    third = [("table3", "b", "set", "mAP", 0.5, "cited")]
    found, shared = forensics.cited_differently(printed(monkeypatch, qpm=one, pan=other, dpti=third))
    assert found.values.tolist() == [["QPM, PAN", "A, set, mAP", "50.0 (QPM), 60.0 (PAN)"]]
    assert shared == 2


def test_one_model_is_printed_twice_where_cells_share_a_training(monkeypatch):
    lines = [
        ("table1", "pan-resnet50", "market1501", "mAP", 0.876, "own"),
        ("table4", "no-softmax", "market1501", "mAP", 0.877, "own"),
        ("table2", "pan-resnet50", "market1501", "mAP", 0.876, "own"),
    ]
    found = forensics.printed_twice(printed(monkeypatch, pan=lines))
    assert found.values.tolist() == [["PAN", "PAN, market1501, mAP", "87.6 (Table 1), 87.7 (Table 4)"]]


def test_the_papers_have_what_the_specifications_found():
    papers = [*PAPERS.values()]
    assert {
        (r.paper, r.where.split(":")[1].split(",")[0].strip())
        for r in forensics.impossible(papers).itertuples()
    } == {
        ("QPM", "Teacher-S (cited)"),
        ("DPTI", "OSNet"),
    }
    assert set(forensics.printed_twice(papers)["paper"]) == {"PAN", "DPTI", "AaP-ReID"}
    against = {(slug, c.claim) for slug, paper in PAPERS.items() for c in forensics.unsupported(paper)}
    assert against == {("bpbreid", "13"), ("qpm", "9"), ("qpm", "13"), ("dpti", "4")}


@pytest.mark.parametrize(
    ("exact", "printed", "digits", "rule"),
    [
        (25.345983, 25.34, 2, "truncated"),
        (27.749774, 27.75, 2, "rounded"),
        (40.083278, 46.9, 1, "another"),
        (25.31, 25.31, 2, "truncated"),
    ],
)
def test_how_a_count_becomes_a_printed_number(exact, printed, digits, rule):
    assert forensics._rule(exact, printed=printed, digits=digits) == rule


def test_printed_sizes_are_the_specifications_counts():
    pan = forensics.sizes(PAPERS["pan"]).set_index(["row", "metric", "reading"])
    assert pan.loc[("pan-resnet50", "params_m", "a layer per mask"), "rule"] == "truncated"
    assert pan.loc[("pan-resnet50", "params_m", "as the text says"), "rule"] == "another"
    assert (forensics.sizes(PAPERS["qpm"])["exact"] == [38_733_138, 29_291_346]).all()
    assert forensics.sizes(PAPERS["aap"])["rule"].value_counts().to_dict() == {"truncated": 27, "rounded": 2}
    assert forensics.sizes(PAPERS["dpti"]).empty


def test_contradictions_name_a_paper_a_place_and_what_is_done():
    known = published.contradictions()
    assert set(known["paper"]) == set(PAPERS)
    assert (known != "").all(axis=None)
    assert not known.duplicated(["paper", "place"]).any()


def test_every_answer_has_a_picture_that_exists():
    for _, picture, _ in ASKED.values():
        assert f"figures/{picture}" in pictures(picture.split("/")[0])
