"""What all config dataclasses share: checked choices, and settings as plain nested dicts."""

from dataclasses import field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin


def later(default: Any) -> Any:
    """A config field that came after the first records; its default is what the code did before.

    Where it holds its default, ``settings`` leaves it out, so that older records keep their hash.
    """
    return field(default=default, metadata={"later": True})


def settings(config: Any) -> Any:
    """A config as nested dicts, without the ``later`` fields that hold their default."""
    if isinstance(config, tuple | list):
        return [settings(item) for item in config]
    if not is_dataclass(config):
        return config
    values = {option: getattr(config, option.name) for option in fields(config)}
    kept = {o: v for o, v in values.items() if not (o.metadata.get("later") and v == o.default)}
    return {option.name: settings(value) for option, value in kept.items()}


def check_choices(config: Any) -> None:
    """Refuse a dataclass whose ``Literal`` fields hold something else.

    Raises:
        ValueError: naming the field, its value and the choices.
    """
    for option in fields(config):
        choices, value = get_args(option.type), getattr(config, option.name)
        if get_origin(option.type) is Literal and value not in choices:
            raise ValueError(f"{option.name} = {value!r}; expected one of {choices}")
