"""Part labels: read, check, group into K parts, and turn into training targets.

Source: BPBreID, section 6 of its supplementary material and released code (36 PifPaf channels, grouped by
maximum); the groups themselves are data, ``data/published/bpbreid_part_groups.csv``. Left out: the
released groupings that no printed row uses, the ``sum`` and ``diff_from_max`` backgrounds.
"""

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

PART_LABELS = (
    "head",
    "upper torso",
    "lower torso",
    "right upper arm",
    "left upper arm",
    "right lower arm",
    "left lower arm",
    "right leg",
    "left leg",
    "right foot",
    "left foot",
)
"""Names of labels 1..11 of a part map (left and right are the person's); 0 is background."""

_GROUPS = Path(__file__).parents[2] / "data" / "published" / "bpbreid_part_groups.csv"
_SHARPNESS = 15.0  # factor of the released softmax over part confidences
_THRESHOLD = 0.5  # confidence under which a pixel is background


@dataclass(frozen=True, eq=False)
class PartGroups:
    """A grouping of part labels, and of PifPaf channels, into K parts (part k is number k + 1)."""

    key: str  # name in the released code
    names: tuple[str, ...]  # of the K parts
    lookup: UInt8[Tensor, "12"]  # part (1..K, 0 background) of each label
    channels: tuple[tuple[int, ...], ...]  # PifPaf channels of each part; parts may share one

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> "PartGroups":
        return replace(self, lookup=self.lookup.to(device))


@cache
def groups(k: int) -> PartGroups:
    """The paper's grouping into k parts.

    Raises:
        ValueError: no printed row uses that number of parts.

    Source: BPBreID, Table 5; eight parts in Tables 1, 2 and 4.
    """
    with _GROUPS.open(newline="") as file:
        table = list(csv.DictReader(file))
    rows = [row for row in table if int(row["K"]) == k]
    if not rows:
        known = sorted({int(row["K"]) for row in table})
        raise ValueError(f"k = {k}: no grouping into that many parts; expected one of {known}")
    lookup = torch.zeros(len(PART_LABELS) + 1, dtype=torch.uint8)
    for row in rows:
        lookup[[int(label) for label in row["synthetic_labels"].split()]] = int(row["label"])
    channels = tuple(_ranges(row["pifpaf_channels"]) for row in rows)
    return PartGroups(rows[0]["key"], tuple(row["part"] for row in rows), lookup, channels)


def _ranges(text: str) -> tuple[int, ...]:
    bounds = [[int(bound) for bound in item.split("-")] for item in text.split()]
    return tuple(channel for item in bounds for channel in range(item[0], item[-1] + 1))


def check_labels(labels: np.ndarray | None, path: Path, *, size: tuple[int, int]) -> None:
    """Refuse a part map that does not fit its image.

    Args:
        labels: what was read from ``path``, None if it could not be read.
        size: height and width of the image as stored.

    Raises:
        ValueError: unreadable, not one byte per pixel, of another size, or with a label over 11.
    """
    expected = f"expected one uint8 label (0..{len(PART_LABELS)}) per pixel of the {size} image"
    if labels is None:
        found = "cannot be read"
    elif labels.shape != size or labels.dtype != np.uint8:
        found = f"is {labels.dtype} of shape {labels.shape}"
    elif labels.max() > len(PART_LABELS):
        found = f"holds label {labels.max()}"
    else:
        return
    raise ValueError(f"part map {path} {found}; {expected}; write it again or remove the masks folder")


def flip_labels(labels: UInt8[Tensor, "N H W"]) -> UInt8[Tensor, "N H W"]:
    """Mirror part maps; left parts become right ones."""
    return swap_sides(labels.flip(-1))


def swap_sides(labels: UInt8[Tensor, "N H W"]) -> UInt8[Tensor, "N H W"]:
    """Exchange left and right labels, pixels staying where they are."""
    return labels ^ (labels > 3)  # limbs come in pairs (4, 5), (6, 7), ...


def part_targets(
    labels: UInt8[Tensor, "N H W"], groups: PartGroups, *, stride: int = 4, background_weight: float = 0.4
) -> Float[Tensor, "N {len(groups)+1} H//{stride} W//{stride}"]:
    """How much of each cell every part covers.

    Args:
        labels: part maps, 0..11.
        groups: which labels make which part, on the device of the labels.
        stride: side of a cell in pixels; must divide height and width.
        background_weight: factor of the background's share, so that a cell belongs to a thin part although
            more of it shows background.

    Returns:
        Shares in [0, 1], background first.

    Raises:
        ValueError: stride does not divide the size.

    Deviation: BPBreID resizes the softmax of PifPaf confidences by nearest neighbour; true labels are
        averaged instead, and background counts 0.4, which made legs and feet easier to see at 64x32.
    """
    height, width = labels.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"labels of size {height}x{width}: stride {stride} must divide both")
    parts = groups.lookup.index_select(0, labels.flatten().int()).view(labels.shape).long()
    cells = rearrange(parts, "n (h s) (w t) -> n h w (s t)", s=stride, t=stride)
    shares = torch.zeros(*cells.shape[:-1], len(groups) + 1, device=labels.device)  # [N, h, w, K+1]
    shares.scatter_add_(-1, cells, shares.new_full((1, 1, 1, 1), stride**-2).expand(cells.shape))
    shares[..., 0] *= background_weight
    return rearrange(shares, "n h w k -> n k h w").contiguous()


def group_fields(
    fields: Float[Tensor, "N 36 H W"], groups: PartGroups
) -> Float[Tensor, "N {len(groups)+1} H W"]:
    """Part probabilities from the 36 PifPaf confidence fields published for BPBreID.

    A part's confidence is the largest of its channels, a pixel is background where no part reaches 0.5, and
    a softmax of 15 times the values makes probabilities.

    Source: BPBreID's released code (``threshold`` background, softmax weight 15).
    """
    parts = [fields[:, list(channels)].amax(1) for channels in groups.channels]
    confidence = torch.stack(parts, 1).clamp(0, 1)  # [N, K, H, W]
    background = (confidence.amax(1, keepdim=True) < _THRESHOLD).to(confidence)
    return (_SHARPNESS * torch.cat([background, confidence], 1)).softmax(1)  # [N, K+1, H, W]
