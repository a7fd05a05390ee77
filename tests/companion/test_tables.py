"""Every table of every paper as a notebook draws it, whole and column by column."""

import pytest

from companion.papers import PAPERS
from companion.report import paper_versus_ours
from companion.report.tables import data_label
from companion.study import Study


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


def test_several_papers_of_a_preset_have_one_label(monkeypatch):
    counts = {"k8": 5, "qpm": 2}
    monkeypatch.setattr(Study, "records", lambda self, name, **_: [None] * counts.get(name, 3))
    two = [Study(PAPERS[slug], "cpu") for slug in ("bpbreid", "qpm")]
    assert data_label(two[0]) == "synthetic data, preset cpu, 3 to 5 worlds"
    assert data_label(*two) == "synthetic data, preset cpu, 2 to 5 worlds"
    assert data_label(*two, Study(PAPERS["pan"], "gpu")).endswith(
        "5 worlds; synthetic data, preset gpu, 3 worlds"
    )
