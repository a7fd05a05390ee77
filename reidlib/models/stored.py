"""Trained models as files that say what they are: safetensors whose header describes the model.

A file holds all parameters in the names of our models, identity classifiers included. Its metadata is one entry,
``reidlib``: a JSON object with the model's slug and settings, the size of its images, what it was trained on and
on how many identities.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from reidlib.files import replacing
from reidlib.models import MODELS
from reidlib.options import ModelConfig, from_settings, settings

KEY = "reidlib"
"""Of the entry in a file's metadata."""


@dataclass(frozen=True)
class Description:
    """What a stored model says of itself."""

    model: str  # slug, a key of ``MODELS``
    config: ModelConfig  # the model's ``Config`` that it was trained with
    size: tuple[int, int]  # height and width of its images
    trained_on: str  # in words: data set, profile, seed
    identities: int  # of its classifiers

    @property
    def synthetic(self) -> bool:
        """Whether it saw drawn pictures instead of photographs: their sets' names say so."""
        return self.trained_on.startswith("synth")


def save_model(
    model: nn.Module, path: Path, *, trained_on: str, size: tuple[int, int], identities: int
) -> None:
    """Write a model with all that is needed to build it again; the file is whole or absent.

    Args:
        model: one of ``MODELS``, on any device.
        path: its folder is made if need be.
        trained_on: data set first, as in ``synth-occluded, profile cpu, seed 1``.
        size: height and width of the training images.
        identities: that its classifiers tell apart.

    Raises:
        ValueError: not one of our models, or with classifiers of another number of identities.
    """
    slug = next((slug for slug, kind in MODELS.items() if type(model) is kind), None)
    if slug is None:
        raise ValueError(f"model is a {type(model).__name__}; expected one of {', '.join(MODELS)}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if _shapes(state) != _shapes(_skeleton(slug, model.config, identities).state_dict()):
        raise ValueError(f"identities = {identities}: the model's classifiers were built for another number")
    said = {
        "model": slug,
        "config": settings(model.config),
        "size": list(size),
        "trained_on": trained_on,
        "identities": identities,
    }
    with replacing(path) as handle:
        handle.write(save(state, {KEY: json.dumps(said)}))


def described(path: Path) -> Description | None:
    """What a file says of the model in it; None for any file that ``save_model`` did not write.

    Raises:
        ValueError: it was written by another version of the library, whose models or settings differ.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError):
        return None
    if text is None:
        return None
    try:
        said = json.loads(text)
        config = from_settings(MODELS[said["model"]].Config, said["config"])
        return Description(
            said["model"], config, tuple(said["size"]), said["trained_on"], int(said["identities"])
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"weights {path} describe no model of this version ({type(error).__name__}: {error}); train it again"
        ) from None


def load_model(path: Path) -> nn.Module:
    """The model that a file describes, in evaluation mode on the CPU.

    Raises:
        ValueError: the file describes none, or its parameters are not those of the model that it describes.
    """
    said = described(path)
    if said is None:
        raise ValueError(f"weights {path} describe no model; expected a file that save_model wrote")
    state = load_file(path)
    model = _skeleton(said.model, said.config, said.identities)
    if _shapes(state) != _shapes(model.state_dict()):
        raise ValueError(f"weights {path}: other parameters than {said.model} has; train it again")
    model = model.to_empty(device="cpu")
    model.load_state_dict(state)  # numbers of less precision are widened
    return model.eval()


def _skeleton(slug: str, config: ModelConfig, identities: int) -> nn.Module:
    """The model without memory for its parameters; what it started from does not matter any more."""
    with torch.device("meta"):
        return MODELS[slug](replace(config, weights=None), identities=identities)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
