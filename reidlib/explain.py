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

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    from pytorch_grad_cam import GradCAM

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return score(self.model(images))[:, None]

    with GradCAM(Scored(), [layer]) as cam, torch.enable_grad():
        found = cam(images, targets=[lambda scores: scores[0]] * len(images))
    model.zero_grad(set_to_none=True)
    return torch.from_numpy(found)
