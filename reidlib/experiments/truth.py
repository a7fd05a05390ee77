"""What the generator knows about test images, and how models' scores and maps compare with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from reidlib.data.feeding import ImageBank
from reidlib.data.masks import groups
from reidlib.data.records import Split
from reidlib.data.synthetic import benchmark
from reidlib.explain import attention_iou, focus, quality_agreement, visibility_agreement
from reidlib.types import Features

VISIBLE = 0.3  # of a part must show for it to count as visible
_LEAST = 0.02  # of a stripe must be the person for its visible share to mean something


@dataclass(frozen=True)
class TestSet:
    """A test set ready to be scored: its images, and what the generator knows about them."""

    split: Split
    query: ImageBank
    gallery: ImageBank


def truth_of(split: Split, names: Sequence[str]) -> pd.DataFrame:
    """What the generator knows about images, in the order of their file names."""
    frame = benchmark.ground_truth(split.root)
    return frame.set_index(frame["file"].str.rsplit("/").str[-1]).loc[list(names)]


def true_visibility(bank: ImageBank, split: Split, *, k: int) -> np.ndarray:
    """True visible fraction of each part in every image of a bank. ``[N, K]``"""
    return benchmark.part_visibility(truth_of(split, bank.names), groups(k).lookup.numpy())


def with_truth(found: Features, bank: ImageBank, split: Split, *, k: int) -> Features:
    """Add the true visibility of K parts, known for synthetic sets only."""
    truth = torch.from_numpy(true_visibility(bank, split, k=k) > VISIBLE).float()
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
    truth = truth_of(data.split, data.query.names)
    place = {name: row for row, name in enumerate(whole.query.names)}
    rows = np.array([place.get(name.rsplit("/")[-1], -1) for name in truth["twin"]])
    known = (rows >= 0) & ~truth["box_follows_visible"].astype(bool).to_numpy()
    left, total = (_body(masks, stripes) for masks in (data.query.masks, whole.query.masks[rows]))
    cells = data.query.size[0] * data.query.size[1] / stripes
    share = np.where(total > _LEAST * cells, left / np.maximum(total, 1), np.nan)
    return np.where(known[:, None], share.clip(0, 1), np.nan)


def _body(masks: Tensor, stripes: int) -> np.ndarray:
    """Pixels of the person in each stripe. ``[N, K]``"""
    bands = (masks > 0).float().tensor_split(stripes, dim=1)
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


def stripe_measures(
    query: Features, data: TestSet, whole: TestSet, *, heat: Float[Tensor, "Q 1 h w"] | None
) -> dict:
    """Behind objects and behind people: do quality scores follow the truth, is the heat on the right person?"""
    quality = query.visibility["quality"].numpy()
    share = stripe_visibility(data, whole, stripes=quality.shape[1])
    other = (truth_of(data.split, data.query.names)["occluder"] == "person").to_numpy()
    found = {}
    for kind, rows in (("object", ~other), ("person", other)):
        found[kind] = quality_agreement(quality[rows], share[rows])
        if heat is not None:
            values = focus(heat[:, 0], data.query.masks)[rows]
            found[kind]["focus"] = round(float(np.nanmean(values)), 4)
    return found
