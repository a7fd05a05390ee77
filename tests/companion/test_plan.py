"""What is missing, what it costs, and that a notebook computes it."""

from dataclasses import replace

import pytest
import torch

from companion import plan, records, report, runner
from companion.papers import PAPERS
from companion.plan import Plan
from companion.study import Study

ROWS = ("bot", "k8")


@pytest.fixture
def short(monkeypatch):
    """BPBreID with two rows and one training step."""
    known = Study.run

    def run(self, name, **options):
        found = known(self, name, **options)
        return replace(found, train=replace(found.train, iterations=1))

    monkeypatch.setattr(Study, "run", run)
    monkeypatch.setattr(Study, "trainings", lambda self, dataset=None: [*ROWS])
    return Study(PAPERS["bpbreid"], "smoke")


def recorded(study: Study) -> list[str]:
    return [name for name in ROWS if records.find(study.run(name))]


def test_the_shown_row_is_computed_in_any_case_and_no_other(scratch, short, capsys):
    report.compute(short, "auto")
    assert recorded(short) == ["k8"]
    assert "0 records are there, 2 are missing: about " in capsys.readouterr().out


def test_missing_rows_are_computed_once(scratch, short, capsys):
    report.compute(short, "missing")
    assert recorded(short) == [*ROWS]
    report.compute(short, "missing")
    assert capsys.readouterr().out.endswith("smoke, 1 world: all 2 records are there\n")


def test_all_computes_again_what_is_there(scratch, short, monkeypatch):
    report.compute(short, "missing")
    before = records.find(short.run("bot")).provenance["started"]
    monkeypatch.setattr(runner, "commit", lambda: "later")
    report.compute(short, "all")
    found = records.find(short.run("bot")).provenance
    assert found["commit"] == "later"
    assert found["started"] >= before


def test_a_gpu_study_without_a_gpu_says_what_it_would_cost_and_asks(scratch, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan._seconds.cache_clear()
    with pytest.raises(ValueError, match="PRESET gpu without a GPU: set COMPUTE to missing"):
        report.compute(Study(PAPERS["dpti"], "gpu"), "auto")
    assert "14 are missing: about 2 days" in capsys.readouterr().out


def test_another_word_is_refused(scratch, short):
    with pytest.raises(ValueError, match="COMPUTE 'some' is unknown; expected one of auto, missing"):
        report.compute(short, "some")


def test_a_run_costs_what_those_of_its_paper_took(scratch, short):
    plan._seconds.cache_clear()
    run = short.run("bot")
    assert Plan((run,)).seconds == plan.SECONDS["smoke"]
    assert Plan((), there=3).cost() == "all 3 records are there"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 seconds"), (119.0, "119 seconds"), (120.0, "2 minutes"), (7200.0, "2 hours"), (5e5, "6 days")],
)
def test_durations_are_told_in_their_largest_unit(seconds, words):
    assert plan.spell(seconds) == words


def test_a_parameter_that_papermill_made_up_is_refused(monkeypatch):
    class Shell:
        user_ns = {"In": ["", "PRESET = 'auto'\nSEEDS = None", "# Parameters\nPRESET = 'smoke'\nSEED = 3\n"]}  # noqa: RUF012

    monkeypatch.setattr(report.notebook, "get_ipython", lambda: Shell)
    with pytest.raises(ValueError, match="no parameter 'SEED': did you mean SEEDS"):
        report.open_study("bpbreid", preset="smoke", seeds=None)
    Shell.user_ns["In"][2] = "# Parameters\nPRESET = 'smoke'\n"
    report.open_study("bpbreid", preset="smoke", seeds=None)
