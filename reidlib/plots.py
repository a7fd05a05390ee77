"""Figures: arrays in, a `Figure` out. Nothing is computed here but what a drawing needs.

One palette throughout: query blue, correct green, wrong red; printed values grey, ours blue. Heat maps
share one colormap and print its range. Metrics arrive as fractions and are drawn in percent.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

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
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
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
GAP = 0.08  # between pictures, in widths of one picture

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
    left, top = 1.2 * bool(row_titles), 0.35 * bool(column_titles)
    fig, ax = _sheet((-left, columns * step), (-top, rows * pitch), title=title)
    for row, column in np.ndindex(rows, columns):
        _picture(ax, images[row, column], x=column * step, y=row * pitch)
    for row, text in enumerate(row_titles):
        ax.text(-0.1, (row + 0.5) * pitch, text, ha="right", va="center")
    start = 0
    for text, same in groupby(column_titles):
        stop = start + len(list(same))
        ax.text((start + stop) / 2 * step - GAP / 2, -0.12, text, ha="center")
        if stop - start > 1:
            ax.plot([start * step, stop * step - GAP], [-0.06, -0.06], color=PRINTED, lw=1)
        start = stop
    return _done(fig)


@mpl.rc_context(STYLE)
def label_overlay(
    images: Pictures, labels: Integer[np.ndarray, "N h w"], *, names: Sequence[str], title: str = ""
) -> Figure:
    """Images above, and below them their part labels (0 is background) in one colour per part."""
    count, height, width = images.shape[:3]
    pitch = height / width + GAP
    colours = ListedColormap([(0, 0, 0, 0), *(to_rgba(c, 0.75) for c in PARTS[: len(names)])])
    fig, ax = _sheet((0, count * (1 + GAP) + 1.8), (0, 2 * pitch), title=title)
    for number, (image, label) in enumerate(zip(images, labels)):
        x = number * (1 + GAP)
        _picture(ax, image, x=x, y=0)
        _picture(ax, _grey(image), x=x, y=pitch)
        extent = (x, x + 1, 2 * pitch - GAP, pitch)
        ax.imshow(label, cmap=colours, vmin=0, vmax=len(names), extent=extent, interpolation="nearest")
    patches = [Patch(color=colour, label=name) for colour, name in zip(PARTS, names)]
    ax.legend(handles=patches, loc="center right", fontsize=8, handlelength=1)
    _limits(ax, (0, count * (1 + GAP) + 1.8), (0, 2 * pitch))
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
    pitch = tall + GAP + 0.24 * ((visibility is not None) + (truth is not None))
    x_limits, y_limits = (-0.1, (parts + 1) * (1 + GAP) + 0.9), (-0.3, count * pitch)
    fig, ax = _sheet(x_limits, y_limits, title=title)
    for column, name in enumerate(("input", *names)):
        ax.text(column * (1 + GAP) + 0.5, -0.08, name, ha="center", fontsize=7.5)
    for row, column in np.ndindex(count, parts + 1):
        x, y = column * (1 + GAP), row * pitch
        _picture(ax, images[row] if column == 0 else _grey(images[row]), x=x, y=y)
        if column == 0:
            continue
        seen = visibility is None or visibility[row, column - 1] >= 0.5
        _heat(ax, maps[row, column - 1], extent=(x, x + 1, y + tall, y))
        if not seen:
            ax.add_patch(Rectangle((x, y), 1, tall, facecolor="white", alpha=0.72, lw=0, zorder=3))
        texts = [
            f"{label} {values[row, column - 1]:.2f}"
            for label, values in (("pred", visibility), ("true", truth))
            if values is not None
        ]
        ax.text(
            x + 0.5, y + tall + 0.05, "\n".join(texts), ha="center", va="top",
            fontsize=6, color=INK if seen else PRINTED, linespacing=1.05,
        )  # fmt: skip
    bar = ax.inset_axes(((parts + 1) * (1 + GAP) + 0.2, 0, 0.16, tall), transform=ax.transData)
    fig.colorbar(mpl.cm.ScalarMappable(Normalize(0, 1), HEAT), cax=bar, ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_title("attention", fontsize=7, fontweight="normal")
    _limits(ax, x_limits, y_limits)
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
    step, pitch = 1.14, tall + 0.2 + 0.2 * (distances is not None)
    longest = max((len(text) for text in titles), default=0)
    x_limits, y_limits = (-0.1 - 0.115 * longest, (top + 1) * step + 0.3), (-0.35, rows * pitch)
    fig, ax = _sheet(x_limits, y_limits, title=title)
    for column, text in enumerate(("query", *range(1, top + 1))):
        ax.text(column * step + 0.5 + 0.25 * (column > 0), -0.1, str(text), ha="center")
    for row in range(rows):
        _picture(ax, queries[row], x=0, y=row * pitch, frame=QUERY)
        for column in range(top):
            x = (column + 1) * step + 0.25
            _picture(
                ax, gallery[row, column], x=x, y=row * pitch, frame=CORRECT if correct[row, column] else WRONG
            )
            if distances is not None:
                text = f"{distances[row, column]:.2f}".replace("inf", "∞")
                ax.text(x + 0.5, row * pitch + tall + 0.06, text, ha="center", va="top", fontsize=7)
    for row, text in enumerate(titles):
        ax.text(-0.15, row * pitch + tall / 2, text, ha="right", va="center")
    _limits(ax, x_limits, y_limits)
    return _done(fig)


def _sheet(x: tuple[float, float], y: tuple[float, float], *, title: str) -> tuple[Figure, Axes]:
    """A canvas without axes, whose unit is the width of one picture; y points down."""
    inches = min(0.9, 10 / (x[1] - x[0]))
    head = 0.35 if title else 0
    width, height = (x[1] - x[0]) * inches, (y[1] - y[0]) * inches + head
    fig = plt.figure(figsize=(width, height), layout="none")
    ax = fig.add_axes((0, 0, 1, 1 - head / height))
    ax.axis("off")
    if title:
        fig.text(0.01, 1 - 0.06 / height, title, va="top", fontsize=10, fontweight="bold")
    _limits(ax, x, y)
    return fig, ax


def _limits(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    ax.set(xlim=x, ylim=y[::-1])


def _picture(ax: Axes, image: np.ndarray, *, x: float, y: float, frame: str | None = None) -> None:
    tall = image.shape[0] / image.shape[1]
    ax.imshow(image, extent=(x, x + 1, y + tall, y), interpolation="antialiased")
    if frame:
        ax.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=frame, lw=2.5))


def _heat(ax: Axes, values: np.ndarray, *, extent: tuple[float, float, float, float]) -> None:
    ax.imshow(
        values, cmap=HEAT, vmin=0, vmax=1, alpha=0.68, extent=extent, interpolation="bilinear", zorder=2
    )


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
    place = np.arange(len(rows))
    ax.hlines(place, printed, ours, color=FAINT, lw=3, zorder=1)
    if low is not None and high is not None:
        ax.hlines(place, low, high, color=OURS, lw=1.4, zorder=2, label="95 % interval of ours")
    ax.scatter(printed, place, color=PRINTED, s=38, marker="D", zorder=3, label="printed")
    ax.scatter(ours, place, color=OURS, s=46, zorder=4, label="ours")
    ax.set_yticks(place, rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    _percent(ax.xaxis)
    fig.legend(loc="outside lower right", ncols=3)
    return fig, ax


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
    place = np.arange(len(rows))
    on = np.argwhere(checks)
    left.scatter(*np.argwhere(checks | True)[:, ::-1].T, s=12, color=FAINT)
    left.scatter(on[:, 1], on[:, 0], s=52, color=INK)
    left.set_xticks(range(len(columns)), columns, rotation=90)
    left.xaxis.tick_top()
    left.set_yticks(place, rows)
    left.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    for ax, name in zip(panels, printed):
        ax.barh(place - 0.19, printed[name], height=0.34, color=PRINTED, label="printed")
        ax.barh(place + 0.19, ours[name], height=0.34, color=OURS, label="ours")
        if low is not None and high is not None:
            ax.hlines(place + 0.19, low[name], high[name], color=INK, lw=1.2)
        ax.set(title=name, xlabel=xlabel, xlim=_span(printed[name], ours[name]))
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        _percent(ax.xaxis)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return _done(fig)


@mpl.rc_context(STYLE)
def printed_and_ours(
    x: Sequence[float],
    printed: Float[np.ndarray, " X"],
    *,
    ours: Float[np.ndarray, "seeds X"],
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Figure:
    """A sweep in two panels, each with its own scale: as printed, and ours (every seed, mean in bold)."""
    fig, panels = plt.subplots(1, 2, figsize=(8, 3))
    panels[0].plot(x, printed, "D-", color=PRINTED, ms=5)
    _line(panels[1], np.asarray(x, float), ours, color=OURS, marker="o")
    for ax, text in zip(panels, ("printed", f"ours ({_seeds(len(ours))})")):
        ax.set(xlabel=xlabel, ylabel=ylabel, title=text)
        ax.set_xticks(x)
        _percent(ax.yaxis)
    fig.suptitle(title, fontsize=10, fontweight="bold")
    return _done(fig)


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
        ax.plot(_progress(values), np.where(values > 0, values, np.nan), color=colour, label=name)
    ax.set(ylabel="weighted loss (log)", yscale="log", title=title)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    fig.legend(loc="outside right upper")
    rate.plot(_progress(history["lr"]), history["lr"], color=PRINTED)
    rate.set(xlabel="training, %", ylabel="learning\nrate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return _done(fig)


@mpl.rc_context(STYLE)
def curves(
    x: Float[np.ndarray, " X"],
    lines: Mapping[str, Float[np.ndarray, "seeds X"]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Figure:
    """Lines over x with one thin line per seed, the mean in bold."""
    fig, ax = plt.subplots(figsize=(7, 3.4))
    for (name, values), colour in zip(lines.items(), _colours(len(lines))):
        _line(ax, x, values, color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return _done(fig)


@mpl.rc_context(STYLE)
def bars(frame: pd.DataFrame, *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Groups of bars, one bar per model, with 95 % intervals over queries.

    Args:
        frame: columns model, group, rank1 (fraction), error (standard error), queries.
    """
    models, groups = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["group"]))
    fig, ax = plt.subplots(figsize=(8, 3.4))
    width = 0.8 / len(models)
    for number, (model, colour) in enumerate(zip(models, _colours(len(models)))):
        rows = frame[frame["model"] == model].set_index("group").reindex(groups)
        place = np.arange(len(groups)) + (number - (len(models) - 1) / 2) * width
        error = 1.96 * rows["error"]
        ax.bar(place, rows["rank1"], width * 0.9, color=colour, label=model)
        ax.errorbar(place, rows["rank1"], error, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    queries = frame.groupby("group")["queries"].first()
    ax.set_xticks(range(len(groups)), [f"{group}\n{queries[group]} queries" for group in groups])
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, ylim=(0, None))
    ax.grid(axis="x", visible=False)
    _percent(ax.yaxis)
    fig.legend(loc="outside upper right", ncols=len(models))
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
    ax.set(ylabel=ylabel, title=title or f"mean and {_seeds(len(values))}", ylim=(0, 1))
    ax.grid(axis="x", visible=False)
    return _done(fig)


@mpl.rc_context(STYLE)
def visibility_scatter(
    predicted: Float[np.ndarray, "Q K"],
    truth: Float[np.ndarray, "Q K"],
    *,
    names: Sequence[str],
    note: str = "",
    title: str = "",
) -> Figure:
    """Predicted visibility against the true visible fraction, one panel per part, boxes per fifth."""
    columns = (len(names) + 1) // 2
    fig, axes = plt.subplots(2, columns, figsize=(10, 4.6), sharex=True, sharey=True, squeeze=False)
    edges = np.array([-0.01, 0.001, 0.25, 0.5, 0.75, 1.01])
    for number, ax in enumerate(axes.flat):
        if number >= len(names):
            ax.axis("off")
            continue
        group = np.digitize(truth[:, number], edges[1:-1])
        boxes = ax.boxplot(
            [predicted[group == g, number] for g in range(5)],
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
    fig.supylabel("predicted visibility", fontsize=9)
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
    _percent(ax.yaxis)
    return _done(fig)


def _line(
    ax: Axes, x: np.ndarray, values: np.ndarray, *, color: str, label: str = "", marker: str = ""
) -> None:
    for seed in values:
        ax.plot(x, seed, color=color, lw=0.8, alpha=0.35)
    ax.plot(x, values.mean(axis=0), color=color, lw=2, marker=marker, ms=5, label=label)


def _colours(count: int) -> list:
    """One colour per series: the palette while it lasts, then an even walk through a colormap."""
    return (
        list(SERIES[:count])
        if count <= len(SERIES)
        else list(mpl.colormaps["turbo"](np.linspace(0.05, 0.95, count)))
    )


def _span(*values: np.ndarray) -> tuple[float, float]:
    """Limits that show the differences between bars: the smallest value sits at a sixth of the width."""
    known = np.concatenate(values)[np.isfinite(np.concatenate(values))]
    if len(known) == 0:
        return 0.0, 1.0
    width = max(np.ptp(known), 0.01)
    return max(0.0, known.min() - 0.25 * width), known.max() + 0.12 * width


def _percent(axis: mpl.axis.Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))


def _progress(values: Sequence[float]) -> np.ndarray:
    return np.linspace(0, 100, len(values))


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _done(fig: Figure) -> Figure:
    plt.close(fig)  # so that a notebook shows it once, as the value of the cell
    return fig
