"""The one training loop, and feature extraction.

``fit`` knows nothing of its model but ``forward(images, masks)`` and ``loss(output, labels, masks=)``.
Devices, precision and back-propagation go through Lightning Fabric. Schedules of BPBreID (section 5 of
its supplementary material; released code and text differ in the warm-up).
"""

import io
import logging
import math
import shutil
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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from reidlib.data.loading import BatchConfig, ImageStack, Loader, batches
from reidlib.data.masks import PartGroups
from reidlib.data.transforms import Augment
from reidlib.distances import full_precision
from reidlib.files import replacing
from reidlib.types import Features, ReIDOutput

if TYPE_CHECKING:  # takes long to import
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

PLATEAUS = (0.3, float(np.log(2)))
"""Where a collapsed embedding leaves a triplet loss: at its margin, or at log 2 where the margin is soft."""

_UNLEARNED = 0.95  # of its start: where an identity loss must get below
_LONG = 100  # steps from which on an identity loss must have fallen

_DECAYS = (40, 70)  # epochs at which the step schedules divide the rate by 10
_WARM_EPOCHS = 10  # of the step schedules
_WARM_START = {"step-released": 0.01, "step-paper": 0.1}
_WARM_SHARE, _COSINE_END = 0.1, 0.01  # of the cosine schedule
_MOMENTUM = 0.9  # of SGD


class Interrupted(Exception):
    """The deadline came before training was done; the same call resumes from the checkpoint."""


class CheckpointError(ValueError):
    """A checkpoint from which this training cannot go on: it is of another one, or damaged."""


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
        lengths = [length for length in (self.iterations, self.epochs) if length is not None]
        if not lengths or min(lengths) < 1:
            raise ValueError(
                f"iterations = {self.iterations}, epochs = {self.epochs}; at least one must be positive"
            )
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"lr = {self.lr}, weight_decay = {self.weight_decay}; expected lr > 0, weight_decay >= 0"
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
    target = _device(device)
    options = {"config": config, "seed": seed, "deadline": deadline, "label": label, "compiled": compiled}
    if devices > 1 and compiled:
        raise ValueError(
            f"compiled with devices = {devices}: only one device's step can be compiled; leave out one"
        )
    if devices == 1:
        history = _train(_fabric(target, config), model, loader, checkpoint=checkpoint, **options)
    else:
        _check_devices(target, devices, loader=replace(loader, share=(0, devices)))
        with TemporaryDirectory() as folder:
            checkpoint = checkpoint or Path(folder) / "state.pt"
            fabric = _fabric(target, config, devices=devices)
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


def _fabric(target: torch.device, config: TrainConfig, *, devices: int = 1) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    # which says at every training what its config says, and how to make it less exact
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    chosen = [target.index or 0] if target.type == "cuda" and devices == 1 else devices
    # a loss may leave embeddings out, and with them the parameters behind them
    several = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    return Fabric(
        accelerator=target.type,
        devices=chosen,
        precision=config.precision,
        strategy="auto" if devices == 1 else several,
    )


def _check_devices(target: torch.device, devices: int, *, loader: Loader) -> None:
    """Refuse more GPUs than there are, and images that the processes cannot share."""
    if devices < 1 or (target.type == "cuda" and devices > torch.cuda.device_count()):
        there = torch.cuda.device_count() if target.type == "cuda" else "any number of processes"
        raise ValueError(
            f"devices = {devices}, but this machine has {there}; use at least 1 and at most that"
        )
    stack, shared = loader.stack, Path("/dev/shm")
    needed = stack.images.nbytes + (0 if stack.masks is None else stack.masks.nbytes)
    if shared.exists() and needed > (free := shutil.disk_usage(shared).free):
        raise ValueError(
            f"devices = {devices}: processes share the images through {shared}, which has {free / 1e9:.1f} GB free "
            f"and needs {needed / 1e9:.1f}; give it more (in Docker: --shm-size)"
        )


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


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


class _SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the shares of all processes on a CPU; torch's own knows GPUs only."""

    def _check_input_dim(self, _: Tensor) -> None:
        """As many axes as the layer that it stands for was given."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        around = [axis for axis in range(features.ndim) if axis != 1]
        mean = _everywhere(features.mean(around, keepdim=True))
        variance = _everywhere((features - mean).square().mean(around, keepdim=True))
        count = features.numel() / features.shape[1] * torch.distributed.get_world_size()
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale, shift = (x.view_as(mean) for x in (self.weight, self.bias))
        return (features - mean) * (variance + self.eps).rsqrt() * scale + shift


def _everywhere(value: Tensor) -> Tensor:
    """The mean over all processes, with gradients to each."""
    from torch.distributed.nn.functional import all_gather

    return torch.stack(all_gather(value)).mean(0)


def _synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = _SyncedBatchNorm  # parameters and buffers stay
    return model


def _compiled(module: nn.Module, device: torch.device) -> nn.Module:
    """One graph for the one shape that all batches have; a GPU replays it whole."""
    torch.compiler.reset()  # which forgets the networks before: after eight of them it would silently compile no more
    gpu = device.type == "cuda"  # on a CPU, DPTI draws its dropout outside of the graph
    return torch.compile(module, mode="reduce-overhead" if gpu else None, fullgraph=gpu, dynamic=False)


def objective(model: nn.Module) -> nn.Module:
    """Forward pass and losses as ``fit`` runs them: ``(images, labels, masks)`` to the weighted terms."""
    return _Objective(model)


def _full_precision(output: ReIDOutput) -> ReIDOutput:
    return _each(full_precision, output)


def _each(change: Callable[[Tensor], Tensor], output: ReIDOutput) -> ReIDOutput:
    parts = (output.embeddings, output.visibility, output.logits, output.maps)
    return ReIDOutput(*({name: change(tensor) for name, tensor in part.items()} for part in parts))


def _as_weights(model: nn.Module, images: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A batch in the precision of a model's weights."""
    dtype = next(model.parameters()).dtype
    return images.to(dtype), None if masks is None else masks.to(dtype)


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
        self.model = model = _synchronised(model, fabric.device) if several else model
        model.to(fabric.device, memory_format=self.layout).train()
        optimiser = _optimiser(model, config=config, fused=fabric.device.type == "cuda")
        wrapped = _Objective(model, self.gather if several else None)
        if compiled:
            wrapped = _compiled(wrapped, fabric.device)
        self.objective, self.optimiser = fabric.setup(wrapped, optimiser)
        self.history, self.terms = History(compiled=compiled), []
        self.steps = _steps(self.loader, config)

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
        images, masks = _as_weights(self.model, images, masks)
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


def _steps(loader: Loader, config: TrainConfig) -> int:
    if config.epochs is None:
        return config.iterations
    limit = config.iterations or math.inf
    return int(min(limit, sum(len(loader.order(epoch)) for epoch in range(config.epochs))))


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


@torch.no_grad()
def extract(
    model: nn.Module,
    stack: ImageStack,
    *,
    groups: PartGroups | None = None,
    device: str | None = None,
    batch: int | None = None,
) -> Features:
    """Embeddings and visibility of all images of a stack, in the precision of the model's weights, on the CPU.

    Args:
        groups: gives the model part targets beside the images (for true visibility), if the stack has them.
        device: default: CUDA if there is any.
        batch: images per forward pass; default: 64 on the CPU, whose caches hold their maps, 256 on a GPU.

    Raises:
        ValueError: an embedding or visibility is not finite.
    """
    outputs = [
        tuple({name: _stored(t) for name, t in tensors.items()} for tensors in (o.embeddings, o.visibility))
        for o in _outputs(model, stack, groups=groups, device=device, batch=batch)
    ]
    named = [{name: torch.cat([o[i][name] for o in outputs]) for name in outputs[0][i]} for i in (0, 1)]
    for name, tensor in (named[0] | named[1]).items():
        finite = tensor.isfinite().flatten(1).all(1)
        if not finite.all():
            first = stack.names[int((~finite).nonzero()[0])]
            raise ValueError(
                f"{name!r} is not finite for {int((~finite).sum())} images, the first is {first}; train again"
            )
    return Features(named[0], named[1], stack.pid, stack.camid)


@torch.no_grad()
def extract_maps(
    model: nn.Module,
    stack: ImageStack,
    *,
    name: str,
    groups: PartGroups | None = None,
    device: str | None = None,
    batch: int | None = None,
) -> Float[Tensor, "N M h w"]:
    """One of a model's attention maps for all images of a stack, in the precision of its weights, on the CPU.

    Raises:
        ValueError: the model returns no map of that name.
    """
    found = []
    for output in _outputs(model, stack, groups=groups, device=device, batch=batch):
        if name not in output.maps:
            raise ValueError(f"the model returns no {name!r}; expected some of {sorted(output.maps)}")
        found.append(_stored(output.maps[name]))
    return torch.cat(found)


def _outputs(
    model: nn.Module, stack: ImageStack, *, groups: PartGroups | None, device: str | None, batch: int | None
) -> Iterator[ReIDOutput]:
    if not len(stack):
        raise ValueError("stack is empty; there is nothing to extract")
    target = _device(device)
    size = batch or (64 if target.type == "cpu" else 256)
    training = model.training
    model.to(target).eval()
    try:
        with _channels_last(model):
            for images, masks in batches(stack, size=size, groups=groups, device=target):
                images, masks = _as_weights(model, images, masks)
                yield model(images.contiguous(memory_format=torch.channels_last), masks)
    finally:
        model.train(training)


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """The layout in which convolutions are fastest, whatever that of the weights; theirs again outside."""
    kept = [(parameter, parameter.data) for parameter in model.parameters() if parameter.ndim == 4]
    for parameter, data in kept:
        parameter.data = data.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def _stored(tensor: Tensor) -> Tensor:
    return full_precision(tensor).cpu()
