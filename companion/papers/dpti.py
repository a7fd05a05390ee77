"""DPTI under study: what the part attention is asked with (Table 4) and backbones (Table 5)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float
from pandas.io.formats.style import Styler
from scipy.stats import binomtest
from torch import Tensor

from companion.checks import holds, reads_no_labels
from companion.claims import compared
from companion.formats import number, styled
from companion.inputs import TestSet, figure_queries
from companion.intervals import LEVEL
from companion.paper import Cell, Measured, Paper, Row, longer
from companion.real import TRANSFER, Recipe, steps
from companion.run import RunConfig
from companion.study import METRICS, Study, Value
from companion.trained import Trained
from companion.truth import bodies, mask_measures, mass, region_names, twins
from companion.views import (
    UNRECORDED,
    Pictures,
    SlotView,
    blocks,
    figure_pictures,
    pictures,
    state,
    title,
)
from companion.words import Status
from reidlib.data.transforms import Augment
from reidlib.models import dpti
from reidlib.types import Features

WEIGHTED = {"weighted": True}

GD = Row(
    "gd",
    "G+D: dynamic templates",
    titles={
        "global": "G+D, global block alone",
        "one-template": "G+D, global block and one template",
        "before": "G+D, before the neck",
    },
)
G = Row("g", "G: global only", {"templates": "none"})

ROWS = (
    GD,
    G,
    Row("gt", "G+T: static templates", {"templates": "static"}),
    Row("gp", "G+P: grid cells", {"templates": "grid"}),
    Row("gdw", "G+D+W: weighted", WEIGHTED, titles={"before": "G+D+W, before the neck"}),
    Row("no-diversity", "G+D, no diversity loss", {"diversity": 0.0}),
    Row("gd-again", "G+D, another network", again=True),
    Row("g-again", "G, another network", {"templates": "none"}, again=True),
    Row("gd-scratch", "G+D from scratch", scratch=True),
    Row("g-scratch", "G from scratch", {"templates": "none"}, scratch=True),
    longer(GD, "global", "one-template"),
    longer(G),
    Row("separate-losses", "G+D, losses per block", {"joint": False}),
    Row("resnet50-ibn", "G+D, ResNet-50-IBN", {"backbone": "resnet50-ibn"}),
    Row("osnet", "G+D, OSNet", {"backbone": "osnet"}),
    Row("resnet18", "G+D, ResNet-18", {"backbone": "resnet18"}),
)


def _cells() -> tuple[Cell, ...]:
    table4 = {
        "g": "g",
        "g+p": "gp",
        "g+t": "gt",
        "g+d": "gd",
        "g+d+w": "gdw",
        "g+d-separate-losses": "separate-losses",  # not in the paper's table: section 3.6
        "g+d-no-diversity": "no-diversity",  # not in the paper
    }
    datasets = ("market1501", "occluded-reid", "partial-reid")
    cells = [
        Cell("table1", "ours", "market1501", "gd"),
        Cell("table2", "ours", "occluded-reid", "gd"),
        Cell("table3", "ours", "partial-reid", "gd"),
        Cell("table3", "ours", "partial-ilids", "gd"),
    ]
    cells += [Cell("table4", row, dataset, run) for row, run in table4.items() for dataset in datasets]
    cells += [  # not in the paper: another test descriptor
        Cell("table4", f"{row}-before-neck", dataset, run, "before")
        for row, run in (("g+d", "gd"), ("g+d+w", "gdw"))
        for dataset in datasets
    ]
    backbones = {"resnet50": "gdw", **{name: name for name in ("resnet50-ibn", "osnet", "resnet18")}}
    cells += [Cell("table5", row, "market1501", run) for row, run in backbones.items()]
    occluded = {"g": "g", "g+p": "gp", "g+t": "gt", "g+d": "gd", "g+d+w": "gdw"}
    # not in the paper
    cells += [
        Cell("start", run, dataset, run)
        for run in ("gd", "gd-scratch", "g", "g-scratch")
        for dataset in ("market1501", "occluded-duke")
    ]
    cells += [
        Cell("length", row, dataset, f"{run}-long")
        for row, run in (("g+d", "gd"), ("g", "g"))
        for dataset in (*datasets, "occluded-duke")
    ]
    # likewise; and the same weights with the blocks of the whole image or of one template alone
    cells += [
        Cell(table, f"g+d-{scoring}", dataset, run, scoring)
        for table, run in (("occluded", "gd"), ("length", "gd-long"))
        for scoring in ("global", "one-template")
        for dataset in ("market1501", "occluded-duke")
    ]
    cells += [Cell("occluded", "g+d-no-diversity", "occluded-duke", "no-diversity")]
    cells += [Cell("occluded", row, "occluded-duke", run) for row, run in occluded.items()]
    return tuple(cells)


def _adapt(run: RunConfig, _: str, dataset: str) -> RunConfig:
    zoom = "resized" if dataset in TRANSFER else "none"
    augment = Augment(erase_area=(0.02, 0.33), augmix=0.5, zoom=zoom)
    train = steps(
        epochs=180, decays=(40, 90, 150), warm_epochs=10, warm_start=0.1, lr=3.5e-4, augment=augment
    )
    return replace(run, train=train)


RECIPE = Recipe(("market1501", "occluded-reid", "partial-reid", "partial-ilids"), _adapt)


# -- measures against ground truth --------------------------------------------------------------------


def measure(trained: Trained, name: str) -> Measured:
    """How spread and how alike templates' maps are, which region each weighs, and what an occluder does to them."""
    config, data = trained.run.model_config, trained.run.data
    if data.real or config.templates == "none" or name != data.occluded:
        return Measured()
    whole, occluded = trained.inputs.pair()
    (query, _), (twin, _) = trained.features(data.occluded), trained.features(data.holistic)
    kinds = dict.fromkeys((config.figure_map, "parts"))
    found = {kind: tuple(trained.maps(d.query, kind) for d in (occluded, whole)) for kind in kinds}
    measured = {
        kind: mask_measures(maps, occluded, whole) | {"entropy": round(entropy(maps), 4)}
        for kind, (maps, _) in found.items()
    }
    if config.weighted:
        measured["largest_weight"] = round(float(query.visibility["rho"].amax(1).mean()), 4)
    values = template_values(query, twin, found, occluded, whole)
    return Measured(measured, values)


def entropy(maps: Float[Tensor, "N K h w"]) -> float:
    """Mean entropy of maps that sum to one, over the largest possible: 1 for uniform maps, 0 for single cells."""
    flat = maps.flatten(2)
    found = torch.special.entr(flat).sum(-1).mean() / np.log(flat.shape[-1])
    return float(found)


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


# -- what the notebook shows --------------------------------------------------------------------------


def templates(
    trained: Trained, test_set: str
) -> tuple[Pictures, Float[np.ndarray, "N K h w"], Float[np.ndarray, "N K 2"]]:
    """Where the model's templates come from on every other figure query: maps over their largest value, and ranges."""
    rows, images = figure_pictures(trained, test_set)
    found = trained.maps(trained.test_set(test_set).query[rows], "templates").numpy()
    low, high = found.min((2, 3)), found.max((2, 3))
    return images, found / high[:, :, None, None], np.stack([low, high], -1)


def template_pairs(
    study: Study, trained: Trained, name: str
) -> tuple[Pictures, Float[np.ndarray, "N K h w"], Float[np.ndarray, "N K 2"]]:
    """The same person without and with an occluder, in turn, as a row's record has them.

    Stored maps of the figure queries whose twin is known; both maps of a template are drawn over the larger of
    their maxima. Last come the maps' own ranges. NaN where the row has no record.

    Args:
        trained: any model, for its images.
    """
    holistic, occluded = trained.inputs.pair()
    rows, known = twins(occluded, holistic)
    index = figure_queries(len(rows)).numpy()
    # both sets' figure queries are twins there
    places = np.flatnonzero(known[index] & (rows[index] == index))
    if records := study.records(name):
        stored = [records[0].arrays[f"{test_set}/maps"][places] for test_set in trained.run.data.shown]
        pair = np.stack(stored, 1).astype(float)
    else:
        pair = np.full((len(places), 2, study.run(name).model_config.parts, 16, 8), np.nan)
    ranges = np.stack([pair.min((3, 4)), pair.max((3, 4))], -1)  # [N, 2, K, 2]
    pair = pair / pair.max((1, 3, 4), keepdims=True)  # [N, 2, K, h, w]
    images = [pictures([d.split.query[i] for i in index[places]]) for d in (holistic, occluded)]
    return (
        rearrange(np.stack(images, 1), "n p h w c -> (n p) h w c"),
        rearrange(pair, "n p k h w -> (n p) k h w"),
        rearrange(ranges, "n p k two -> (n p) k two"),
    )


def template_table(study: Study, rows: Sequence[str]) -> Styler:
    """What an occluder does to templates: how far they move, and how much attention stays on what is hidden."""
    keys = {
        "templates moved": "moved",
        "from another person": "moved-person",
        "template maps on the place: without": "templates-clear",
        "template maps on the place: with": "templates-hidden",
        "part attention on the place: without": "parts-clear",
        "part attention on the place: with": "parts-hidden",
    }
    study.require_truth()
    lines = []
    for name in rows:
        known, occluded = study.records(name), study.run(name).data.occluded
        line = {"model": study.paper.title_of(name)}
        for text, key in keys.items():
            value = Value.of([record.value(occluded, "default", key) for record in known])
            line[text] = number(value.mean, half=value.half, digits=3)
        lines.append(line | {"worlds": len(known)})
    return styled(pd.DataFrame(lines))


KINDS = {"templates": "where templates come from", "parts": "part attention"}


def map_dots(study: Study, rows: Sequence[str]) -> pd.DataFrame:
    """How alike and how spread the maps of several rows' templates are, for ``plots.dots``."""
    keys = {"cosine": "mean cosine of two maps", "entropy": "entropy, of the largest"}
    lines = []
    for key, panel in keys.items():
        for name in rows:
            for kind, series in KINDS.items():
                found = [m[kind][key] for m in study.measured(name) if kind in m]
                value = Value.of(found)
                if found or (kind == "templates" and not study.records(name)):
                    words, gone = study.paper.title_of(name), "" if found else UNRECORDED
                    lines.append((panel, words, series, value.mean, value.half, value.seeds, gone))
    return pd.DataFrame(lines, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])


def followed_regions(study: Study, rows: Sequence[str]) -> dict[str, np.ndarray]:
    """By how much the best template's map stands above a uniform one on each region, mean over worlds.

    A row and how many worlds it has, in words -> ``[R]``.

    Templates have no order, so that only the best for a region can be compared between worlds.
    """
    found = {}
    for name in rows:
        weights = [
            np.nanmax(m["templates"]["mask_regions"], 0) for m in study.measured(name) if "templates" in m
        ]
        nothing = np.full(len(region_names()), np.nan)
        words = f"{study.paper.title_of(name)} ({len(weights)} world{'s' * (len(weights) != 1)})"
        found[words] = np.mean(weights, 0) - 1 if weights else nothing
    return found


BLOCKS = ("g+d-global", "g+d-one-template", "g+d-no-diversity", "g")
"""What is left of G+D without its templates, with one of them, with templates alike, and without the head."""


def block_dots(study: Study) -> pd.DataFrame:
    """What each of ``BLOCKS`` has less than G+D on the occluded set, for ``plots.dots``, by the steps of training."""
    lines = []
    for series, found in _without(study).items():
        for cell, base in found:
            words = title(study, study.paper.cell("occluded", cell.row, "occluded-duke"))
            for name in METRICS:
                gap = compared(study, cell, base, name)
                marks = (gap.estimate, gap.half, gap.worlds, state(study, cell) or state(study, base))
                lines.append((f"{name.replace('rank1', 'rank-1')}, less G+D", words, series, *marks))
    return pd.DataFrame(lines, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])


def _without(study: Study) -> dict[str, list[tuple[Cell, Cell]]]:
    """By the length of training in words: the cells of ``BLOCKS`` that there are, each with that of G+D."""
    found = {}
    for table in ("occluded",) if study.real else ("occluded", "length"):
        rows = {cell.row for cell in study.paper.cells if cell.table == table}
        base = study.paper.cell(table, "g+d", "occluded-duke")
        series = "" if study.real else f"{study.run(base.run).train.iterations:,} steps"
        known = [study.paper.cell(table, row, "occluded-duke") for row in BLOCKS if row in rows]
        found[series] = [(cell, base) for cell in known]
    return found


def templates_answer(study: Study) -> str:
    """Do templates differ, what do they follow, does it matter: in words, from the records."""
    if not _template_maps(study, "gd"):
        return "The row G+D is not recorded yet, so nothing can be said."
    total = len(region_names()) - 2
    told = []
    for row, (series, found) in zip(("gd", "gd-long"), _without(study).items()):
        if not (measured := _template_maps(study, row)):
            continue
        alike, counts = Value.of([m["cosine"] for m in measured]), _followed_parts(measured)
        several = " to ".join(map(str, dict.fromkeys((min(counts), max(counts)))))
        where = f"{len(counts)} worlds" if len(counts) > 1 else "one world"
        gaps = {cell.row: compared(study, cell, base, "mAP") for cell, base in found}
        lost = "; ".join(
            f"{title(study, study.paper.cell('occluded', name, 'occluded-duke'))} "
            f"{number(100 * gap.estimate, half=100 * gap.half, digits=1, signed=True)}"
            for name, gap in gaps.items()
        )
        told.append(
            f"**After {series}**, in {where}: two maps of dynamic templates have a mean cosine of "
            f"{number(alike.mean, half=alike.half)} (one would be a single map); some template singles out {several} "
            f"of {total} body parts; in mAP on occluded queries, less G+D in points: {lost}."
        )
    return "\n\n".join(told)


def slots(trained: Trained, one: Features, gallery: Features) -> SlotView:
    """The global block and the templates' blocks of the descriptor."""
    config = trained.run.model_config
    count = 0 if config.templates == "none" else config.parts
    return blocks(one, gallery, name="descriptor_bn", widths=[config.dim] * (count + 1), kind="template")


# -- claims that a computation decides ----------------------------------------------------------------


def _squares_make_orthogonal(_: Study) -> tuple[Status, str]:
    """Claim 8: eight vectors, pushed apart by the diversity loss and by the same without its square."""
    found = {}
    for power in (2, 1):
        vectors = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for _step in range(1000):
            (gradient,) = torch.autograd.grad(dpti.diversity_loss(vectors, power=power), vectors)
            vectors = (vectors - gradient).detach().requires_grad_()
        unit = torch.nn.functional.normalize(vectors.detach()[0], dim=-1)
        found[power] = (unit @ unit.T)[~torch.eye(8, dtype=torch.bool)]
    squared, plain = found[2].abs().max().item(), found[1].mean().item()
    text = f"largest |cosine| of two vectors {squared:.2f} with the square; mean cosine {plain:+.2f} without"
    return holds(squared < 0.05 and plain < -0.1), text


SHARP = 1.5
"""How high a map is on a part that it follows, over its mean; no uniform map is."""


def _templates_are_distinct(study: Study) -> tuple[Status, str]:
    """Claim 10: do some templates follow different parts of the body? One map for all follows one at most."""
    found = _template_maps(study, "gd")
    if not found:
        return Status.UNMEASURED, f"nothing recorded of {study.paper.title_of('gd')}"
    text = f"more than one part of the body is followed by some template {_where_distinct(found)}"
    several = sum(count > 1 for count in _followed_parts(found))
    share = binomtest(several, len(found)).proportion_ci(LEVEL)  # exact, of worlds
    text += f"; 95 % interval of the share of worlds {share.low:.2f} to {share.high:.2f}"
    if longer := _template_maps(study, "gd-long"):
        text += f"; after {study.run('gd-long').train.iterations:,} steps {_where_distinct(longer)}"
    return Status.UNDECIDED if share.low <= 0.5 <= share.high else holds(share.low > 0.5), text


def _template_maps(study: Study, row: str) -> list[dict]:
    """What is measured of the templates' maps of a row, one per world that is recorded."""
    return [measures["templates"] for measures in study.measured(row) if "templates" in measures]


def _followed_parts(found: Sequence[dict], *, sharp: float = SHARP) -> list[int]:
    return [len(followed(np.array(measures["mask_regions"]), sharp=sharp)) for measures in found]


def _where_distinct(found: Sequence[dict]) -> str:
    """In how many worlds, by this threshold and by two others."""
    softer, here, sharper = (
        sum(count > 1 for count in _followed_parts(found, sharp=sharp)) for sharp in (1.25, SHARP, 2.0)
    )
    alike, spread = (np.mean([measures[key] for measures in found]) for key in ("cosine", "entropy"))
    return (
        f"in {here} of {len(found)} worlds (in {softer} where 1.25 times a map's mean is enough, in {sharper} where it "
        f"takes 2; mean cosine of two maps {alike:.2f}, entropy {spread:.2f} of the largest)"
    )


def followed(weights: Float[np.ndarray, "K R"], *, sharp: float = SHARP) -> set[int]:
    """Parts of the body on which some map is highest, and ``sharp`` times its mean."""
    best = np.nanargmax(weights, axis=1)
    body = range(1, weights.shape[1] - 1)  # neither background nor what is in front
    return {int(b) for b, row in zip(best, weights) if b in body and row[b] >= sharp}


PAPER = Paper(
    slug="dpti",
    title="DPTI",
    rows=ROWS,
    cells=_cells(),
    headline=tuple((row, "default") for row in ("g", "gp", "gt", "gd", "gdw")),
    widths={"dpti": ("dim",)},
    recipe=RECIPE,
    measure=measure,
    exact={"8": _squares_make_orthogonal, "10": _templates_are_distinct, "17": reads_no_labels},
    slots=slots,
)
