"""What all config dataclasses share: checked choices, settings as plain nested dicts, and the fields of all models."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints


def settings(config: Any) -> Any:
    """A config as nested dicts."""
    if isinstance(config, tuple | list):
        return [settings(item) for item in config]
    if not is_dataclass(config):
        return config
    return {option.name: settings(getattr(config, option.name)) for option in fields(config)}


def check_choices(config: Any) -> None:
    """Refuse a dataclass whose ``Literal`` fields hold something else.

    Raises:
        ValueError: naming the field, its value and the choices.
    """
    for option in fields(config):
        choices, value = get_args(option.type), getattr(config, option.name)
        if get_origin(option.type) is Literal and value not in choices:
            raise ValueError(f"{option.name} = {value!r}; expected one of {choices}")


def check_count(name: str, value: int) -> None:
    """Refuse a number of things that is not a whole number from one on.

    Raises:
        ValueError: naming the argument and its value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number, at least 1")


def from_settings(kind: type, values: dict[str, Any]) -> Any:
    """The config whose ``settings`` are these, as they come back from JSON; the inverse of ``settings``.

    Args:
        kind: the config's dataclass.
        values: plain nested dicts and lists.

    Raises:
        ValueError: naming the fields that the dataclass does not have, or that are not there.
    """
    known = {option.name: option for option in fields(kind)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"settings of {kind.__qualname__} have no {unknown}; expected {sorted(known)}")
    if lacking := sorted(known.keys() - values.keys()):
        raise ValueError(f"settings of {kind.__qualname__} lack {lacking}")
    types = get_type_hints(kind)
    return kind(**{name: _typed(value, types[name]) for name, value in values.items()})


def _typed(value: Any, kind: Any) -> Any:
    """Tuples and nested configs for what JSON keeps as lists and objects."""
    choices = get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)
    if isinstance(value, dict):
        nested = next((choice for choice in choices if is_dataclass(choice)), None)
        if nested is None:
            raise ValueError(f"settings hold {value}; expected {kind}")
        return from_settings(nested, value)
    if isinstance(value, list):
        items = next((get_args(choice) for choice in choices if get_origin(choice) is tuple), None)
        if items is None:
            raise ValueError(f"settings hold {value}; expected {kind}")
        return tuple(_typed(item, items[0]) for item in value)
    return value


@dataclass(frozen=True)
class ModelScoring:
    """One way to compare two images at test time; each model has its own."""

    @property
    def rerank(self) -> bool:
        """Whether it compares whole sets, so that queries and gallery are needed all at a time."""
        return False


@dataclass(frozen=True)
class ModelConfig:
    """What every network has, and what is asked of its config."""

    backbone: str = "resnet50"  # name in backbones.py
    width: float = 1.0  # channel multiplier of the small backbones
    weights: str | None = None  # None, "imagenet" or a file

    SCORINGS: ClassVar[dict[str, ModelScoring]] = {}
    """The test-time variants of the model by name, the default first."""

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def mask_parts(self) -> int | None:
        """Into how many parts the masks that it learns from are grouped; None if it reads none."""
        return None

    @property
    def given_masks(self) -> bool:
        """Whether it is given masks at test time, too."""
        return False

    @property
    def figure_map(self) -> str | None:
        """The map that shows what it looks at; None if it has none."""
        return None

    def scorings(self) -> dict[str, ModelScoring]:
        """The test-time variants that this network can be scored with, the default first."""
        return self.SCORINGS


def at_least(lowest: int) -> Callable[[str], int]:
    """What argparse makes a whole number of, refusing what is less.

    Args:
        lowest: that is accepted.
    """

    def number(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < lowest:
            raise ArgumentTypeError(f"{text!r} is no whole number from {lowest} on")
        return int(text)

    return number
