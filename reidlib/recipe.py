"""Recipes: batches, optimiser, schedule and precision of a training.

Step schedules are BPBreID's (section 5 of its supplementary material; released code and text differ in the warm-up).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from reidlib.data.loading import BatchConfig, Loader
from reidlib.data.transforms import Augment
from reidlib.options import check_count

_DECAYS = (40, 70)  # epochs at which the step schedules divide the rate by 10
_WARM_EPOCHS = 10  # of the step schedules
_WARM_START = {"step-released": 0.01, "step-paper": 0.1}
_WARM_SHARE, _COSINE_END = 0.1, 0.01  # of the cosine schedule


@dataclass(frozen=True)
class TrainConfig(BatchConfig):
    """The recipe: batches, optimiser, schedule, precision."""

    iterations: int | None = 600  # stop after so many steps
    epochs: int | None = None  # stop after so many epochs, if that comes first
    lr: float = 2e-3  # peak learning rate
    schedule: Literal["cosine", "step-released", "step-paper", "steps"] = "cosine"  # see learning_rate
    weight_decay: float = 5e-4  # L2, added to the gradient, on all parameters
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # of the forward pass; losses are never halved
    channels_last: bool = False  # memory layout of images and weights
    optimiser: Literal["adam", "sgd"] = "adam"  # sgd has momentum 0.9
    warm_epochs: int = 0  # of linear warm-up, for schedule "steps"
    warm_start: float = 1.0  # share of lr in the first epoch
    decays: tuple[int, ...] = ()  # epochs (0, 1, ...) at which the rate falls to a tenth

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule != "steps" and (self.warm_epochs, self.warm_start, self.decays) != (0, 1.0, ()):
            raise ValueError(
                f'warm_epochs, warm_start and decays belong to schedule "steps", not to {self.schedule!r}'
            )
        lengths = {name: getattr(self, name) for name in ("iterations", "epochs")}
        lengths = {name: length for name, length in lengths.items() if length is not None}
        if not lengths:
            raise ValueError("iterations = None, epochs = None; at least one must be a number")
        for name, length in lengths.items():
            check_count(name, length)
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                f"lr = {self.lr}, weight_decay = {self.weight_decay}; expected lr > 0, weight_decay >= 0"
            )
        if self.warm_epochs < 0 or not 0 <= self.warm_start <= 1:
            raise ValueError(
                f"warm_epochs = {self.warm_epochs}, warm_start = {self.warm_start}; expected >= 0, and one in [0, 1]"
            )

    @classmethod
    def smoke(cls) -> "TrainConfig":
        """Ten steps that prove that everything runs."""
        return cls(iterations=10, identities=8)

    @classmethod
    def cpu(cls) -> "TrainConfig":
        """From pretrained weights on the small synthetic set: 450 steps of 8 x 4 images (docs/calibration.md)."""
        return cls(iterations=450, identities=8, lr=2e-3, channels_last=True)

    @classmethod
    def gpu(cls) -> "TrainConfig":
        """From pretrained weights on the full synthetic set: about 45,000 images in batches of 32 x 4."""
        return cls(iterations=350, identities=32, lr=1e-3, precision="bf16-mixed", channels_last=True)

    @classmethod
    def pretraining(cls) -> "TrainConfig":
        """For the start of the small networks, on many people."""
        return cls(iterations=3000, identities=16, lr=3e-3, channels_last=True)

    @classmethod
    def large_pretraining(cls) -> "TrainConfig":
        """The same for the papers' own networks, on a GPU: a third more images than the small networks see."""
        return cls(iterations=2000, identities=32, lr=1e-3, precision="bf16-mixed", channels_last=True)

    @classmethod
    def released(cls) -> "TrainConfig":
        """BPBreID's released recipe on the real data sets."""
        return cls(
            iterations=None, epochs=120, lr=3.5e-4, schedule="step-released", augment=Augment(flip=0.0)
        )

    @classmethod
    def paper(cls) -> "TrainConfig":
        """BPBreID's recipe as printed: the warm-up starts ten times higher."""
        return replace(cls.released(), schedule="step-paper")


def steps_of(loader: Loader, config: TrainConfig) -> int:
    """How many steps a recipe takes with a loader's batches."""
    if config.epochs is None:
        return config.iterations
    limit = config.iterations or math.inf
    return int(min(limit, sum(len(loader.order(epoch)) for epoch in range(config.epochs))))


def learning_rate(config: TrainConfig, *, step: int, epoch: int, steps: int) -> float:
    """The learning rate of a step.

    ``cosine`` warms up over the first 10 % of all steps and ends at 1 % of the peak. The step schedules go
    by epochs: ten of linear warm-up, a tenth from epoch 40 and a hundredth from epoch 70 on; ``steps`` has
    the warm-up and the epochs that the recipe names.

    Args:
        step: 0, 1, ... over the whole training.
        epoch: 0, 1, ...
        steps: of the whole training.

    Source: BPBreID, released code (first epoch at 1 % of the rate) and text (at 10 %).
    """
    if config.schedule == "cosine":
        warm = max(1, round(_WARM_SHARE * steps))
        if step < warm:
            return config.lr * (step + 1) / warm
        progress = (step - warm + 1) / max(1, steps - warm)
        return config.lr * (_COSINE_END + (1 - _COSINE_END) * (1 + math.cos(math.pi * progress)) / 2)
    if config.schedule == "steps":
        length, start, decays = config.warm_epochs, config.warm_start, config.decays
    else:
        length, start, decays = _WARM_EPOCHS, _WARM_START[config.schedule], _DECAYS
    warmed = min(1.0, epoch / length) if length else 1.0
    factor = start * (1 - warmed) + warmed
    return config.lr * factor * 0.1 ** sum(epoch >= decay for decay in decays)
