"""The command line of the study: one clear line for what cannot be, and the doors to rows and readings."""

import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest

from companion import fingerprint, plan, records, start
from companion.__main__ import main, parser
from companion.papers import PAPERS

pytestmark = pytest.mark.usefixtures("scratch")


def test_a_row_s_configuration_is_printed_whole(capsys):
    assert main(["config", "--paper", "qpm", "--row", "agfe"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["row"] == "AGFE global"
    assert found["model_config"]["attention"] == "none"
    assert found.keys() >= {"model", "data", "train", "seed", "scorings", "record"}
    assert main(["config", "--paper", "qpm", "--list"]) == 0
    assert "QPM from scratch" in capsys.readouterr().out


def test_a_variation_is_trained_and_its_scores_are_printed(capsys, scratch):
    changes = ["--set", "parts=2", "triplet=per-part"]
    assert main(["try", "--paper", "bpbreid", "--preset", "smoke", "--reading", "paper", *changes]) == 0
    assert "synth-occluded" in capsys.readouterr().out
    (record,) = (scratch / "cache" / "runs" / "live").glob("*.json")
    config = json.loads(record.read_text())["config"]["model_config"]
    assert (config["parts"], config["triplet"], config["visibility"]) == (2, "per-part", "threshold")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["try", "--paper", "bpbreid", "--row", "k9"], "bpbreid has no run 'k9'; expected one of k8"),
        (["try", "--paper", "qpm", "--reading", "paper"], "qpm has no reading 'paper': it has one only"),
        (["try", "--paper", "bpbreid", "--row", "bot", "--reading", "paper"], "bot has no setting"),
        (["try", "--paper", "bpbreid", "--set", "partz=2"], "bpbreid has no setting 'partz'"),
        (["try", "--paper", "bpbreid", "--set", "parts=two"], "parts = 'two': expected int, as in 8"),
        (["try", "--paper", "bpbreid", "--set", "parts"], "expected NAME=VALUE"),
        (["run", "--seeds", "99"], "--seeds 99: at most 16 worlds"),
        (["run", "--jobs", "2", "--devices", "2"], "--devices and --jobs"),
        (["run", "--devices", "2", "--compile"], "--devices and --compile"),
        (["run", "--fresh", "--budget", "60"], "--budget would never finish"),
        (["run", "--paper", "all", "--only", "k8", "k99"], "--only k99: no paper has such a row"),
        (["run", "--paper", "pan", "--only", "k8"], "pan has no run 'k8'; expected one of pan"),
        (["run", "--paper", "all", "--preset", "real"], "--paper all goes without preset real"),
        (["pretrain", "--preset", "cpu", "--only", "resnet50"], "no row needs it; expected one of small"),
        (["config", "--paper", "pan", "--preset", "cpu", "--dataset", "market1501"], "only the real preset"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--seeds", "0"],
        ["run", "--jobs", "-1"],
        ["run", "--budget", "-5"],
        ["data", "--workers", "0"],
        ["pretrain", "--jobs", "two"],
        ["try", "--paper", "pan", "--seed", "0"],
    ],
)
def test_numbers_out_of_range_are_refused_by_their_option(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {arguments[-2]}: {arguments[-1]!r} is no whole number from 1 on" in error


def test_help_shows_examples_that_are_understood(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    lines = [line.strip().split("   ")[0] for line in capsys.readouterr().out.splitlines()]
    examples = [line.split()[3:] for line in lines if line.startswith("python -m companion ")]
    assert len(examples) == 5
    for arguments in examples:
        parser().parse_args(arguments)


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("reidlib 0.")


def test_a_worker_that_was_killed_is_one_line(monkeypatch, capsys):
    def killed(*_, **__):
        raise BrokenProcessPool("a long story of many lines")

    monkeypatch.setattr(plan, "carry_out", killed)
    assert main(["run", "--preset", "smoke", "--only", "bot"]) == 2
    assert "a process was killed, most likely for want of memory" in capsys.readouterr().err


def _record(run, **changes) -> Path:
    """A record that holds next to nothing."""
    empty = {"history": {}, "alarms": [], "measures": {}, "slices": {}, "provenance": {}}
    metrics = {name: {scoring: {} for scoring in run.scorings} for name in run.data.test_sets}
    known = {"hash": run.hash, "name": run.name, "paper": run.paper, "preset": run.preset, "seed": run.seed}
    known |= {"config": run.identity(), "metrics": metrics, "behaviour": [1.0]}
    made = records.RunRecord(**empty | known | changes, test_scorings=1, parameters=1)
    records.write(made, records.path(run))
    return records.path(run)


@pytest.mark.parametrize("failing", ["require", "carry_out"])
def test_records_that_shall_be_replaced_stay_until_there_are_others(monkeypatch, capsys, failing):
    """Weights or data that are not there, or any other failure, must not cost what was computed."""

    def fail(*_, **__):
        raise ValueError("no such data set")

    run = PAPERS["bpbreid"].run("bot", preset_name="cpu")
    kept = _record(replace(run, train=replace(run.train, lr=1.0)))
    monkeypatch.setattr(*{"require": (start, "require"), "carry_out": (plan, "carry_out")}[failing], fail)
    assert main(["run", "--preset", "cpu", "--only", "bot", "--replace"]) == 2
    assert "no such data set" in capsys.readouterr().err
    assert kept.exists()


def test_stale_records_are_renewed_from_what_a_budget_left(monkeypatch):
    """Trained afresh in every call, a run that is longer than the budget would never be finished."""
    run, asked = PAPERS["bpbreid"].run("bot", preset_name="cpu"), {}
    _record(run)
    monkeypatch.setattr(fingerprint, "behaviour", lambda run: [2.0])

    def carry_out(todo, **options):
        asked.update(options, runs=todo.runs)
        return {"interrupted": 1, "failed": 0}

    monkeypatch.setattr(plan, "carry_out", carry_out)
    assert main(["run", "--preset", "cpu", "--only", "bot", "--stale", "--budget", "60"]) == 0
    assert (asked["runs"], asked["budget"], asked["fresh"], asked["renew"]) == ((run,), 60, False, True)
