"""The one training loop.

``fit`` knows nothing of its model but ``forward(images, masks)`` and ``loss(output, labels, masks=)``.
Devices, precision and back-propagation go through Lightning Fabric.
"""

import io
import logging
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from reidlib.data.loading import Loader
from reidlib.devices import as_weights, check_devices, compiled_module, device_of, fabric_of, synchronised
from reidlib.distances import full_precision
from reidlib.files import replacing
from reidlib.options import check_count
from reidlib.recipe import TrainConfig, learning_rate, steps_of
from reidlib.types import ReIDOutput

if TYPE_CHECKING:  # takes long to import
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

PLATEAUS = (0.3, float(np.log(2)))
"""Where a collapsed embedding leaves a triplet loss: at its margin, or at log 2 where the margin is soft."""

_UNLEARNED = 0.95  # of its start: where an identity loss must get below
_LONG = 100  # steps from which on an identity loss must have fallen

_MOMENTUM = 0.9  # of SGD


class Interrupted(Exception):
    """The deadline came before training was done; the same call resumes from the checkpoint."""


class CheckpointError(ValueError):
    """A checkpoint from which this training cannot go on: it is of another one, or damaged."""


@dataclass
class History:
    """What happened in training, in plain lists."""

    losses: dict[str, list[float]] = field(default_factory=dict)  # weighted term -> value per step
    lr: list[float] = field(default_factory=list)  # per step
    epoch_seconds: list[float] = field(default_factory=list)  # per epoch
    epoch_images: list[int] = field(default_factory=list)  # per epoch
    alarms: list[str] = field(default_factory=list)  # signs of collapse
    compiled: bool = False  # whether steps, or some of them, were

    @property
    def steps(self) -> int:
        return len(self.lr)

    @property
    def total(self) -> list[float]:
        """Sum of the terms per step."""
        return [math.fsum(terms) for terms in zip(*self.losses.values())]

    @property
    def seconds(self) -> float:
        return math.fsum(self.epoch_seconds)

    @property
    def throughput(self) -> float:
        """Images per second, over all epochs."""
        return sum(self.epoch_images) / self.seconds if self.seconds else 0.0

    def thinned(self, points: int = 100) -> dict[str, list[float]]:
        """Each term and the learning rate averaged over at most ``points`` stretches of equal length."""
        curves = self.losses | {"lr": self.lr}
        edges = np.linspace(0, self.steps, min(points, self.steps) + 1).round().astype(int)
        stretches = list(zip(edges[:-1], edges[1:]))
        return {
            name: [float(f"{np.mean(values[a:b]):.5g}") for a, b in stretches]
            for name, values in curves.items()
        }


def fit(
    model: nn.Module,
    loader: Loader,
    *,
    config: TrainConfig,
    seed: int,
    checkpoint: Path | None = None,
    deadline: float | None = None,
    device: str | None = None,
    devices: int = 1,
    compiled: bool = False,
    label: str | None = None,
) -> History:
    """Train a model in place; one in double precision is trained in it.

    After every epoch all state is written to ``checkpoint``; called again, training goes on from there and
    ends with the weights and losses of an unbroken run.

    Several devices learn what one would: each takes its share of every batch, whole identities; batch norms count
    the whole batch, and so do the losses, which mine over the embeddings of all devices. What differs is the
    noise of dropout (and of zooming, jitter and AugMix, where a recipe has them).

    Args:
        model: has ``forward(images, masks)``, ``loss(output, labels, masks=)`` and, if some parameters shall
            have no weight decay, ``no_weight_decay()`` naming them.
        loader: training batches.
        config: the recipe.
        seed: of the model's own randomness (dropout).
        checkpoint: file for the state, None to keep none.
        deadline: ``time.time()`` after which to stop at the end of an epoch.
        device: default: CUDA if there is any.
        devices: how many GPUs (or processes on the CPU) train together; a number that divides the batch's identities.
        compiled: forward pass, losses and their gradients go through ``torch.compile``, on a GPU as CUDA graphs. That
            takes minutes first, and its kernels round and draw dropout otherwise, so that a training that goes on
            from a checkpoint need not end as an unbroken one; ``benchmarks/gpu.py`` says what it gains.
        label: shows a progress bar of that name, None shows none.

    Raises:
        Interrupted: the deadline came first.
        CheckpointError: the checkpoint is of another recipe, seed, data or model, or damaged.
        ValueError: a loss is not finite, there are too few devices, or several that would compile.
    """
    check_count("devices", devices)
    target = device_of(device)
    options = {"config": config, "seed": seed, "deadline": deadline, "label": label, "compiled": compiled}
    if devices > 1 and compiled:
        raise ValueError(
            f"compiled with devices = {devices}: only one device's step can be compiled; leave out one"
        )
    if devices == 1:
        history = _train(
            fabric_of(target, precision=config.precision), model, loader, checkpoint=checkpoint, **options
        )
    else:
        check_devices(target, devices, loader=replace(loader, share=(0, devices)))
        with TemporaryDirectory() as folder:
            checkpoint = checkpoint or Path(folder) / "state.pt"
            fabric = fabric_of(target, precision=config.precision, devices=devices)
            # bound, as Fabric looks into arguments, and frozen ones it refuses
            if error := fabric.launch(
                partial(_share, model=model, loader=loader, checkpoint=checkpoint, **options)
            ):
                raise error
            state = _load(checkpoint, torch.device("cpu"))
        model.load_state_dict(state["model"])
        history = History(**state["history"])
    history.alarms[:] = collapse_alarms(history.losses)
    return history


def _train(
    fabric: "Fabric",
    model: nn.Module,
    loader: Loader,
    *,
    config: TrainConfig,
    seed: int,
    checkpoint: Path | None,
    deadline: float | None,
    label: str | None,
    compiled: bool,
) -> History:
    """What each process does."""
    job = _Job(model, loader, config=config, seed=seed, fabric=fabric, compiled=compiled)
    if checkpoint is not None:
        job.resume(checkpoint)
    shown = label if fabric.is_global_zero else None
    with told(total=job.steps, initial=job.history.steps, unit="step", label=shown) as bar:
        while job.history.steps < job.steps:
            if deadline is not None and fabric.broadcast(time.time() > deadline):
                raise Interrupted(
                    f"stopped after {job.history.steps} of {job.steps} steps; run again to resume"
                )
            job.epoch(bar)
            if checkpoint is not None and fabric.is_global_zero:
                job.save(checkpoint)
    return job.history


def _share(fabric: "Fabric", *, model: nn.Module, loader: Loader, **options: Any) -> Exception | None:
    """Train as one of several processes; what went wrong in all of them goes back in one piece."""
    try:
        # a copy: what came from the first process lies in memory that all share
        _train(fabric, deepcopy(model), loader, **options)
    except (Interrupted, ValueError) as error:
        return error
    return None


def told(
    items: Iterable | None = None,
    *,
    label: str | None,
    total: int | None = None,
    initial: int = 0,
    unit: str = "set",
) -> tqdm:
    """A progress bar in plain text: live on a terminal, a line every ten seconds in notebooks and log files.

    Args:
        label: what goes on; None shows nothing.
    """
    return tqdm(
        items,
        desc=label,
        total=total,
        initial=initial,
        unit=unit,
        disable=label is None,
        mininterval=0.2 if sys.stderr.isatty() else 10,
    )


class _Objective(nn.Module):
    """Forward pass and losses as one module, so that Fabric can wrap both; losses in full precision.

    Args:
        gather: brings the shares of a batch together, if there are several; the losses are of all of them.
    """

    def __init__(self, model: nn.Module, gather: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.model, self.gather = model, gather

    def forward(self, images: Tensor, labels: Tensor, masks: Tensor | None) -> dict[str, Tensor]:
        output = _full_precision(self.model(images, masks))
        if self.gather is not None:
            output, labels = _each(self.gather, output), self.gather(labels)
            masks = None if masks is None else self.gather(masks)
        with torch.autocast(images.device.type, enabled=False):
            return self.model.loss(output, labels, masks=masks)


def objective(model: nn.Module) -> nn.Module:
    """Forward pass and losses as ``fit`` runs them: ``(images, labels, masks)`` to the weighted terms."""
    return _Objective(model)


def _full_precision(output: ReIDOutput) -> ReIDOutput:
    return _each(full_precision, output)


def _each(change: Callable[[Tensor], Tensor], output: ReIDOutput) -> ReIDOutput:
    parts = (output.embeddings, output.visibility, output.logits, output.maps)
    return ReIDOutput(*({name: change(tensor) for name, tensor in part.items()} for part in parts))


class _Job:
    """A training under way."""

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        *,
        config: TrainConfig,
        seed: int,
        fabric: "Fabric",
        compiled: bool,
    ) -> None:
        self.config, self.seed, self.fabric, self.compiled = config, seed, fabric, compiled
        several = fabric.world_size > 1
        self.given = loader
        self.loader = replace(loader.to(fabric.device), share=(fabric.global_rank, fabric.world_size))
        self.model = model = synchronised(model, fabric.device) if several else model
        model.to(fabric.device, memory_format=self.layout).train()
        optimiser = _optimiser(model, config=config, fused=fabric.device.type == "cuda")
        wrapped = _Objective(model, self.gather if several else None)
        if compiled:
            wrapped = compiled_module(wrapped, fabric.device)
        self.objective, self.optimiser = fabric.setup(wrapped, optimiser)
        self.history, self.terms = History(compiled=compiled), []
        self.steps = steps_of(self.loader, config)

    def gather(self, share: Tensor) -> Tensor:
        """The whole batch of which each process has a share, in the order of one process."""
        found = self.fabric.all_gather(share, sync_grads=share.requires_grad)  # [W, N/W, ...]
        if found.requires_grad:
            found.register_hook(torch.Tensor.contiguous)  # other layouts arrive jumbled
        return found.flatten(0, 1)

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.config.channels_last else torch.contiguous_format

    def epoch(self, bar: tqdm) -> None:
        """One epoch; the losses stay on the device until its end, so that no step waits for them."""
        number, first = len(self.history.epoch_seconds), self.history.steps
        started, losses, images = time.perf_counter(), [], 0
        with _seeded(self.seed, number, self.loader.device, rank=self.fabric.global_rank):
            for step, batch in enumerate(self.loader.epoch(number), start=first):
                rate = learning_rate(self.config, step=step, epoch=number, steps=self.steps)
                losses.append(self.step(*batch, rate=rate))
                images += len(batch.labels) * self.fabric.world_size
                bar.update()
                if step + 1 == self.steps:
                    break
        self.record(torch.stack(losses), first=first)
        self.history.epoch_images.append(images)
        self.history.epoch_seconds.append(time.perf_counter() - started)
        bar.set_postfix_str(f"loss {self.history.total[-1]:.3f}, {self.history.throughput:.0f} img/s")

    def step(
        self, images: Tensor, labels: Tensor, masks: Tensor | None, *, rate: float
    ) -> Float[Tensor, " T"]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.history.lr.append(rate)
        images, masks = as_weights(self.model, images, masks)
        self.optimiser.zero_grad(set_to_none=True)  # first: the last step's gradients need no memory here
        terms = self.objective(images.contiguous(memory_format=self.layout), labels, masks)
        self.terms = [*terms]
        values = torch.stack([*terms.values()])  # a copy: CUDA graphs overwrite what they gave before
        self.fabric.backward(values.sum())
        self.optimiser.step()
        return values.detach()

    def record(self, losses: Float[Tensor, "S T"], *, first: int) -> None:
        """Fetch an epoch's losses."""
        names, table = self.terms, losses.double().cpu()
        if not table.isfinite().all():
            row, column = (~table.isfinite()).nonzero()[0].tolist()
            raise ValueError(
                f"loss {names[column]!r} is {table[row, column].item()} at step {first + row}; "
                f"lower lr (now {self.config.lr}) or use precision 32-true"
            )
        for name, column in zip(names, table.unbind(1)):
            self.history.losses.setdefault(name, []).extend(column.tolist())

    def save(self, path: Path) -> None:
        state = {
            "recipe": self.recipe,
            "content": self.content,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": asdict(self.history),
        }
        packed = io.BytesIO()  # written to a file that cannot grow, torch's own archive ends in an assertion
        torch.save(state, packed)
        with replacing(path) as handle:
            handle.write(packed.getbuffer())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = _load(path, self.loader.device)
        for part, words in (("recipe", "another recipe or seed"), ("content", "other images or labels")):
            if state[part] != getattr(self, part):
                raise CheckpointError(f"checkpoint {path} belongs to {words}; delete it to start afresh")
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.history = History(**state["history"])
            self.history.compiled |= self.compiled
        except (LookupError, TypeError, RuntimeError, ValueError) as error:  # torch tells it in many lines
            raise CheckpointError(
                f"checkpoint {path} belongs to another model; delete it to start afresh"
            ) from error
        logger.info("resuming %s at step %d of %d", path, self.history.steps, self.steps)

    @cached_property
    def recipe(self) -> str:
        """What is learned how: with ``content``, all that a checkpoint must share with a training that goes on."""
        stack, given = self.given.stack, self.given
        return f"{self.config} seed={self.seed} loader={(len(stack), stack.size, given.seed, given.config)}"

    @cached_property
    def content(self) -> int:
        """Checksum of all that is learned from."""
        stack, groups = self.given.stack, self.given.groups
        return _checksum(
            (stack.images, stack.label, *(() if groups is None else (stack.masks, groups.lookup)))
        )


def _checksum(tensors: Iterable[Tensor]) -> int:
    total = 0
    for tensor in tensors:
        total = zlib.crc32(tensor.cpu().contiguous().numpy(), total)
    return total


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return {name: state[name] for name in ("recipe", "content", "model", "optimiser", "history")}
    except Exception as error:  # torch raises whatever its reader stumbles over
        # its own words go over lines and advise to run what the file holds
        kind = type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({kind}); delete it to start afresh"
        ) from error


def _optimiser(model: nn.Module, *, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    """Adam or SGD with coupled weight decay, but for the parameters that the model exempts."""
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    decayed = {
        "params": [p for name, p in named.items() if name not in exempt],
        "weight_decay": config.weight_decay,
    }
    free = {"params": [p for name, p in named.items() if name in exempt], "weight_decay": 0.0}
    groups = [group for group in (decayed, free) if group["params"]]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=_MOMENTUM, fused=fused)
    return torch.optim.Adam(groups, lr=config.lr, fused=fused)


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device, *, rank: int) -> Iterator[None]:
    """Torch's own random state (dropout) set by (seed, epoch, process) inside, restored outside."""
    process = (rank,) if rank else ()
    state = np.random.SeedSequence((seed, epoch, 1, *process)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(state[0]) >> 1)
        yield


def collapse_alarms(losses: Mapping[str, Sequence[float]]) -> list[str]:
    """Triplet terms that ended stuck where equal distances leave them, and identity terms that hardly fell.

    In the first case all embeddings have become one; in the second the classifier has learned nothing.

    Args:
        losses: term -> values over training, per step or averaged over stretches.
    """
    alarms = []
    for name, values in losses.items():
        last = np.asarray(values[-max(3, len(values) // 20) :])
        first = np.mean(values[:3])
        if name.split("_")[0] == "id" and len(values) >= _LONG and last.mean() > _UNLEARNED * first:
            alarms.append(
                f"{name} began at {first:.3f} and ended at {last.mean():.3f}: the classifier has learned nothing"
            )
        stuck = any(abs(last.mean() - p) <= 0.02 * p and np.ptp(last) <= 0.02 * p for p in PLATEAUS)
        if "triplet" in name and stuck:
            alarms.append(
                f"{name} ended stuck at {last.mean():.3f}, as equal distances leave it: embeddings have collapsed"
            )
    for alarm in alarms:
        logger.warning(alarm)
    return alarms
