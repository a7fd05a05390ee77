"""What notebooks call: a model is tried, and an interrupt, a value that cannot work and a known one are told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from companion import records, report, runner
from companion.inputs import Inputs
from companion.papers import PAPERS
from companion.report import try_it
from companion.study import Study, Value
from companion.trained import Origin, Trained
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


def test_an_interrupt_of_a_recipe_of_epochs_names_no_total(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "live", stopped)
    assert try_it(PAPERS["bpbreid"].run("k8", preset_name="real"), parts=2) is None
    assert "stopped; 0 steps are kept: " in capsys.readouterr().out


def test_a_row_is_tried_beside_itself(capsys):
    runner.train(BRIEF, progress=False)
    shown = try_it(BRIEF, parts=8).data
    assert "parts = 8: recorded" in capsys.readouterr().out
    assert set(shown["mAP less the shown row's"]) == {"0.0"}


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (1.9, "agrees with its record within two standard deviations of 3 worlds"),
        (2.1, "differs from its record by more than two standard deviations of worlds, on synth-market"),
    ],
)
def test_a_live_model_is_judged_by_the_spread_of_worlds(monkeypatch, apart, words):
    std = 0.01
    run = PAPERS["pan"].run("pan", preset_name="smoke")
    record = SimpleNamespace(
        metrics={name: {"default": {"rank1": 0.9, "mAP": 0.8}} for name in run.data.test_sets}
    )
    monkeypatch.setattr(records, "find", lambda _: record)
    monkeypatch.setattr(Study, "scored", lambda *_, **__: Value(0.9, std, 3))

    def score(self, scoring, test_set):
        off = apart * std * (test_set == "synth-market")
        return SimpleNamespace(summary=lambda: {"rank1": 0.9 - off, "mAP": 0.8})

    monkeypatch.setattr(Trained, "score", score)
    trained = Trained(Inputs(run, {}), torch.nn.Identity(), Origin(training.History(), [], "", {}))
    study = Study(PAPERS["pan"], "smoke")
    assert report.agreement(study, trained) == f"the live model {words}"
    monkeypatch.setattr(Study, "scored", lambda *_, **__: Value(0.9, np.nan, 1))
    assert report.agreement(study, trained) == "one world: how much worlds differ is not known yet"
