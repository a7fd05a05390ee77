"""Configs as plain settings and back."""

import json

import pytest

from reidlib.data.loading import BatchConfig
from reidlib.data.transforms import Augment
from reidlib.models import MODELS, BPBreID
from reidlib.models.bpbreid import Objective
from reidlib.options import from_settings, settings
from reidlib.recipe import TrainConfig

CONFIGS = (
    *(model.Config() for model in MODELS.values()),
    BPBreID.Config.paper(),
    BPBreID.Config(objective=Objective(("global", "parts"), ()), attention="stripes"),
    MODELS["qpm"].Config(cells=(16, 8), backbone="small", width=0.5),
    TrainConfig.released(),
    TrainConfig(schedule="steps", warm_epochs=3, decays=(20, 40), optimiser="sgd"),
    BatchConfig(augment=Augment(erase_area=(0.02, 0.4), zoom="resized")),
)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_settings_come_back_from_json(config):
    plain = json.loads(json.dumps(settings(config)))
    assert from_settings(type(config), plain) == config


def test_settings_of_another_config_are_refused():
    plain = settings(BPBreID.Config())
    with pytest.raises(ValueError, match=r"have no \['heads', 'temperature'\]; expected .*'attention'"):
        from_settings(BPBreID.Config, plain | {"temperature": 2, "heads": 3})
    with pytest.raises(ValueError, match=r"Objective have no \['quadruplet'\]"):
        from_settings(BPBreID.Config, plain | {"objective": plain["objective"] | {"quadruplet": []}})
    with pytest.raises(ValueError, match=r"lack \['margin'\]"):
        from_settings(BPBreID.Config, {name: value for name, value in plain.items() if name != "margin"})
    for wrong in ([1], {"a": 1}):
        with pytest.raises(ValueError, match="settings hold"):
            from_settings(BPBreID.Config, plain | {"margin": wrong})


@pytest.mark.parametrize("slug", MODELS)
def test_a_config_answers_what_is_asked_of_every_model(slug):
    config = MODELS[slug].Config()
    assert list(settings(config))[:3] == ["backbone", "width", "weights"]
    assert (config.mask_parts is not None) == (slug == "bpbreid")
    assert not config.given_masks
    names = {name for name, scoring in config.scorings().items() if scoring.rerank}
    assert names == ({"reranked"} if slug == "aap" else set())


def test_fixed_attention_is_given_masks():
    assert BPBreID.Config(attention="fixed").given_masks
    assert BPBreID.Config(attention="stripes").mask_parts is None
