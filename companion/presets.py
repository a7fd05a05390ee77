"""The presets that scale all papers alike: data, size of models, recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reidlib.backbones import SMALL_DEPTHS
from reidlib.recipe import TrainConfig
from synthreid.benchmark import VERSION
from synthreid.parser import EXACT, Parser
from synthreid.scene import DEFAULT_DIFFICULTY, Difficulty

COUNTERPARTS = {
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
"""Which synthetic set stands for which printed one; printed columns that share one share our value."""


@dataclass(frozen=True)
class DataConfig:
    """Which images a run sees."""

    profile: str  # synthetic profile (smoke, cpu or gpu), or real
    height: int  # network input
    width: int
    seed: int = 1  # generator seed of the synthetic benchmark
    difficulty: Difficulty = DEFAULT_DIFFICULTY  # of occlusion and boxes, calibrated once
    pictures: int = VERSION  # of the drawing code
    labels: Parser = EXACT  # how the part labels err that models are given
    train_set: str = "synth-occluded"  # the one training set that serves all test sets
    test_sets: tuple[str, ...] = (  # the holistic one, the occluded one, others; a real set stands alone
        "synth-market",
        "synth-occluded",
        "synth-occluded-transfer",
        "synth-partial",
    )

    @property
    def real(self) -> bool:
        """Whether these are photographs, of which no ground truth is known."""
        return self.profile == "real"

    @property
    def holistic(self) -> str:
        """The test set in which hardly anybody is occluded; with real data the only one."""
        return self.test_sets[0]

    @property
    def occluded(self) -> str:
        """The test set whose queries are all occluded; with real data the only one."""
        return self.test_sets[0 if self.real else 1]

    @property
    def hidden(self) -> tuple[str, ...]:
        """The generated test sets whose queries are all occluded, the transfer set too."""
        return tuple(name for name in self.test_sets if name.startswith("synth-occluded"))

    @property
    def shown(self) -> tuple[str, ...]:
        """The test sets that figures show."""
        return tuple(dict.fromkeys((self.holistic, self.occluded)))

    def validation(self) -> "DataConfig":
        """The same benchmark with the held-out training identities as test set, for every choice."""
        return replace(
            self, train_set="synth-occluded-val", test_sets=("synth-market-val", "synth-occluded-val")
        )


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
    pretraining: TrainConfig | None = (
        None  # of the start of every network; None: from noise, or ImageNet at real
    )
    pretrained_on: str = "pretrain"  # synthetic profile of that
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
        Preset(
            "cpu",
            DataConfig("cpu", 64, 32),
            TrainConfig.cpu(),
            1.0,
            4,
            _SMALL,
            _DEEP,
            pretraining=TrainConfig.pretraining(),
        ),
        Preset(
            "gpu",
            DataConfig("gpu", 256, 128),
            TrainConfig.gpu(),
            1.0,
            1,
            _PAPER,
            _PAPER_DEEP,
            pretraining=TrainConfig.large_pretraining(),
            pretrained_on="pretrain-large",
        ),
        Preset(  # each paper's wing holds its recipe
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
