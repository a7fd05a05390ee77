"""BPBreID under study: objectives (Table 4), parts (Table 5), components (Table 2), backbones (Table 1).

The baselines BoT and PCB of its Table 2 are rows of this paper too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import interpolate

from companion.checks import reads_no_labels
from companion.claims import compared
from companion.formats import number
from companion.inputs import TestSet
from companion.paper import Cell, Measured, Paper, Row, longer
from companion.plots.charts import interval_over
from companion.real import ERASING, HOLISTIC, TALL, Recipe, steps
from companion.run import RunConfig
from companion.study import Study, Value
from companion.trained import Trained
from companion.truth import VISIBLE, true_visibility
from companion.views import SlotView, figure_pictures, part_names, sweep
from reidlib.data.masks import groups
from reidlib.distances import full_precision
from reidlib.models import bpbreid
from reidlib.models.bpbreid import GILT_GRID, Config
from reidlib.recipe import TrainConfig
from reidlib.types import Features
from synthreid.parser import ERRING

STRIPES = 6  # of the PCB architecture
PARTS = (2, 3, 4, 5, 6, 8, 11)
GIVEN = {"attention": "fixed"}  # the masks themselves
PARSERS = {"good": 0.25, "middling": 0.5, "bad": 1.0}  # shares of the errors of a bad parser
STRIPED = {"attention": "stripes", "parts": STRIPES}
STRIPE_OBJECTIVES = tuple(name for name in GILT_GRID if name not in ("idx7", "idx10"))  # no foreground there

VISIBILITY = ("default", "no-visibility", "threshold", "soft", "truth")
EMBEDDINGS = ("parts", "parts-no-visibility", "global", "foreground", "concat")
BOTH = ("default", "parts")
SHOWN = ("default", "no-visibility", "parts")


def _misread(name: str, share: float) -> tuple[Row, Row]:
    """Learned and fixed attention, both from the labels of a parser that errs."""
    labels = ERRING.scaled(share)
    title = f"BPBreID, {name} parser"
    return (
        Row(f"{name}-parser", title, scorings=SHOWN, labels=labels),
        Row(f"{name}-parser-fixed", f"{title}, fixed attention", GIVEN, scorings=SHOWN, labels=labels),
    )


def _parts(k: int) -> Row:
    singles = tuple(f"part-{part}" for part in range(1, k + 1)) if k in (6, 8) else ()
    title = "BPBreID" if k == 8 else f"BPBreID, {k} parts"
    titles = {"parts": f"{title}, parts without foreground"}
    if k == 8:
        titles |= {"no-visibility": "BPBreID, visibility off", "truth": "BPBreID, true visibility"}
        titles |= {"threshold": "BPBreID, visibility by Eq. 4", "soft": "BPBreID, soft visibility"}
    if k == 6:
        titles |= {"global": "global embedding", "foreground": "foreground embedding"}
        titles |= {"concat": "parts concatenated", "parts": "all parts"}
        titles |= {name: f"{words} alone" for name, words in zip(singles, part_names(k), strict=True)}
    return Row(f"k{k}", title, {"parts": k}, scorings=VISIBILITY + EMBEDDINGS + singles, titles=titles)


def _losses(name: str) -> str:
    """An assignment of losses in words: by its number in Table 4."""
    return "losses as in PCB" if name == "pcb" else f"losses of row {name.removeprefix('idx')}"


def _objective(name: str) -> Row:
    title, change = f"BPBreID, {_losses(name)}", {"objective": GILT_GRID[name]}
    titles = {"parts": f"{title}, parts without foreground"}
    return Row(f"objective-{name}", title, change, scorings=BOTH, titles=titles)


BOT = Row("bot", "BoT", model="bot", scorings=("default",))

ROWS = (
    _parts(8),
    BOT,
    Row("pcb", "PCB, its own losses", model="pcb", scorings=("default",)),
    Row("fixed-attention", "BPBreID, fixed attention", GIVEN, scorings=SHOWN),
    *(row for parser in PARSERS.items() for row in _misread(*parser)),
    Row("k8-again", "BPBreID, another network", scorings=SHOWN, again=True),
    Row("bot-again", "BoT, another network", model="bot", scorings=("default",), again=True),
    Row("per-part-triplet", "BPBreID, a triplet per part", {"triplet": "per-part"}, scorings=BOTH),
    Row("stripes-gilt", "PCB architecture, GiLt losses", STRIPED, scorings=("default",)),
    _parts(6),
    *(_objective(name) for name in GILT_GRID if name != "gilt"),
    *(_parts(k) for k in PARTS if k not in (6, 8)),
    Row("k8-scratch", "BPBreID from scratch", scorings=SHOWN, scratch=True),
    Row("bot-scratch", "BoT from scratch", model="bot", scorings=("default",), scratch=True),
    Row("pcb-scratch", "PCB from scratch", model="pcb", scorings=("default",), scratch=True),
    longer(_parts(8)),
    longer(BOT),
    Row("visible-triplet", "BPBreID, visibility in training", {"visible_triplet": True}, scorings=BOTH),
    Row("ri", "BPBreID, ResNet-50-IBN", {"backbone": "resnet50-ibn"}, scorings=SHOWN),
    Row("hr", "BPBreID, HRNet-W32", {"backbone": "hrnet-w32"}, scorings=SHOWN),
    *(
        Row(
            f"stripes-{name}",
            f"PCB architecture, {_losses(name)}",
            STRIPED | {"objective": GILT_GRID[name]},
            scorings=("default",),
        )
        for name in STRIPE_OBJECTIVES
        if name != "gilt"
    ),
)


def _cells() -> tuple[Cell, ...]:
    datasets = ("market1501", "dukemtmc", "occluded-duke", "occluded-reid", "p-dukemtmc")
    backbone = {"bpbreid-rn": "k8", "bpbreid-ri": "ri", "bpbreid-hr": "hr", "bot": "bot", "pcb": "pcb"}
    cells = [  # five parts on holistic sets, as the paper has them; with the ResNet-50 alone
        Cell("table1", row, dataset, "k5" if run == "k8" and dataset in HOLISTIC else run)
        for row, run in backbone.items()
        for dataset in datasets
    ]
    components = {
        "bot": ("bot", "default"),
        "bpbreid-rn": ("k8", "default"),
        "wo-learnable-attention": ("fixed-attention", "default"),
        "wo-visibility-scores": ("k8", "no-visibility"),
        "wo-part-avgd-triplet-loss": ("per-part-triplet", "default"),
        "true-visibility": ("k8", "truth"),  # not in the paper: what perfect visibility scores would give
        "visibility-in-training": ("visible-triplet", "default"),  # section 4.4.1, text only
    }
    cells += [Cell("table2", row, "occluded-duke", *run) for row, run in components.items()]
    singles = {
        "f-g": "global",
        "f-f": "foreground",
        "f-c": "concat",
        "f-parts": "parts",
        "f-f+parts": "default",
    }
    # the paper's order is right arm (label 4 of the grouping) before left arm (label 3)
    singles |= {
        f"f-{row}": f"part-{label}" for row, label in zip(range(1, 7), (1, 2, 4, 3, 5, 6), strict=True)
    }
    cells += [Cell("table3", row, "occluded-duke", "k6", scoring) for row, scoring in singles.items()]
    learned = {name: "k8" if name == "gilt" else f"objective-{name}" for name in GILT_GRID}
    cells += [Cell("table4", name, "occluded-duke", run) for name, run in learned.items()]
    cells += [Cell("table4", f"{name}@parts", "occluded-duke", run, "parts") for name, run in learned.items()]
    cells += [Cell("table4", f"{name}@pcb", "occluded-duke", f"stripes-{name}") for name in STRIPE_OBJECTIVES]
    cells += [Cell("table5", f"k{k}", "occluded-duke", f"k{k}") for k in PARTS]
    # not in the paper: other rules of visibility at test time, where people are hidden and where they are not
    rules = {"released": "default", "eq4": "threshold", "soft": "soft", "off": "no-visibility"}
    cells += [
        Cell("visibility", rule, dataset, "k8", scoring)
        for rule, scoring in rules.items()
        for dataset in ("occluded-duke", "market1501")
    ]
    # not in the paper: what the start gives, and what a parser's errors cost
    starts = {row: (row, f"{row}-scratch") for row in ("bot", "pcb", "k8")}
    cells += [
        Cell("start", run, dataset, run)
        for runs in starts.values()
        for run in runs
        for dataset in ("occluded-duke", "market1501")
    ]
    cells += [
        Cell("length", run, dataset, f"{run}-long")
        for run in ("k8", "bot")
        for dataset in ("occluded-duke", "market1501")
    ]
    parsers = {"exact": ("k8", "fixed-attention")}
    parsers |= {name: (f"{name}-parser", f"{name}-parser-fixed") for name in PARSERS}
    cells += [
        Cell("parser", f"{name}-{kind}", "occluded-duke", run)
        for name, runs in parsers.items()
        for kind, run in zip(("learned", "fixed"), runs, strict=True)
    ]
    return tuple(cells)


# -- real data ----------------------------------------------------------------------------------------

BOT = steps(epochs=120, decays=(39, 69), warm_epochs=9, warm_start=0.109, lr=3.5e-4, augment=ERASING)
"""Its scheduler steps before an epoch: 3.815e-5 in the first, 3.5e-4 from the tenth on."""


def _adapt(run: RunConfig, row: str, dataset: str) -> RunConfig:
    """BPBreID's released configuration of a data set; the baselines have BoT's."""
    config, train = run.model_config, TrainConfig.released()
    if not isinstance(config, Config):
        return replace(run, train=BOT)
    if dataset == "occluded-reid" and config.attention == "learned":
        config = replace(config, attention_weight=0.7)
    if dataset in HOLISTIC and row in ("k8", "ri", "hr"):  # Table 1
        config = replace(config, parts=5)
    if config.attention == "stripes":
        train = replace(train, augment=replace(train.augment, flip=0.5))
    elif dataset == "occluded-reid":
        train = replace(train, augment=replace(train.augment, flip=0.5, jitter=0.5))
    if config.backbone == "resnet50-ibn":  # the release's, which is fast-reid's
        config = replace(config, backbone="resnet50-ibn-unpadded")
    height, width = (
        TALL
        if config.backbone in ("resnet50-ibn-unpadded", "hrnet-w32")
        else (run.data.height, run.data.width)
    )
    return replace(run, model_config=config, train=train, data=replace(run.data, height=height, width=width))


RECIPE = Recipe(("occluded-duke", "market1501", "dukemtmc", "occluded-reid", "p-dukemtmc"), _adapt)


# -- measures against ground truth --------------------------------------------------------------------


def measure(trained: Trained, name: str) -> Measured:
    """Do part maps cover their parts, do visibility scores follow the truth? On sets whose queries are occluded."""
    if trained.run.model_config.figure_map is None or name not in trained.run.data.hidden:
        return Measured()
    data, (query, _) = trained.test_set(name), trained.features(name)
    return Measured(_part_measures(query, trained.maps(data.query, "parts"), data))


def _part_measures(query: Features, maps: Float[Tensor, "Q M h w"], data: TestSet) -> dict:
    k = maps.shape[1] - 1
    truth = true_visibility(data.query, data.split, k=k)
    return {
        "attention_iou": attention_iou(maps, data.query.masks, lookup=groups(k).lookup),
        **visibility_agreement(query.visibility["soft"].numpy(), truth),
    }


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
    upsampled = interpolate(full_precision(maps), size=labels.shape[-2:], mode="bilinear", align_corners=True)
    attended = upsampled.argmax(1)  # [N, H, W]
    true = lookup.to(labels.device)[labels.long()].long()  # [N, H, W]
    pairs = torch.bincount((attended * parts + true).flatten(), minlength=parts * parts)
    table = pairs.view(parts, parts).double()
    hit = table.diagonal()
    union = table.sum(0) + table.sum(1) - hit
    return [round(value, 4) for value in (hit / union)[1:].tolist()]


def visibility_agreement(
    score: Float[np.ndarray, "N K"], truth: Float[np.ndarray, "N K"]
) -> dict[str, float | list[float]]:
    """How well predicted visibility follows the true visible fraction.

    Returns:
        AUC of telling visible from hidden parts (all parts together, and per part), and the Spearman
        correlation of score and fraction.
    """
    visible = truth > VISIBLE
    return {
        "visibility_auc": auc(score.ravel(), visible.ravel()),
        "visibility_auc_per_part": [auc(score[:, k], visible[:, k]) for k in range(score.shape[1])],
        "visibility_spearman": round(float(spearmanr(score.ravel(), truth.ravel()).statistic), 4),
    }


def auc(score: Float[np.ndarray, " n"], positive: np.ndarray) -> float:
    """Area under the ROC curve; NaN where all are positive, or none."""
    return (
        float("nan")
        if positive.all() or not positive.any()
        else round(float(roc_auc_score(positive, score)), 4)
    )


# -- what the notebook shows --------------------------------------------------------------------------


def attention(trained: Trained, test_set: str) -> dict:
    """Part maps (background left out) and visibility of the figure queries, for ``plots.attention``.

    The truth is the true visible fraction, where it is known.
    """
    rows, images = figure_pictures(trained, test_set)
    data, k = trained.test_set(test_set), trained.run.model_config.parts
    query = data.query[rows]
    seen, _ = trained.features(test_set)
    maps = trained.maps(query, "parts")[:, 1:].numpy()
    return {
        "images": images,
        "maps": maps,
        "ranges": np.stack([maps.min((2, 3)), maps.max((2, 3))], -1),
        "names": trained.inputs.groups.names,
        "visibility": seen.visibility["argmax"][rows].numpy(),
        "truth": None if trained.run.data.real else true_visibility(query, data.split, k=k),
    }


def part_measure(study: Study, name: str, key: str) -> dict[str, np.ndarray]:
    """A ground-truth measure of a row's parts: values of every world, mean and half of the interval over worlds."""
    rows = [measures.get(key, np.nan) for measures in study.measured(name)]
    values = np.array(rows or [np.full(study.run(name).model_config.parts, np.nan)], dtype=float)
    found = [Value.of(column) for column in values.T]
    return {
        "values": values,
        "mean": np.array([value.mean for value in found]),
        "half": np.array([value.half for value in found]),
    }


def visibility_note(study: Study, *, data: str) -> str:
    """How well predicted visibility tells hidden parts from visible ones, over worlds.

    Args:
        data: what it was measured on, in words.
    """
    value = Value.of([measures.get("visibility_auc", np.nan) for measures in study.measured("k8")])
    return (
        f"AUC of telling parts of which more than {100 * VISIBLE:.0f} % shows from all others: "
        f"{number(value.mean, half=value.half)}, {interval_over([value.seeds], data=data)}"
    )


def visible_parts(trained: Trained, test_set: str, query: int, *, most: int = 3) -> dict[str, str]:
    """The scorings of single parts that a query shows, by its own scores, and what to call them."""
    seen = trained.features(test_set)[0].visibility["argmax"][query] > 0
    names = trained.inputs.groups.names
    return {f"part-{k + 1}": names[k] for k in np.flatnonzero(seen)[:most]}


def visibility_pairs(
    trained: Trained, test_set: str
) -> tuple[Float[np.ndarray, "Q K"], Float[np.ndarray, "Q K"]]:
    """Predicted soft visibility and true visible fraction of every part of every query."""
    data, (query, _) = trained.test_set(test_set), trained.features(test_set)
    truth = true_visibility(data.query, data.split, k=trained.run.model_config.parts)
    return query.visibility["soft"].numpy(), truth


GRID: Mapping[str, list[str]] = {
    "BPBreID": [*GILT_GRID],
    "BPBreID, no foreground": [f"{name}@parts" for name in GILT_GRID],
    "PCB architecture": [f"{name}@pcb" if name in STRIPE_OBJECTIVES else "" for name in GILT_GRID],
}
"""What Table 4's losses train -> its rows, GiLt's first; one without a name does not exist."""


def gilt_grid(study: Study, *, metric: str) -> dict:
    """Table 4 as switches and values: losses per row, and what they lose against GiLt, printed and ours."""
    names, embeddings = list(GILT_GRID), ("global", "foreground", "concat", "parts")
    letters = ("g", "f", "c", "parts")
    checks = [[e in on for on in (o.identity, o.triplet) for e in embeddings] for o in GILT_GRID.values()]
    panels = {model: _against(study, rows, metric=metric) for model, rows in GRID.items()}
    return {
        "rows": [{"gilt": "GiLt", "pcb": "as in PCB"}.get(name, name.removeprefix("idx")) for name in names],
        "checks": np.array(checks),
        "columns": [f"{loss} {e}" for loss in ("id", "tri") for e in letters],
        "panels": panels,
    }


def _against(study: Study, rows: Sequence[str], *, metric: str) -> dict:
    """Rows of Table 4 less the first of them; one without a name does not exist."""
    known = [row for row in rows if row]
    found = sweep(study, "table4", known, baseline=rows[0], metric=metric)
    place = {row: number for number, row in enumerate(known)}
    empty = {"printed": np.nan, "ours": np.nan, "half": np.nan, "states": "does not exist", "worlds": 0}
    columns = {
        key: [found[key][place[row]] if row else nothing for row in rows] for key, nothing in empty.items()
    }
    return columns | {key: np.array(columns[key]) for key in ("printed", "ours", "half")}


LEARNED, FIXED, GAP = "learned attention", "fixed attention", "learned less fixed"
WORDS = {"rank1": "rank-1", "mAP": "mAP"}
PARSER_PANELS = {name: "%" for name in WORDS.values()} | {
    f"{name}, {GAP}": "points" for name in WORDS.values()
}
"""Panels of ``parser_curves`` and what their numbers are in."""


def parser_curves(study: Study) -> pd.DataFrame:
    """Occluded accuracy of learned and fixed attention by how much the parser errs, and learned less fixed.

    Returns:
        Columns panel, x (share of the errors of a bad parser), series, mean, half, worlds; for ``plots.lines``.
    """
    lines = []
    for metric, words in WORDS.items():
        for name, share in {"exact": 0.0, **PARSERS}.items():
            cells = [
                study.paper.cell("parser", f"{name}-{kind}", "occluded-duke") for kind in ("learned", "fixed")
            ]
            values = [column for _, column in study.shared(cells, metric).items()]
            for series, found in zip((LEARNED, FIXED), values):
                lines.append((words, share, series, Value.of(found.tolist()).interval))
            lines.append((f"{words}, {GAP}", share, GAP, compared(study, *cells, metric)))
    return pd.DataFrame(
        [(panel, x, series, i.estimate, i.half, i.worlds) for panel, x, series, i in lines],
        columns=["panel", "x", "series", "mean", "half", "worlds"],
    )


def parser_crossing(curves: pd.DataFrame, metric: str) -> float | None:
    """The share of a bad parser's errors at which learned and fixed attention are level; None if they never are."""
    gap = curves[curves["panel"] == f"{metric}, {GAP}"].sort_values("x")
    return crossing(gap["x"].to_numpy(), gap["mean"].to_numpy())


def parser_answer(curves: pd.DataFrame) -> str:
    """At which parser error learned attention pays, in words computed from ``parser_curves``."""
    sentences = []
    for metric in WORDS.values():
        gap = curves[curves["panel"] == f"{metric}, {GAP}"].sort_values("x")
        if gap["worlds"].min() == 0:
            return "Not all rows with an erring parser are recorded yet, so nothing can be said."
        points = ", ".join(
            f"{number(100 * row.mean, half=100 * row.half, digits=1, signed=True)} at {row.x:g}"
            for row in gap.itertuples(index=False)
        )
        place = parser_crossing(curves, metric)
        where = (
            f"the sign changes at {place:.2f} of the errors of the bad parser (between two measured levels, by a "
            "straight line)"
            if place is not None
            else f"{'learned' if (gap['mean'] > 0).all() else 'fixed'} attention is ahead at every level"
        )
        sentences.append(
            f"**{metric}**, learned less fixed in points by share of the errors: {points}; {where}."
        )
    return "\n\n".join(sentences)


def crossing(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float | None:
    """Where a broken line first goes from below zero to above; None where it does not."""
    for left in range(len(x) - 1):
        if y[left] < 0 <= y[left + 1]:
            return float(x[left] - y[left] * (x[left + 1] - x[left]) / (y[left + 1] - y[left]))
    return None


def slots(trained: Trained, one: Features, gallery: Features) -> SlotView:
    """Foreground and parts, and whether the parts are visible."""
    visible = torch.cat([one.visibility["argmax"], gallery.visibility["argmax"]]) > 0  # [1 + G, K]
    visible = torch.cat([torch.ones(len(visible), 1, dtype=torch.bool), visible], 1)
    distances = bpbreid.part_distances(one, gallery, scoring=trained.run.scoring("default"))[:, 0]  # [S, G]
    names = ("foreground", *part_names(trained.run.model_config.parts))
    return SlotView(names, distances.numpy(), visible.T.numpy())


# -- claims that a computation decides ----------------------------------------------------------------


def _printed(run: RunConfig) -> RunConfig:
    """The printed text: foreground pooled by Eq. 3, visibility by Eq. 4, at ``real`` a higher warm-up."""
    changes = {name: getattr(Config.paper(), name) for name in ("foreground_pooling", "visibility")}
    schedule = TrainConfig.paper().schedule if run.data.real else run.train.schedule
    return replace(run.vary(**changes), train=replace(run.train, schedule=schedule))


PAPER = Paper(
    slug="bpbreid",
    title="BPBreID",
    rows=ROWS,
    cells=_cells(),
    headline=(
        ("bot", "default"),
        ("pcb", "default"),
        ("stripes-gilt", "default"),
        ("k8", "default"),
        ("k8", "no-visibility"),
        ("k8", "truth"),
    ),
    widths={"bpbreid": ("dim",), "bot": (), "pcb": ("dim",)},
    recipe=RECIPE,
    measure=measure,
    exact={"17": partial(reads_no_labels, training=False)},
    slots=slots,
    readings={"paper": _printed},  # rows follow the released code
)
