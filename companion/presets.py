"""What a run is: data, model, recipe and seed; and the presets that scale all papers alike."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

from reidlib.backbones import SMALL_DEPTHS
from reidlib.models import MODELS
from reidlib.options import settings
from reidlib.training import TrainConfig
from synthreid.benchmark import VERSION
from synthreid.scene import DEFAULT_DIFFICULTY, Difficulty

TWINS = {
    "market1501": "synth-market",
    "dukemtmc": "synth-market",
    "cuhk03": "synth-market",
    "occluded-duke": "synth-occluded",
    "p-dukemtmc": "synth-occluded",
    "occluded-reid": "synth-occluded-transfer",
    "p-dukemtmc-transfer": "synth-occluded-transfer",
    "partial-reid": "synth-partial",
    "partial-ilids": "synth-partial",
}
"""Which synthetic set stands for which printed one; printed columns that share a twin share our value."""


@dataclass(frozen=True)
class DataConfig:
    """Which images a run sees."""

    profile: str  # synthetic profile (smoke, cpu or gpu), or real
    height: int  # network input
    width: int
    seed: int = 1  # generator seed of the synthetic benchmark
    difficulty: Difficulty = DEFAULT_DIFFICULTY  # of occlusion and boxes, calibrated once
    pictures: int = VERSION  # of the drawing code
    train_set: str = "synth-occluded"  # the one training set that serves all test sets
    test_sets: tuple[str, ...] = (
        "synth-market",
        "synth-occluded",
        "synth-occluded-transfer",
        "synth-partial",
    )

    @property
    def shown(self) -> tuple[str, ...]:
        """The test sets that figures show: the holistic and the occluded one; with real data the only one."""
        return self.test_sets[:2]

    def validation(self) -> "DataConfig":
        """The same benchmark with the held-out training identities as test set, for every choice."""
        return replace(
            self, train_set="synth-occluded-val", test_sets=("synth-market-val", "synth-occluded-val")
        )


_GENERATOR = ("seed", "difficulty", "pictures")


@dataclass(frozen=True)
class Preset:
    """Data, model scale and recipe; notebooks and code paths are the same for all."""

    name: str
    data: DataConfig
    train: TrainConfig
    width: float  # multiplies the channels of the small backbones
    embedding_divisor: int  # divides every printed embedding width
    backbones: Mapping[str, str]  # the paper's backbone -> the one used
    deep: Mapping[str, str]  # the same for rows about depth: all blocks of the paper's backbone
    tracked: bool = True  # records belong to the repository (not the smoke test's)


_SMALL = {
    "resnet18": "small-thin",
    "resnet50": "small",
    "resnet50-ibn": "small-ibn",
    "hrnet-w32": "small-hrnet",
    "osnet": "small-osnet",
}
_DEEP = {name.removeprefix("small-"): name for name in SMALL_DEPTHS}
_PAPER, _PAPER_DEEP = ({name: name for name in known} for known in (_SMALL, _DEEP))

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke", DataConfig("smoke", 64, 32), TrainConfig.smoke(), 0.5, 16, _SMALL, _DEEP, tracked=False
        ),
        Preset("cpu", DataConfig("cpu", 64, 32), TrainConfig.cpu(), 1.0, 4, _SMALL, _DEEP),
        Preset("gpu", DataConfig("gpu", 256, 128), TrainConfig.gpu(), 1.0, 1, _PAPER, _PAPER_DEEP),
        Preset(  # see recipes.py
            "real", DataConfig("real", 256, 128), TrainConfig.released(), 1.0, 1, _PAPER, _PAPER_DEEP
        ),
    )
}


def preset(name: str) -> Preset:
    """The preset of a name; ``auto`` is ``gpu`` where CUDA is present, else ``cpu``.

    Raises:
        ValueError: unknown name.
    """
    if name == "auto":
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in PRESETS:
        raise ValueError(f"PRESET {name!r} is unknown; expected one of auto, {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class RunConfig:
    """One training. Two printed cells that mean the same training have equal run configs."""

    paper: str  # whose notebook owns the run
    name: str  # readable part of the file name; not part of the identity
    model: str  # slug in MODELS
    model_config: Any  # that model's Config
    data: DataConfig
    train: TrainConfig
    preset: str
    seed: int = 0
    scorings: tuple[str, ...] = field(default=("default",))  # test-time variants kept in the record

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is unknown; expected one of {', '.join(MODELS)}")
        if not is_dataclass(self.model_config):
            raise ValueError(
                f"model_config must be the model's Config, got {type(self.model_config).__name__}"
            )

    def identity(self) -> dict[str, Any]:
        """What decides the numbers, as plain JSON types; see ``types.later`` for what is left out."""
        data = settings(self.data)
        if self.data.profile == "real":  # which no generator made
            data = {name: value for name, value in data.items() if name not in _GENERATOR}
        parts = {
            "model": self.model,
            "model_config": settings(self.model_config),
            "data": data,
            "train": settings(self.train),
            "seed": self.seed,
        }
        return json.loads(json.dumps(parts, default=list))

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def prefix(self) -> str:
        """What the names of records of this run begin with, whatever their config."""
        return f"{self.preset}-{self.name}-s{self.seed}-"

    @property
    def stem(self) -> str:
        """File name of the record without suffix."""
        return f"{self.prefix}{self.hash}"


def differences(old: Mapping, new: Mapping, *, path: str = "") -> list[str]:
    """Which fields of two nested configs differ, as ``field: old -> new`` lines."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key, "absent"), new.get(key, "absent")
        here = f"{path}.{key}" if path else key
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, path=here)
        elif a != b:
            lines.append(f"{here}: {a} -> {b}")
    return lines
