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

from companion.claims import compared, lacking
from companion.inputs import Inputs, figure_queries
from companion.intervals import Interval
from companion.paper import Cell
from companion.study import Study, Value
from companion.trained import Trained
from companion.truth import SHARES, mask_measures, region_names, truth_of
from reidlib.data.index import ImageRecord
from reidlib.data.loading import read_image, read_mask, resized
from reidlib.data.masks import field_targets, groups, shrink_fields
from reidlib.data.transforms import MEAN, STD
from reidlib.evaluation import ranking
from reidlib.types import Features

Picture = UInt8[np.ndarray, "H W 3"]
Pictures = UInt8[np.ndarray, "N H W 3"]


def pictures(images: Sequence[ImageRecord]) -> Pictures:
    """The images as stored, at the size of the first, RGB."""
    read = [read_image(image.path) for image in images]
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
    maps = np.stack([read_mask(image.mask, size=read_image(image.path).shape[:2]) for image in images])
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
        there = index[0] >= 0  # a gallery may have fewer
        images.append(pictures([data.split.gallery[i] for i in index[0][there]]))
        correct.append(hit[0][there])
        distances.append(found[0, torch.from_numpy(index[0][there])].numpy())
    asked = pictures([data.split.query[query]])[0]
    shown = (np.stack(column) for column in (images, correct, distances))
    return RankedView(asked, *shown, tuple(scorings.values()))


def mended(trained: Trained, test_set: str, *, better: str, worse: str) -> int:
    """The query whose first match one test-time variant ranks highest above another."""
    return _ahead(*(trained.score(scoring, test_set).rank for scoring in (better, worse)))


def _ahead(better: np.ndarray, worse: np.ndarray) -> int:
    """The query whose first match stands highest above the other's place, on a log scale; rank 0 is no match."""
    gain = np.log(np.maximum(worse, 1)) - np.log(np.maximum(better, 1))
    return int(np.argmax(np.where(better > 0, gain, -np.inf)))


def rivals(models: Mapping[str, Trained], test_set: str, *, top: int = 8) -> list[RankedView]:
    """What two models rank for the query where the first is furthest ahead, and where the second is.

    Args:
        models: title -> model, two of them, each by its default distance.
    """
    first, second = (model.score("default", test_set).rank for model in models.values())
    views = []
    for query in (_ahead(first, second), _ahead(second, first)):
        rows = [
            ranked(model, test_set, query, scorings={"default": title}, top=top)
            for title, model in models.items()
        ]
        parts = (
            np.concatenate([getattr(row, name) for row in rows])
            for name in ("gallery", "correct", "distances")
        )
        views.append(RankedView(rows[0].query, *parts, tuple(models)))
    return views


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
    """A query against gallery images, slot by slot."""

    names: tuple[str, ...]  # of the parts, behind the foreground where there is one
    distances: np.ndarray  # [S, G]; infinite where the slot is not shared
    weights: np.ndarray  # [S, 1 + G]: how much a slot counts in the query and in each; NaN where it has none
    kind: str = "part"  # what a slot is, in words


Slots = Callable[[Trained, Features, Features], SlotView]
"""A wing's: the parts of the distance of one query to some gallery images."""


def blocks(one: Features, gallery: Features, *, name: str, widths: list[int], kind: str) -> SlotView:
    """Blocks of the unit-length descriptor: squared lengths, and squared distances, which add up to the whole."""
    vectors = torch.cat([one.embeddings[name], gallery.embeddings[name]])  # [1 + G, D]
    parts = normalize(vectors, dim=-1).split(widths, dim=-1)
    distances = torch.stack([(part[1:] - part[:1]).square().sum(-1) for part in parts])  # [S, G]
    lengths = torch.stack([part.square().sum(-1) for part in parts])  # [S, 1 + G]
    names = ("global", *(f"{kind} {number}" for number in range(1, len(widths))))
    return SlotView(names, distances.numpy(), lengths.numpy())


# -- break-downs --------------------------------------------------------------------------------------

UNRECORDED, FAILED = "not recorded", "not comparable"
"""Why a row has no number of ours, or none that counts."""


def state(study: Study, cell: Cell) -> str:
    """Why a cell cannot be compared, in words; empty where it can."""
    if study.value(cell, "mAP") is None:
        return UNRECORDED
    failed = study.unconverged(cell.run, dataset=cell.dataset) or cell.run in lacking(study)
    return FAILED if failed else ""


def title(study: Study, cell: Cell) -> str:
    """A cell's row in words."""
    return study.paper.title_of(cell.run, cell.scoring)


def gains(
    study: Study, table: str, *, baseline: str, metric: str, dataset: str = "occluded-duke"
) -> dict[str, list | np.ndarray]:
    """Gain of every row of a table's column over a baseline row, printed and ours, for ``plots.paper_versus_ours``.

    Ours is paired within worlds, with a 95 % interval over them; all are fractions.
    """
    base = study.paper.cell(table, baseline, dataset)
    cells = [cell for cell in _column(study, table, dataset) if cell.row != baseline]
    printed = _printed(study, table, metric=metric, dataset=dataset)
    ours = [compared(study, cell, base, metric) for cell in cells]
    return _marks(study, cells, ours, printed=[printed[cell.row] - printed[baseline] for cell in cells])


def levels(study: Study, table: str, *, metric: str, dataset: str = "occluded-duke") -> dict:
    """Every row of a table's column, printed and ours (in the worlds that all have), for ``plots.dumbbells``."""
    cells, printed = (
        _column(study, table, dataset),
        _printed(study, table, metric=metric, dataset=dataset),
    )
    ours = [Value.of(values.tolist()).interval for _, values in study.shared(cells, metric).items()]
    return _marks(study, cells, ours, printed=[printed[cell.row] for cell in cells])


def _column(study: Study, table: str, dataset: str) -> list[Cell]:
    return [cell for cell in study.paper.cells if (cell.table, cell.dataset) == (table, dataset)]


def _printed(study: Study, table: str, *, metric: str, dataset: str) -> dict[str, float]:
    column = study.frame(table).query("metric == @metric and dataset == @dataset")
    return dict(zip(column["row"], column["printed"]))


def _marks(study: Study, cells: list[Cell], ours: list[Interval], *, printed: list[float]) -> dict:
    return {
        "rows": [title(study, cell) for cell in cells],
        "printed": np.array(printed, dtype=float),
        "ours": np.array([interval.estimate for interval in ours]),
        "half": np.array([interval.half for interval in ours]),
        "states": [state(study, cell) for cell in cells],
        "worlds": [interval.worlds for interval in ours],
    }


def sweep(
    study: Study,
    table: str,
    rows: Sequence[str],
    *,
    baseline: str,
    metric: str,
    dataset: str = "occluded-duke",
) -> dict:
    """A table's rows less one of them, printed and ours, for ``plots.printed_and_ours``.

    The world moves all rows alike, and so does the data set; what is left is the shape of the curve, on one scale.
    """
    base, printed = (
        study.paper.cell(table, baseline, dataset),
        _printed(study, table, metric=metric, dataset=dataset),
    )
    cells = [study.paper.cell(table, row, dataset) for row in rows]
    ours = [compared(study, cell, base, metric) for cell in cells]
    marks = _marks(study, cells, ours, printed=[printed[row] - printed[baseline] for row in rows])
    lines = [study.values(cell, metric) - study.values(base, metric) for cell in cells]
    lines = pd.concat(lines, axis=1).to_numpy(float)  # [worlds, X]
    return {name: value for name, value in marks.items() if name != "rows"} | {"lines": lines}


def by_occlusion(study: Study, legend: Mapping[str, tuple[str, str]], *, by: str) -> pd.DataFrame:
    """Rank-1 of several models for groups of occluded queries, averaged over the worlds that all of them have.

    Args:
        legend: title -> (row, scoring).
        by: ``occluder`` for the kind of thing in front, ``visible_share`` for how much is left.

    Returns:
        A frame with the columns model, group, rank1, half (of the 95 % interval over worlds), queries (of a
        world) and worlds; a model without a record has NaN and says so in its name. Empty without any record.

    Raises:
        NoTruth: at ``real``.
    """
    study.require_truth()
    lines = []
    worlds = [{record.seed for record in study.records(name)} for name, _ in legend.values()]
    shared = set.intersection(*filter(None, worlds)) if any(worlds) else set()
    for model, (name, scoring) in legend.items():
        known = [
            record.slices.get(study.run(name).data.occluded, {})
            for record in study.records(name)
            if record.seed in shared
        ]
        failed = study.unconverged(name) or name in lacking(study)
        shown = f"{model} ({FAILED})" if failed else model
        for group in dict.fromkeys(group for found in known for group in found):
            if (group in SHARES) == (by == "occluder"):
                continue
            there = [found[group] for found in known if f"{scoring}/rank1" in found.get(group, {})]
            value = Value.of([found[f"{scoring}/rank1"] for found in there])
            queries = round(float(np.mean([found["queries"] for found in there]))) if there else 0
            lines.append((shown, group, value.mean, value.half, queries, value.seeds))
    frame = pd.DataFrame(lines, columns=["model", "group", "rank1", "half", "queries", "worlds"])
    frame = frame[frame["worlds"] > 0]
    for model, (name, _) in legend.items() if len(frame) else ():
        if not study.records(name):
            absent = frame.drop_duplicates("group").assign(model=f"{model} ({UNRECORDED})", rank1=np.nan)
            frame = pd.concat([frame, absent.assign(half=np.nan, queries=0, worlds=0)])
    if by == "occluder":
        largest = frame.groupby("group")["queries"].max().sort_values(ascending=False).index
        return frame.sort_values("group", key=lambda column: column.map(largest.get_loc), kind="stable")
    return frame.sort_values("group", key=lambda column: column.map(SHARES.index), kind="stable")


def starts(study: Study, *, metric: str = "mAP") -> pd.DataFrame:
    """Every row that was trained from both starts, in the worlds that have both.

    Returns:
        A frame with the columns panel, row, series, mean, half, worlds, state and occluded (of the panel).
    """
    cells = {(cell.run, cell.test_set): cell for cell in study.paper.cells if cell.table == "start"}
    lines = []
    for (name, test_set), cell in cells.items():
        if other := cells.get((f"{name}-scratch", test_set)):
            series = {"pretrained on other people": cell, "from noise": other}
            found = pd.concat([study.values(c, metric) for c in series.values()], axis=1, join="inner")
            for (words, one), (_, values) in zip(series.items(), found.items()):
                value, known = Value.of(values.tolist()), (test_set, study.paper.title_of(name), words)
                occluded = test_set == study.run(name).data.occluded
                lines.append((*known, value.mean, value.half, value.seeds, state(study, one), occluded))
    names = ["panel", "row", "series", "mean", "half", "worlds", "state", "occluded"]
    return pd.DataFrame(lines, columns=names)


def convergence(study: Study) -> pd.DataFrame:
    """How well every training is done, and how far worlds differ: columns row, rank1 (holistic), std, worlds, state."""
    lines = []
    for name in study.trainings():
        holistic = study.run(name).data.holistic
        found = study.scored(name, test_set=holistic, metric="rank1")
        if found is not None and found.seeds > 1:
            failed = FAILED if study.unconverged(name) else ""
            lines.append((study.paper.title_of(name), found.mean, found.std, found.seeds, failed))
    return pd.DataFrame(lines, columns=["row", "rank1", "std", "worlds", "state"])


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
