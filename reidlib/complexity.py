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
    build: Callable[[], nn.Module], *, identities: int, size: tuple[int, int] = (256, 128)
) -> Complexity:
    """Count a network without allocating it.

    Args:
        build: makes the network.
        identities: of its training set; linear layers with that many outputs are its classifiers.
        size: height and width of the image.
    """
    operations, classifiers = 0, 0

    def count(layer: nn.Module, _: tuple, output: torch.Tensor) -> None:
        nonlocal operations
        operations += output.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        model = build().eval()
        for layer in model.modules():
            if getattr(layer, "out_features", None) == identities:
                classifiers += sum(parameter.numel() for parameter in layer.parameters())
            elif isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        with torch.inference_mode():
            model(torch.empty(1, 3, *size))
    total = sum(parameter.numel() for parameter in model.parameters())
    return Complexity(total - classifiers, total, operations)
