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


def test_lengths_of_training_are_compared_with_the_rows_of_each():
    study = Study(PAPERS["aap"], "cpu")
    found = lengths(study)
    assert [*found] == [450, 1800]
    for suffix, interval in zip(("-short", ""), found.values()):
        known = [
            {r.seed: r.value("synth-occluded", "default", "mAP") for r in study.records(f"{row}{suffix}")}
            for row in PAIRS["aap"]
        ]
        gaps = [known[0][world] - known[1][world] for world in known[0].keys() & known[1].keys()]
        assert interval.estimate == pytest.approx(np.mean(gaps))
