"""Losses: smoothed identity, batch-hard triplet on distance matrices, body-part attention.

The triplet takes matrices, so that holistic, part-averaged and per-part mining share one function
(Somers et al., WACV 2023, sections 3.2 and 3.4). Nothing here waits for the device. Left out: the
maximum and minimum over parts, focal and dice pixel losses, which no printed row uses.
"""

from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, relu, softplus

from reidlib.distances import full_precision

NO_CLASS = torch.iinfo(torch.int64).min  # a class that nobody has


def identity_loss(
    logits: Float[Tensor, "N *K I"], labels: Int[Tensor, " N"], *, smoothing: float
) -> Float[Tensor, ""]:
    """Cross-entropy with label smoothing; over parts, the mean of the parts' losses.

    Args:
        logits: scores of the I training identities, for one embedding or for K parts.
        labels: training labels, 0..I-1.
        smoothing: mass epsilon spread evenly over all I identities.

    Raises:
        ValueError: a label is none of these (on a GPU, its own error, later: nothing is read back here).
    """
    if logits.ndim == 3:
        labels = repeat(labels, "n -> (n k)", k=logits.shape[1])
        logits = rearrange(logits, "n k i -> (n k) i")
    return _cross_entropy(logits, labels, smoothing=smoothing)


def batch_hard_triplet(
    distances: Float[Tensor, "*K N N"],
    labels: Int[Tensor, " N"],
    *,
    margin: float,
    valid: Bool[Tensor, "*K N N"] | None = None,
    average: Literal["anchors", "violators"] = "anchors",
) -> Float[Tensor, ""]:
    """Triplet loss over the hardest positive and the hardest negative of every anchor.

    mean of [max_p d(a, p) - min_n d(a, n) + margin]_+ over the anchors with a valid positive and a
    valid negative. The anchor is never its own positive.

    Args:
        distances: one matrix per part (mined apart), or a single one.
        labels: training labels.
        margin: alpha; 0 chooses the soft margin log(1 + exp(d_ap - d_an)).
        valid: pairs that may be mined; None allows all.
        average: over all those anchors, or over the ones whose triplet costs something (0 if none does).

    Source: Somers et al., WACV 2023, Eq. 8 (whose f_0 is a slip for f_1); violators: Wang et al., TMM 2022,
        Eq. 3.
    """
    same = labels[:, None] == labels[None, :]
    myself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive, negative = (same & ~myself).expand_as(distances), (~same).expand_as(distances)
    if valid is not None:
        positive, negative = positive & valid, negative & valid
    hardest_positive = distances.masked_fill(~positive, -torch.inf).max(-1).values  # [K, N]
    hardest_negative = distances.masked_fill(~negative, torch.inf).min(-1).values  # [K, N]
    anchor = positive.any(-1) & negative.any(-1)  # [K, N]
    gap = torch.where(anchor, hardest_positive - hardest_negative, 0.0)
    loss = relu(gap + margin) if margin > 0 else softplus(gap)  # Eq. 8
    counted = anchor & ~(loss <= 0) if average == "violators" else anchor  # NaN counts
    return torch.where(counted, loss, 0.0).sum() / counted.sum().clamp_min(1)


def hardest(
    distances: Float[Tensor, "N N"], labels: Int[Tensor, " N"]
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """The farthest image of every anchor's own identity, and the nearest of another.

    Every anchor needs one of each, as batches of several identities with several images have them.
    """
    same = labels[:, None] == labels[None, :]
    positive = distances.masked_fill(~same, -torch.inf).argmax(1)
    negative = distances.masked_fill(same, torch.inf).argmin(1)
    return positive, negative


def pair_weights(visibility: Float[Tensor, "N K"]) -> Float[Tensor, "K N N"]:
    """sqrt(v_i v_j) of every pair and part; for binary scores, whether both images show it."""
    root = rearrange(visibility, "n k -> k n").sqrt()
    return root[:, :, None] * root[:, None, :]  # [K, N, N]


def part_average(
    distances: Float[Tensor, "K N N"], visibility: Float[Tensor, "N K"] | None = None
) -> tuple[Float[Tensor, "N N"], Bool[Tensor, "N N"] | None]:
    """Average part distances, over all parts or over those that both images show (Eq. 7).

    Returns:
        The averaged distances and, given visibility, which pairs share a visible part.
    """
    if visibility is None:
        return distances.mean(0), None  # Eq. 7
    weights = pair_weights(visibility)
    total = weights.sum(0)  # [N, N]
    return (weights * distances).sum(0) / torch.where(total > 0, total, 1.0), total > 0


def pixel_targets(masks: Float[Tensor, "N M _ _"], size: tuple[int, int]) -> Int[Tensor, "N h w"]:
    """Part label (0 = background) of every cell: resize bilinearly with aligned corners, then argmax."""
    return interpolate(masks, size=size, mode="bilinear", align_corners=True).argmax(1)  # [N, h, w]


def attention_loss(
    logits: Float[Tensor, "N M h w"], targets: Int[Tensor, "N h w"], *, smoothing: float
) -> Float[Tensor, ""]:
    """Body-part attention loss: smoothed cross-entropy of the pixel-wise part classifier.

    Args:
        logits: scores of the background (channel 0) and the K parts in every cell.
        targets: part labels of the cells, 0..K.
        smoothing: mass epsilon spread evenly over the K+1 classes.

    Source: Somers et al., WACV 2023, Eq. 2.
    Deviation: Eq. 2 sums over cells and divides the smoothing by the batch size; as in the released
        code, this is a mean over cells and divides by the number of classes.
    """
    return _cross_entropy(logits, targets, smoothing=smoothing)


def _cross_entropy(
    scores: Float[Tensor, "N C *cells"], classes: Int[Tensor, "N *cells"], *, smoothing: float
) -> Float[Tensor, ""]:
    """PyTorch's, which would leave out a class of -100 unseen."""
    try:
        return cross_entropy(
            full_precision(scores), classes, label_smoothing=smoothing, ignore_index=NO_CLASS
        )
    except IndexError as error:
        raise ValueError(f"labels: {error}; expected 0..{scores.shape[1] - 1}") from None
