"""Trained models in files that say what they are."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_models import TINY, batch, build, tensors

from reidlib.models import MODELS
from reidlib.models.stored import KEY, described, load_model, save_model
from reidlib.options import settings

SAID = {"trained_on": "synth-occluded, profile cpu, seed 1", "size": (64, 32), "identities": 5}


@pytest.mark.parametrize("slug", MODELS)
def test_a_stored_model_embeds_as_before(slug, tmp_path):
    path, (images, masks, _) = tmp_path / "folder" / "model.safetensors", batch()
    model = build(slug)
    model(images, masks)  # running statistics of its own
    save_model(model, path, **SAID)
    again = load_model(path)
    assert not again.training
    with torch.no_grad():
        first, second = model.eval()(images, masks), again(images, masks)
    assert tensors(first).keys() == tensors(second).keys()
    assert all(map(torch.equal, tensors(first).values(), tensors(second).values()))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_says_what_it_is(tmp_path):
    path = tmp_path / "model.safetensors"
    model = build("bpbreid", foreground_pooling="gwap", objective=MODELS["bpbreid"].Config().objective)
    save_model(model, path, **SAID)
    said = described(path)
    assert (said.model, said.config) == ("bpbreid", model.config)
    assert (said.trained_on, said.size, said.identities) == tuple(SAID.values())
    assert said.synthetic
    assert not replace(said, trained_on="market1501").synthetic


def test_files_of_others_say_nothing(tmp_path):
    plain, text = tmp_path / "plain.safetensors", tmp_path / "text.pth"
    save_file({"a": torch.zeros(1)}, plain, {"format": "pt"})
    text.write_text("nothing of the kind")
    for path in (plain, text, tmp_path / "absent.safetensors"):
        assert described(path) is None
        with pytest.raises(ValueError, match=f"{path.name} describe no model"):
            load_model(path)


def test_half_precision_is_widened(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(build("bot").half(), path, **SAID)
    assert load_file(path)["backbone.0.0.weight"].dtype == torch.float16
    assert {parameter.dtype for parameter in load_model(path).parameters()} == {torch.float32}


def test_what_could_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="identities = 6"):
        save_model(build("bot"), path, **SAID | {"identities": 6})
    with pytest.raises(ValueError, match="model is a Linear; expected one of bot, pcb"):
        save_model(torch.nn.Linear(1, 1), path, **SAID)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "resnext"}, "KeyError"),
        ({"config": settings(MODELS["pcb"].Config(**TINY["pcb"]))}, "have no .*'dropout'"),
        ({"identities": None}, "TypeError"),
        ({"identities": 6}, "other parameters than bot has"),
    ],
)
def test_a_file_of_another_version_is_named(tmp_path, change, error):
    path = tmp_path / "model.safetensors"
    said = {"model": "bot", "config": settings(build("bot").config)} | SAID | change
    save_file(build("bot").state_dict(), path, {KEY: json.dumps(said)})
    with pytest.raises(ValueError, match=rf"model\.safetensors.*{error}.*train it again"):
        load_model(path)
