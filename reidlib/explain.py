"""Saliency: Grad-CAM by the grad-cam package, and maps brought to the size of their images."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reidlib.types import ReIDOutput


def stretched(maps: Float[Tensor, "N h w"], *, size: tuple[int, int]) -> Float[Tensor, "N H W"]:
    """Maps between 0 and 1, each over its own range, at the size of the images."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    return interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def grad_cam(
    model: nn.Module,
    images: Float[Tensor, "N 3 H W"],
    *,
    layer: nn.Module,
    score: Callable[[ReIDOutput], Float[Tensor, " N"]],
) -> Float[Tensor, "N H W"]:
    """Grad-CAM by the grad-cam package: the channels of a layer, weighed by what each does to a score.

    Args:
        model: in evaluation mode, so that images do not see each other.
        layer: whose output is looked at.
        score: what is explained, one number per image, from the model's output.

    Returns:
        Between 0 and 1, each image over its own range; all 0 where nothing speaks for the score.

    Raises:
        ValueError: the score is no number per image, does not depend on the layer, or the layer is not one of maps.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    from pytorch_grad_cam import GradCAM

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return score(self.model(images))[:, None]

    _check_score(model, images, layer=layer, score=score)
    with GradCAM(Scored(), [layer]) as cam, torch.enable_grad():
        found = cam(images.detach().requires_grad_(), targets=[lambda scores: scores[0]] * len(images))
    model.zero_grad(set_to_none=True)
    return torch.from_numpy(found)


def _check_score(
    model: nn.Module, images: Tensor, *, layer: nn.Module, score: Callable[[ReIDOutput], Tensor]
) -> None:
    """Refuse what Grad-CAM would end in a riddle about."""
    seen: list[object] = []
    hook = layer.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        with torch.enable_grad():
            found = score(model(images.detach().requires_grad_()))
    finally:
        hook.remove()
    if not isinstance(found, Tensor) or found.shape != images.shape[:1] or not found.is_floating_point():
        told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"score gives {told} for {len(images)} images; expected a tensor with one number per image"
        )
    if not seen:
        raise ValueError(f"layer {type(layer).__name__} is not used in the forward pass; pass one that is")
    if not isinstance(seen[-1], Tensor) or seen[-1].ndim != 4:
        raise ValueError(
            f"layer {type(layer).__name__} returns no maps [N, C, h, w]; pass a convolution or a stage"
        )
    depends = seen[-1].requires_grad and found.requires_grad
    if not depends or torch.autograd.grad(found.sum(), seen[-1], allow_unused=True)[0] is None:
        raise ValueError(
            f"score does not depend on layer {type(layer).__name__}; pass another layer or score"
        )
