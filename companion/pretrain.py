"""Making the starts: each is an ordinary run, whose backbone is kept."""

import logging

import safetensors.torch
import torch
from torch import nn

from companion import runner, start
from companion.inputs import Inputs
from companion.records import RunRecord
from companion.run import RunConfig
from reidlib.files import replacing

logger = logging.getLogger(__name__)


def make(run: RunConfig, *, fresh: bool = False, progress: bool = True) -> RunRecord:
    """Train a start unless its file and its record are there; write both.

    Args:
        run: of ``start.pretraining``.
        fresh: make it again.
    """
    target = start.path(start.name(run))
    known = runner.complete(run)
    if known and target.exists() and not fresh:
        return runner.train(run)
    trained = runner.trained(Inputs.of(run), fresh=fresh, progress=progress)
    _write(trained.model.backbone, start.name(run))
    return runner.train(run)


def _write(backbone: nn.Module, name: str) -> None:
    """Half precision: a start, not a result."""
    state = {key: value.half() for key, value in backbone.state_dict().items() if value.is_floating_point()}
    if broken := [key for key, value in state.items() if not torch.isfinite(value).all()]:
        raise ValueError(f"{name}: {broken[0]} is not finite in half precision; train it with a lower rate")
    with replacing(start.path(name)) as handle:
        handle.write(safetensors.torch.save({key: value.contiguous() for key, value in state.items()}))
