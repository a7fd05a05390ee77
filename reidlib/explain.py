"""What ground truth says about attention and visibility: overlap with true parts, rank agreement."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


def attention_iou(
    maps: Float[Tensor, "N M h w"], labels: UInt8[Tensor, "N H W"], *, lookup: UInt8[Tensor, " L"]
) -> list[float]:
    """Intersection over union of each attended part with the true one, over all images together.

    Args:
        maps: part probabilities, background first; a pixel belongs to the most probable part.
        labels: true part labels at image size.
        lookup: part (0..K) of every label.

    Returns:
        K values in [0, 1]; NaN for a part that is never there and never attended.
    """
    parts = maps.shape[1]
    size = labels.shape[-2:]
    attended = F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=True).argmax(
        1
    )  # [N, H, W]
    true = lookup.to(labels.device)[labels.long()].long()  # [N, H, W]
    table = (
        torch.bincount((attended * parts + true).flatten(), minlength=parts * parts)
        .view(parts, parts)
        .double()
    )
    hit = table.diagonal()
    union = table.sum(0) + table.sum(1) - hit
    return [round(value, 4) for value in (hit / union)[1:].tolist()]


def visibility_agreement(
    score: Float[np.ndarray, "N K"], truth: Float[np.ndarray, "N K"], *, threshold: float = 0.3
) -> dict[str, float | list[float]]:
    """How well predicted visibility follows the true visible fraction.

    Args:
        score: predicted visibility.
        truth: true visible fraction; a part is visible above ``threshold``.

    Returns:
        AUC of telling visible from hidden parts (all parts together, and per part), and the Spearman
        correlation of score and fraction.
    """
    visible = truth > threshold
    per_part = [auc(score[:, k], visible[:, k]) for k in range(score.shape[1])]
    return {
        "visibility_auc": auc(score.ravel(), visible.ravel()),
        "visibility_auc_per_part": per_part,
        "visibility_spearman": round(
            float(np.corrcoef(_ranks(score.ravel()), _ranks(truth.ravel()))[0, 1]), 4
        ),
    }


def focus(heat: Float[Tensor, "N h w"], labels: UInt8[Tensor, "N H W"]) -> Float[np.ndarray, " N"]:
    """How much warmer a map is on the right person than on the whole image.

    Args:
        heat: magnitudes, 0 and up.
        labels: true part labels at image size, 0 where the person is not.

    Returns:
        Mean heat on the person's visible pixels over mean heat; NaN where nothing of the person shows.
    """
    body = F.adaptive_avg_pool2d((labels > 0).float()[:, None], heat.shape[-2:])[:, 0]  # [N, h, w]
    inside = (heat * body).sum((1, 2)) / body.sum((1, 2))
    return (inside / heat.mean((1, 2))).numpy()


def quality_agreement(
    score: Float[np.ndarray, "N K"], share: Float[np.ndarray, "N K"]
) -> dict[str, float | int]:
    """How well quality scores of stripes follow the true visible share.

    Args:
        score: predicted quality.
        share: true visible share, NaN where it is not known.

    Returns:
        Spearman correlation, each stripe position's own mean taken away first (so that knees being darker
        than shoulders counts for nothing), the mean score of stripes that show (share over 0.8) and of those
        that are hidden (under 0.2), and the number of stripes.
    """
    known = ~np.isnan(share)
    hidden = np.where(known, score, np.nan)
    apart = [values - np.nanmean(values, axis=0, keepdims=True) for values in (hidden, share)]
    ranks = [_ranks(values[known]) for values in apart]
    return {
        "spearman": round(float(np.corrcoef(*ranks)[0, 1]), 4),
        "visible": round(float(score[known & (share > 0.8)].mean()), 4),
        "hidden": round(float(score[known & (share < 0.2)].mean()), 4),
        "stripes": int(known.sum()),
    }


def auc(score: Float[np.ndarray, " n"], positive: np.ndarray) -> float:
    """Area under the ROC curve from the mean rank of the positives (ties count half)."""
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return float("nan")
    return round(float((_ranks(score)[positive].mean() - (n_pos + 1) / 2) / n_neg), 4)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks, 1-based."""
    import pandas as pd

    return pd.Series(values).rank().to_numpy()
