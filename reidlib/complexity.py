"""What a network costs: parameters and multiply-adds, counted without data or weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Complexity:
    """Counts for one image.

    Args:
        parameters: at test time, so without the identity classifiers.
        training: parameters with them.
        operations: multiply-adds of convolutions and linear layers, classifiers left out. Batch norms, poolings
            and products of maps are not counted, as is usual where papers print "FLOPs".
    """

    parameters: int
    training: int
    operations: int


def complexity(
    build: Callable[..., nn.Module], *, identities: int = 702, size: tuple[int, int] = (256, 128)
) -> Complexity:
    """Count a network without allocating it.

    Args:
        build: makes the network, given ``identities``.
        identities: of the training set. What one identity more would add, times their number, is the classifiers.
        size: height and width of the image.
    """
    (total, operations), (larger, more) = (_count(build, i, size) for i in (identities, identities + 1))
    return Complexity(
        parameters=total - identities * (larger - total),
        training=total,
        operations=operations - identities * (more - operations),
    )


def _count(build: Callable[..., nn.Module], identities: int, size: tuple[int, int]) -> tuple[int, int]:
    operations = 0

    def count(layer: nn.Module, _: tuple, output: torch.Tensor) -> None:
        nonlocal operations
        operations += output.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        model = build(identities=identities).eval()
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        with torch.inference_mode():
            model(torch.empty(1, 3, *size))
    return sum(parameter.numel() for parameter in model.parameters()), operations
