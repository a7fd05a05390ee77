"""Arrays for figures: images, ranked galleries, maps and break-downs of one run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from companion import runner
from companion.presets import RunConfig
from companion.study import Study
from companion.truth import (
    VEHICLES,
    NoTruth,
    TestSet,
    behind_person,
    mask_measures,
    region_names,
    shown,
    stripe_visibility,
    true_visibility,
    truth_of,
    twins,
)
from reidlib.data.datasets import DATASETS
from reidlib.data.index import ImageRecord
from reidlib.data.loading import read_image, resized
from reidlib.data.masks import field_targets, groups, shrink_fields
from reidlib.data.transforms import MEAN, STD
from reidlib.evaluation import ranking
from reidlib.explain import relative_quality
from reidlib.models import aap, bpbreid, qpm
from reidlib.types import Features


def pictures(images: Sequence[ImageRecord]) -> np.ndarray:
    """The images as stored, at the size of the first. ``[N, H, W, 3]`` uint8 RGB"""
    read = [read_image(image.path) for image in images]
    height, width = read[0].shape[:2]
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in read])


def labels(images: Sequence[ImageRecord], *, k: int | None = None) -> np.ndarray:
    """The part labels of images, grouped into K parts if asked. ``[N, H, W]`` uint8

    Confidence fields must be grouped, and show the likeliest part of every cell.
    """
    if images[0].mask.suffix == ".npy":
        fields = np.stack([shrink_fields(np.load(image.mask), size=(256, 128)) for image in images])
        return field_targets(torch.from_numpy(fields), groups(k)).argmax(1).byte().numpy()
    maps = np.stack([cv2.imread(str(image.mask), cv2.IMREAD_GRAYSCALE) for image in images])
    return maps if k is None else groups(k).lookup.numpy()[maps]


def _pair(run: RunConfig) -> tuple[TestSet, TestSet]:
    """The holistic and the occluded set, whose queries are the same people in the same pose.

    Raises:
        NoTruth: at ``real``, where no set has a twin.
    """
    if run.data.profile == "real":
        raise NoTruth(run.data.shown[-1])
    whole, occluded = (runner.test_set(run.data, name) for name in run.data.shown)
    return whole, occluded


def contact_sheet(run: RunConfig, *, people: int = 8, per_person: int = 4) -> tuple[np.ndarray, list[str]]:
    """Some identities' queries in every test set, and the titles of the columns. ``[people, columns, H, W, 3]``"""
    columns, titles = [], []
    sets = [name for name in run.data.test_sets if name != "synth-occluded-transfer"]
    for name in sets:
        query = runner.test_set(run.data, name).split.query
        pids = sorted({record.pid for record in query})[:people]
        chosen = [[r for r in query if r.pid == pid][:per_person] for pid in pids]
        count = min(map(len, chosen))
        grid = [[resized(record) for record in row[:count]] for row in chosen]
        columns.append(np.array(grid))
        titles += [name.removeprefix("synth-")] * count
    return np.concatenate(columns, 1), titles


def labelled(run: RunConfig) -> list[ImageRecord]:
    """The figure queries of the occluded set; training images where only those have part labels.

    Raises:
        ValueError: the set has no part labels at all.
    """
    splits = runner.prepare(run.data)
    for images in (splits[run.data.shown[-1]].query, splits[run.data.train_set].train):
        if all(image.mask for image in images):
            return [images[i] for i in runner.figure_queries(len(images))]
    raise ValueError(f"{run.data.train_set} has no part labels; see data/README.md, part labels")


def part_names(k: int) -> tuple[str, ...]:
    """Names of the parts of the paper's grouping into k."""
    return groups(k).names


def training_batch(run: RunConfig) -> np.ndarray:
    """The first training batch as the network sees it, four people to a row. ``[P/4, 4*M, H, W, 3]``"""
    loader = runner.loader(run, runner.training_stack(run))
    images = next(iter(loader.epoch(0))).images
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = ((images * std + mean).clamp(0, 1) * 255).byte()
    return rearrange(pixels, "(r c) rgb h w -> r c h w rgb", c=4 * run.train.images).numpy()


def small_batch(run: RunConfig) -> tuple[Tensor, Tensor | None, Tensor]:
    """Eight training images, two each of four people: images, part targets (if the model reads any), labels."""
    batch = next(iter(runner.loader(run, runner.training_stack(run)).epoch(0)))
    rows = torch.tensor([m + run.train.images * p for p in range(4) for m in range(2)])
    masks = None if batch.masks is None else batch.masks[rows]
    return batch.images[rows], masks, torch.arange(4).repeat_interleave(2)


def features_of(model: torch.nn.Module, images: Tensor) -> Features:
    """Embeddings and visibility of a small batch, in evaluation mode."""
    with torch.inference_mode():
        output = model.eval()(images)
    nothing = torch.zeros(len(images), dtype=torch.long)
    return Features(output.embeddings, output.visibility, nothing, nothing)


@dataclass(frozen=True)
class AttentionView:
    """What a model attends to on some images, beside the truth."""

    images: np.ndarray  # [N, H, W, 3]
    maps: np.ndarray  # [N, K, h, w], background left out
    visibility: np.ndarray  # [N, K] predicted by the argmax rule
    truth: np.ndarray | None  # [N, K] true visible fraction, where it is known
    names: tuple[str, ...]


def attention(run: RunConfig, test_set: str, *, queries: Tensor | None = None) -> AttentionView:
    """Part maps and visibility of every other fixed figure query (or of those given)."""
    data = runner.test_set(run.data, test_set)
    index = runner.figure_queries(len(data.query))[::2] if queries is None else queries
    model, stack, k = runner.trained(run), data.query[index], run.model_config.parts
    maps = runner.maps(run, model, stack, name="parts")[:, 1:]
    query, _ = runner.features(run, test_set)
    real = run.data.profile == "real"
    return AttentionView(
        images=pictures([data.split.query[i] for i in index]),
        maps=maps.numpy(),
        visibility=query.visibility["argmax"][index].numpy(),
        truth=None if real else true_visibility(stack, data.split, k=k),
        names=groups(k).names,
    )


@dataclass(frozen=True)
class RankedView:
    """One query's ranked gallery under several distances."""

    query: np.ndarray  # [H, W, 3]
    gallery: np.ndarray  # [rows, top, H, W, 3]
    correct: np.ndarray  # [rows, top]
    distances: np.ndarray  # [rows, top]
    titles: tuple[str, ...]


def ranked(
    run: RunConfig, test_set: str, query: int, *, scorings: Sequence[str], titles: Sequence[str], top: int = 8
) -> RankedView:
    """The nearest gallery images of a query under several test-time variants, one row each."""
    data = runner.test_set(run.data, test_set)
    one, gallery = runner.features(run, test_set)
    rows = torch.tensor([query])
    one = one[rows]
    images, correct, distances = [], [], []
    for scoring in scorings:
        found = runner.distances(run, scoring, test_set, rows=rows)  # [1, G]
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
    picture = pictures([data.split.query[query]])[0]
    return RankedView(picture, np.stack(images), np.stack(correct), np.stack(distances), tuple(titles))


def mended(run: RunConfig, test_set: str, *, better: str, worse: str) -> int:
    """The query whose first match one test-time variant ranks highest above another."""
    ranks = [runner.score(run, scoring, test_set).rank.astype(float) for scoring in (better, worse)]
    gain = np.where(ranks[0] > 0, np.log(np.maximum(ranks[1], 1)) - np.log(np.maximum(ranks[0], 1)), -np.inf)
    return int(np.argmax(gain))


@dataclass(frozen=True)
class FailureView:
    """Several queries, each with its nearest gallery images."""

    queries: np.ndarray  # [rows, H, W, 3]
    gallery: np.ndarray  # [rows, top, H, W, 3]
    correct: np.ndarray  # [rows, top]
    titles: tuple[str, ...]


def failures(run: RunConfig, test_set: str, *, count: int = 6, top: int = 8) -> FailureView:
    """The queries of lowest average precision, one per person, and what is in front, where that is known."""
    metrics = runner.score(run, "default", test_set)
    split = runner.test_set(run.data, test_set).split
    worst: dict[int, int] = {}
    for index in np.argsort(np.nan_to_num(metrics.ap, nan=2.0), kind="stable"):
        worst.setdefault(split.query[index].pid, int(index))
    chosen = list(worst.values())[:count]
    views = [ranked(run, test_set, i, scorings=("default",), titles=("",), top=top) for i in chosen]
    titles = [f"person {split.query[i].pid}" for i in chosen]
    if run.data.profile != "real":
        known = truth_of(split, [split.query[i].path.name for i in chosen])
        titles = [f"{row.occluder}, {row.visible_share:.0%} visible" for row in known.itertuples()]
    return FailureView(
        np.stack([view.query for view in views]),
        np.concatenate([view.gallery for view in views]),
        np.concatenate([view.correct for view in views]),
        tuple(titles),
    )


def by_occlusion(study: Study, runs: dict[str, tuple[str, str]], *, by: str) -> pd.DataFrame:
    """Rank-1 of several models for groups of occluded queries, averaged over seeds.

    Args:
        runs: legend -> (run, scoring).
        by: ``occluder`` for the kind of thing in front, ``visible_share`` for how much is left.

    Returns:
        A frame with the columns model, group, rank1, error (standard error over queries), queries.

    Raises:
        NoTruth: at ``real``.
    """
    data = study.run(next(iter(study.grid.runs))).data
    test_set = data.shown[-1]
    split = runner.test_set(data, test_set).split
    truth = truth_of(split, [record.path.name for record in split.query])
    share = pd.cut(
        truth["visible_share"], [0, 0.4, 0.5, 0.6, 1], labels=["<40 %", "40-50 %", "50-60 %", ">60 %"]
    )
    keys = (truth["occluder"] if by == "occluder" else share).astype(str).to_numpy()
    lines = []
    for model, (name, scoring) in runs.items():
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


def gilt_grid(study: Study, *, metric: str) -> dict:
    """Table 4 as switches and values: losses per row, printed and own accuracy of both architectures."""
    names = list(bpbreid.GILT_GRID)
    columns = [f"{loss} {e}" for loss in ("id", "tri") for e in ("g", "f", "c", "parts")]
    embeddings = ("global", "foreground", "concat", "parts")
    checks = [
        [e in on for on in (o.identity, o.triplet) for e in embeddings] for o in bpbreid.GILT_GRID.values()
    ]
    frame = study.frame("table4").query("metric == @metric").set_index("row")
    rows = {
        "BPBreID": names,
        "BPBreID, parts only": [f"{n}@parts" for n in names],
        "PCB": [f"{n}@pcb" for n in names],
    }
    values = {model: frame.reindex(keys) for model, keys in rows.items()}
    return {
        "rows": names,
        "checks": np.array(checks),
        "columns": columns,
        "printed": {model: value["printed"].to_numpy(float) for model, value in values.items()},
        "ours": {model: value["ours"].to_numpy(float) for model, value in values.items()},
    }


def measure(study: Study, name: str, key: str) -> np.ndarray:
    """A ground-truth measure of a run, one row per seed; one row of NaN where nothing is recorded."""
    rows = [measures.get(key, np.nan) for measures in study.measured(name)]
    return np.array(rows or [np.full(study.run(name).model_config.parts, np.nan)], dtype=float)


def visibility_pairs(run: RunConfig, test_set: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted soft visibility and true visible fraction of every part of every query. ``[Q, K]`` twice"""
    data = runner.test_set(run.data, test_set)
    query, _ = runner.features(run, test_set)
    return query.visibility["soft"].numpy(), true_visibility(data.query, data.split, k=run.model_config.parts)


@dataclass(frozen=True)
class SlotView:
    """A query against its two nearest gallery images, slot by slot."""

    names: tuple[str, ...]  # of the parts, behind the foreground where there is one
    distances: np.ndarray  # [S, 2]; infinite where the slot is not shared
    weights: np.ndarray  # [S, 3]: how much a slot counts in query, first, second; NaN where it has none


def why(run: RunConfig, test_set: str, query: int) -> SlotView:
    """What makes the first gallery image nearer than the second."""
    one, gallery = runner.features(run, test_set)
    one, protocol = one[torch.tensor([query])], DATASETS[test_set].protocol
    index, _ = ranking(one, gallery, distance=runner.distance(run, "default"), protocol=protocol, top=2)
    return SLOTS[run.model](run, one, gallery[torch.from_numpy(index[0])])


def _visible_slots(run: RunConfig, one: Features, pair: Features) -> SlotView:
    visible = torch.cat([one.visibility["argmax"], pair.visibility["argmax"]]) > 0  # [3, K]
    visible = torch.cat([torch.ones(3, 1, dtype=torch.bool), visible], 1)
    scoring = run.model_config.scorings()["default"]
    distances = bpbreid.part_distances(one, pair, scoring=scoring)[:, 0]  # [S, 2]
    return SlotView(("foreground", *part_names(run.model_config.parts)), distances.numpy(), visible.T.numpy())


def _scored_slots(run: RunConfig, one: Features, pair: Features) -> SlotView:
    parts = [features.embeddings["parts"] for features in (one, pair)]
    distances = 1 - torch.cosine_similarity(*parts, dim=-1)  # [2, K]
    whole = [qpm.QPM.distance(one, pair, scoring=qpm.SCORINGS[name]).T for name in ("part", "agfe")]  # [2, 1]
    quality = torch.cat([features.visibility["quality"] for features in (one, pair)])  # [3, K]
    nothing = torch.full((3, 2), torch.nan)
    return SlotView(
        (*stripe_names(run.model_config.parts), "all stripes, weighed", "pair-adaptive, whole image"),
        torch.cat([distances, *whole], 1).T.numpy(),
        torch.cat([quality, nothing], 1).T.numpy(),
    )


def _masked_slots(run: RunConfig, one: Features, pair: Features) -> SlotView:
    config = run.model_config
    kind = "stripe" if config.masks == "stripes" else "mask"
    widths = [config.global_dim, *[config.dim] * config.parts]
    return _blocks(one, pair, name="concat_bn", widths=widths, kind=kind)


def _template_slots(run: RunConfig, one: Features, pair: Features) -> SlotView:
    config = run.model_config
    count = 0 if config.templates == "none" else config.parts
    return _blocks(one, pair, name="descriptor_bn", widths=[config.dim] * (count + 1), kind="template")


def _blocks(one: Features, pair: Features, *, name: str, widths: list[int], kind: str) -> SlotView:
    """Blocks of the unit-length descriptor: squared lengths, and squared distances, which add up to the whole."""
    vectors = torch.cat([one.embeddings[name], pair.embeddings[name]])  # [3, D]
    blocks = normalize(vectors, dim=-1).split(widths, dim=-1)
    distances = torch.stack([(block[1:] - block[:1]).square().sum(-1) for block in blocks])  # [S, 2]
    lengths = torch.stack([block.square().sum(-1) for block in blocks])  # [S, 3]
    names = ("global", *(f"{kind} {number}" for number in range(1, len(widths))))
    return SlotView(names, distances.numpy(), lengths.numpy())


def _aligned_slots(run: RunConfig, one: Features, pair: Features) -> SlotView:
    """The two terms of the distance, and what stripes cost side by side; no weights."""
    variants = {
        "global": aap.Scoring(local="none"),
        "global and aligned stripes": aap.Scoring(),
        "global and stripes side by side": aap.Scoring(local="unaligned"),
    }
    found = [aap.AaP.distance(one, pair, scoring=scoring)[0].numpy() for scoring in variants.values()]
    return SlotView(tuple(variants), np.stack(found), np.full((len(variants), 3), np.nan))


SLOTS = {
    "bpbreid": _visible_slots,
    "qpm": _scored_slots,
    "pan": _masked_slots,
    "dpti": _template_slots,
    "aap": _aligned_slots,
}
"""What the parts of a model's distance are, for models that have parts."""


def stripe_names(k: int) -> tuple[str, ...]:
    """Names of K horizontal stripes, the first on top."""
    return tuple(f"stripe {number}" for number in range(1, k + 1))


# -- QPM ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QualityView:
    """Predicted quality of each stripe of some occluded queries, beside the truth."""

    images: np.ndarray  # [N, H, W, 3]
    scores: np.ndarray  # [N, K] in (0, 1)
    truth: np.ndarray | None  # [N, K] true visible share, where it is known
    titles: tuple[str, ...]  # what is in front, or who it is


def quality(run: RunConfig, *, each: int = 5) -> QualityView:
    """Queries behind objects, then behind people: the first of different persons whose truth is known.

    Those that hide most of the person come first, so that there is something to see. With real data, the fixed
    figure queries.
    """
    occluded = run.data.shown[-1]
    data = runner.test_set(run.data, occluded)
    query, _ = runner.features(run, occluded)
    if run.data.profile == "real":
        rows = runner.figure_queries(len(query))
        chosen = [data.split.query[i] for i in rows]
        titles = tuple(f"person {record.pid}" for record in chosen)
        return QualityView(pictures(chosen), query.visibility["quality"][rows].numpy(), None, titles)
    share = quality_truth(run)
    known = truth_of(data.split, data.query.names)
    visible = np.where(np.isnan(share).any(1), np.inf, known["visible_share"].to_numpy() > 0.6)
    rows = []
    for kind in (~behind_person(data), behind_person(data)):
        order = [i for i in np.argsort(visible, kind="stable") if kind[i] and np.isfinite(visible[i])]
        first = pd.Series(order, dtype=int).groupby(query.pid.numpy()[order], sort=False).first()
        rows += first.tolist()[:each]
    return QualityView(
        images=pictures([data.split.query[i] for i in rows]),
        scores=query.visibility["quality"].numpy()[rows],
        truth=share[rows],
        titles=tuple(known["occluder"].iloc[rows]),
    )


def quality_truth(run: RunConfig) -> np.ndarray:
    """True visible share of each stripe of the occluded queries, NaN where unknown. ``[Q, K]``"""
    holistic, occluded = _pair(run)
    return stripe_visibility(occluded, holistic, stripes=run.model_config.parts)


def quality_pairs(run: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Log quality less its image's mean, and true visible share, behind objects and behind people. ``[n, 2]``"""
    (_, data), share = _pair(run), quality_truth(run)
    query, _ = runner.features(run, run.data.shown[-1])
    relative = relative_quality(query.visibility["quality"].numpy(), ~np.isnan(share))
    person = behind_person(data)[:, None]
    kinds = np.stack([np.where(chosen, share, np.nan).ravel() for chosen in (~person, person)], 1)
    return np.repeat(relative.reshape(-1, 1), 2, 1), kinds


def heat(study: Study, runs: Sequence[str], test_set: str) -> tuple[np.ndarray, np.ndarray]:
    """Stored maps of several runs on every other figure query, each map stretched to [0, 1].

    Returns:
        Images ``[N, H, W, 3]`` and maps ``[N, runs, h, w]``; NaN where a run has no record.
    """
    data = runner.test_set(study.run(runs[0]).data, test_set)
    index = runner.figure_queries(len(data.query))[::2]
    stored = []
    for name in runs:
        records = study.records(name)
        if records:
            stored.append(records[0].arrays[f"{test_set}/maps"][::2, 0].astype(float))
        else:
            stored.append(np.full((len(index), *study.run(name).model_config.cells), np.nan))
    maps = np.stack(stored, 1)
    low, high = maps.min((2, 3), keepdims=True), maps.max((2, 3), keepdims=True)
    return pictures([data.split.query[i] for i in index]), (maps - low) / (high - low)


def isa(run: RunConfig, test_set: str) -> tuple[np.ndarray, np.ndarray]:
    """The live model's attention M on every other figure query: images ``[N, H, W, 3]``, maps ``[N, 1, h, w]``."""
    data = runner.test_set(run.data, test_set)
    index = runner.figure_queries(len(data.query))[::2]
    maps = runner.maps(run, runner.trained(run), data.query[index], name="attention")
    return pictures([data.split.query[i] for i in index]), maps.numpy()


def matching_seconds(
    run: RunConfig, *, scorings: Sequence[str], gallery: int, repeats: int = 5
) -> dict[str, float]:
    """Seconds to match one occluded query, the median of some repeats.

    Args:
        gallery: images to match with; the test set's own, repeated as often as that takes.
    """
    query, known = runner.features(run, run.data.shown[-1])
    everyone = known[torch.arange(gallery) % len(known)]
    block, found = query[slice(0, 64)], {}
    for scoring in scorings:
        distance, times = runner.distance(run, scoring), []
        for _ in range(repeats):
            started = time.perf_counter()
            distance(block, everyone)
            times.append((time.perf_counter() - started) / len(block))
        found[scoring] = float(np.median(times))
    return found


# -- PAN ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskView:
    """Signed masks on some queries, and the fusion of all."""

    images: np.ndarray  # [N, H, W, 3]
    masks: np.ndarray  # [N, K, h, w]
    fusion: np.ndarray  # [N, h, w] in [0, 1]: the sum of magnitudes, stretched image by image


def masks(run: RunConfig, test_set: str) -> MaskView:
    """The live model's masks on every other fixed figure query."""
    data = runner.test_set(run.data, test_set)
    index = runner.figure_queries(len(data.query))[::2]
    found = runner.maps(run, runner.trained(run), data.query[index], name="masks").numpy()
    fusion = np.abs(found).sum(1)
    low, high = fusion.min((1, 2), keepdims=True), fusion.max((1, 2), keepdims=True)
    span = np.where(high - low > 1e-3 * high, high - low, np.inf)  # softmax masks add up to one everywhere
    return MaskView(pictures([data.split.query[i] for i in index]), found, (fusion - low) / span)


@dataclass(frozen=True)
class MaskTruth:
    """What each mask weighs, masks sorted by the region that they weigh most."""

    names: tuple[str, ...]  # of the masks
    regions: tuple[str, ...]  # background, parts of the body, what is in front of it
    weights: np.ndarray  # [K, R] in units of a mask's mean magnitude
    correlation: np.ndarray  # [K, K] of every two masks, over cells
    fusion: np.ndarray  # [R] of all masks' magnitudes together


def mask_truth(run: RunConfig, *, kind: str = "mask") -> MaskTruth:
    """The live model's masks (or templates' maps) on the occluded queries, against the true parts."""
    holistic, occluded = _pair(run)
    maps = runner.maps(run, runner.trained(run), occluded.query, name=f"{kind}s")
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


# -- DPTI ---------------------------------------------------------------------------------------------


def templates(run: RunConfig, test_set: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the live model's templates come from on every other figure query, each map over its largest value.

    Returns:
        Images ``[N, H, W, 3]`` and maps ``[N, K, h, w]``.
    """
    data = runner.test_set(run.data, test_set)
    index = runner.figure_queries(len(data.query))[::2]
    found = runner.maps(run, runner.trained(run), data.query[index], name="templates").numpy()
    return pictures([data.split.query[i] for i in index]), found / found.max((2, 3), keepdims=True)


def template_pairs(study: Study, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The same person without and with an occluder, in turn: images ``[2N, H, W, 3]``, maps ``[2N, K, h, w]``.

    Stored maps of the figure queries whose twin is known; both maps of a template are drawn over the larger of
    their maxima. NaN where the run has no record.
    """
    run = study.run(name)
    holistic, occluded = _pair(run)
    rows, known = twins(occluded, holistic)
    index = runner.figure_queries(len(rows)).numpy()
    places = np.flatnonzero(
        known[index] & (rows[index] == index)
    )  # both sets' figure queries are twins there
    if records := study.records(name):
        stored = [records[0].arrays[f"{test_set}/maps"][places] for test_set in run.data.shown]
        pair = np.stack(stored, 1).astype(float)
        pair = pair / pair.max((1, 3, 4), keepdims=True)  # [N, 2, K, h, w]
    else:
        pair = np.full((len(places), 2, run.model_config.parts, 16, 8), np.nan)
    images = [pictures([d.split.query[i] for i in index[places]]) for d in (holistic, occluded)]
    return rearrange(np.stack(images, 1), "n p h w c -> (n p) h w c"), rearrange(
        pair, "n p k h w -> (n p) k h w"
    )


# -- AaP-ReID -----------------------------------------------------------------------------------------

HEATS = {
    "maximum": "channel maximum (released)",
    "identity": "Grad-CAM, identity",
    "similarity": "Grad-CAM, similarity",
}
"""What the saliency maps of records are."""

PLACES = ("behind a car or cart", "behind others", "unoccluded")


def places(run: RunConfig) -> tuple[str, ...]:
    """The groups of queries that ``saliency`` shows; with real data the fixed figure queries are all."""
    return ("figure queries",) if run.data.profile == "real" else PLACES


def total_loss(history: dict[str, list[float]]) -> Float[np.ndarray, " T"]:
    """Sum of the terms of a record's history."""
    return np.sum([values for name, values in history.items() if name != "lr"], axis=0)


def loss_curves(study: Study, runs: dict[str, str]) -> dict[str, np.ndarray]:
    """Total training loss over stretches of training, averaged over seeds; runs without a record are left out.

    Args:
        runs: legend -> run.
    """
    found = {title: [record.history for record in study.records(name)] for title, name in runs.items()}
    return {
        title: np.mean([total_loss(history) for history in histories], axis=0)
        for title, histories in found.items()
        if histories
    }


def saliency(study: Study, runs: dict[str, str], *, place: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Stored saliency maps of several runs on a few queries.

    Args:
        runs: title -> run; NaN where a run has no record.
        place: one of ``places``; unoccluded are the twins of those behind cars and carts.

    Returns:
        Images ``[N, H, W, 3]``, maps ``[N, M, h, w]`` in [0, 1], and what each of the M maps is.
    """
    run = study.run(next(iter(runs.values())))
    name, rows, kept = _placed(run, place)
    empty = np.full((len(rows), len(HEATS), run.data.height // 4, run.data.width // 4), np.nan)
    stored = [
        records[0].arrays[f"{name}/heat"].astype(float) if (records := study.records(r)) else empty
        for r in runs.values()
    ]
    names = [f"{title}: {kind}" for kind in HEATS.values() for title in runs]
    maps = rearrange(np.stack(stored, 2), "n k r h w -> n (k r) h w")
    query = runner.test_set(run.data, name).split.query
    return pictures([query[i] for i in rows[kept]]), maps[kept], names


def _placed(run: RunConfig, place: str) -> tuple[str, np.ndarray, np.ndarray]:
    """A test set, its queries whose saliency is stored, and which of those belong to a place."""
    if run.data.profile == "real":
        name = run.data.shown[-1]
        rows = runner.figure_queries(len(runner.test_set(run.data, name).query)).numpy()
        return name, rows, np.arange(len(rows))[::2]
    whole, occluded = _pair(run)
    rows = shown(occluded, whole)
    vehicle = truth_of(occluded.split, occluded.query.names)["occluder"].isin(VEHICLES).to_numpy()[rows]
    kept = np.flatnonzero(vehicle if place != "behind others" else ~vehicle)
    if place == "unoccluded":
        return run.data.shown[0], twins(occluded, whole)[0][rows], kept
    return run.data.shown[1], rows, kept


def saliency_shares(study: Study, runs: dict[str, str]) -> pd.DataFrame:
    """How much of each saliency map lies on the person and on what is in front, averaged over queries and seeds.

    Args:
        runs: title -> run.

    Returns:
        Columns place, map, model, person, front, background; the map ``area`` is what chance would give.
    """
    run = study.run(next(iter(runs.values())))
    whole, occluded = _pair(run)
    vehicle = truth_of(occluded.split, occluded.query.names)["occluder"].isin(VEHICLES).to_numpy()
    everyone = np.ones(len(whole.query), dtype=bool)
    lines = []
    for place, data, chosen in zip(PLACES, (occluded, occluded, whole), (vehicle, ~vehicle, everyone)):
        name = data.split.name
        for kind, text in (HEATS | {"area": "area: by chance"}).items():
            for title, known in runs.items():
                if not (records := study.records(known)):
                    continue
                person, front = (
                    np.nanmean([r.arrays[f"{name}/{kind}-{where}"][chosen].astype(float) for r in records])
                    for where in ("person", "front")
                )
                lines.append((place, text, title, person, front, 1 - person - front))
                if kind == "area":
                    lines[-1] = (place, text, "–", *lines[-1][3:])
                    break
    return pd.DataFrame(lines, columns=["place", "map", "model", "person", "front", "background"])
