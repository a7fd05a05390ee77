"""Where the networks of the synthetic presets start: pretrained as BoT on other people, by a run of their own.

The papers start from ImageNet. Here a backbone learns to tell 1,200 generated people apart (a generator seed of
their own, so that no identity and no camera of any study is among them; no part labels), and every model with that
backbone starts from it. A network is named by its pretraining: ``cpu-small-1a2b3c4d`` is the backbone ``small`` of
preset ``cpu`` after the run of hash ``1a2b3c4d``.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from companion import places
from companion.presets import PRESETS, DataConfig, Preset
from companion.run import RunConfig
from reidlib.backbones import BACKBONES, require_imagenet
from reidlib.models.bot import Config

PAPER = "pretrain"
"""Stands for the paper of a pretraining."""

SEED = 11
"""Of the generator and the network; no study draws it."""


_NAME = rf"({'|'.join(PRESETS)})-({'|'.join(BACKBONES)})-[0-9a-f]{{8}}"
"""What the networks of pretrainings are called, today's and those that were tried (tools/calibrate.py)."""


@cache
def pretraining(backbone: str, preset_name: str) -> RunConfig | None:
    """The run that makes the start of a backbone; None at presets that start from noise or from ImageNet."""
    scale = PRESETS[preset_name]
    if scale.pretraining is None:
        return None
    data = DataConfig(
        scale.pretrained_on,
        scale.data.height,
        scale.data.width,
        seed=SEED,
        test_sets=(scale.data.holistic, scale.data.occluded),
    )
    config = Config(backbone=backbone, width=scale.width)
    return RunConfig(PAPER, backbone, "bot", config, data, scale.pretraining, preset_name, seed=SEED)


def name(run: RunConfig) -> str:
    """What the network of a pretraining is called in the configs of those that start from it."""
    return f"{run.preset}-{run.name}-{run.hash}"


def start_of(backbone: str, scale: Preset) -> str | None:
    """The name of a backbone's start at a preset; None where it starts from noise."""
    run = pretraining(backbone, scale.name)
    return run and name(run)


def path(start: str) -> Path:
    """The file of a start."""
    return places.WEIGHTS / f"{start}.safetensors"


def is_start(weights: str | None) -> bool:
    """Whether a model's ``weights`` name a pretraining, no file and no public set."""
    return re.fullmatch(_NAME, weights or "") is not None


def missing(weights: str | None) -> bool:
    """Whether a model's ``weights`` name a pretraining whose network is not there."""
    return is_start(weights) and not path(weights).exists()


def require(runs: Iterable[RunConfig]) -> None:
    """Refuse runs that start from ImageNet weights that are not here, before anything is read for them.

    Raises:
        ValueError: naming every file that is lacking and where it comes from.
    """
    require_imagenet({run.model_config.backbone for run in runs if run.model_config.weights == "imagenet"})
