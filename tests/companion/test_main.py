"""The command line of the study: one clear line for what cannot be, and the doors to rows and readings."""

import json

import pytest

from companion.__main__ import main

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
        (["run", "--seeds", "0"], "--seeds and --jobs must be at least 1"),
        (["run", "--paper", "all", "--only", "k8"], "--paper all goes without --only"),
        (["pretrain", "--preset", "cpu", "--only", "resnet50"], "no row needs it; expected one of small"),
        (["config", "--paper", "pan", "--preset", "cpu", "--dataset", "market1501"], "only the real preset"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
