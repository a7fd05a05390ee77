"""What training and embedding cost a device, counted on tensors without memory: no GPU is needed.

A step is run as it is, forward, losses and backward, on fake tensors that know their shape and type alone; every
kernel's arithmetic and traffic is added up, and what is alive at a time. ``CARDS`` says what that takes on a given
card. The estimate of time is that of a roofline whose two sides add up, at an attained share that is fitted to
five rows timed on an H200. Left out: the optimiser's arithmetic, fused kernels and the workspace of convolutions.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from reidlib.extraction import EMBEDDED
from reidlib.recipe import TrainConfig
from reidlib.training import objective

_LABELS = 2  # identities of a counted batch; no cost depends on who is who


@dataclass(frozen=True)
class Footprint:
    """What one training step and one batch of extraction take.

    Args:
        images: of the training batch.
        operations: floating point operations of a step, two for each multiply-add.
        traffic: bytes that its kernels read and write.
        kernels: that it launches.
        memory: bytes alive at its peak, with weights, gradients and the optimiser's state; no images but the batch.
        embed_operations, embed_traffic: of embedding one image, in 32 bits.
    """

    images: int
    operations: float
    traffic: float
    kernels: int
    memory: float
    embed_operations: float
    embed_traffic: float


@dataclass(frozen=True)
class Card:
    """A GPU as its maker describes it.

    Args:
        half: dense operations a second in bfloat16.
        full: the same in 32 bits, as convolutions are computed (TF32 where there is such a thing).
        bandwidth: bytes a second.
        memory: bytes.
    """

    half: float
    full: float
    bandwidth: float
    memory: float

    def step(self, cost: Footprint, *, precision: str) -> float:
        """Seconds of a training step.

        Args:
            precision: as in ``TrainConfig``.
        """
        busy = self._busy(cost.operations, cost.traffic, half=precision != "32-true")
        return max(busy / _TRAINING, cost.kernels * _LAUNCH)

    def embed(self, cost: Footprint) -> float:
        """Seconds of embedding one image."""
        return self._busy(cost.embed_operations, cost.embed_traffic, half=False) / _EMBEDDING

    def fits(self, cost: Footprint, *, images: float = 0.0) -> bool:
        """Whether a training step fits, beside the images of a training set that live on the device (bytes)."""
        return _SLACK * cost.memory + images + _CONTEXT <= self.memory

    def _busy(self, operations: float, traffic: float, *, half: bool) -> float:
        return operations / (self.half if half else self.full) + traffic / self.bandwidth


CARDS = {
    "t4": Card(65e12, 8.1e12, 320e9, 16e9),  # halves are float16 there, which training here does not use
    "rtx3090": Card(71e12, 35.6e12, 936e9, 24e9),
    "rtx4090": Card(165e12, 82.6e12, 1008e9, 24e9),
    "a100": Card(312e12, 156e12, 2039e9, 80e9),
    "h100": Card(989e12, 494e12, 3350e9, 80e9),
    "h200": Card(989e12, 494e12, 4800e9, 141e9),
}
"""From the makers' data sheets, without sparsity."""

_TRAINING, _EMBEDDING = 0.32, 0.46
"""Of both sides of the roofline, by a loop that launches kernel by kernel. On an H200 (torch 2.11, bfloat16, batches of
128) BPBreID, QPM, PAN, DPTI and AaP trained 3,685, 2,638, 2,675, 3,307 and 3,117 images a second and embedded 6,594,
4,116, 6,809, 6,957 and 5,553: shares of 0.33, 0.36, 0.30, 0.33, 0.31 and of 0.45, 0.43, 0.57, 0.50, 0.41. NVIDIA's
DeepLearningExamples (graphs, fused kernels) attain 0.7 on ResNet-50."""
_LAUNCH = 8e-6  # seconds that Python and the driver take for one kernel: a floor for small networks
_SLACK, _CONTEXT = 1.15, 1e9  # for fragments and workspaces, and for the driver


def footprint(
    build: Callable[..., nn.Module],
    *,
    config: TrainConfig,
    size: tuple[int, int],
    identities: int,
    masks: tuple[int, int, int] | None = None,
    given: bool = False,
) -> Footprint:
    """Count a network's training step and its extraction.

    Args:
        build: makes the network, given ``identities``, from no file.
        config: batch, precision and optimiser.
        size: height and width of the image.
        identities: of the training set.
        masks: channels, height and width of the part targets, None without.
        given: whether it is given them at test time too.
    """
    count = config.identities * config.images
    with FakeTensorMode():
        model = fake(lambda: build(identities=identities), device="cpu")
        parameters = [p for p in model.parameters() if p.requires_grad]
        weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        state = sum(p.nbytes for p in parameters) * (1 if config.optimiser == "sgd" else 2)
        step, embedding = Meter(), Meter()
        images, targets = _batch(count, size, masks)
        with step:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.precision != "32-true"):
                terms = objective(model)(images, torch.arange(count) % _LABELS, targets)
            torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters, allow_unused=True)
        images, targets = _batch(EMBEDDED, size, masks if given else None)
        with embedding, torch.no_grad():
            model.eval()(images, targets)
    return Footprint(
        images=count,
        operations=step.operations,
        traffic=step.traffic,
        kernels=step.kernels,
        memory=float(weights + state + step.peak),
        embed_operations=embedding.operations / EMBEDDED,
        embed_traffic=embedding.traffic / EMBEDDED,
    )


def _batch(
    count: int, size: tuple[int, int], masks: tuple[int, int, int] | None
) -> tuple[Tensor, Tensor | None]:
    images = torch.empty(count, 3, *size).contiguous(memory_format=torch.channels_last)
    return images, None if masks is None else torch.empty(count, *masks)


def fake(build: Callable[[], nn.Module], *, device: str) -> nn.Module:
    """A network whose parameters have no memory, as if they lay on a device; within a ``FakeTensorMode``."""
    # built outside of the mode, which where there is a GPU takes some tensors on "meta" for real ones
    with unset_fake_temporarily(), torch.device("meta"):
        model = build()
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                if tensor is not None:
                    kind[name] = _as_fake(tensor, device)
    return model


def _as_fake(tensor: Tensor, device: str) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


class Meter(TorchDispatchMode):
    """Adds up what the kernels do that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.traffic, self.kernels = 0.0, 0.0, 0
        self.live, self.peak = 0, 0
        self._storages: set[int] = set()

    def __torch_dispatch__(
        self, kernel: Any, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        result = kernel(*arguments, **options)
        made, read = _tensors(result), _tensors((arguments, options))
        for tensor in made:
            self._watch(tensor)
        if count := flop_registry.get(kernel._overloadpacket):
            self.operations += count(*arguments, **options, out_val=result)
        if made and not kernel.is_view:
            self.kernels += 1
            self.traffic += sum(tensor.nbytes for tensor in (*made, *read))
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:
            self._storages.add(storage._cdata)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, storage: int, size: int) -> None:
        self._storages.discard(storage)
        self.live -= size


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
