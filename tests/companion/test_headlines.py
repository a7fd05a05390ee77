"""Sentences that only known truth allows: computed from records, silent where there are too few."""

import re

import numpy as np
import pytest

from companion.headlines import PAIRS, headlines, lengths
from companion.papers import PAPERS
from companion.study import Study


def test_sentences_tell_the_paired_differences_of_the_records():
    studies = {slug: Study(paper, "cpu") for slug, paper in PAPERS.items()}
    first = headlines(studies)["visibility"]
    known = [
        {r.seed: r.value("synth-occluded", scoring, "mAP") for r in studies["bpbreid"].records("k8")}
        for scoring in ("truth", "no-visibility")
    ]
    mean = 100 * np.mean([known[0][world] - known[1][world] for world in known[0]])
    assert float(re.search(r"gain ([+-][\d.]+)", first)[1]) == round(mean, 1)


def test_one_world_says_nothing():
    assert headlines({slug: Study(paper, "cpu", 1) for slug, paper in PAPERS.items()}) == {}


def test_lengths_of_training_are_compared_in_the_worlds_that_both_have():
    study = Study(PAPERS["aap"], "cpu")
    found = lengths(study)
    assert found.steps == (450, 1800)
    values = {
        slug: {r.seed: r.value("synth-occluded", "default", "mAP") for r in study.records(slug)}
        for row in PAIRS["aap"]
        for slug in (row, f"{row}-short")
    }
    worlds = set.intersection(*map(set, values.values()))
    main, other = PAIRS["aap"]
    gaps = [
        np.mean([values[main + suffix][w] - values[other + suffix][w] for w in worlds])
        for suffix in ("-short", "")
    ]
    assert [gap.estimate for gap in found.gaps] == pytest.approx(gaps)
    assert found.change.estimate == pytest.approx(gaps[1] - gaps[0])
    assert {gap.worlds for gap in found.gaps} == {found.change.worlds} == {len(worlds)}
