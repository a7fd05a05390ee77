"""What notebooks call: a model is tried, and an interrupt, a value that cannot work and a known one are told."""

from dataclasses import replace

import pytest

from companion import runner
from companion.papers import PAPERS
from companion.report import try_it
from reidlib import training

RUN = PAPERS["bpbreid"].run("k8", preset_name="smoke")
BRIEF = replace(RUN, train=replace(RUN.train, iterations=6), scorings=("default", "no-visibility"))

pytestmark = pytest.mark.usefixtures("scratch")


def test_a_value_that_cannot_work_is_told_in_a_line(capsys):
    assert try_it(BRIEF, parts=9) is None
    assert try_it(BRIEF, part=8) is None
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("parts = 9 cannot work: ")
    assert second.startswith("part = 8 cannot work: ")


def test_an_interrupt_tells_what_is_kept_and_the_same_cell_goes_on(monkeypatch, capsys):
    save = training._Job.save

    def stopped(job, path):
        save(job, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Job, "save", stopped)
    assert try_it(BRIEF, parts=2) is None
    assert "stopped; 3 of 6 steps are kept" in capsys.readouterr().out
    monkeypatch.setattr(training._Job, "save", save)
    shown = try_it(BRIEF, parts=2).data
    assert shown["test set"].tolist() == [t for t in BRIEF.data.test_sets for _ in range(2)]
    assert (shown["mAP less the shown row's"] == "–").all()  # which has no record here


def test_a_row_is_tried_beside_itself(capsys):
    runner.train(BRIEF, progress=False)
    shown = try_it(BRIEF, parts=8).data
    assert "parts = 8: recorded" in capsys.readouterr().out
    assert set(shown["mAP less the shown row's"]) == {"+0.0"}
