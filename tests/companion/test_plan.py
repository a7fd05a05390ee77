"""What is missing, what it costs, and that a notebook computes it."""

import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from companion import costs, places, plan, records, report, runner, start, sweep
from companion.papers import PAPERS
from companion.plan import Plan, carry_out
from companion.presets import PRESETS
from companion.run import RunConfig
from companion.study import Study
from reidlib import training
from reidlib.footprint import CARDS, Footprint
from reidlib.models import bot
from reidlib.recipe import TrainConfig

ROWS = ("bot", "k8")
STEP = Footprint(128, 4e12, 5e10, 1000, 6e9, 1e10, 3e8)


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
    with pytest.raises(ValueError, match="PRESET gpu without a GPU: set COMPUTE to missing"):
        report.compute(Study(PAPERS["dpti"], "gpu"), "auto")
    assert "16 are missing: about 6 days" in capsys.readouterr().out


def test_another_word_is_refused(scratch, short):
    with pytest.raises(ValueError, match="COMPUTE 'some' is unknown; expected one of auto, missing"):
        report.compute(short, "some")


def test_a_run_costs_what_those_of_its_paper_took(scratch, short):
    plan._recorded.cache_clear()
    run = short.run("bot")
    step = plan.SECONDS["smoke"] / PRESETS["smoke"].train.iterations
    assert Plan((run,)).seconds() == pytest.approx(plan.SCORING * step)
    longer = replace(run, train=replace(run.train, iterations=4))
    assert Plan((longer,)).seconds() == pytest.approx(4 * Plan((run,)).seconds())
    assert Plan((run,)).seconds(jobs=2) == pytest.approx(Plan((run,)).seconds() / 2)
    assert Plan((), there=3).cost() == "all 3 records are there"


@pytest.fixture
def card(monkeypatch):
    """A GPU, and what two rows of preset gpu take on it; none of the starts is there."""
    found = CARDS["h200"]
    counted = {("gpu", "bpbreid", name): STEP for name in ("bot", "k8")}
    monkeypatch.setattr(costs, "here", lambda: found)
    monkeypatch.setattr(costs, "_table", lambda: counted)
    monkeypatch.setattr(start, "path", lambda name: Path("absent"))
    return found


def test_runs_side_by_side_share_the_gpu_but_not_the_cores(card):
    bot, k8 = (PAPERS["bpbreid"].run(row, preset_name="gpu") for row in ("bot", "k8"))
    trained = 60 * costs.minutes(bot, card)
    pretrained = trained * 2000 / 350  # bot and k8 start from the same network
    for jobs in (1, 4):
        expected = 2 * trained + pretrained + 2 * plan.SCORED["gpu"] / jobs
        assert Plan((bot, k8)).seconds(jobs=jobs) == pytest.approx(expected)
    assert "pretraining of resnet50" in Plan((bot, k8)).cost()


def test_what_does_not_fit_is_named(card, monkeypatch):
    bot = PAPERS["bpbreid"].run("bot", preset_name="gpu")
    assert not Plan((bot,)).too_large
    monkeypatch.setattr(costs, "here", lambda: replace(card, memory=4e9))
    assert Plan((bot,)).cost().endswith("too large for this GPU: bot")


def small(monkeypatch, folder, *rows: str, iterations: int = 2) -> list[RunConfig]:
    """Rows at the size of the smoke test that start from pretrainings of as few steps, which are not there."""
    made, runs = {}, []
    for row in rows:
        run = PAPERS["bpbreid"].run(row, preset_name="smoke")
        run = replace(
            run, train=TrainConfig(iterations=iterations, identities=4), scorings=("default",), measure=None
        )
        backbone = run.model_config.backbone
        config = bot.Config(backbone=backbone, width=run.model_config.width)
        made[backbone] = replace(run, paper=start.PAPER, name=backbone, model="bot", model_config=config)
        runs.append(run.vary(weights=start.name(made[backbone])))
    monkeypatch.setattr(places, "WEIGHTS", folder)
    monkeypatch.setattr(start, "pretraining", lambda backbone, preset_name: made[backbone])
    return runs


def test_a_start_is_made_when_its_first_run_comes(scratch, monkeypatch, capsys):
    first, second = small(monkeypatch, scratch, "k8", "bot")
    there = replace(second, model_config=replace(second.model_config, weights=None))
    assert sweep.ordered([first, second, there]) == [there, first, second]
    outcomes = carry_out(Plan((first, second)), budget=0.0)
    assert outcomes == {"done": 0, "interrupted": 0, "not started": 2, "failed": 0}
    assert start.missing(first.model_config.weights)
    assert carry_out(Plan((first, second)))["done"] == 2
    assert not start.missing(first.model_config.weights)
    assert records.find(first)
    assert records.find(second)


def test_a_start_that_the_budget_cuts_short_is_gone_on_with(scratch, monkeypatch, caplog):
    (run,) = small(monkeypatch, scratch, "k8", iterations=20)
    known, late = training._Job.epoch, Namespace(time=lambda: np.inf, perf_counter=time.perf_counter)

    def epoch(self, bar):
        known(self, bar)
        if self.config.iterations == 20:  # no fingerprint's
            first.setattr(training, "time", late)

    with monkeypatch.context() as first:
        first.setattr(training._Job, "epoch", epoch)
        assert carry_out(Plan((run,)), budget=3600.0)["interrupted"] == 1
    assert start.missing(run.model_config.weights)
    with caplog.at_level("INFO"):
        assert carry_out(Plan((run,)), budget=3600.0)["done"] == 1
    assert "resuming" in caplog.text
    assert not start.missing(run.model_config.weights)


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
