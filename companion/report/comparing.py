"""What the comparison of all models shows: its tables and its sentences."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from companion import places, plots, runner, views
from companion.comparison import ENTRANTS, GALLERY, Comparison
from companion.formats import number, p_value, percent, styled
from companion.headlines import headlines, measure
from companion.papers import PAPERS
from companion.presets import preset as preset_of
from companion.report.figures import measured_on
from companion.report.notebook import carry_out_rows, refuse_unknown_parameters
from companion.report.sentences import start_answer
from companion.study import Value

MEASURES = (
    ("BPBreID", "overlap of attention and true parts (IoU, mean of parts)", "attention_iou", None),
    ("BPBreID", "visibility tells visible from hidden parts (AUC)", "visibility_auc", 0.5),
    ("BPBreID", "visibility follows the visible fraction (Spearman)", "visibility_spearman", 0.0),
    ("QPM", "quality follows the visible fraction, behind a thing (Spearman)", "object/spearman", 0.0),
    ("QPM", "the same behind a person", "person/spearman", 0.0),
    ("AaP-ReID", "share of the channel maximum on the person", "maximum-person", "area-person"),
    ("AaP-ReID", "share of the channel maximum on what is in front", "maximum-front", "area-front"),
    ("AlignedReID++", "share of the channel maximum on the person", "maximum-person", "area-person"),
    ("PAN", "likeness of a mask with its likest (|correlation|)", "most_alike", None),
    ("DPTI", "likeness of a template with its likest (|correlation|)", "templates/most_alike", None),
)
"""Model, words, where its records have it, and what chance would give (a number, or a measure)."""


def open_comparison(*, preset: str, seeds: int | None, compute: str = "auto") -> Comparison:
    """Check a notebook's parameters, say what it compares, and give access to the records.

    Args:
        compute: as ``report.compute``; the rows of preset smoke, which take seconds, are computed in any case.

    Raises:
        ValueError: an unknown parameter or preset, impossible number of seeds, a model without a record, real data.
    """
    places.check_code(Path.cwd())
    refuse_unknown_parameters()
    name = preset_of(preset).name
    if name == "real":
        raise ValueError("PRESET real: papers have recipes and data sets of their own there; use cpu or gpu")
    comparison = Comparison(name, seeds)
    wanted = [run.world(seed) for seed in range(1, (seeds or 1) + 1) for run in comparison.runs.values()]
    carry_out_rows(wanted, compute, least=wanted if name == "smoke" else ())
    if lacking := comparison.unrecorded:
        slug, row = ENTRANTS[lacking[0]]
        raise ValueError(
            f"preset {name}: {', '.join(lacking)} has no record; make them with "
            f"`python -m companion run --paper {slug} --preset {name} --only {row}`, or use PRESET cpu"
        )
    print(f"{len(ENTRANTS)} models, preset {name}, worlds {comparison.worlds}, commit {runner.commit()}")
    print("synthetic benchmark; not the papers' datasets")
    return comparison


def entrants(comparison: Comparison) -> Styler:
    """Who is compared: the paper's row behind each, what its input and training are."""
    lines = [
        {
            "model": title,
            "from": f"{PAPERS[slug].title}, {PAPERS[slug].title_of(row)}",
            "image": f"{run.data.height}x{run.data.width}",
            "backbone": run.model_config.backbone,
            "training": f"{run.train.iterations} steps of {run.train.identities} x {run.train.images} images",
            "record of world 1": run.hash,
        }
        for (title, (slug, row)), run in zip(ENTRANTS.items(), comparison.runs.values())
    ]
    return styled(pd.DataFrame(lines))


def order(comparison: Comparison, test_set: str, metric: str = "mAP") -> Styler:
    """Models from best to worst and how far each is ahead of the next."""
    lines = [
        {
            "model": row.model + (" †" if comparison.unconverged(row.model) else ""),
            f"{metric}, %": percent(row.mean, half=row.half),
            "ahead of the next": percent(row.ahead, half=row.ahead_half, signed=True),
            "p (Holm)": p_value(row.p),
            "worlds": row.worlds,
        }
        for row in comparison.order(test_set, metric).itertuples()
    ]
    failed = [f"† {why}" for title in ENTRANTS for why in comparison.unconverged(title)]
    caption = f"{test_set}, {_label(comparison)}: mean over worlds ± half of its 95 % interval"
    notes = [*filter(None, [_shortened(comparison)]), *failed]
    return styled(pd.DataFrame(lines)).set_caption(". ".join([caption, *notes]))


def _label(comparison: Comparison) -> str:
    count = len(comparison.worlds)
    return f"synthetic data, preset {comparison.preset_name}, {count} world{'s' * (count > 1)}"


def _shortened(comparison: Comparison) -> str:
    """Which models are trained less here than in their own notebook, in words; nothing where none is."""
    known = comparison.shortened
    shares = " or ".join(dict.fromkeys(f"{100 * share:.0f} %" for share in known.values()))
    return f"{_listed([*known])} are trained for {shares} of their own notebook's steps" if known else ""


def foot(comparison: Comparison) -> str:
    """What the models were measured on and how long they were trained, for the foot of a figure."""
    label = measured_on(next(iter(comparison.studies.values())))
    return "\n".join(filter(None, (label, _shortened(comparison))))


def every_pair(comparison: Comparison, test_set: str, metric: str = "mAP") -> Figure:
    """Row less column in accuracy; the correlation of their hits; and what either-of-two would add."""
    names, found = list(ENTRANTS), comparison.differences(test_set, metric)
    points, sure = np.full((2, len(names), len(names)), np.nan)
    for pair, told in comparison.apart(test_set, metric).items():
        place = tuple(map(names.index, pair))
        points[place], sure[place] = 100 * found[pair].estimate, told
    phi, gain = comparison.agreement(test_set)
    off = np.where(np.eye(len(names), dtype=bool), np.nan, 1.0)
    count = len(comparison.worlds)
    panels = [
        plots.PairPanel(
            f"{metric}, row less column, points\nmean over {count} world{'s' * (count > 1)}",
            points,
            "{:.1f}",
            sure == 1,
        ),
        plots.PairPanel("right on the same queries, correlation\nworld 1 alone", phi * off, "{:.2f}"),
        plots.PairPanel(
            "rank-1 that a perfect choice of two adds\nto the better one, points; world 1 alone",
            100 * gain * off,
            "{:.1f}",
        ),
    ]
    bold = f"Bold: the two can be told apart (Holm's correction over all {len(found) // 2} pairs)"
    return plots.pairs(
        panels,
        names=names,
        title=f"Every two models on {test_set}, synthetic data, preset {comparison.preset_name}",
        note="\n".join(filter(None, (bold, _shortened(comparison)))),
    )


def alone(comparison: Comparison, test_set: str) -> Styler:
    """Queries that one model alone gets right, or wrong."""
    frame = comparison.alone(test_set)
    caption = "{queries} queries of world 1: {all} are right for all models, {none} for none".format(
        **frame.attrs
    )
    return styled(frame).set_caption(caption)


def cost(frame: pd.DataFrame) -> Styler:
    """What each model costs, from ``Comparison.cost``."""
    lines = [
        {
            "model": row.model,
            "image": row.image,
            "parameters": f"{row.parameters:,}",
            "multiply-adds an image": f"{row.operations / 1e6:.1f} M",
            "bytes a gallery image": f"{row.bytes:,}",
            "a query, ms": f"{row.milliseconds:.2f}",
        }
        for row in frame.itertuples()
    ]
    caption = (
        f"At the widths of this preset; a query against {GALLERY:,} gallery images on one core, measured now, "
        "16 queries at a time, without re-ranking"
    )
    return styled(pd.DataFrame(lines)).set_caption(caption)


def trade(comparison: Comparison, frame: pd.DataFrame, test_set: str, metric: str = "mAP") -> Figure:
    """Accuracy against what a network and what a gallery cost."""
    found = comparison.order(test_set, metric)[["model", "mean", "half", "worlds"]].merge(frame, on="model")
    costs = {
        "operations": "multiply-adds an image",
        "bytes": "bytes a gallery image",
        "milliseconds": f"milliseconds a query against {GALLERY:,} images",
    }
    ylabel = f"{metric} on {test_set}, %"
    return plots.trade(found, costs=costs, ylabel=ylabel, data=foot(comparison))


def truths(comparison: Comparison) -> Styler:
    """What the models' own maps and scores know of the truth, on occluded queries, beside chance."""
    lines, shortened = [], comparison.shortened
    for title, words, name, chance in MEASURES:
        if isinstance(chance, str):
            chance = _measured(comparison, title, chance).mean
        value = _measured(comparison, title, name)
        name = f"{title}, {100 * shortened[title]:.0f} % of the steps" if title in shortened else title
        line = {"model": name, "on occluded queries": words, "measured": number(value.mean, half=value.half)}
        line["by chance"] = number(np.nan if chance is None else chance)
        lines.append(line | {"worlds": value.seeds})
    notes = [
        f"synthetic data, preset {comparison.preset_name}: mean over the worlds that keep a measure ± half of its 95 % "
        "interval",
        "Chance has no one value (–) where it depends on how the maps are shaped",
        *filter(None, [_shortened(comparison)]),
    ]
    return styled(pd.DataFrame(lines)).set_caption(". ".join(notes))


def _measured(comparison: Comparison, title: str, name: str) -> Value:
    records = comparison.records[title].values()
    return measure([record.measures.get(comparison.occluded, {}) for record in records], name)


def starts(comparison: Comparison) -> tuple[Figure, str]:
    """What the start changes in all papers' main rows, as a figure and in words."""
    studies = comparison.studies.values()
    frame = pd.concat([views.starts(study).assign(paper=study.paper.title) for study in studies])
    frame["row"] = [r.row if r.row == r.paper else f"{r.paper}: {r.row}" for r in frame.itertuples()]
    data = measured_on(next(iter(studies)))
    return plots.dots(frame, xlabel="mAP, %", data=data), start_answer(frame)


def known_truth(comparison: Comparison) -> str:
    """What only a benchmark with known truth can say of the papers' mechanisms; a list in markdown."""
    sentences = headlines(comparison.studies).values()
    return "\n".join(f"- {s}" for s in sentences) or "Not enough worlds are recorded yet for an interval."


def lengths_answer(frame: pd.DataFrame) -> str:
    """What each model gains by longer training on occluded queries, and the order before and after.

    Args:
        frame: from ``Comparison.by_length``.
    """
    test_set = frame["panel"].iloc[-1]
    table = frame[frame["panel"] == test_set].pivot(index="row", columns="series", values="mean")
    before, after = frame["series"].unique()
    if table.isna().to_numpy().any():
        return "Not every row is recorded for both lengths yet."
    gains = 100 * (table[after] - table[before]).sort_values()
    told = ", ".join(f"{title} {number(gain, digits=1, signed=True)}" for title, gain in gains.items())
    orders = [", ".join(table[steps].sort_values(ascending=False).index) for steps in (before, after)]
    return (
        f"In mAP on `{test_set}` from {before} to {after}: {told}. The order from the best down, after {before}: "
        f"{orders[0]}; after {after}: {orders[1]}."
    )


def pick(comparison: Comparison, frame: pd.DataFrame) -> str:
    """What a practitioner should pick, by accuracy, memory and time on this benchmark; sentences from the numbers."""
    sentences = []
    for test_set in (comparison.test_sets[0], comparison.occluded):
        found, apart = comparison.order(test_set), comparison.apart(test_set)
        best = found["model"][0]
        level = [t for t in found["model"][1:] if not apart[best, t]]
        same = f"; {_listed(level)} cannot be told from it" if level else ", and by more than chance"
        sentences.append(f"On `{test_set}` **{best}** comes first ({percent(found['mean'][0])} % mAP){same}.")
    bought = comparison.best_buys(frame, comparison.occluded)
    told = [
        f"{row.model} ({row.bytes:,} bytes, {row.milliseconds:.2g} ms, {percent(row.accuracy)} %)"
        for row in bought.itertuples()
    ]
    beaten = [title for title in ENTRANTS if title not in set(bought["model"])]
    sentences.append(
        f"On occluded queries nothing beats {_listed(told)} in accuracy, memory and time at once."
    )
    if beaten:
        sentences.append(f"For each of {_listed(beaten)} some other model is as good or better in all three.")
    phi, gain = comparison.agreement(comparison.occluded)
    names = list(ENTRANTS)
    a, b = max(itertools.combinations(range(len(names)), 2), key=lambda pair: gain[pair])
    sentences.append(
        f"The two that complement each other best are {names[a]} and {names[b]}: whichever is right adds "
        f"{100 * gain[a, b]:.1f} points of rank-1 to the better of them."
    )
    return " ".join(sentences)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
