"""Making the starts: each is an ordinary run, whose backbone is kept."""

import time

import safetensors.torch
import torch
from torch import nn

from companion import runner, start
from companion.inputs import Inputs
from companion.records import RunRecord
from companion.run import RunConfig
from reidlib.files import replacing
from reidlib.training import Interrupted


def make(
    run: RunConfig,
    *,
    fresh: bool = False,
    deadline: float | None = None,
    progress: bool = True,
    devices: int = 1,
    compiled: bool = False,
) -> RunRecord:
    """Train a start unless its file and its record are there; write both.

    Several processes may need it at once: one makes it, the others wait.

    Args:
        run: of ``start.pretraining``.
        fresh: make it again.
        deadline: ``time.time()`` at which to stop after the current epoch.
        devices: that train it together.
        compiled: see ``reidlib.training.fit``.

    Raises:
        Interrupted: the deadline came first; calling again resumes.
    """
    with runner.lock(run):
        known = runner.complete(run)
        if known and start.path(start.name(run)).exists() and not fresh:
            return runner.train(run, progress=progress)
        if deadline is not None and time.time() > deadline:  # which may have come while another made it
            raise Interrupted(f"{start.name(run)} is not made; run again to resume")
        found = Inputs.of(run)
        options = {"progress": progress, "devices": devices, "compiled": compiled}
        trained = runner.trained(found, fresh=fresh, deadline=deadline, **options)
        _write(trained.model.backbone, start.name(run))
        return runner.train(run, progress=progress)


def _write(backbone: nn.Module, name: str) -> None:
    """Half precision: a start, not a result."""
    state = {key: value.half() for key, value in backbone.state_dict().items() if value.is_floating_point()}
    if broken := [key for key, value in state.items() if not torch.isfinite(value).all()]:
        raise ValueError(f"{name}: {broken[0]} is not finite in half precision; train it with a lower rate")
    with replacing(start.path(name)) as handle:
        handle.write(safetensors.torch.save({key: value.contiguous() for key, value in state.items()}))
