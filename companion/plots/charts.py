"""Printed and own numbers: dumbbells, curves, bars, verdicts. Arrays in, a `Figure` out.

Nothing is computed here but what a drawing needs. Printed values are grey, ours blue. Metrics arrive as
fractions and are drawn in percent.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from companion.plots.sheets import PARTS, SIGNED
from reidlib.sheets import CORRECT, FAINT, INK, OURS, PRINTED, QUERY, STYLE, WRONG, Number, closed

SERIES = (QUERY, "#e0a030", "#7a5195", "#3a9d9d", "#c46a4a", "#6b7a8f", "#9c8b3e", "#b0578d")
VERDICTS = {
    "reproduced": "#1a7f37",
    "contradicted": "#c62828",
    "inconclusive": "#b7791f",
    "not tested": "#6e7781",
    "untestable": "#9aa2aa",
}
"""Dark enough to be read as text on white; white text can be read on all."""


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
    return closed(fig)


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
    return closed(fig)


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
        _pairs(ax, printed[name], ours[name], low=None, high=None)
        ax.set(title=name, xlabel=xlabel)
        ax.tick_params(axis="y", length=0)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return closed(fig)


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
    return closed(fig)


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
            ax.text(
                x + 0.47, y + 0.43, str(verdict.claim), ha="center", va="center",
                color="white", fontweight="bold", fontsize=8,
            )  # fmt: skip
    ax.set(xlim=(0, most), ylim=(len(verdicts), 0), title=title)
    ax.set_yticks(np.arange(len(verdicts)) + 0.43, list(verdicts))
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    patches = [Patch(color=VERDICTS[name], label=f"{name} {count}") for name, count in counts.items()]
    fig.legend(handles=patches, loc="outside lower center", ncols=len(patches), handlelength=1)
    return closed(fig)


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
    return closed(fig)


@mpl.rc_context(STYLE)
def loss_panels(curves: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]], *, ylabel: str) -> Figure:
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
    return closed(fig)


@mpl.rc_context(STYLE)
def bars(frame: pd.DataFrame, *, xlabel: str, ylabel: str) -> Figure:
    """Groups of bars, one bar per model, with 95 % intervals over queries.

    Args:
        frame: columns model, group, rank1 (fraction), error (standard error), queries.
    """
    import seaborn as sns

    models, groups = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["group"]))
    fig, ax = plt.subplots(figsize=(8, 3.4))
    if frame.empty:
        ax.text(0.5, 0.5, "nothing recorded", ha="center", va="center", color=PRINTED)
        ax.set_axis_off()
        return closed(fig)
    places = {"x": "group", "y": "rank1", "hue": "model", "order": groups, "hue_order": models}
    sns.barplot(
        frame, **places, palette=_colours(len(models)), errorbar=None, saturation=1, ax=ax, legend=False
    )
    for model, drawn in zip(models, ax.containers):
        rows = frame[frame["model"] == model].set_index("group").reindex(groups).dropna(subset="rank1")
        middles = [bar.get_x() + bar.get_width() / 2 for bar in drawn]  # of the groups that are there
        error = 1.96 * rows["error"]  # NaN where a group has one query
        ax.errorbar(middles, rows["rank1"], error, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        drawn.set_label(model)
    queries = frame.groupby("group")["queries"].first()
    ax.set_xticks(range(len(groups)), [f"{group}\n({queries[group]})" for group in groups])
    ax.set(xlabel=f"{xlabel} (number of queries)", ylabel=ylabel, ylim=(0, None))
    ax.grid(axis="x", visible=False)
    _percent(ax.yaxis)
    fig.legend(loc="outside upper right", ncols=len(models))
    return closed(fig)


@mpl.rc_context(STYLE)
def shares(frame: pd.DataFrame) -> Figure:
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
    return closed(fig)


@mpl.rc_context(STYLE)
def part_bars(values: Float[np.ndarray, "seeds K"], *, names: Sequence[str], ylabel: str) -> Figure:
    """One bar per part in the part's colour: mean over seeds, and each seed as a dot."""
    import seaborn as sns

    frame = pd.DataFrame(values, columns=list(names))
    fig, ax = plt.subplots(figsize=(8, 3))
    sns.barplot(frame, palette=list(PARTS[: len(names)]), errorbar=None, width=0.7, saturation=1, ax=ax)
    sns.stripplot(frame, color=INK, size=3.5, jitter=False, ax=ax)
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    ax.set(ylabel=ylabel, title=f"mean and {_seeds(len(values), len(values))}", ylim=(0, 1))
    ax.grid(axis="x", visible=False)
    return closed(fig)


@mpl.rc_context(STYLE)
def signed_matrices(
    matrices: Mapping[str, Float[np.ndarray, "R _"]],
    *,
    rows: Sequence[str],
    columns: Mapping[str, Sequence[str]],
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
    return closed(fig)


SHARES = {"0": 0.001, "≤¼": 0.25, "≤½": 0.5, "≤¾": 0.75, "≤1": 1.01}
"""Groups of true visible fractions and their upper ends."""


@mpl.rc_context(STYLE)
def visibility_boxes(
    predicted: Float[np.ndarray, "Q K"],
    truth: Float[np.ndarray, "Q K"],
    *,
    names: Sequence[str],
    ylabel: str = "predicted visibility",
    note: str = "",
) -> Figure:
    """Predicted visibility or quality by true visible fraction (NaN: unknown), one panel per part."""
    import seaborn as sns

    rows = 1 if len(names) <= 3 else 2
    columns = -(-len(names) // rows)
    fig, axes = plt.subplots(
        rows, columns, figsize=(10, 0.6 + 2 * rows), sharex=True, sharey=True, squeeze=False
    )
    groups = pd.cut(truth.ravel(), [-0.01, *SHARES.values()], labels=list(SHARES))
    part = np.broadcast_to(np.arange(len(names)), truth.shape).ravel()
    frame = pd.DataFrame({"predicted": predicted.ravel(), "share": groups, "part": part}).dropna()
    for number, ax in enumerate(axes.flat):
        if number >= len(names):
            ax.axis("off")
            continue
        sns.boxplot(
            frame[frame["part"] == number], x="share", y="predicted", order=list(SHARES), width=0.65,
            showfliers=False, color=to_rgba(PARTS[number], 0.55), linecolor=PARTS[number],
            medianprops={"color": INK, "lw": 1.5}, ax=ax,
        )  # fmt: skip
        ax.set(title=names[number], xlabel="", ylabel="")
    fig.supxlabel("true visible fraction", fontsize=9)
    fig.supylabel(ylabel, fontsize=9)
    fig.suptitle(note, fontsize=10, fontweight="bold")
    return closed(fig)


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
