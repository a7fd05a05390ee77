"""Training augmentation on whole batches: image and part map move together, every image by its own draw.

Source: BPBreID, released recipe: mirror, zero-pad and crop back, normalise, then erase one rectangle. For the
papers' own recipes also colour jitter (BPBreID on Occluded-REID), erasing by area and aspect (BoT, QPM, PAN,
DPTI), enlarging and cropping back (AaP), random resized crops and AugMix (DPTI). Left out: erasing before
normalisation (DPTI's toolbox), which would fill with 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from reidlib.data.masks import swap_fields, swap_sides
from reidlib.options import check_choices

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ERASED = MEAN
"""Fill of erased rectangles, after normalisation, as in the released code."""

_ERASE_SIDE = (0.15, 0.65)  # shortest and longest side of the rectangle, share of the image's side
_ASPECT, _TRIES = (0.3, 3.33), 100  # of rectangles of a given area
_BRIGHTNESS, _CONTRAST = 0.2, 0.15  # largest change by jitter
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augment:
    """How training images are varied."""

    flip: float = 0.5  # probability of mirroring (left and right part labels are exchanged)
    pad: float = 10 / 128  # largest shift in each direction, share of the width (10 pixels at 256x128)
    erase: float = 0.5  # probability of erasing one rectangle, 15-65 % of each side
    erase_area: tuple[float, float] | None = None  # instead, the rectangle's share of the image
    zoom: Literal["none", "enlarge", "resized"] = "none"  # see _boxes
    jitter: float = 0.0  # probability of another brightness (20 %) and contrast (15 %)
    augmix: float = 0.0  # probability of AugMix (severity 1, width 3, depth 1)

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("flip", "pad", "erase", "jitter", "augmix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}; expected a number in [0, 1]")
        area = self.erase_area
        if area is not None and not (len(area) == 2 and 0 < area[0] <= area[1] < 1):
            raise ValueError(f"erase_area = {area}; expected (lowest, highest), 0 < lowest <= highest < 1")


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
    rows, columns = whole(4, *_sides(height)), whole(5, *_sides(width))
    if augment.erase_area is not None:
        rows, columns = _rectangles(count, size=size, area=augment.erase_area, generator=generator)
    rows, columns = rows * erased, columns * erased
    flip = (chance[:, 2] < augment.flip).long()
    top, left = whole(6, 0, height - rows), whole(7, 0, width - columns)
    return torch.stack([whole(0, -pad, pad), whole(1, -pad, pad), flip, top, left, rows, columns], 1)


def _sides(length: int) -> tuple[int, int]:
    return math.floor(_ERASE_SIDE[0] * length), math.floor(_ERASE_SIDE[1] * length)


def _rectangles(
    count: int, *, size: tuple[int, int], area: tuple[float, float], generator: Generator
) -> tuple[Int[Tensor, " {count}"], Int[Tensor, " {count}"]]:
    """Heights and widths of a given area and of 0.3 to 3.33 times as high as wide: the first try that fits.

    Source: Zhong et al., Random Erasing Data Augmentation, AAAI 2020, as BoT's code has it.
    """
    tries = torch.rand(count, _TRIES, 2, dtype=torch.float64, generator=generator)
    pixels = (area[0] + tries[..., 0] * (area[1] - area[0])) * size[0] * size[1]
    aspect = _ASPECT[0] + tries[..., 1] * (_ASPECT[1] - _ASPECT[0])
    sides = torch.stack([(pixels * aspect).sqrt(), (pixels / aspect).sqrt()], -1).round().long()
    fits = (sides < torch.tensor(size)).all(-1)  # [count, tries]
    rows, columns = sides[torch.arange(count), fits.int().argmax(1)].unbind(-1)
    return rows * fits.any(1), columns * fits.any(1)


def zoom(
    images: UInt8[Tensor, "N 3 H W"],
    masks: UInt8[Tensor, "N *planes _ _"] | None,
    *,
    augment: Augment,
    generator: Generator,
) -> tuple[UInt8[Tensor, "N 3 H W"], UInt8[Tensor, "N *planes _ _"] | None]:
    """Cut a random box from every image and stretch it to the whole, masks alike."""
    if augment.zoom == "none":
        return images, masks
    boxes = _boxes(len(images), kind=augment.zoom, generator=generator).to(images.device, non_blocking=True)
    images = _stretched(images, boxes, mode="bilinear")
    if masks is None:
        return images, None
    planes = masks if masks.ndim == 4 else masks[:, None]
    return images, _stretched(planes, boxes, mode="nearest").view(masks.shape)


def _boxes(count: int, *, kind: str, generator: Generator) -> Float[Tensor, "{count} 4"]:
    """Top, left, height and width of boxes, as shares of the image.

    ``enlarge``: half of the images are enlarged 1.125 times and cropped back. ``resized``: half to all of the
    area, its aspect changed by 3/4 to 4/3 at most.
    """
    chance = torch.rand(count, 5, generator=generator)
    if kind == "enlarge":
        side = torch.where(chance[:, 4] < 0.5, 1 / 1.125, 1.0)
        sides = torch.stack([side, side], 1)
    else:
        area = 0.5 + chance[:, 2] / 2
        stretch = (4 / 3) ** (chance[:, 3] - 0.5)  # the root of how much height over width changes
        sides = torch.stack([area.sqrt() * stretch, area.sqrt() / stretch], 1).clamp_max(1)
    return torch.cat([chance[:, :2] * (1 - sides), sides], 1)


def _stretched(layers: UInt8[Tensor, "N C h w"], boxes: Float[Tensor, "N 4"], *, mode: str) -> Tensor:
    top, left, height, width = boxes.unbind(1)
    zero = torch.zeros_like(top)
    rows = [width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(layers.shape), align_corners=False)
    found = grid_sample(layers.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return found.round().byte()


def recolour(
    images: UInt8[Tensor, "N 3 H W"], *, augment: Augment, generator: Generator
) -> UInt8[Tensor, "N 3 H W"]:
    """Jitter and AugMix, every image by its own draw.

    AugMix runs image by image: torchvision draws one set of parameters for a whole batch, and on a GPU the weights of
    its mixture there. The random state outside stays as it was.
    """
    if augment.jitter:
        images = _jittered(images, torch.rand(len(images), 3, generator=generator), chance=augment.jitter)
    if not augment.augmix:
        return images
    from torchvision.transforms import v2  # takes long to import, and only AugMix needs it

    chosen = torch.rand(len(images), generator=generator) < augment.augmix
    seed = int(torch.randint(2**62, (), generator=generator))
    mix = v2.AugMix(severity=1, mixture_width=3, chain_depth=1, all_ops=False)
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        return torch.stack([mix(image) if one else image for image, one in zip(images, chosen)])


def _jittered(
    images: UInt8[Tensor, "N 3 H W"], draws: Float[Tensor, "N 3"], *, chance: float
) -> UInt8[Tensor, "N 3 H W"]:
    """Brightness, then contrast about the mean grey, in some of the images."""
    draws = draws.to(images.device, non_blocking=True)[:, :, None, None, None]
    bright = (images * (1 + _BRIGHTNESS * (2 * draws[:, 0] - 1))).clamp(0, 255)
    grey = (bright * _channels(_GREY, images.device)).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    changed = (grey + (bright - grey) * (1 + _CONTRAST * (2 * draws[:, 1] - 1))).clamp(0, 255)
    return torch.where(draws[:, 2] < chance, changed.round().byte(), images)


def apply(
    images: UInt8[Tensor, "N 3 H W"],
    masks: UInt8[Tensor, "N *planes _ _"] | None,
    *,
    draws: Int[Tensor, "N 7"],
    colours: Callable[[UInt8[Tensor, "N 3 H W"]], UInt8[Tensor, "N 3 H W"]] | None = None,
) -> tuple[Float[Tensor, "N 3 H W"], UInt8[Tensor, "N *planes _ _"] | None]:
    """Mirror, shift, normalise and erase a batch by given draws, images and masks alike.

    Pixels from outside are black before normalisation and background in the labels, erased ones are
    background too.
    """
    labels = masks if masks is not None and masks.ndim == 3 else None
    layers = images if labels is None else torch.cat([images, labels[:, None]], 1)
    moved = _moved(layers, draws, cell=1)  # [N, 3 or 4, H, W]
    kept = _not_erased(draws, images.shape[-2:], cell=1)  # [N, H, W]
    share, fill = kept[:, None].float(), _channels(ERASED, images.device)
    pictures = moved[:, :3] if colours is None else colours(moved[:, :3])
    pictures = normalise(pictures).mul_(share).add_(fill * (1 - share))
    if labels is not None:
        return pictures, _turned(moved[:, 3], draws[:, 2:3]) * kept
    if masks is None:
        return pictures, None
    cell = images.shape[-1] // masks.shape[-1]
    fields = _moved(masks, draws, cell=cell)
    fields = torch.where(draws[:, 2, None, None, None] > 0, swap_fields(fields), fields)
    return pictures, fields * _not_erased(draws, images.shape[-2:], cell=cell)[:, None]


def _moved(
    layers: UInt8[Tensor, "N C h w"], draws: Int[Tensor, "N 7"], *, cell: int
) -> UInt8[Tensor, "N C h w"]:
    """Mirrored and shifted; each of the layers' cells stands for the first of its pixels."""
    height, width = (side * cell for side in layers.shape[-2:])
    shift_y, shift_x, flip = (column[:, None] for column in draws.unbind(1)[:3])
    y = torch.arange(0, height, cell, device=draws.device)[None] + shift_y
    x = torch.arange(0, width, cell, device=draws.device)[None] + shift_x
    return _gather(layers, y // cell, torch.where(flip > 0, width - 1 - x, x) // cell)


def _not_erased(draws: Int[Tensor, "N 7"], size: tuple[int, int], *, cell: int) -> Bool[Tensor, "N h w"]:
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
    # cached: a copy to a GPU would stop the queue
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
