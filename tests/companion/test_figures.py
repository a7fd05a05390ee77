"""Captions: whole sentences that say what is shown, each picture's own, and how an example was picked."""

import json
import re

import pytest

from companion.papers import PAPERS
from companion.places import ROOT
from companion.report.figures import captions, measured_on, names
from companion.study import Study

BOOKS = [*PAPERS, "compare"]
PICKED = {
    "views.mended(": "mend",
    "views.rivals(": "furthest ahead",
    "views.failures(": "lowest average precision",
}
"""What picks an example, and the words that say so."""


def told(slug):
    """Source and captions of every cell with pictures."""
    cells = json.loads((ROOT / "notebooks" / f"{slug}.ipynb").read_text())["cells"]
    return [
        ("".join(c["source"]), names(c), found) for c, found in zip(cells, captions(slug, cells)) if names(c)
    ]


def text(source, *tags):
    kind = "code" if tags else "markdown"
    return {"cell_type": kind, "source": [source], "metadata": {"tags": [f"figure-{tag}" for tag in tags]}}


@pytest.mark.parametrize("slug", BOOKS)
def test_every_picture_has_a_caption_of_its_own_in_whole_sentences(slug):
    known = [caption for _, tags, found in told(slug) for caption in found]
    assert len(known) == len(set(known)) == sum(len(tags) for _, tags, _ in told(slug))
    for caption in known:
        head, *sentences = re.findall(r"\S.+?[.?](?= [A-Zm]|$)", caption)
        assert head.startswith(PAPERS[slug].title if slug in PAPERS else "Compare")
        assert sentences, caption  # a section's name alone does not say what is shown
        for sentence in sentences:
            assert len(sentence.split()) > 2, caption
            assert not re.search(r"\bD\d\b|[*`$]", sentence), caption


@pytest.mark.parametrize("slug", BOOKS)
def test_a_caption_says_how_its_example_was_picked(slug):
    for source, _, found in told(slug):
        for call, words in PICKED.items():
            assert call not in source or all(words in caption for caption in found), found


def test_a_gain_names_its_table_its_baseline_its_metric_and_its_set():
    for slug in PAPERS:
        for _, tags, found in told(slug):
            for tag, caption in zip(tags, found):
                if tag.startswith("8-gains"):
                    assert re.search(r"Table [\dV]+: gain over .* in mAP on \w+ queries", caption), caption
                    assert "less" in caption


def test_pictures_of_one_cell_are_told_by_the_list_above_it():
    cells = [text("## 1. Two\n\nBoth.\n\n- Shown is one.\n- Shown is another."), text("draw()", "1-a", "1-b")]
    assert captions("pan", cells)[1] == ["PAN, two. Both. Shown is one.", "PAN, two. Both. Shown is another."]
    assert (
        captions("pan", [text("## 1. Two\n\nBoth."), text("draw()", "1-a", "1-b")])[1]
        == ["PAN, two. Both."] * 2
    )


def test_a_title_counts_whether_it_is_an_argument_or_a_setting():
    for source in (
        'draw(title="Table 1: mAP")',
        'words = {"x": "K", "title": "Table 1: mAP"}\ndraw(**words)',
    ):
        assert captions("pan", [text("## 1. A\n\nIt is so."), text(source, "1-a")])[1] == [
            "PAN, a. Table 1: mAP. It is so."
        ]


def test_a_foot_names_the_preset():
    assert measured_on(Study(PAPERS["pan"], "cpu")) == "synthetic data, preset cpu"
    assert measured_on(Study(PAPERS["pan"], "real")) == "the same data, preset real"
