"""What the generator knows about test images, and how models' scores and maps compare with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reidlib.data.index import Split
from reidlib.data.loading import ImageStack
from reidlib.data.masks import groups
from reidlib.explain import (
    attention_iou,
    entropy,
    focus,
    mask_correlation,
    mask_cosine,
    mask_regions,
    mass,
    quality_agreement,
    quality_drop,
    visibility_agreement,
)
from reidlib.types import Features
from synthreid import benchmark

VISIBLE = 0.3  # of a part must show for it to count as visible
_LEAST = 0.02  # of a stripe must be the person for its visible share to mean something


@dataclass(frozen=True)
class TestSet:
    """A test set ready to be scored: its images, and what the generator knows about them."""

    split: Split
    query: ImageStack
    gallery: ImageStack


class NoTruth(ValueError):
    """Something was asked of photographs that only the generator of synthetic pictures knows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"true parts and occluders are known for synthetic sets only, not for {name}")


def truth_of(split: Split, names: Sequence[str]) -> pd.DataFrame:
    """What the generator knows about images, in the order of their file names.

    Raises:
        NoTruth: the set is not a synthetic one.
    """
    if not split.name.startswith("synth-"):
        raise NoTruth(split.name)
    frame = benchmark.ground_truth(split.root)
    return frame.set_index(frame["file"].str.rsplit("/").str[-1]).loc[list(names)]


def true_visibility(stack: ImageStack, split: Split, *, k: int) -> np.ndarray:
    """True visible fraction of each part in every image of a stack. ``[N, K]``"""
    return benchmark.part_visibility(truth_of(split, stack.names), groups(k).lookup.numpy())


def with_truth(found: Features, stack: ImageStack, split: Split, *, k: int) -> Features:
    """Add the true visibility of K parts, known for synthetic sets only."""
    truth = torch.from_numpy(true_visibility(stack, split, k=k) > VISIBLE).float()
    return replace(found, visibility=found.visibility | {"truth": truth})


def stripe_visibility(data: TestSet, whole: TestSet, *, stripes: int) -> Float[np.ndarray, "Q K"]:
    """True visible share of each horizontal stripe of the queries, from each one's unoccluded twin.

    Args:
        data: queries that each hide behind something.
        whole: the set that holds their twins, the same people in the same pose with nothing in front.

    Returns:
        Shares in [0, 1]; NaN where it is not known: the query has no twin, its box follows the visible body
        (and so differs from the twin's), or hardly anything of the person is in the stripe.
    """
    person, hidden, known = bodies(data, whole)
    left, rest = (_per_stripe(pixels, stripes) for pixels in (person, hidden))
    total = left + rest
    cells = data.query.size[0] * data.query.size[1] / stripes
    share = np.where(total > _LEAST * cells, left / np.maximum(total, 1), np.nan)
    return np.where(known[:, None], share, np.nan)


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


def _per_stripe(pixels: Bool[Tensor, "N H W"], stripes: int) -> Float[np.ndarray, "N K"]:
    bands = pixels.float().tensor_split(stripes, dim=1)
    return np.stack([band.sum((1, 2)).numpy() for band in bands], 1)


def part_measures(query: Features, maps: Float[Tensor, "Q M h w"], data: TestSet) -> dict:
    """Do part maps cover their parts, do visibility scores follow the truth?"""
    k = maps.shape[1] - 1
    return {
        "attention_iou": attention_iou(maps, data.query.masks, lookup=groups(k).lookup),
        **visibility_agreement(
            query.visibility["soft"].numpy(), true_visibility(data.query, data.split, k=k)
        ),
    }


def stripe_values(
    query: Features, data: TestSet, whole: TestSet, *, heat: Float[Tensor, "Q 1 h w"] | None
) -> dict[str, Float[np.ndarray, " Q"]]:
    """Per query, behind objects and behind people (NaN elsewhere): fall of the scores, focus of the heat."""
    quality = query.visibility["quality"].numpy()
    person, hidden, known = bodies(data, whole)
    other = behind_person(data)
    values = {"drop": quality_drop(quality, stripe_visibility(data, whole, stripes=quality.shape[1]))}
    if heat is not None:
        values["focus"] = np.where(known, focus(heat[:, 0], person, hidden), np.nan)
    return {
        f"{name}-{kind}": np.where(rows, value, np.nan)
        for name, value in values.items()
        for kind, rows in (("object", ~other), ("person", other))
    }


def stripe_measures(query: Features, data: TestSet, whole: TestSet) -> dict:
    """Do quality scores follow the true visible share, behind objects and behind people?"""
    quality = query.visibility["quality"].numpy()
    share, other = stripe_visibility(data, whole, stripes=quality.shape[1]), behind_person(data)
    return {
        kind: quality_agreement(quality[rows], share[rows])
        for kind, rows in (("object", ~other), ("person", other))
    }


ALIKE = 0.99  # mean cosine of a model's maps, or mean largest weight, from which on there is but one
REGION_PARTS = 5
"""Into how many body parts people are cut where masks are compared with the truth."""


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


def map_alarms(measures: dict[str, dict]) -> list[str]:
    """Signs that all maps of a model have become one, or that one has all the weight, from its test sets' measures.

    The part attention may look at one place with all templates without harm: only the maps that make
    features are judged.
    """
    alarms = []
    for found in measures.values():
        maps = found.get("templates", found)
        if maps.get("cosine", 0) > ALIKE:
            alarms.append(f"all maps are alike (mean cosine {maps['cosine']:.3f}): they have collapsed")
        if found.get("largest_weight", 0) > ALIKE:
            share = found["largest_weight"]
            alarms.append(f"one part has all the weight (mean {share:.3f}): the others have collapsed")
    return alarms


def template_values(
    query: Features, twin: Features, maps: dict[str, tuple[Tensor, Tensor]], data: TestSet, whole: TestSet
) -> dict[str, Float[np.ndarray, " Q"]]:
    """What an occluder does to templates and to where they look, per query whose unoccluded twin is known.

    Args:
        query: features of the occluded queries, with their ``templates``.
        twin: features of the queries of the set that holds the twins.
        maps: name -> maps ``[Q, K, h, w]`` of the occluded queries and of all the others.
        data: the occluded queries.
        whole: the others.

    Returns:
        ``moved``: mean cosine distance of a query's templates from its twin's. ``moved-person``: the same from
        another person's. For each map, share of its mass on the place that something hides, without
        (``<name>-clear``) and with it (``<name>-hidden``). ``rho-shift``: over the templates of an image, how the
        change of weights correlates with how much of a template's place is hidden (-1: weights leave it).
    """
    rows, known = twins(data, whole)
    _, hidden, _ = bodies(data, whole)
    here, there = query.embeddings["templates"], twin.embeddings["templates"][rows]
    others = there.roll(len(there) // 2, 0)  # half of all people further
    values = {"moved": _apart(here, there), "moved-person": _apart(here, others)}
    for name, (occluded, clear) in maps.items():
        values[f"{name}-clear"] = mass(clear[rows], hidden).mean(1)
        values[f"{name}-hidden"] = mass(occluded, hidden).mean(1)
    if "rho" in query.visibility:
        change = query.visibility["rho"] - twin.visibility["rho"][rows]
        values["rho-shift"] = _correlation(change, mass(maps["templates"][1][rows], hidden))
    return {name: np.where(known, value.numpy(), np.nan) for name, value in values.items()}


def _correlation(a: Float[Tensor, "N K"], b: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return torch.cosine_similarity(a, b, dim=1)


def _apart(a: Float[Tensor, "N K D"], b: Float[Tensor, "N K D"]) -> Float[Tensor, " N"]:
    return (1 - torch.cosine_similarity(a, b, dim=-1)).mean(1)


def template_measures(maps: dict[str, Float[Tensor, "Q K h w"]], data: TestSet, whole: TestSet) -> dict:
    """For each kind of map: how spread, how alike, and which region each template weighs."""
    return {
        name: mask_measures(found, data, whole) | {"entropy": round(entropy(found), 4)}
        for name, found in maps.items()
    }


VEHICLES = ("car", "cart")
"""Occluders of Figure 5 of AaP-ReID, which shows people behind cars and carts apart."""


def shown(data: TestSet, whole: TestSet, *, each: int = 3) -> Int[np.ndarray, " n"]:
    """Queries for a figure: behind cars or carts, then behind others, the first of different people each.

    Only those whose unoccluded twin is known.
    """
    rows, known = twins(data, whole)
    frame = pd.DataFrame(
        {
            "pid": data.query.pid.numpy(),
            "vehicle": truth_of(data.split, data.query.names)["occluder"].isin(VEHICLES).to_numpy(),
        }
    )[known]
    first = frame.drop_duplicates(["pid", "vehicle"])
    chosen = [first[first["vehicle"] == kind].index[:each] for kind in (True, False)]
    return np.concatenate(chosen)


def heat_values(
    heat: dict[str, Float[Tensor, "Q H W"]], data: TestSet, whole: TestSet
) -> dict[str, Float[np.ndarray, " Q"]]:
    """Share of each saliency map on the person and on what hides that person, per query; the rest is background.

    Args:
        heat: name -> map, 0 and up.
        data: the queries the maps belong to.
        whole: the set that holds their twins; the same as ``data`` where nothing hides anyone.

    Returns:
        ``<name>-person`` and ``<name>-front``, and the same for ``area``, a map that is one everywhere: what a
        share would be by chance. NaN where a map is empty or the occlusion is not known.
    """
    person, hidden, known = bodies(data, whole) if data is not whole else _unhidden(data)
    maps = torch.stack([*heat.values(), torch.ones_like(next(iter(heat.values())))], 1)  # [Q, K, H, W]
    maps = maps / maps.sum((2, 3), keepdim=True)  # 0 / 0 = NaN marks an empty map
    values = {}
    for place, region in (("person", person), ("front", hidden)):
        shares = np.where(known[:, None], mass(maps, region).numpy(), np.nan)
        values |= {f"{name}-{place}": share for name, share in zip([*heat, "area"], shares.T)}
    return values


def _unhidden(data: TestSet) -> tuple[Bool[Tensor, "Q H W"], Bool[Tensor, "Q H W"], Bool[np.ndarray, " Q"]]:
    person = data.query.masks > 0
    return person, torch.zeros_like(person), np.ones(len(person), dtype=bool)
