"""Starts: what every network of the small presets begins with."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from companion import places, pretrain, records, start
from companion.papers import PAPERS
from companion.start import pretraining
from companion.trained import initial
from reidlib.recipe import TrainConfig

COMMITTED, RUNS = places.WEIGHTS, places.RESULTS / "runs"
NEEDED = sorted(
    {
        (config.backbone, config.weights)
        for paper in PAPERS.values()
        for row in paper.rows
        if (config := paper.run(row.slug, preset_name="cpu").model_config).weights
    }
)


def test_the_repository_holds_every_start_that_a_row_needs_and_no_other():
    assert {path.stem for path in COMMITTED.glob("cpu-*.safetensors")} == {name for _, name in NEEDED}
    assert sum(path.stat().st_size for path in COMMITTED.glob("cpu-*")) < 10e6


@pytest.mark.parametrize(("backbone", "name"), NEEDED)
def test_a_start_has_a_record_and_beats_chance_by_far(backbone, name):
    """People that it was not trained on, in its own world."""
    run = pretraining(backbone, "cpu")
    assert start.name(run) == name
    found = records.read(RUNS / "pretrain" / f"{run.stem}.json")
    assert found.config == run.identity()
    assert found.alarms == []
    assert found.metrics["synth-market"]["default"]["rank1"] > 0.9


def test_the_world_of_the_starts_is_no_study_s():
    run = pretraining("small", "cpu")
    for paper in PAPERS.values():
        study = paper.run(paper.main, preset_name="cpu").data
        assert study.profile != run.data.profile
    assert start.SEED not in range(11)


def test_networks_start_from_their_file():
    run = PAPERS["bpbreid"].run("bot", preset_name="cpu")
    file, model = load_file(start.path(run.model_config.weights)), initial(run, identities=4)
    for name, tensor in model.backbone.state_dict().items():
        assert name not in file or torch.equal(tensor, file[name].float()), name
    assert model.config == run.model_config  # the name, no path
    scratch = initial(PAPERS["bpbreid"].run("bot-scratch", preset_name="cpu"), identities=4)
    assert not torch.equal(scratch.backbone[0][0].weight, model.backbone[0][0].weight)


@pytest.mark.parametrize(
    ("weights", "ours"),
    [
        *((name, True) for _, name in NEEDED),
        ("gpu-resnet50-ibn-0123abcd", True),
        (None, False),
        ("imagenet", False),
        ("cpu-small-9fa7bffd.safetensors", False),
        ("gpu-run-of-mine.pth", False),
        ("real-life", False),
        ("cpu-unknown-9fa7bffd", False),
    ],
)
def test_a_file_of_one_s_own_is_no_start_of_ours(weights, ours):
    assert start.is_start(weights) == ours


def test_a_start_that_is_not_there_is_one_clear_error(scratch, monkeypatch):
    monkeypatch.setattr(places, "WEIGHTS", scratch)
    run = PAPERS["bpbreid"].run("bot", preset_name="cpu")
    with pytest.raises(
        ValueError, match=r"no pretrained network cpu-small-.*pretrain --preset cpu --only small"
    ):
        initial(run, identities=4)


def test_a_start_is_made_by_an_ordinary_run(scratch, monkeypatch):
    """At the size of the smoke test: trained, halved, written beside its record, and not made twice."""
    monkeypatch.setattr(places, "WEIGHTS", scratch)
    run = pretraining("small-thin", "cpu")
    data = replace(run.data, profile="smoke", seed=1)
    run = replace(run, preset="smoke", data=data, train=TrainConfig(iterations=2, identities=4))
    pretrain.make(run, progress=False)
    file = start.path(start.name(run))
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.half}
    before = file.stat().st_mtime_ns
    pretrain.make(run, progress=False)
    assert file.stat().st_mtime_ns == before
    file.unlink()  # a record without its network is no reason to do without
    pretrain.make(run, progress=False)
    assert file.exists()
