"""Part labels: read, check, group into K parts, and turn into training targets.

Source: BPBreID, section 6 of its supplementary material and released code (36 PifPaf channels, grouped by
maximum); the groups themselves are data, ``reidlib/data/part_groups.csv``. Masks come as part
labels per pixel (synthetic data), or as the 36 confidence fields of PifPaf, published for the real sets or
drawn here from another detector's keypoints. Left out: the released groupings that no printed row uses, the
``sum`` and ``diff_from_max`` backgrounds.
"""

import csv
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
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

KEYPOINTS = (
    "nose",
    *(f"{side}_{name}" for name in ("eye", "ear") for side in ("left", "right")),
    *(
        f"{side}_{name}"
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
"""Channels 0..16 of the confidence fields, in COCO's order."""

LIMBS = (
    ("left_ankle", "left_knee"),
    ("left_knee", "left_hip"),
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"),
    ("left_eye", "right_eye"),
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)
"""Channels 17..35: PifPaf's associations."""

CELL = 4
"""Side in pixels of a cell of part targets and of stored fields (released code: a quarter of the image)."""

SHARPNESS = 15.0
"""Factor of the softmax that makes probabilities of part confidences (released code)."""

_BACKGROUND = 0.4  # weight of the background's share of a cell of true labels
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
    with files("reidlib.data").joinpath("part_groups.csv").open(newline="") as file:
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


def check_labels(labels: np.ndarray, path: Path, *, size: tuple[int, int]) -> None:
    """Refuse a part map that does not fit its image.

    Args:
        labels: what was read from ``path``.
        size: height and width of the image as stored.

    Raises:
        ValueError: not one byte per pixel, of another size, or with a label over 11.
    """
    expected = f"expected one uint8 label (0..{len(PART_LABELS)}) per pixel of the {size} image"
    if labels.shape != size or labels.dtype != np.uint8:
        found = f"is {labels.dtype} of shape {labels.shape}"
    elif labels.max() > len(PART_LABELS):
        found = f"holds label {labels.max()}"
    else:
        return
    raise ValueError(f"part map {path} {found}; {expected}; write it again or remove the masks folder")


def check_fields(fields: np.ndarray | None, path: Path) -> None:
    """Refuse confidence fields that are not 36 maps of numbers in [0, 1].

    Raises:
        ValueError: unreadable, of another shape or type, or with values outside [0, 1].
    """
    channels = len(KEYPOINTS) + len(LIMBS)
    if fields is None:
        found = "cannot be read"
    elif fields.ndim != 3 or fields.shape[0] != channels or 0 in fields.shape:
        found = f"has shape {fields.shape}"
    elif fields.dtype.kind != "f":
        found = f"is {fields.dtype}"
    elif not (fields.min() >= -1e-3 and fields.max() <= 1 + 1e-3):  # NaN fails both; rounding is clipped
        found = f"holds values from {fields.min()} to {fields.max()}"
    else:
        return
    raise ValueError(
        f"confidence fields {path} {found}; expected [{channels}, h, w] of float32 in [0, 1]: fetch or make it again"
    )


def shrink_fields(fields: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Fields of any size as bytes ``[36, H/4, W/4]``, by nearest neighbour as in the released code."""
    height, width = (side // CELL for side in size)
    rows = np.arange(height) * fields.shape[1] // height
    columns = np.arange(width) * fields.shape[2] // width
    return np.rint(fields[:, rows[:, None], columns].clip(0, 1) * 255).astype(np.uint8)


def swap_fields(fields: UInt8[Tensor, "N 36 h w"]) -> UInt8[Tensor, "N 36 h w"]:
    """Exchange the channels of left and right, pixels staying where they are."""
    return fields[:, _index(_MIRROR, fields.device)]


def _mirrored(name: str) -> str:
    side, _, joint = name.partition("_")
    return {"left": f"right_{joint}", "right": f"left_{joint}"}.get(side, name)


def _mirror() -> tuple[int, ...]:
    limbs = [frozenset(limb) for limb in LIMBS]
    points = [KEYPOINTS.index(_mirrored(name)) for name in KEYPOINTS]
    return (*points, *(len(points) + limbs.index(frozenset(map(_mirrored, limb))) for limb in limbs))


_MIRROR = _mirror()


@cache
def _index(channels: tuple[int, ...], device: torch.device) -> Int[Tensor, " n"]:
    # cached: a copy to a GPU would stop the queue
    return torch.tensor(channels, device=device)


def draw_fields(
    points: Float[np.ndarray, "17 2"], confidence: Float[np.ndarray, " 17"], *, size: tuple[int, int]
) -> Float[np.ndarray, "36 h w"]:
    """Confidence fields from one person's keypoints, as any pose detector gives them.

    A keypoint is a round spot, a limb a bar between two keypoints with the confidence of the weaker one;
    both fade over an eighth of the image's width, at least over a cell.

    Args:
        points: x and y in pixels of the image, in COCO's order.
        confidence: in [0, 1].
        size: height and width of the image; fields have an eighth of both, at least 1.
    """
    height, width = (max(1, side // 8) for side in size)
    y, x = np.mgrid[:height, :width] + 0.5
    cells = np.stack([x * size[1] / width, y * size[0] / height], -1)[:, :, None]  # [h, w, 1, 2]
    ends = np.array([[KEYPOINTS.index(a), KEYPOINTS.index(b)] for a, b in LIMBS])
    start = np.concatenate([points, points[ends[:, 0]]])  # [36, 2]
    along = np.concatenate([points, points[ends[:, 1]]]) - start
    share = ((cells - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-6)  # [h, w, 36]
    nearest = start + share.clip(0, 1)[..., None] * along
    gap = np.linalg.norm(cells - nearest, axis=-1) / max(size[1] / 8, 8)
    score = np.concatenate([confidence, confidence[ends].min(1)])
    return np.moveaxis(score * np.exp(-(gap**2) / 2), -1, 0).astype(np.float32).clip(0, 1)


def swap_sides(labels: UInt8[Tensor, "N H W"]) -> UInt8[Tensor, "N H W"]:
    """Exchange left and right labels, pixels staying where they are."""
    return labels ^ (labels > 3)  # limbs come in pairs (4, 5), (6, 7), ...


def part_targets(
    labels: UInt8[Tensor, "N H W"], groups: PartGroups
) -> Float[Tensor, "N {len(groups)+1} H//4 W//4"]:
    """Part probabilities of each cell from true labels: a sharp softmax of how much of it every part covers.

    Args:
        labels: part maps, 0..11.
        groups: which labels make which part, on the device of the labels.

    Returns:
        Probabilities, background first, as ``field_targets`` gives them.

    Raises:
        ValueError: cells do not divide the size.

    Deviation: BPBreID takes PifPaf confidences by nearest neighbour; true labels are averaged over a cell
        instead, and background counts 0.4, so that a cell belongs to a thin part although more of it
        shows background: at 64x32, legs and feet are easier to see so.
    """
    height, width = labels.shape[-2:]
    if height % CELL or width % CELL:
        raise ValueError(f"labels of size {height}x{width}: cells of {CELL} pixels must divide both")
    parts = groups.lookup.index_select(0, labels.flatten().int()).view(labels.shape).long()
    cells = rearrange(parts, "n (h s) (w t) -> n h w (s t)", s=CELL, t=CELL)
    shares = torch.zeros(*cells.shape[:-1], len(groups) + 1, device=labels.device)  # [N, h, w, K+1]
    shares.scatter_add_(-1, cells, shares.new_full((1, 1, 1, 1), CELL**-2).expand(cells.shape))
    shares[..., 0] *= _BACKGROUND
    return _probabilities(rearrange(shares, "n h w k -> n k h w").contiguous())


def group_fields(
    fields: Float[Tensor, "N 36 H W"], groups: PartGroups
) -> Float[Tensor, "N {len(groups)+1} H W"]:
    """Part probabilities from the 36 PifPaf confidence fields published for BPBreID.

    A part's confidence is the largest of its channels, a pixel is background where no part reaches 0.5, and
    a softmax of 15 times the values makes probabilities.

    Source: BPBreID's released code (``threshold`` background, softmax weight 15).
    """
    parts = [fields[:, _index(channels, fields.device)].amax(1) for channels in groups.channels]
    confidence = torch.stack(parts, 1).clamp(0, 1)  # [N, K, H, W]
    background = (confidence.amax(1, keepdim=True) < _THRESHOLD).to(confidence)
    return _probabilities(torch.cat([background, confidence], 1))


def _probabilities(confidence: Float[Tensor, "N M h w"]) -> Float[Tensor, "N M h w"]:
    return (SHARPNESS * confidence).softmax(1)


def field_targets(
    fields: UInt8[Tensor, "N 36 h w"], groups: PartGroups
) -> Float[Tensor, "N {len(groups)+1} h w"]:
    """Training targets from stored confidence fields: ``group_fields`` of bytes."""
    return group_fields(fields.float() / 255, groups)
