"""What the generator knows about test images, and how maps compare with it.

What one paper alone measures stands in its wing; here is what several share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from companion.inputs import NoTruth, TestSet
from reidlib.data.index import Split
from reidlib.data.loading import ImageStack
from reidlib.data.masks import groups
from reidlib.types import Features
from synthreid import benchmark

VISIBLE = 0.3  # of a part must show for it to count as visible
REGION_PARTS = 5
"""Into how many body parts people are cut where masks are compared with the truth."""


def truth_of(split: Split, names: Sequence[str]) -> pd.DataFrame:
    """What the generator knows about images, in the order of their file names.

    Raises:
        NoTruth: the set is not a synthetic one.
    """
    if not (split.root / benchmark.TRUTH).exists():
        raise NoTruth(split.name)
    frame = benchmark.ground_truth(split.root)
    return frame.set_index(frame["file"].str.rsplit("/").str[-1]).loc[list(names)]


def true_visibility(images: ImageStack, split: Split, *, k: int) -> Float[np.ndarray, "N K"]:
    """True visible fraction of each part in every image."""
    return benchmark.part_visibility(truth_of(split, images.names), groups(k).lookup.numpy())


def with_truth(found: Features, images: ImageStack, split: Split, *, k: int) -> Features:
    """Add the true visibility of K parts, known for synthetic sets only."""
    truth = torch.from_numpy(true_visibility(images, split, k=k) > VISIBLE).float()
    return replace(found, visibility=found.visibility | {"truth": truth})


def twins(data: TestSet, whole: TestSet) -> tuple[Int[np.ndarray, " Q"], Bool[np.ndarray, " Q"]]:
    """The row of each query's unoccluded twin, and whether there is one under the same box."""
    truth = truth_of(data.split, data.query.names)
    place = {name: row for row, name in enumerate(whole.query.names)}
    rows = np.array([place.get(name.rsplit("/")[-1], -1) for name in truth["twin"]])
    return rows, (rows >= 0) & ~truth["box_follows_visible"].astype(bool).to_numpy()


def bodies(
    data: TestSet, whole: TestSet
) -> tuple[Bool[Tensor, "Q H W"], Bool[Tensor, "Q H W"], Bool[np.ndarray, " Q"]]:
    """Where the person of each query shows, where something hides that person, and whether this is known."""
    rows, known = twins(data, whole)
    person, alone = data.query.masks > 0, whole.query.masks[rows] > 0
    return person, alone & ~person, known


def behind_person(data: TestSet) -> Bool[np.ndarray, " Q"]:
    """Which queries hide behind another person, rather than an object."""
    return (truth_of(data.split, data.query.names)["occluder"] == "person").to_numpy()


SHARES = ("<40 %", "40-50 %", "50-60 %", ">60 %")
"""Groups of queries by how much of the person shows."""


def slices(data: TestSet, values: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | int]]:
    """Means of per-query values over groups of queries.

    Args:
        data: occluded queries.
        values: name -> one value per query, NaN where there is none.

    Returns:
        Kind of occluder, or one of ``SHARES``, each with ``queries`` (their number) and the means.
    """
    truth = truth_of(data.split, data.query.names)
    share = pd.cut(truth["visible_share"], [0, 0.4, 0.5, 0.6, 1], labels=SHARES).astype(str)
    frame = pd.DataFrame(values)
    found = {}
    for keys in (truth["occluder"].to_numpy(), share.to_numpy()):
        for group, rows in frame.groupby(keys):
            found[group] = {"queries": len(rows)} | rows.mean().round(5).to_dict()
    return found


# -- maps ---------------------------------------------------------------------------------------------


def mass(maps: Float[Tensor, "N K h w"], region: Bool[Tensor, "N H W"]) -> Float[Tensor, "N K"]:
    """Share of each map, which sums to one, that lies within a region of its image."""
    share = adaptive_avg_pool2d(region.to(maps.dtype)[:, None], maps.shape[-2:])[:, 0]  # [N, h, w]
    return torch.einsum("nkhw,nhw->nk", maps, share)


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
        [adaptive_avg_pool2d((labels == numbers).to(masks.dtype), masks.shape[-2:]) for labels in regions]
    )  # [N, R, h, w]
    size = shares.sum((2, 3))  # [N, R]
    scaled = masks / masks.abs().mean((2, 3), keepdim=True).clamp_min(1e-12)
    means = torch.einsum("nkhw,nrhw->nkr", scaled, shares) / size.clamp_min(1e-12)[:, None]
    seen = (size >= 0.01 * masks.shape[2] * masks.shape[3])[:, None]  # [N, 1, R]
    return (torch.where(seen, means, 0.0).sum(0) / seen.sum(0)).numpy()


def mask_cosine(masks: Float[Tensor, "N K h w"]) -> float:
    """Cosine of two different masks of an image, on average: 1 if all are the same map, as collapsed ones are."""
    flat = normalize(masks.flatten(2), dim=-1)  # [N, K, h*w]
    count = flat.shape[1]
    total = (flat @ flat.mT).sum((1, 2)).mean() - count  # the diagonal is one
    return float(total / (count * (count - 1)))


def mask_correlation(masks: Float[Tensor, "N K h w"]) -> Float[np.ndarray, "K K"]:
    """Correlation over cells of every two masks of an image, averaged over images.

    1 if they are the same up to scale and a constant, -1 if one is the negative of the other. Unlike the
    cosine it does not call masks alike merely because both are positive, as a softmax makes them.
    """
    flat = masks.flatten(2)
    flat = normalize(flat - flat.mean(-1, keepdim=True), dim=-1)  # [N, K, h*w]
    return (flat @ flat.mT).mean(0).numpy()


def region_names() -> tuple[str, ...]:
    """What ``mask_measures`` tells apart: the background, the parts of the body, and what hides them."""
    return ("background", *groups(REGION_PARTS).names, "in front")


def mask_measures(masks: Float[Tensor, "Q K h w"], data: TestSet, whole: TestSet) -> dict:
    """Which region each mask weighs, which masks are alike, and where all of them together look.

    Only queries whose occlusion is known count: those with an unoccluded twin under the same box. What is in
    front is a region only where it covers the body; elsewhere it counts as background.

    Args:
        masks: signed or not.
        data: the queries the masks belong to.
        whole: the set that holds their twins.
    """
    _, hidden, known = bodies(data, whole)
    labels = groups(REGION_PARTS).lookup[data.query.masks.long()].long()
    labels = labels.masked_fill(hidden, REGION_PARTS + 1)
    rows, count = torch.from_numpy(known), REGION_PARTS + 2
    masks, labels = masks[rows], labels[rows]
    correlation = mask_correlation(masks).astype(float)
    apart = correlation[~np.eye(len(correlation), dtype=bool)]
    fusion = mask_regions(masks.abs().sum(1, keepdim=True), labels, count=count)[0]
    return {
        "mask_regions": mask_regions(masks, labels, count=count).astype(float).round(4).tolist(),
        "fusion_regions": fusion.astype(float).round(4).tolist(),
        "mask_correlation": correlation.round(4).tolist(),
        "alike": round(float(np.abs(apart).mean()), 4),
        "most_alike": round(float(np.abs(correlation - np.eye(len(correlation))).max(1).mean()), 4),
        "cosine": round(mask_cosine(masks), 4),
        "negative": round(float((masks < 0).float().mean()), 4),
    }
