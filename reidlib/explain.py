"""Saliency, and what ground truth says about attention, masks and visibility: overlap with true parts, ranks."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from reidlib.distances import full_precision
from reidlib.types import ReIDOutput


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
    attended = F.interpolate(full_precision(maps), size=size, mode="bilinear", align_corners=True).argmax(
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


def focus(
    heat: Float[Tensor, "N h w"], person: Bool[Tensor, "N H W"], other: Bool[Tensor, "N H W"]
) -> Float[np.ndarray, " N"]:
    """How much warmer a map is on the person than on what stands in front: the logarithm of the ratio.

    Args:
        heat: magnitudes, 0 and up.
        person: where the right person shows.
        other: where something else hides that person.

    Returns:
        log of mean heat on the person over mean heat on the other; NaN where either covers under a hundredth
        of the image.
    """
    shares = [
        F.adaptive_avg_pool2d(m.to(heat.dtype)[:, None], heat.shape[-2:])[:, 0] for m in (person, other)
    ]
    means = [(heat * share).sum((1, 2)) / share.sum((1, 2)) for share in shares]
    known = torch.stack([share.mean((1, 2)) >= 0.01 for share in shares]).all(0)
    return torch.where(known, (means[0] / means[1]).log(), torch.nan).numpy()


def mask_regions(
    masks: Float[Tensor, "N K h w"], regions: Int[Tensor, "N H W"], *, count: int
) -> Float[np.ndarray, "K R"]:
    """What signed masks weigh: mean of each mask over each region, in units of the mask's mean magnitude.

    Args:
        masks: any real values.
        regions: label of the region of every pixel, 0 to ``count - 1``; others belong to none.
        count: R, how many regions there are.

    Returns:
        Means over the images where the region covers at least a hundredth; NaN where no image has it.
    """
    numbers = torch.arange(count)[:, None, None]
    if not len(masks):
        return np.full((masks.shape[1], count), np.nan)
    shares = torch.stack(  # image by image: the one-hot regions of all would be large
        [F.adaptive_avg_pool2d((labels == numbers).to(masks.dtype), masks.shape[-2:]) for labels in regions]
    )  # [N, R, h, w]
    size = shares.sum((2, 3))  # [N, R]
    scaled = masks / masks.abs().mean((2, 3), keepdim=True).clamp_min(1e-12)
    means = torch.einsum("nkhw,nrhw->nkr", scaled, shares) / size.clamp_min(1e-12)[:, None]
    seen = (size >= 0.01 * masks.shape[2] * masks.shape[3])[:, None]  # [N, 1, R]
    return (torch.where(seen, means, 0.0).sum(0) / seen.sum(0)).numpy()


def entropy(maps: Float[Tensor, "N K h w"]) -> float:
    """Mean entropy of maps that sum to one, over the largest possible: 1 for uniform maps, 0 for single cells."""
    flat = maps.flatten(2)
    found = torch.special.entr(flat).sum(-1).mean() / np.log(flat.shape[-1])
    return float(found)


def mass(maps: Float[Tensor, "N K h w"], region: Bool[Tensor, "N H W"]) -> Float[Tensor, "N K"]:
    """Share of each map, which sums to one, that lies within a region of its image."""
    share = F.adaptive_avg_pool2d(region.to(maps.dtype)[:, None], maps.shape[-2:])[:, 0]  # [N, h, w]
    return torch.einsum("nkhw,nhw->nk", maps, share)


def stretched(maps: Float[Tensor, "N h w"], *, size: tuple[int, int]) -> Float[Tensor, "N H W"]:
    """Maps between 0 and 1, each over its own range, at the size of the images."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    return F.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


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


def mask_cosine(masks: Float[Tensor, "N K h w"]) -> float:
    """Cosine of two different masks of an image, on average: 1 if all are the same map, as collapsed ones are."""
    flat = F.normalize(masks.flatten(2), dim=-1)  # [N, K, h*w]
    count = flat.shape[1]
    total = (flat @ flat.mT).sum((1, 2)).mean() - count  # the diagonal is one
    return float(total / (count * (count - 1)))


def mask_correlation(masks: Float[Tensor, "N K h w"]) -> Float[np.ndarray, "K K"]:
    """Correlation over cells of every two masks of an image, averaged over images.

    1 if they are the same up to scale and a constant, -1 if one is the negative of the other. Unlike the
    cosine it does not call masks alike merely because both are positive, as a softmax makes them.
    """
    flat = masks.flatten(2)
    flat = F.normalize(flat - flat.mean(-1, keepdim=True), dim=-1)  # [N, K, h*w]
    return (flat @ flat.mT).mean(0).numpy()


def relative_quality(
    score: Float[np.ndarray, "N K"], known: Bool[np.ndarray, "N K"]
) -> Float[np.ndarray, "N K"]:
    """Logarithm of quality scores less the mean of their image, since only ratios within an image are taught.

    Args:
        score: in (0, 1).
        known: which stripes count; the others become NaN.
    """
    log = np.where(known, np.log(score), np.nan)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    return log - np.nansum(log, axis=1, keepdims=True) / count


def quality_drop(score: Float[np.ndarray, "N K"], share: Float[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """By how much scores fall on stripes that are mostly hidden, against those that show: mean log score.

    Args:
        score: predicted quality, in (0, 1).
        share: true visible share, NaN where it is not known.

    Returns:
        One value per image, each stripe position's own mean over all images taken away first; NaN where the
        image has no stripe that shows (share over 0.8) or none that is mostly hidden (under 0.5).
    """
    log = np.log(score)
    log = log - log.mean(axis=0, keepdims=True)
    parts = []
    for chosen in (share > 0.8, share < 0.5):  # NaN is neither
        count = chosen.sum(1)
        parts.append(np.where(chosen, log, 0).sum(1) / np.where(count, count, np.nan))
    return parts[0] - parts[1]


def quality_agreement(
    score: Float[np.ndarray, "N K"], share: Float[np.ndarray, "N K"]
) -> dict[str, float | int]:
    """How well quality scores of stripes follow the true visible share, within images.

    Args:
        score: predicted quality, in (0, 1).
        share: true visible share, NaN where it is not known.

    Returns:
        Spearman correlation of log score and share, the mean of each image and of each stripe position taken
        away from both; the number of stripes; and the entropy of the scores within an image over its largest
        possible value (near 0 if one stripe had all the weight).
    """
    known = ~np.isnan(share)
    centred = relative_quality(score, known)
    apart = share - np.nansum(share, axis=1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    places = known.sum(0, keepdims=True)
    ranks = [
        _ranks((values - np.nansum(values, axis=0, keepdims=True) / np.maximum(places, 1))[known])
        for values in (centred, apart)
    ]
    weights = score / score.sum(1, keepdims=True)
    entropy = -(weights * np.log(weights)).sum(1) / np.log(score.shape[1])
    return {
        "spearman": round(float(np.corrcoef(*ranks)[0, 1]), 4),
        "stripes": int(known.sum()),
        "entropy": round(float(entropy.mean()), 4),
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
