"""Training augmentation on whole batches: image and part map move together, every image by its own draw.

Source: BPBreID, released recipe: mirror, zero-pad and crop back, normalise, then erase one rectangle.
Left out: colour jitter (its Occluded-ReID recipe only) and erasing by area and aspect (BoT's).
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Generator, Tensor

from reidlib.data.masks import swap_fields, swap_sides

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ERASED = MEAN
"""Fill of erased rectangles, after normalisation, as in the released code."""

_ERASE_SIDE = (0.15, 0.65)  # shortest and longest side of the rectangle, share of the image's side


@dataclass(frozen=True)
class Augment:
    """How training images are varied."""

    flip: float = 0.5  # probability of mirroring (left and right part labels are exchanged)
    pad: float = 10 / 128  # largest shift in each direction, share of the width (10 pixels at 256x128)
    erase: float = 0.5  # probability of erasing one rectangle, 15-65 % of each side

    def __post_init__(self) -> None:
        for name in ("flip", "pad", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}; expected a number in [0, 1]")


def draw(
    count: int, *, size: tuple[int, int], augment: Augment, generator: Generator
) -> Int[Tensor, "{count} 7"]:
    """Draw the parameters of ``count`` augmentations.

    Returns:
        Per image: shift down, shift right (of the window, in pixels), mirrored (0 or 1), and top, left,
        height, width of the erased rectangle (height and width 0: none).
    """
    height, width = size
    pad = round(augment.pad * width)
    chance = torch.rand(count, 8, dtype=torch.float64, generator=generator)

    def whole(column: int, low: int, high: int | Tensor) -> Tensor:
        return (low + chance[:, column] * (high - low + 1)).floor().long()

    erased = chance[:, 3] < augment.erase
    rows = whole(4, *_sides(height)) * erased
    columns = whole(5, *_sides(width)) * erased
    flip = (chance[:, 2] < augment.flip).long()
    top, left = whole(6, 0, height - rows), whole(7, 0, width - columns)
    return torch.stack([whole(0, -pad, pad), whole(1, -pad, pad), flip, top, left, rows, columns], 1)


def _sides(length: int) -> tuple[int, int]:
    return math.floor(_ERASE_SIDE[0] * length), math.floor(_ERASE_SIDE[1] * length)


def apply(
    images: UInt8[Tensor, "N 3 H W"],
    masks: UInt8[Tensor, "N *planes _ _"] | None,
    *,
    draws: Int[Tensor, "N 7"],
) -> tuple[Float[Tensor, "N 3 H W"], UInt8[Tensor, "N *planes _ _"] | None]:
    """Mirror, shift, normalise and erase a batch by given draws, images and masks alike.

    Pixels from outside are black before normalisation and background in the labels, erased ones are
    background too.
    """
    labels = masks if masks is not None and masks.ndim == 3 else None
    layers = images if labels is None else torch.cat([images, labels[:, None]], 1)
    moved = _moved(layers, draws, cell=1)  # [N, 3 or 4, H, W]
    kept = _kept(draws, images.shape[-2:], cell=1)  # [N, H, W]
    share, fill = kept[:, None].float(), _channels(ERASED, images.device)
    pictures = normalise(moved[:, :3]).mul_(share).add_(fill * (1 - share))
    if labels is not None:
        return pictures, _turned(moved[:, 3], draws[:, 2:3]) * kept
    if masks is None:
        return pictures, None
    cell = images.shape[-1] // masks.shape[-1]
    fields = _moved(masks, draws, cell=cell)
    fields = torch.where(draws[:, 2, None, None, None] > 0, swap_fields(fields), fields)
    return pictures, fields * _kept(draws, images.shape[-2:], cell=cell)[:, None]


def _moved(
    layers: UInt8[Tensor, "N C h w"], draws: Int[Tensor, "N 7"], *, cell: int
) -> UInt8[Tensor, "N C h w"]:
    """Mirrored and shifted; each of the layers' cells stands for the first of its pixels."""
    height, width = (side * cell for side in layers.shape[-2:])
    shift_y, shift_x, flip = (column[:, None] for column in draws.unbind(1)[:3])
    y = torch.arange(0, height, cell, device=draws.device)[None] + shift_y
    x = torch.arange(0, width, cell, device=draws.device)[None] + shift_x
    return _gather(layers, y // cell, torch.where(flip > 0, width - 1 - x, x) // cell)


def _kept(draws: Int[Tensor, "N 7"], size: tuple[int, int], *, cell: int) -> Bool[Tensor, "N h w"]:
    """Where nothing is erased."""
    top, left, rows, columns = (column[:, None] for column in draws.unbind(1)[3:])
    y = torch.arange(0, size[0], cell, device=draws.device)[None]
    x = torch.arange(0, size[1], cell, device=draws.device)[None]
    return ~(_inside(y, top, rows)[:, :, None] & _inside(x, left, columns)[:, None, :])


def _turned(labels: UInt8[Tensor, "N H W"], flip: Int[Tensor, "N 1"]) -> UInt8[Tensor, "N H W"]:
    """Left and right exchanged where the image was mirrored."""
    return torch.where(flip[:, :, None] > 0, swap_sides(labels), labels)


def _gather(
    layers: UInt8[Tensor, "N C H W"], rows: Int[Tensor, "N H"], columns: Int[Tensor, "N W"]
) -> UInt8[Tensor, "N C H W"]:
    height, width = layers.shape[-2:]
    y, x = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = (y[:, :, None] * width + x[:, None, :]).flatten(1)  # [N, H*W]
    moved = layers.flatten(2).gather(2, index[:, None].expand(-1, layers.shape[1], -1)).view(layers.shape)
    valid = (rows == y)[:, :, None] & (columns == x)[:, None, :]
    return moved.mul_(valid[:, None])


def _inside(position: Tensor, start: Tensor, length: Tensor) -> Tensor:
    return (position >= start) & (position < start + length)


def normalise(images: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
    """Bytes to floats with ImageNet's mean and deviation, the only transform at test time."""
    mean, std = _channels(MEAN, images.device), _channels(STD, images.device)
    return images.float().mul_(1 / (255 * std)).sub_(mean / std)


@cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(3, 1, 1)  # cached: a copy to a GPU would stop the queue
