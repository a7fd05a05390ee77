"""Where networks run: on one device, or on several that train as one."""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reidlib.data.loading import Loader

if TYPE_CHECKING:  # takes long to import
    from lightning_fabric import Fabric


def fabric_of(target: torch.device, *, precision: str, devices: int = 1) -> "Fabric":
    """Lightning Fabric for one device, or for several that share every batch."""
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
        precision=precision,
        strategy="auto" if devices == 1 else several,
    )


def check_devices(target: torch.device, devices: int, *, loader: Loader) -> None:
    """Refuse more GPUs than there are, and images that the processes cannot share.

    Raises:
        ValueError: so many devices are not there, or shared memory is too small for the images.
    """
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


def device_of(name: str | None) -> torch.device:
    """The device of a name; without one, CUDA if there is any."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


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


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """A model whose batch norms count the whole batch, not a process's share of it."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = _SyncedBatchNorm  # parameters and buffers stay
    return model


def compiled_module(module: nn.Module, device: torch.device) -> nn.Module:
    """One graph for the one shape that all batches have; a GPU replays it whole."""
    torch.compiler.reset()  # which forgets the networks before: after eight of them it would silently compile no more
    gpu = device.type == "cuda"  # on a CPU, DPTI draws its dropout outside of the graph
    return torch.compile(module, mode="reduce-overhead" if gpu else None, fullgraph=gpu, dynamic=False)


def as_weights(
    model: nn.Module, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M h w"] | None
) -> tuple[Float[Tensor, "N 3 H W"], Float[Tensor, "N M h w"] | None]:
    """A batch in the precision of a model's weights."""
    dtype = next(model.parameters()).dtype
    return images.to(dtype), None if masks is None else masks.to(dtype)
