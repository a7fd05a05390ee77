"""Figures: arrays in, a `Figure` out. Nothing is computed here but what a drawing needs.

One palette throughout: query blue, correct green, wrong red; printed values grey, ours blue. Heat maps
share one colormap and print its range. Metrics arrive as fractions and are drawn in percent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

QUERY, CORRECT, WRONG = "#2f6db3", "#2e9e5b", "#d1495b"
PRINTED, OURS, FAINT, INK = "#8d949b", QUERY, "#d9dce0", "#26292e"
SERIES = (QUERY, "#e0a030", "#7a5195", "#3a9d9d", "#c46a4a", "#6b7a8f", "#9c8b3e", "#b0578d")
PARTS = (
    "#e8c547", "#d1495b", "#3a9d9d", "#7a5195", "#e88d3f", "#2f6db3",
    "#8cc152", "#c06fa8", "#5d4e37", "#4fc1e9", "#2e7d4f",
)  # fmt: skip
VERDICTS = {
    "reproduced": CORRECT,
    "contradicted": WRONG,
    "inconclusive": "#e0a030",
    "not tested": "#aab0b7",
    "untestable": FAINT,
}
HEAT = "magma"
SIGNED = "RdBu_r"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PRINTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef0",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.constrained_layout.use": True,
}
AREA = 24  # square inches that a sheet of pictures may take; keeps its file small
GAP = 0.08  # between pictures, in widths of one picture

Number = float | int
Pictures = UInt8[np.ndarray, "N H W 3"]
Sheet = UInt8[np.ndarray, "R C H W 3"]


# --- pictures -------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def image_grid(
    images: Sheet, *, row_titles: Sequence[str] = (), column_titles: Sequence[str] = (), title: str = ""
) -> Figure:
    """A contact sheet; equal titles of neighbouring columns are written once, over all of them."""
    rows, columns, height, width = images.shape[:4]
    step, pitch = 1 + GAP, height / width + GAP
    margins = Margins(left=_inches(row_titles), top=0.25 * bool(column_titles))
    fig, ax = _sheet(columns * step - GAP, rows * pitch - GAP, title=title, margins=margins)
    for row, column in np.ndindex(rows, columns):
        _picture(ax, images[row, column], x=column * step, y=row * pitch)
    for row, text in enumerate(row_titles):
        _label(ax, text, x=0, y=row * pitch + height / width / 2, side="left")
    start = 0
    for text, same in groupby(column_titles):
        stop = start + len(list(same))
        _label(ax, text, x=(start + stop) / 2 * step - GAP / 2, y=0, side="top")
        if stop - start > 1:
            ax.plot(
                [start * step + 0.1, stop * step - GAP - 0.1],
                [-0.05, -0.05],
                color=PRINTED,
                lw=1,
                clip_on=False,
            )
        start = stop
    return _done(fig)


@mpl.rc_context(STYLE)
def label_overlay(
    images: Pictures, labels: Integer[np.ndarray, "N h w"], *, names: Sequence[str], title: str = ""
) -> Figure:
    """Images above, and below them their part labels (0 is background) in one colour per part."""
    count, height, width = images.shape[:3]
    step, pitch = 1 + GAP, height / width + GAP
    margins = Margins(right=_inches(names) + 0.35)
    fig, ax = _sheet(count * step - GAP, 2 * pitch - GAP, title=title, margins=margins)
    colours = ListedColormap([(0, 0, 0, 0), *(to_rgba(c, 0.75) for c in PARTS[: len(names)])])
    for number, (image, label) in enumerate(zip(images, labels)):
        x = number * step
        _picture(ax, image, x=x, y=0)
        _picture(ax, _grey(image), x=x, y=pitch)
        extent = (x, x + 1, 2 * pitch - GAP, pitch)
        ax.imshow(label, cmap=colours, vmin=0, vmax=len(names), extent=extent, interpolation="nearest")
    patches = [Patch(color=colour, label=name) for colour, name in zip(PARTS, names)]
    ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
    return _done(fig)


@mpl.rc_context(STYLE)
def attention(
    images: Pictures,
    maps: Float[np.ndarray, "N K h w"],
    *,
    names: Sequence[str],
    visibility: Float[np.ndarray, "N K"] | None = None,
    truth: Float[np.ndarray, "N K"] | None = None,
    title: str = "",
) -> Figure:
    """Part attention in [0, 1] over each image, one column per part.

    Args:
        images: pictures at any size.
        maps: attention of K parts; drawn bilinearly at the picture's size.
        names: of the K parts.
        visibility: predicted, in [0, 1]; parts below 0.5 are faded.
        truth: true visible fraction, in [0, 1].
    """
    count, parts = maps.shape[:2]
    tall = images.shape[1] / images.shape[2]
    known = {name: v for name, v in (("pred", visibility), ("true", truth)) if v is not None}
    step, pitch = 1 + GAP, tall + GAP + 0.26 * len(known)
    margins = Margins(right=0.75, top=0.32)
    fig, ax = _sheet((parts + 1) * step - GAP, count * pitch - GAP, title=title, margins=margins)
    for column, name in enumerate(("input", *names)):
        _label(ax, name.replace(" ", "\n"), x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        _picture(ax, images[row], x=0, y=y)
        for part in range(parts):
            x, faded = (part + 1) * step, visibility is not None and bool(visibility[row, part] < 0.5)
            _picture(ax, _grey(images[row]), x=x, y=y)
            _heat(ax, maps[row, part], extent=(x, x + 1, y + tall, y), faded=faded)
            text = "\n".join(f"{name} {values[row, part]:.1f}" for name, values in known.items())
            _label(ax, text, x=x + 0.5, y=y + tall, side="bottom", size=6, color=PRINTED if faded else INK)
    bar = ax.inset_axes(((parts + 1) * step + 0.1, 0, 0.16, tall), transform=ax.transData)
    fig.colorbar(mpl.cm.ScalarMappable(Normalize(0, 1), HEAT), cax=bar, ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_ylabel("attention, 0 to 1", fontsize=7)
    return _done(fig)


@mpl.rc_context(STYLE)
def signed_masks(
    images: Pictures,
    masks: Float[np.ndarray, "N K h w"],
    *,
    fusion: Float[np.ndarray, "N h w"],
    names: Sequence[str],
    title: str = "",
) -> Figure:
    """Signed masks over each image, red above zero and blue below, behind the fusion of all in [0, 1].

    Args:
        images: pictures at any size.
        masks: some masks, each drawn in units of its own largest magnitude.
        fusion: of all masks.
        names: of the masks shown.
    """
    count, parts = masks.shape[:2]
    tall = images.shape[1] / images.shape[2]
    step, pitch = 1 + GAP, tall + GAP
    fig, ax = _sheet(
        (parts + 2) * step - GAP, count * pitch - GAP, title=title, margins=Margins(right=0.75, top=0.32)
    )
    for column, name in enumerate(("input", "fusion", *names)):
        _label(ax, name, x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        _picture(ax, images[row], x=0, y=y)
        for column in range(1, parts + 2):
            _picture(ax, _grey(images[row]), x=column * step, y=y)
        _heat(ax, fusion[row], extent=(step, step + 1, y + tall, y), faded=False)
        for part in range(parts):
            x = (part + 2) * step
            values = masks[row, part] / max(np.abs(masks[row, part]).max(), 1e-12)
            ax.imshow(
                values,
                cmap=SIGNED,
                vmin=-1,
                vmax=1,
                alpha=0.15 + 0.75 * np.abs(values),
                extent=(x, x + 1, y + tall, y),
                interpolation="bilinear",
                aspect="auto",
            )
    bar = ax.inset_axes(((parts + 2) * step + 0.1, 0, 0.16, tall), transform=ax.transData)
    fig.colorbar(mpl.cm.ScalarMappable(Normalize(-1, 1), SIGNED), cax=bar, ticks=[-1, 0, 1])
    bar.tick_params(labelsize=7)
    bar.set_ylabel("mask, of its largest", fontsize=7)
    return _done(fig)


@mpl.rc_context(STYLE)
def quality_bars(
    images: Pictures,
    scores: Float[np.ndarray, "N K"],
    *,
    truth: Float[np.ndarray, "N K"] | None = None,
    titles: Sequence[str],
    title: str = "",
) -> Figure:
    """Images with a bar per stripe beside them: predicted quality, and a tick at the true visible share if given."""
    count, parts = scores.shape
    tall = images.shape[1] / images.shape[2]
    step = 2 + 2 * GAP
    margins = Margins(top=0.25, bottom=0.35)
    fig, ax = _sheet(count * step - GAP, tall, title=title, margins=margins)
    thick = tall / parts
    for number in range(count):
        x = number * step
        _picture(ax, images[number], x=x, y=0)
        _label(ax, titles[number], x=x + 0.5, y=0, side="top")
        left = x + 1 + GAP / 2
        for part in range(parts):
            y = part * thick + 0.12 * thick
            ax.add_patch(Rectangle((left, y), 0.9, 0.76 * thick, facecolor=FAINT, lw=0))
            ax.add_patch(Rectangle((left, y), 0.9 * scores[number, part], 0.76 * thick, facecolor=OURS, lw=0))
            if truth is not None:
                tick = left + 0.9 * truth[number, part]
                ax.plot([tick, tick], [y, y + 0.76 * thick], color=INK, lw=2, clip_on=False)
    handles = [Patch(color=OURS, label="predicted quality"), Patch(color=INK, label="true visible share")]
    fig.legend(handles=handles[: 1 if truth is None else 2], loc="lower right", ncols=2)
    return _done(fig)


@mpl.rc_context(STYLE)
def ranking(
    query: UInt8[np.ndarray, "H W 3"],
    gallery: Sheet,
    *,
    correct: Bool[np.ndarray, "R C"],
    distances: Float[np.ndarray, "R C"] | None = None,
    titles: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """One query and its nearest gallery images, one row per distance (per part, all parts, ...)."""
    queries = np.broadcast_to(query, (len(gallery), *query.shape))
    return _ranked(queries, gallery, correct=correct, distances=distances, titles=titles, title=title)


@mpl.rc_context(STYLE)
def failures(
    queries: Pictures,
    gallery: Sheet,
    *,
    correct: Bool[np.ndarray, "N C"],
    titles: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Several queries, one per row, each with its nearest gallery images."""
    return _ranked(queries, gallery, correct=correct, distances=None, titles=titles, title=title)


def _ranked(
    queries: Pictures,
    gallery: np.ndarray,
    *,
    correct: np.ndarray,
    distances: np.ndarray | None,
    titles: Sequence[str],
    title: str,
) -> Figure:
    rows, top = gallery.shape[:2]
    tall = queries.shape[1] / queries.shape[2]
    step, pitch = 1.16, tall + 0.16 + 0.26 * (distances is not None)
    margins = Margins(left=_inches(titles), top=0.25)
    fig, ax = _sheet((top + 1) * step + 0.1, rows * pitch, title=title, margins=margins)
    places = 0.05 + step * np.arange(top + 1) + 0.2 * (np.arange(top + 1) > 0)
    for x, text in zip(places, ("query", *range(1, top + 1))):
        _label(ax, str(text), x=x + 0.5, y=-0.05, side="top")
    for row, text in enumerate(titles):
        _label(ax, text, x=0, y=row * pitch + tall / 2, side="left")
    for row, column in np.ndindex(rows, top + 1):
        x, y, rank = places[column], row * pitch, column - 1
        if column == 0:
            _picture(ax, queries[row], x=x, y=y, frame=QUERY)
            continue
        _picture(ax, gallery[row, rank], x=x, y=y, frame=CORRECT if correct[row, rank] else WRONG)
        if distances is not None:
            text = f"{distances[row, rank]:.2f}".replace("inf", "∞")
            _label(ax, text, x=x + 0.5, y=y + tall + 0.04, side="bottom", size=7)
    return _done(fig)


@dataclass(frozen=True)
class Margins:
    """Room for text around a sheet of pictures, in inches."""

    left: float = 0.05
    right: Number = 0.05
    top: Number = 0.05
    bottom: Number = 0.05


def _sheet(width: Number, height: Number, *, title: str, margins: Margins) -> tuple[Figure, Axes]:
    """A canvas without axes, whose unit is the width of one picture; y points down."""
    inches = min(0.8, 9.5 / width, (AREA / (width * height)) ** 0.5)
    top = margins.top + 0.3 * bool(title)
    wide = margins.left + width * inches + margins.right
    high = top + height * inches + margins.bottom
    fig = plt.figure(figsize=(wide, high), layout="none")
    ax = fig.add_axes(
        (margins.left / wide, margins.bottom / high, width * inches / wide, height * inches / high)
    )
    ax.axis("off")
    ax.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    if title:
        fig.text(0.05 / wide, 1 - 0.05 / high, title, va="top", fontsize=10, fontweight="bold")
    return fig, ax


def _inches(texts: Sequence[str]) -> float:
    """Room for the longest of some texts, at the usual size."""
    return 0.15 + 0.072 * max((len(text) for text in texts), default=-1.4)


def _label(
    ax: Axes, text: str, *, x: Number, y: Number, side: str, size: Number = 9, color: str = INK
) -> None:
    """Text beside a point: to its left, above or below it, three points away."""
    offset = {"left": (-5, 0), "top": (0, 4), "bottom": (0, -2)}[side]
    across = {"left": "right", "top": "center", "bottom": "center"}[side]
    along = {"left": "center", "top": "baseline", "bottom": "top"}[side]
    ax.annotate(
        text, (x, y), offset, textcoords="offset points", ha=across, va=along, fontsize=size, color=color,
        linespacing=1.05, annotation_clip=False,
    )  # fmt: skip


def _picture(ax: Axes, image: np.ndarray, *, x: Number, y: Number, frame: str | None = None) -> None:
    tall = image.shape[0] / image.shape[1]
    ax.imshow(image, extent=(x, x + 1, y + tall, y), aspect="auto")
    if frame:
        ax.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=frame, lw=2.5, clip_on=False))


def _heat(ax: Axes, values: np.ndarray, *, extent: tuple[Number, ...], faded: bool) -> None:
    """A map over a picture, more opaque where it is larger (NaN: not at all); a faded one lies under a veil."""
    opaque = 0.3 + 0.55 * np.clip(np.nan_to_num(values), 0, 1)
    ax.imshow(
        values,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        alpha=opaque,
        extent=extent,
        interpolation="bilinear",
        aspect="auto",
    )
    if faded:
        left, right, bottom, top = extent
        veil = Rectangle(
            (left, top), right - left, bottom - top, facecolor="white", alpha=0.72, lw=0, zorder=3
        )
        ax.add_patch(veil)


def _grey(image: np.ndarray) -> np.ndarray:
    """Luminance, so that colour means label or attention only."""
    return np.repeat((image @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None], 3, axis=-1)


# --- paper and ours -------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def paper_versus_ours(
    rows: Sequence[str],
    printed: Float[np.ndarray, " R"],
    *,
    ours: Float[np.ndarray, " R"],
    low: Float[np.ndarray, " R"] | None = None,
    high: Float[np.ndarray, " R"] | None = None,
    xlabel: str = "gain over the baseline, points",
    title: str = "",
) -> Figure:
    """Gains over the same baseline, printed and ours, with our interval; NaN leaves a mark out."""
    fig, ax = _dumbbells(rows, printed, ours=ours, low=low, high=high)
    ax.axvline(0, color=INK, lw=1)
    ax.set(xlabel=xlabel, title=title)
    return _done(fig)


@mpl.rc_context(STYLE)
def dumbbells(
    rows: Sequence[str],
    printed: Float[np.ndarray, " R"],
    *,
    ours: Float[np.ndarray, " R"],
    xlabel: str = "",
    title: str = "",
) -> Figure:
    """Printed and own value of each row, joined by a line; NaN leaves a mark out."""
    fig, ax = _dumbbells(rows, printed, ours=ours, low=None, high=None)
    ax.set(xlabel=xlabel, title=title)
    return _done(fig)


def _dumbbells(
    rows: Sequence[str],
    printed: np.ndarray,
    *,
    ours: np.ndarray,
    low: np.ndarray | None,
    high: np.ndarray | None,
) -> tuple[Figure, Axes]:
    fig, ax = plt.subplots(figsize=(7.5, 0.9 + 0.3 * len(rows)))
    _pairs(ax, printed, ours, low=low, high=high)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    fig.legend(loc="outside lower right", ncols=3)
    return fig, ax


def _pairs(
    ax: Axes, printed: np.ndarray, ours: np.ndarray, *, low: np.ndarray | None, high: np.ndarray | None
) -> None:
    """A printed and an own mark on every line, joined."""
    place = np.arange(len(printed))
    ax.hlines(place, printed, ours, color=FAINT, lw=3, zorder=1)
    if low is not None and high is not None:
        ax.hlines(place, low, high, color=OURS, lw=1.4, zorder=2, label="95 % interval of ours")
    ax.scatter(printed, place, color=PRINTED, s=38, marker="D", zorder=3, label="printed")
    ax.scatter(ours, place, color=OURS, s=46, zorder=4, label="ours")
    ax.grid(axis="y", visible=False)
    _percent(ax.xaxis)


@mpl.rc_context(STYLE)
def grid_heat(
    rows: Sequence[str],
    checks: Bool[np.ndarray, "R L"],
    *,
    columns: Sequence[str],
    printed: Mapping[str, Float[np.ndarray, " R"]],
    ours: Mapping[str, Float[np.ndarray, " R"]],
    low: Mapping[str, Float[np.ndarray, " R"]] | None = None,
    high: Mapping[str, Float[np.ndarray, " R"]] | None = None,
    xlabel: str = "%",
    title: str = "",
) -> Figure:
    """A grid of switches beside its results: a column per switch, then printed and ours per model.

    Args:
        rows: name of each line of the grid.
        checks: which of the L switches a line turns on.
        columns: name of each switch.
        printed: model -> value per line, NaN where the paper prints none.
        ours: model -> value per line, NaN where nothing is recorded.
        low, high: model -> interval of ours, if known.
    """
    fig, (left, *panels) = plt.subplots(
        1,
        1 + len(printed),
        figsize=(10, 1.2 + 0.31 * len(rows)),
        sharey=True,
        width_ratios=[1.25] + [1] * len(printed),
    )
    on = np.argwhere(checks)
    left.scatter(*np.argwhere(checks | True)[:, ::-1].T, s=12, color=FAINT)
    left.scatter(on[:, 1], on[:, 0], s=52, color=INK)
    left.set_xticks(range(len(columns)), columns, rotation=90)
    left.xaxis.tick_top()
    left.set_yticks(range(len(rows)), rows)
    left.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    for ax, name in zip(panels, printed):
        _pairs(ax, printed[name], ours[name], low=low and low[name], high=high and high[name])
        ax.set(title=name, xlabel=xlabel)
        ax.tick_params(axis="y", length=0)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return _done(fig)


@mpl.rc_context(STYLE)
def printed_and_ours(
    x: Sequence[Number],
    printed: Float[np.ndarray, " X"],
    *,
    ours: Float[np.ndarray, "seeds X"],
    xlabel: str,
    ylabel: str,
    log: bool = False,
    title: str = "",
) -> Figure:
    """A sweep in two panels, each with its own scale: as printed, and ours (every seed, mean in bold).

    Args:
        log: whether x doubles from mark to mark.

    Where the paper prints fewer than two values there is no curve to show, and ours stands alone.
    """
    counts = (~np.isnan(ours)).sum(axis=0).tolist()
    titles = ["printed", f"ours ({_seeds(min(counts), max(counts))})"][-2 if _curve(printed) else -1 :]
    fig, panels = plt.subplots(
        1, len(titles), figsize=(4 * len(titles) + (len(titles) == 1), 3), squeeze=False
    )
    if _curve(printed):
        panels[0, 0].plot(x, printed, "D-", color=PRINTED, ms=5)
    for seed in ours:
        panels[0, -1].plot(x, seed, color=OURS, lw=0.8, alpha=0.35)
    panels[0, -1].plot(x, np.ma.masked_invalid(ours).mean(axis=0), "o-", color=OURS, lw=2, ms=5)
    for ax, text in zip(panels[0], titles):
        ax.set(xlabel=xlabel, ylabel=ylabel, title=text)
        if log:
            ax.set_xscale("log", base=2)
        ax.set_xticks(x, [f"{value:g}" for value in x])
        _percent(ax.yaxis)
    fig.suptitle(title, fontsize=10, fontweight="bold")
    return _done(fig)


def _curve(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).sum() > 1)


@mpl.rc_context(STYLE)
def verdict_strip(verdicts: Mapping[str, Sequence], *, title: str = "") -> Figure:
    """One line per paper, one tile per claim, coloured by its verdict.

    Args:
        verdicts: paper -> verdicts, each with a ``claim`` (its number) and a ``status``.
    """
    most = max(len(row) for row in verdicts.values())
    fig, ax = plt.subplots(figsize=(10, 0.75 + 0.45 * len(verdicts)))
    counts = dict.fromkeys(VERDICTS, 0)
    for y, row in enumerate(verdicts.values()):
        for x, verdict in enumerate(row):
            status = str(verdict.status)
            counts[status] += 1
            ax.add_patch(Rectangle((x, y), 0.94, 0.86, color=VERDICTS[status], lw=0))
            dark = status in ("untestable", "not tested", "inconclusive")
            ax.text(
                x + 0.47, y + 0.43, str(verdict.claim), ha="center", va="center",
                color=INK if dark else "white", fontweight="bold", fontsize=8,
            )  # fmt: skip
    ax.set(xlim=(0, most), ylim=(len(verdicts), 0), title=title)
    ax.set_yticks(np.arange(len(verdicts)) + 0.43, list(verdicts))
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    patches = [Patch(color=VERDICTS[name], label=f"{name} {count}") for name, count in counts.items()]
    fig.legend(handles=patches, loc="outside lower center", ncols=len(patches), handlelength=1)
    return _done(fig)


# --- curves and bars ------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def loss_history(history: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """Loss terms over training on a log scale, and the learning rate (``lr``) below."""
    fig, (ax, rate) = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True, height_ratios=[4, 1])
    terms = {name: np.asarray(values, float) for name, values in history.items() if name != "lr"}
    for (name, values), colour in zip(terms.items(), _colours(len(terms))):
        ax.plot(_progress(len(values)), np.where(values > 0, values, np.nan), color=colour, label=name)
    ax.set(ylabel="weighted loss (log)", yscale="log", title=title)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    fig.legend(loc="outside right upper")
    rate.plot(_progress(len(history["lr"])), history["lr"], color=PRINTED)
    rate.set(xlabel="training, %", ylabel="learning\nrate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return _done(fig)


@mpl.rc_context(STYLE)
def loss_panels(
    curves: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]], *, ylabel: str, title: str = ""
) -> Figure:
    """Curves over training, one panel per group on a common scale, the same names in the same colours.

    Args:
        curves: panel -> name -> values; a name without values is left out of its panel.
    """
    fig, panels = plt.subplots(
        1, len(curves), figsize=(2.6 * len(curves) + 0.6, 3.2), sharey=True, squeeze=False
    )
    names = list(dict.fromkeys(name for group in curves.values() for name in group))
    colours = dict(zip(names, _colours(len(names))))
    for ax, (text, group) in zip(panels[0], curves.items()):
        for name, values in group.items():
            ax.plot(_progress(len(values)), values, color=colours[name], lw=1.2)
        ax.set(title=text, xlabel="training, %", xlim=(0, 100))
    panels[0, 0].set(ylabel=ylabel)
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=max(len(names), 1), handlelength=1)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return _done(fig)


@mpl.rc_context(STYLE)
def bars(frame: pd.DataFrame, *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Groups of bars, one bar per model, with 95 % intervals over queries.

    Args:
        frame: columns model, group, rank1 (fraction), error (standard error), queries.
    """
    models, groups = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["group"]))
    fig, ax = plt.subplots(figsize=(8, 3.4))
    if frame.empty:
        ax.text(0.5, 0.5, "nothing recorded", ha="center", va="center", color=PRINTED)
        ax.set_axis_off()
        return _done(fig)
    width = 0.8 / len(models)
    for number, (model, colour) in enumerate(zip(models, _colours(len(models)))):
        rows = frame[frame["model"] == model].set_index("group").reindex(groups)
        place = np.arange(len(groups)) + (number - (len(models) - 1) / 2) * width
        error = 1.96 * rows["error"]
        ax.bar(place, rows["rank1"], width * 0.9, color=colour, label=model)
        ax.errorbar(place, rows["rank1"], error, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    queries = frame.groupby("group")["queries"].first()
    ax.set_xticks(range(len(groups)), [f"{group}\n({queries[group]})" for group in groups])
    ax.set(xlabel=f"{xlabel} (number of queries)", ylabel=ylabel, title=title, ylim=(0, None))
    ax.grid(axis="x", visible=False)
    _percent(ax.yaxis)
    fig.legend(loc="outside upper right", ncols=len(models))
    return _done(fig)


@mpl.rc_context(STYLE)
def shares(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Stacked bars: how much of each map lies on the person, on what is in front, and elsewhere.

    Args:
        frame: columns place, map, model, person, front, background (fractions); one panel per place.
    """
    places = list(dict.fromkeys(frame["place"]))
    height = 0.9 + 0.4 * len(frame) / max(len(places), 1)
    fig, panels = plt.subplots(1, max(len(places), 1), figsize=(10, height), sharey=True, squeeze=False)
    colours = {"person": CORRECT, "front": WRONG, "background": FAINT}
    for ax, place in zip(panels[0], places):
        rows = frame[frame["place"] == place]
        left = np.zeros(len(rows))
        for column, colour in colours.items():
            ax.barh(range(len(rows)), rows[column], 0.75, left=left, color=colour)
            left = left + rows[column].to_numpy()
        ax.set_yticks(
            range(len(rows)), [f"{m}, {k}".removeprefix("–, ") for m, k in zip(rows["model"], rows["map"])]
        )
        ax.set(title=place, xlabel="share of the map, %", xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
        ax.grid(axis="y", visible=False)
        _percent(ax.xaxis)
    labels = {"person": "person", "front": "what is in front", "background": "background"}
    handles = [Patch(color=colour, label=labels[name]) for name, colour in colours.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=1)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return _done(fig)


@mpl.rc_context(STYLE)
def part_bars(
    values: Float[np.ndarray, "seeds K"], *, names: Sequence[str], ylabel: str, title: str = ""
) -> Figure:
    """One bar per part in the part's colour: mean over seeds, and each seed as a dot."""
    fig, ax = plt.subplots(figsize=(8, 3))
    place = np.arange(len(names))
    ax.bar(place, values.mean(axis=0), 0.7, color=PARTS[: len(names)])
    for seed in values:
        ax.scatter(place, seed, s=12, color=INK, zorder=3)
    ax.set_xticks(place, [name.replace(" ", "\n") for name in names])
    ax.set(ylabel=ylabel, title=title or f"mean and {_seeds(len(values), len(values))}", ylim=(0, 1))
    ax.grid(axis="x", visible=False)
    return _done(fig)


@mpl.rc_context(STYLE)
def signed_matrices(
    matrices: Mapping[str, Float[np.ndarray, "R _"]],
    *,
    rows: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    title: str = "",
) -> Figure:
    """Matrices with the same rows side by side, red above zero and blue below; NaN is left blank.

    Args:
        matrices: title of a panel -> values; each panel has its own scale, symmetric around zero.
        rows: names, shown once.
        columns: names per panel.
    """
    widths = [values.shape[1] for values in matrices.values()]
    size = (2 + 0.42 * sum(widths) + 0.9 * len(widths), 1.4 + 0.26 * len(rows))
    fig, panels = plt.subplots(1, len(widths), figsize=size, width_ratios=widths, squeeze=False)
    for ax, (name, values) in zip(panels[0], matrices.items()):
        limit = np.nanmax(np.abs(values))
        image = ax.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto")
        ax.set_xticks(range(values.shape[1]), columns[name], rotation=90)
        ax.set_yticks(range(len(rows)), rows if ax is panels[0][0] else [])
        ax.set_title(name)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02).ax.tick_params(labelsize=7)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return _done(fig)


@mpl.rc_context(STYLE)
def visibility_scatter(
    predicted: Float[np.ndarray, "Q K"],
    truth: Float[np.ndarray, "Q K"],
    *,
    names: Sequence[str],
    ylabel: str = "predicted visibility",
    note: str = "",
    title: str = "",
) -> Figure:
    """Predicted visibility or quality against the true visible fraction (NaN: unknown), one panel per part."""
    rows = 1 if len(names) <= 3 else 2
    columns = -(-len(names) // rows)
    fig, axes = plt.subplots(
        rows, columns, figsize=(10, 0.6 + 2 * rows), sharex=True, sharey=True, squeeze=False
    )
    edges = np.array([-0.01, 0.001, 0.25, 0.5, 0.75, 1.01])
    for number, ax in enumerate(axes.flat):
        if number >= len(names):
            ax.axis("off")
            continue
        known = ~np.isnan(truth[:, number])
        group = np.digitize(truth[known, number], edges[1:-1])
        boxes = ax.boxplot(
            [predicted[known, number][group == g] for g in range(5)],
            widths=0.65,
            showfliers=False,
            patch_artist=True,
        )
        plt.setp(boxes["boxes"], facecolor=to_rgba(PARTS[number], 0.55), edgecolor=PARTS[number])
        plt.setp(boxes["medians"], color=INK, lw=1.5)
        plt.setp(boxes["whiskers"] + boxes["caps"], color=PRINTED)
        ax.set_title(names[number])
        ax.set_xticks(range(1, 6), ["0", "≤¼", "≤½", "≤¾", "≤1"])
    fig.supxlabel("true visible fraction", fontsize=9)
    fig.supylabel(ylabel, fontsize=9)
    fig.suptitle("   ".join(filter(None, (title, note))), fontsize=10, fontweight="bold")
    return _done(fig)


@mpl.rc_context(STYLE)
def accuracy_cost(
    cost: Float[np.ndarray, " M"],
    accuracy: Float[np.ndarray, " M"],
    *,
    names: Sequence[str],
    xlabel: str,
    ylabel: str,
    error: Float[np.ndarray, " M"] | None = None,
    title: str = "",
) -> Figure:
    """Accuracy against cost (log scale), one labelled point per model."""
    fig, ax = plt.subplots(figsize=(7, 3.8))
    ax.errorbar(cost, accuracy, error, fmt="none", ecolor=PRINTED, elinewidth=1, capsize=2)
    ax.scatter(cost, accuracy, s=60, color=_colours(len(names)), zorder=3)
    for x, y, name in zip(cost, accuracy, names):
        ax.annotate(name, (x, y), (7, 5), textcoords="offset points")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale="log")
    ax.margins(x=0.18, y=0.12)
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter()
    )
    _percent(ax.yaxis)
    return _done(fig)


def _colours(count: int) -> list:
    """One colour per series: the palette while it lasts, then an even walk through a colormap."""
    return (
        list(SERIES[:count])
        if count <= len(SERIES)
        else list(mpl.colormaps["turbo"](np.linspace(0.05, 0.95, count)))
    )


def _percent(axis: mpl.axis.Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))


def _progress(count: int) -> np.ndarray:
    return np.linspace(0, 100, count)


def _seeds(least: int, most: int) -> str:
    if least < most:
        return f"{least} to {most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def save(fig: Figure, path: Path) -> None:
    """Write a PNG below 150 kB: 256 colours, and coarser where a sheet of pictures is large.

    Args:
        fig: any figure.
        path: of the file; its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for dpi in (120, 105, 90, 75, 60):
        buffer = BytesIO()
        fig.savefig(buffer, format="png", dpi=dpi)
        image = Image.open(buffer).convert("RGB")
        image.quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
        if path.stat().st_size < 150_000:
            break


def _done(fig: Figure) -> Figure:
    plt.close(fig)  # so that a notebook shows it once, as the value of the cell
    return fig
