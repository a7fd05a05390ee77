"""What a run is: one training, named by its config."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from companion.presets import DataConfig
from reidlib.models import MODELS
from reidlib.options import settings
from reidlib.recipe import TrainConfig

LIVE = "live"
"""Stands for the paper of a run that no cell names: its records go to the cache."""

_GENERATOR = ("seed", "difficulty", "pictures", "labels")


@dataclass(frozen=True)
class RunConfig:
    """One training. Two printed cells that mean the same training have equal run configs."""

    paper: str  # slug of the paper whose notebook owns the run
    name: str  # readable part of the file name; not part of the identity
    model: str  # slug in MODELS
    model_config: Any  # that model's Config
    data: DataConfig
    train: TrainConfig
    preset: str
    seed: int = 1  # draws a world; with real data the network alone
    network: int = 0  # another one in the same world
    scorings: tuple[str, ...] = ("default",)  # test-time variants kept in the record
    measure: Callable | None = field(default=None, compare=False, repr=False)  # see ``Paper.measure``

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is unknown; expected one of {', '.join(MODELS)}")
        if not is_dataclass(self.model_config):
            raise ValueError(
                f"model_config must be the model's Config, got {type(self.model_config).__name__}"
            )

    def vary(self, **changes: Any) -> "RunConfig":
        """The same training with other fields of the model's config.

        Raises:
            ValueError: the config has no such field, or refuses the value.
        """
        known = [option.name for option in fields(self.model_config)]
        if unknown := sorted(changes.keys() - set(known)):
            raise ValueError(
                f"{self.model} has no setting {unknown[0]!r}; expected one of {', '.join(known)}"
            )
        for name, value in changes.items():
            now = getattr(self.model_config, name)
            kinds = (int, float) if isinstance(now, float) else type(now)
            fits = isinstance(value, kinds) and isinstance(value, bool) == isinstance(now, bool)
            if None not in (now, value) and not fits:
                raise ValueError(f"{name} = {value!r}: expected {type(now).__name__}, as in {now!r}")
        return replace(self, model_config=replace(self.model_config, **changes))

    def identity(self) -> dict[str, Any]:
        """What decides the numbers, as plain JSON types."""
        data = settings(self.data)
        if self.data.real:  # which no generator made
            data = {name: value for name, value in data.items() if name not in _GENERATOR}
        parts = {
            "model": self.model,
            "model_config": settings(self.model_config),
            "data": data,
            "train": settings(self.train),
            "seed": self.seed,
            "network": self.network,
        }
        return json.loads(json.dumps(parts, default=list))

    def world(self, seed: int) -> "RunConfig":
        """The same run in another world; of real data there is one."""
        data = self.data if self.data.real else replace(self.data, seed=seed)
        return replace(self, seed=seed, data=data)

    @property
    def draw(self) -> int:
        """Seed of the network's start, its batches and dropout."""
        return self.seed + 1000 * self.network

    @property
    def shown(self) -> bool:
        """Whether figures show this run, so that its record keeps values of every query and maps."""
        return self.data.real or self.seed == 1

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

    @property
    def training(self) -> str:
        """File name of its weights without suffix.

        Of real data, all runs that differ in their test sets alone are one training: one on Market-1501 serves every
        transfer set. The name of a live one tells what it is, which its config need not.
        """
        if not self.data.real or self.paper == LIVE:
            return self.stem
        identity = self.identity()
        del identity["data"]["test_sets"]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.preset}-{self.model}-{self.data.train_set}-s{self.seed}-{digest}"

    def scoring(self, name: str) -> Any:
        """The test-time variant of a name.

        Raises:
            ValueError: the model has no such scoring.
        """
        known = self.model_config.scorings()
        if name not in known:
            raise ValueError(f"{self.model} has no scoring {name!r} here; expected one of {', '.join(known)}")
        return known[name]


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
