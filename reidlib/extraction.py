"""Feature extraction: what a trained network makes of a stack of images."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reidlib.data.loading import ImageStack, batches
from reidlib.data.masks import PartGroups
from reidlib.devices import as_weights, device_of
from reidlib.distances import full_precision
from reidlib.types import Features, ReIDOutput

BATCH = 64
"""Images per forward pass on a CPU, whose caches hold their maps."""
EMBEDDED = 256
"""The same on a GPU."""


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
        batch: images per forward pass; default: ``BATCH`` on the CPU, ``EMBEDDED`` on a GPU.

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
    target = device_of(device)
    size = batch or (BATCH if target.type == "cpu" else EMBEDDED)
    training = model.training
    model.to(target).eval()
    try:
        with _channels_last(model):
            for images, masks in batches(stack, size=size, groups=groups, device=target):
                images, masks = as_weights(model, images, masks)
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
