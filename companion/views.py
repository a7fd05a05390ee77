"""What every notebook shows: images, ranked galleries, failures and break-downs, as arrays for figures.

A view gets the model that it shows and never trains.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from companion.inputs import Inputs, figure_queries
from companion.study import Study
from companion.trained import Trained
from companion.truth import mask_measures, region_names, truth_of
from reidlib.data.index import ImageRecord
from reidlib.data.loading import picture, resized
from reidlib.data.masks import field_targets, groups, shrink_fields
from reidlib.data.transforms import MEAN, STD
from reidlib.evaluation import ranking
from reidlib.types import Features

Picture = UInt8[np.ndarray, "H W 3"]
Pictures = UInt8[np.ndarray, "N H W 3"]


def pictures(images: Sequence[ImageRecord]) -> Pictures:
    """The images as stored, at the size of the first, RGB."""
    read = [picture(image) for image in images]
    height, width = read[0].shape[:2]
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in read])


def figure_pictures(trained: Trained, test_set: str) -> tuple[Tensor, Pictures]:
    """Every other fixed figure query of a test set: rows and images."""
    data = trained.test_set(test_set)
    rows = figure_queries(len(data.query))[::2]
    return rows, pictures([data.split.query[i] for i in rows])


# -- data ---------------------------------------------------------------------------------------------


def labels(images: Sequence[ImageRecord], *, k: int | None = None) -> UInt8[np.ndarray, "N H W"]:
    """The part labels of images, grouped into K parts if asked.

    Confidence fields must be grouped, and show the likeliest part of every cell.
    """
    if images[0].mask.suffix == ".npy":
        fields = np.stack([shrink_fields(np.load(image.mask), size=(256, 128)) for image in images])
        return field_targets(torch.from_numpy(fields), groups(k)).argmax(1).byte().numpy()
    maps = np.stack([cv2.imread(str(image.mask), cv2.IMREAD_GRAYSCALE) for image in images])
    return maps if k is None else groups(k).lookup.numpy()[maps]


def labelled(inputs: Inputs) -> list[ImageRecord]:
    """The figure queries of the occluded set; training images where only those have part labels.

    Raises:
        ValueError: the set has no part labels at all.
    """
    for images in (inputs.splits[inputs.data.occluded].query, inputs.train.train):
        if all(image.mask for image in images):
            return [images[i] for i in figure_queries(len(images))]
    raise ValueError(f"{inputs.train.name} has no part labels; see data/README.md, part labels")


def contact_sheet(
    inputs: Inputs, *, people: int = 8, per_person: int = 4
) -> tuple[UInt8[np.ndarray, "R C H W 3"], list[str]]:
    """Some identities' queries in every test set that shares them, and the titles of the columns."""
    known, columns, titles = {record.pid for record in inputs.splits[inputs.data.holistic].query}, [], []
    for name in inputs.data.test_sets:
        query = inputs.splits[name].query
        pids = sorted({record.pid for record in query})[:people]
        if not {*pids} <= known:
            continue
        chosen = [[r for r in query if r.pid == pid][:per_person] for pid in pids]
        count = min(map(len, chosen))
        columns.append(np.array([[resized(record) for record in row[:count]] for row in chosen]))
        titles += [name.removeprefix("synth-")] * count
    return np.concatenate(columns, 1), titles


def training_batch(inputs: Inputs) -> UInt8[np.ndarray, "R C H W 3"]:
    """The first training batch as the network sees it, four people to a row."""
    images = next(iter(inputs.loader().epoch(0))).images
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = ((images * std + mean).clamp(0, 1) * 255).byte()
    return rearrange(pixels, "(r c) rgb h w -> r c h w rgb", c=4 * inputs.run.train.images).numpy()


def small_batch(inputs: Inputs) -> tuple[Tensor, Tensor | None, Tensor]:
    """Eight training images, two each of four people: images, part targets (if the model reads any), labels."""
    batch = next(iter(inputs.loader().epoch(0)))
    rows = torch.tensor([m + inputs.run.train.images * p for p in range(4) for m in range(2)])
    masks = None if batch.masks is None else batch.masks[rows]
    return batch.images[rows], masks, torch.arange(4).repeat_interleave(2)


def features_of(model: torch.nn.Module, images: Tensor) -> Features:
    """Embeddings and visibility of a small batch, in evaluation mode."""
    with torch.inference_mode():
        output = model.eval()(images)
    nothing = torch.zeros(len(images), dtype=torch.long)
    return Features(output.embeddings, output.visibility, nothing, nothing)


# -- rankings -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankedView:
    """One query's ranked gallery under several distances."""

    query: Picture
    gallery: UInt8[np.ndarray, "R C H W 3"]
    correct: Bool[np.ndarray, "R C"]
    distances: Float[np.ndarray, "R C"]
    titles: tuple[str, ...]


def ranked(
    trained: Trained, test_set: str, query: int, *, scorings: Mapping[str, str], top: int = 8
) -> RankedView:
    """The nearest gallery images of a query under several test-time variants, one row each.

    Args:
        scorings: scoring -> its title.
    """
    data = trained.test_set(test_set)
    one, gallery = trained.features(test_set)
    rows = torch.tensor([query])
    one = one[rows]
    images, correct, distances = [], [], []
    for scoring in scorings:
        found = trained.distances(scoring, test_set, rows=rows)  # [1, G]
        index, hit = ranking(
            one,
            gallery,
            distance=lambda *_: found,  # noqa: B023
            protocol=data.split.protocol,
            top=top,
        )
        images.append(pictures([data.split.gallery[i] for i in index[0]]))
        correct.append(hit[0])
        distances.append(found[0, torch.from_numpy(index[0])].numpy())
    asked = pictures([data.split.query[query]])[0]
    shown = (np.stack(column) for column in (images, correct, distances))
    return RankedView(asked, *shown, tuple(scorings.values()))


def mended(trained: Trained, test_set: str, *, better: str, worse: str) -> int:
    """The query whose first match one test-time variant ranks highest above another."""
    ranks = [trained.score(scoring, test_set).rank.astype(float) for scoring in (better, worse)]
    gain = np.where(ranks[0] > 0, np.log(np.maximum(ranks[1], 1)) - np.log(np.maximum(ranks[0], 1)), -np.inf)
    return int(np.argmax(gain))


@dataclass(frozen=True)
class FailureView:
    """Several queries, each with its nearest gallery images."""

    queries: Pictures
    gallery: UInt8[np.ndarray, "R C H W 3"]
    correct: Bool[np.ndarray, "R C"]
    titles: tuple[str, ...]


def failures(trained: Trained, test_set: str, *, count: int = 6, top: int = 8) -> FailureView:
    """The queries of lowest average precision, one per person, and what is in front, where that is known."""
    metrics = trained.score("default", test_set)
    split = trained.test_set(test_set).split
    worst: dict[int, int] = {}
    for index in np.argsort(np.nan_to_num(metrics.ap, nan=2.0), kind="stable"):
        worst.setdefault(split.query[index].pid, int(index))
    chosen = list(worst.values())[:count]
    views = [ranked(trained, test_set, i, scorings={"default": ""}, top=top) for i in chosen]
    titles = [f"person {split.query[i].pid}" for i in chosen]
    if not trained.run.data.real:
        known = truth_of(split, [split.query[i].path.name for i in chosen])
        titles = [f"{row.occluder}, {row.visible_share:.0%} visible" for row in known.itertuples()]
    return FailureView(
        np.stack([view.query for view in views]),
        np.concatenate([view.gallery for view in views]),
        np.concatenate([view.correct for view in views]),
        tuple(titles),
    )


@dataclass(frozen=True)
class SlotView:
    """A query against its two nearest gallery images, slot by slot."""

    names: tuple[str, ...]  # of the parts, behind the foreground where there is one
    distances: np.ndarray  # [S, 2]; infinite where the slot is not shared
    weights: np.ndarray  # [S, 3]: how much a slot counts in query, first, second; NaN where it has none


Slots = Callable[[Trained, Features, Features], SlotView]
"""A wing's: the parts of the distance of one query to a pair of gallery images."""


def why(trained: Trained, test_set: str, query: int, *, slots: Slots) -> SlotView:
    """What makes the first gallery image nearer than the second."""
    one, gallery = trained.features(test_set)
    one, protocol = one[torch.tensor([query])], trained.inputs.splits[test_set].protocol
    index, _ = ranking(one, gallery, distance=trained.distance("default"), protocol=protocol, top=2)
    return slots(trained, one, gallery[torch.from_numpy(index[0])])


def blocks(one: Features, pair: Features, *, name: str, widths: list[int], kind: str) -> SlotView:
    """Blocks of the unit-length descriptor: squared lengths, and squared distances, which add up to the whole."""
    vectors = torch.cat([one.embeddings[name], pair.embeddings[name]])  # [3, D]
    parts = normalize(vectors, dim=-1).split(widths, dim=-1)
    distances = torch.stack([(part[1:] - part[:1]).square().sum(-1) for part in parts])  # [S, 2]
    lengths = torch.stack([part.square().sum(-1) for part in parts])  # [S, 3]
    names = ("global", *(f"{kind} {number}" for number in range(1, len(widths))))
    return SlotView(names, distances.numpy(), lengths.numpy())


# -- break-downs --------------------------------------------------------------------------------------


def by_occlusion(
    study: Study, inputs: Inputs, legend: Mapping[str, tuple[str, str]], *, by: str
) -> pd.DataFrame:
    """Rank-1 of several models for groups of occluded queries, averaged over seeds.

    Args:
        legend: title -> (row, scoring).
        by: ``occluder`` for the kind of thing in front, ``visible_share`` for how much is left.

    Returns:
        A frame with the columns model, group, rank1, error (standard error over queries), queries.

    Raises:
        NoTruth: at ``real``.
    """
    test_set = inputs.data.occluded
    split = inputs.splits[test_set]
    truth = truth_of(split, [record.path.name for record in split.query])
    share = pd.cut(
        truth["visible_share"], [0, 0.4, 0.5, 0.6, 1], labels=["<40 %", "40-50 %", "50-60 %", ">60 %"]
    )
    keys = (truth["occluder"] if by == "occluder" else share).astype(str).to_numpy()
    lines = []
    for model, (name, scoring) in legend.items():
        rows = [record.per_query(test_set, scoring, "rank1") for record in study.records(name)]
        if not rows:
            continue
        table = pd.Series(np.mean(rows, 0)).groupby(keys).agg(["mean", "sem", "count"])
        table = (
            table.reindex(share.cat.categories).dropna()
            if by != "occluder"
            else table.sort_values("count")[::-1]
        )
        lines += [
            (model, group, row["mean"], row["sem"], int(row["count"])) for group, row in table.iterrows()
        ]
    return pd.DataFrame(lines, columns=["model", "group", "rank1", "error", "queries"])


def sweep_curve(
    study: Study, table: str, rows: Sequence[str], *, metric: str, dataset: str = "occluded-duke"
) -> tuple[np.ndarray, np.ndarray]:
    """Printed values ``[x]`` and ours ``[seeds, x]`` along a table's rows; NaN where nothing is recorded."""
    chosen = study.frame(table).query("metric == @metric and dataset == @dataset")
    frame = chosen.set_index("row").loc[list(rows)]
    most = max(int(frame["seeds"].max()), 1)
    ours = np.full((most, len(rows)), np.nan)
    for column, line in enumerate(frame.itertuples()):
        for row, record in enumerate(study.records(line.run, dataset=dataset)[:most]):
            ours[row, column] = record.metrics[line.test_set][line.scoring][metric]
    return frame["printed"].to_numpy(float), ours


def part_names(k: int) -> tuple[str, ...]:
    """Names of the parts of BPBreID's grouping into k."""
    return groups(k).names


def stripe_names(k: int) -> tuple[str, ...]:
    """Names of K horizontal stripes, the first on top."""
    return tuple(f"stripe {number}" for number in range(1, k + 1))


@dataclass(frozen=True)
class MaskTruth:
    """What each mask weighs, masks sorted by the region that they weigh most."""

    names: tuple[str, ...]  # of the masks
    regions: tuple[str, ...]  # background, parts of the body, what is in front of it
    weights: np.ndarray  # [K, R] in units of a mask's mean magnitude
    correlation: np.ndarray  # [K, K] of every two masks, over cells
    fusion: np.ndarray  # [R] of all masks' magnitudes together


def mask_truth(trained: Trained, *, kind: str = "mask") -> MaskTruth:
    """The model's masks (or templates' maps) on the occluded queries, against the true parts."""
    holistic, occluded = trained.inputs.pair()
    maps = trained.maps(occluded.query, f"{kind}s")
    found = {key: np.array(value) for key, value in mask_measures(maps, occluded, holistic).items()}
    weights = found["mask_regions"]
    most = np.nanargmax(np.abs(weights), axis=1)
    order = np.lexsort((-np.take_along_axis(weights, most[:, None], 1)[:, 0], most))
    return MaskTruth(
        names=tuple(f"{kind} {number + 1}" for number in order),
        regions=region_names(),
        weights=weights[order],
        correlation=found["mask_correlation"][np.ix_(order, order)],
        fusion=found["fusion_regions"],
    )
