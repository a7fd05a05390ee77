"""What only a benchmark with known truth can say, in sentences computed from the records of several papers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from companion.claims import compared
from companion.formats import number, percent
from companion.intervals import Interval, Moderation
from companion.paper import Cell
from companion.papers.bpbreid import parser_crossing, parser_curves
from companion.study import FEWEST, Study, Value

Side = tuple[str, str]
"""A row and a test-time variant."""

TRUTH, OWN, NONE = ("k8", "truth"), ("k8", "default"), ("k8", "no-visibility")
PARSERS = {
    "exact labels": ("k8", "fixed-attention"),
    "a quarter of a bad parser's errors": ("good-parser", "good-parser-fixed"),
    "half of them": ("middling-parser", "middling-parser-fixed"),
    "all of them": ("bad-parser", "bad-parser-fixed"),
}
SCORED = {"in the part branch by itself": "part-branch", "in the whole model": "qpm"}
LENGTHS = ("gd", "gd-long")
MASKS = ("pan", "parts"), ("pan", "global")
PAIRS = {
    "bpbreid": ("k8", "bot"),
    "qpm": ("qpm", "part-branch"),
    "pan": ("pan", "pcb-baseline"),
    "dpti": ("gd", "g"),
    "aap": ("aap", "baseline"),
}
"""A paper's main row and what it is compared with, both trained for two lengths."""


def headlines(studies: Mapping[str, Study]) -> dict[str, str]:
    """Questions -> a sentence each, where its rows are recorded in two worlds at least; mAP on occluded queries.

    Args:
        studies: slug of a paper -> its records.
    """
    asked: dict[str, list[tuple[str, Side, Side]]] = {
        "visibility": [("bpbreid", TRUTH, NONE), ("bpbreid", OWN, NONE)],
        "parser": [("bpbreid", (a, "default"), (b, "default")) for a, b in PARSERS.values()],
        "quality": [("qpm", (row, "part"), (row, "part-without-quality")) for row in SCORED.values()],
        "templates": [("dpti", (row, "default"), (row, "one-template")) for row in LENGTHS],
        "masks": [("pan", *MASKS)],
    }
    told: dict[str, Callable[..., str]] = {
        "visibility": _visibility,
        "parser": _parser,
        "quality": _quality,
        "templates": _templates,
        "masks": _masks,
    }
    sentences = {}
    for name, questions in asked.items():
        known = [_less(studies[slug], plus, minus) for slug, plus, minus in questions]
        if all(interval.freedom for interval in known):
            counts = sorted({interval.worlds for interval in known})
            worlds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
            sentences[name] = f"{told[name](studies, *known)} ({worlds} worlds.)"
    if found := _length(studies):
        sentences["length"] = found
    return sentences


def _less(study: Study, plus: Side, minus: Side) -> Interval:
    """One row less another in mAP on occluded queries, as the paper's own contrasts are."""
    cells = (Cell("", row, "occluded-duke", row, scoring) for row, scoring in (plus, minus))
    return compared(study, *cells, "mAP")


def _points(interval: Interval) -> str:
    low, high = (percent(edge, signed=True) for edge in (interval.low, interval.high))
    return f"{percent(interval.estimate, signed=True)} [{low}, {high}]"


def measure(found: Iterable[Mapping[str, Any]], name: str) -> Value:
    """A measure against ground truth over worlds; a slash in its name goes a level down, a list gives its mean.

    Args:
        found: what each record has measured on a test set.
    """
    values = []
    for level in found:
        for key in name.split("/"):
            level = level.get(key, {}) if isinstance(level, Mapping) else level
        values.append(float(np.nanmean(level)) if isinstance(level, int | float | list) else np.nan)
    return Value.of(values)


def _measure(study: Study, row: str, name: str) -> str:
    value = measure(study.measured(row), name)
    return number(value.mean, half=value.half)


def _visibility(_: Mapping[str, Study], truth: Interval, own: Interval) -> str:
    return (
        f"**What true visibility would give**: BPBreID's parts weighed by the visibility that the generator knows gain "
        f"{_points(truth)} points of mAP over all parts alike, by its own scores {_points(own)}."
    )


def _parser(studies: Mapping[str, Study], *found: Interval) -> str:
    told = ", ".join(f"{_points(interval)} with {words}" for words, interval in zip(PARSERS, found))
    place = parser_crossing(parser_curves(studies["bpbreid"]), "mAP")
    where = "" if place is None else f"; the sign changes at {place:.2f} of them"
    return (
        "**When learned attention pays**: learned less fixed attention, by the part labels of both, where a bad parser "
        f"misses three in ten parts, swaps left and right in three of ten images and shifts borders: {told}{where}."
    )


def _quality(studies: Mapping[str, Study], *gains: Interval) -> str:
    follows = [
        " and ".join(
            f"{_measure(studies['qpm'], row, f'{kind}/spearman')} behind {words}"
            for kind, words in (("object", "things"), ("person", "people"))
        )
        + f" {where}"
        for where, row in SCORED.items()
    ]
    return (
        "**Whether quality follows the truth**: QPM's scores correlate with the visible fraction of a stripe by "
        f"{', by '.join(follows)}; with the same network, ranking stripes by them gains "
        f"{' and '.join(map(_points, gains))} points over scores that are all one."
    )


def _templates(studies: Mapping[str, Study], *gains: Interval) -> str:
    alike, steps = (
        [_measure(studies["dpti"], row, "templates/cosine") for row in LENGTHS],
        [f"{studies['dpti'].run(row).train.iterations:,}" for row in LENGTHS],
    )
    spread = _measure(studies["dpti"], LENGTHS[0], "parts/entropy")
    return (
        f"**Whether templates differ**: after {' and '.join(steps)} steps the maps of two of DPTI's dynamic templates "
        f"have a mean cosine of {' and '.join(alike)}, and all eight parts gain {' and '.join(map(_points, gains))} "
        f"points over one of them with the same weights. After {steps[0]} the attention that pools the parts has "
        f"{spread} of the entropy of plain averaging."
    )


def _masks(studies: Mapping[str, Study], gain: Interval) -> str:
    alike = _measure(studies["pan"], "pan", "most_alike")
    return (
        f"**What masks see**: each of PAN's masks correlates by {alike} with the most similar of the others; its parts "
        f"alone less its global feature alone, with the same weights: {_points(gain)} points."
    )


@dataclass(frozen=True)
class Lengths:
    """A main row less what it is compared with, mAP on occluded queries, in the worlds that have both lengths."""

    steps: tuple[int, int]
    gaps: tuple[Interval, Interval]
    change: Interval
    gains: dict[str, float]  # title of either row -> what it gains itself


def lengths(study: Study) -> Lengths | None:
    """Whether the length of training decides; None where no world has all four rows."""
    rows = {row.slug for row in study.paper.rows}
    pairs = [tuple(slug + suffix for slug in PAIRS[study.paper.slug]) for suffix in ("-short", "", "-long")]
    pairs = [pair for pair in pairs if rows.issuperset(pair)]
    cells = [[Cell("", slug, "occluded-duke", slug) for slug in pair] for pair in pairs]
    values = pd.concat([study.values(cell, "mAP") for pair in cells for cell in pair], axis=1, join="inner")
    table = values.dropna().to_numpy().reshape(-1, 2, 2)  # [worlds, lengths, rows]
    if not len(table):
        return None
    both = table[:, :, 0] - table[:, :, 1]
    titles = [_short(study, row) for row in PAIRS[study.paper.slug]]
    gains = dict(zip(titles, (table[:, 1] - table[:, 0]).mean(0)))
    before, after = map(Moderation().interval, both.T)
    steps = tuple(study.run(pair[0]).train.iterations for pair in pairs)
    return Lengths(steps, (before, after), Moderation().interval(both[:, 1] - both[:, 0]), gains)


def _change(change: Interval) -> str:
    """With its interval; of two worlds, whose interval says nothing, not at all."""
    return f"change {_points(change)}, " if change.worlds >= FEWEST else ""


def _short(study: Study, row: str) -> str:
    """A row's title without what it explains."""
    return study.paper.title_of(row).partition(":")[0]


def _length(studies: Mapping[str, Study]) -> str:
    """Of the papers that have two worlds or more at both lengths; empty without any."""
    known = {slug: lengths(studies[slug]) for slug in PAIRS}
    known = {slug: found for slug, found in known.items() if found and found.change.freedom}
    if not known:
        return ""
    told = [
        " less ".join(_short(studies[slug], row) for row in PAIRS[slug])
        + f" {' and '.join(percent(gap.estimate, signed=True) for gap in found.gaps)}"
        + f" ({_change(found.change)}{found.change.worlds} worlds)"
        for slug, found in known.items()
    ]
    steps = " and ".join(f"{length:,}" for length in next(iter(known.values())).steps)
    text = f"**What longer training changes**: after {steps} steps in the same worlds, {'; '.join(told)}."
    gains = {title: gain for found in known.values() for title, gain in found.gains.items()}
    least, most = min(gains, key=gains.get), max(gains, key=gains.get)
    text += (
        f" Of all these rows {least} gains least ({percent(gains[least], signed=True)}) and {most} most "
        f"({percent(gains[most], signed=True)})."
    )
    return text
