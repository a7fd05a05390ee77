"""Printed and own numbers: dumbbells, curves, bars, verdicts. Arrays in, a `Figure` out.

Nothing is computed here but what a drawing needs. Printed values are grey, ours blue. Metrics arrive as
fractions and are drawn in percent. Intervals are of the mean over worlds, 95 %; one world has none, and the figure
says so. A row without a number of ours, or with one that does not count, is hatched and says why.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill as fill_text

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from companion.plots.sheets import PARTS, SIGNED
from reidlib.palette import (
    BLUE,
    BROWN,
    CORRECT,
    FAINT,
    INK,
    ORANGE,
    OURS,
    PALE_BLUE,
    PALE_ORANGE,
    PRINTED,
    SERIES,
    WRONG,
    ink_on,
)
from reidlib.sheets import STYLE, Number, closed

NOTE = "#6e7781"  # of words in a figure
VERDICTS = {
    "holds": BLUE,
    "holds, smaller": PALE_BLUE,
    "no such effect": PALE_ORANGE,
    "opposite": ORANGE,
    "undecided": "#b9c0c8",
    "does not hold": BROWN,
    "not comparable": "#ccd2d8",
    "not measured": "#e4e7ea",
    "untestable": "#f1f3f5",
}
"""Blue for, orange against, grey for no answer; words on a colour are drawn in ``ink_on`` it."""
MARKS = {
    "holds": "✔",
    "holds, smaller": "✓",
    "no such effect": "○",
    "opposite": "✘",
    "undecided": "≈",
    "does not hold": "✘",
    "not comparable": "∅",
    "not measured": "·",
    "untestable": "–",
}
"""The sign that a verdict bears beside its colour."""
THIN = 0.4
"""How opaque the line of a single world is."""
DASHES = ("-", (0, (4, 1.5)), "-.", (0, (1, 1)), (0, (7, 2)))
"""Of curves that may lie on one another."""


@mpl.rc_context(STYLE)
def paper_versus_ours(
    rows: Sequence[str],
    printed: Float[np.ndarray, " R"],
    *,
    ours: Float[np.ndarray, " R"],
    half: Float[np.ndarray, " R"],
    states: Sequence[str],
    worlds: Sequence[int],
    xlabel: str = "gain over the baseline, points",
    title: str = "",
    data: str = "",
) -> Figure:
    """Gains over the same baseline, printed and ours, on one scale; NaN leaves a mark out.

    Args:
        half: of our interval.
        states: why a row of ours does not count, or nothing.
        worlds: behind each of our numbers.
        data: what ours was measured on, in words.
    """
    fig, ax = _dumbbells(rows, printed, ours=ours, error=half, states=states)
    _legend(fig, worlds, printed=printed, data=data)
    ax.axvline(0, color=INK, lw=1, zorder=0.5)
    ax.set(xlabel=xlabel, title=title)
    return closed(fig)


@mpl.rc_context(STYLE)
def dumbbells(
    rows: Sequence[str],
    printed: Float[np.ndarray, " R"],
    *,
    ours: Float[np.ndarray, " R"],
    half: Float[np.ndarray, " R"],
    states: Sequence[str],
    worlds: Sequence[int],
    xlabel: str = "",
    title: str = "",
    data: str = "",
) -> Figure:
    """Printed and own value of each row, fractions, joined by a line; see ``paper_versus_ours``."""
    fig, ax = _dumbbells(rows, printed, ours=ours, error=_within(ours, half), states=states)
    _legend(fig, worlds, printed=printed, data=data)
    ax.set(xlabel=xlabel, title=title)
    return closed(fig)


def _dumbbells(
    rows: Sequence[str],
    printed: np.ndarray,
    *,
    ours: np.ndarray,
    error: np.ndarray,
    states: Sequence[str],
) -> tuple[Figure, Axes]:
    fig, ax = plt.subplots(figsize=(8, 0.9 + 0.3 * len(rows)))
    _pairs(ax, printed, ours, error=error, states=states)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    return fig, ax


def _pairs(
    ax: Axes, printed: np.ndarray, ours: np.ndarray, *, error: np.ndarray, states: Sequence[str]
) -> None:
    """A printed and an own mark on every line, joined; what does not count is hollow and hatched.

    Args:
        error: half of our interval, or how far it reaches to either side (``[2, R]``).
    """
    place, good = np.arange(len(printed)), np.array([not state for state in states], dtype=bool)
    ax.hlines(place[good], printed[good], ours[good], color=FAINT, lw=3, zorder=1)
    ax.errorbar(
        ours[good], place[good], xerr=error[..., good], fmt="none", ecolor=OURS, elinewidth=1.4, zorder=2
    )
    ax.scatter(printed, place, color=PRINTED, s=38, marker="D", zorder=3)
    ax.scatter(ours[~good], place[~good], facecolor="white", edgecolor=OURS, s=46, zorder=4)
    ax.scatter(ours[good], place[good], color=OURS, s=46, zorder=4)
    for row, state in enumerate(states):
        if state:
            _hatched(
                ax, row, state, marks=[value for value in (printed[row], ours[row]) if np.isfinite(value)]
            )
    ax.grid(axis="y", visible=False)
    _percent(ax.xaxis)


def _hatched(ax: Axes, row: Number, text: str, *, marks: Sequence[float]) -> None:
    """A row that does not count; the words stand on the side where there is room, or between marks on both sides."""
    ax.axhspan(row - 0.42, row + 0.42, facecolor="none", edgecolor=FAINT, hatch="////", lw=0, zorder=0)
    middle = np.mean(ax.get_xlim())
    left = bool(marks) and max(marks) > middle
    place, side, where = 0.005 if left else 0.995, "left" if left else "right", ax.get_yaxis_transform()
    if left and min(marks) < middle:
        place, side, where = np.mean(marks), "center", ax.transData
    ax.text(
        place, row, text, transform=where, ha=side, va="center",
        fontsize=7.5, color=NOTE, bbox={"facecolor": "white", "lw": 0, "pad": 1.5}, zorder=2,
    )  # fmt: skip


def _legend(
    fig: Figure, worlds: Sequence[int], *, printed: np.ndarray, data: str = "", thin: bool = False
) -> None:
    """What is printed, what is ours, over how many worlds and on which data, and what thin lines are."""
    told = f"ours, {interval_over(worlds, data=data)}"
    handles = [Line2D([], [], color=OURS, marker="o", lw=1.4, label=told)]
    if thin:
        handles.insert(0, Line2D([], [], color=OURS, lw=0.8, alpha=THIN, label="one world each"))
    if np.isfinite(printed).any():
        handles.insert(0, Line2D([], [], color=PRINTED, marker="D", lw=0, label="printed"))
    fig.legend(handles=handles, loc="outside lower right", ncols=len(handles), columnspacing=1.2)


def interval_over(worlds: Sequence[int], *, data: str = "") -> str:
    """What an interval is of, in words.

    Args:
        data: what it was measured on, in words.
    """
    known = [count for count in worlds if count]
    if not known:
        return "nothing recorded yet"
    behind = f"; {data}" if data else ""
    if max(known) == 1:
        return f"one world: no interval{behind}"
    several = f"{min(known)} to {max(known)}" if min(known) < max(known) else f"{max(known)}"
    return f"mean and 95 % interval over {several} worlds{behind}"


@mpl.rc_context(STYLE)
def grid_heat(
    rows: Sequence[str],
    checks: Bool[np.ndarray, "R L"],
    *,
    columns: Sequence[str],
    panels: Mapping[str, Mapping],
    xlabel: str = "%",
    title: str = "",
    data: str = "",
) -> Figure:
    """A grid of switches beside its results: a column per switch, then a panel per model, all on one scale.

    Args:
        rows: name of each line of the grid.
        checks: which of the L switches a line turns on.
        columns: name of each switch.
        panels: model -> printed, ours, half, states and worlds per line, as ``paper_versus_ours`` has them.
        data: what ours was measured on, in words.
    """
    fig, (left, *axes) = plt.subplots(
        1,
        1 + len(panels),
        figsize=(10, 1.2 + 0.31 * len(rows)),
        sharey=True,
        width_ratios=[1.25] + [1] * len(panels),
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
    for ax in axes[1:]:
        ax.sharex(axes[0])
    for ax, (name, marks) in zip(axes, panels.items()):
        _pairs(ax, marks["printed"], marks["ours"], error=marks["half"], states=marks["states"])
        ax.axvline(0, color=INK, lw=1, zorder=0.5)
        ax.set(title=name, xlabel=xlabel)
        ax.tick_params(axis="y", length=0)
    worlds = [count for marks in panels.values() for count in marks["worlds"]]
    printed = np.concatenate([marks["printed"] for marks in panels.values()])
    _legend(fig, worlds, printed=printed, data=data)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    return closed(fig)


@mpl.rc_context(STYLE)
def printed_and_ours(
    x: Sequence[Number],
    printed: Float[np.ndarray, " X"],
    *,
    ours: Float[np.ndarray, " X"],
    half: Float[np.ndarray, " X"],
    lines: Float[np.ndarray, "worlds X"],
    states: Sequence[str],
    worlds: Sequence[int],
    xlabel: str,
    ylabel: str,
    log: bool = False,
    title: str = "",
    data: str = "",
) -> Figure:
    """A sweep, printed and ours on one scale: our mean with its interval, every world as a thin line.

    Args:
        states: why a point of ours does not count, or nothing.
        log: whether x doubles from mark to mark.
        data: what ours was measured on, in words.
    """
    fig, ax = plt.subplots(figsize=(8, 3.4))
    good = np.array([not state for state in states], dtype=bool)
    ax.axhline(0, color=INK, lw=1, zorder=0.5)
    if np.isfinite(printed).sum() > 1:
        ax.plot(x, printed, "D-", color=PRINTED, ms=5)
    for world in lines if len(lines) > 1 else ():
        ax.plot(x, np.where(good, world, np.nan), color=OURS, lw=0.8, alpha=THIN)
    mean = np.where(good, ours, np.nan)
    ax.errorbar(x, mean, yerr=half, fmt="o-", color=OURS, lw=2, ms=5, elinewidth=1.4, capsize=3)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.update_datalim([(value, 0) for value in (min(x), max(x))])  # a place without a number has room too
    ax.autoscale_view()
    ax.minorticks_off()
    for place, state in zip(x, states):
        if state:
            ax.text(
                place, 0.03, state, transform=ax.get_xaxis_transform(), rotation=90, ha="center",
                va="bottom", fontsize=7.5, color=NOTE, bbox={"facecolor": "white", "lw": 0, "pad": 1}, zorder=1,
            )  # fmt: skip
    _percent(ax.yaxis)
    shown = printed if np.isfinite(printed).sum() > 1 else np.array([np.nan])
    _legend(fig, worlds, printed=shown, data=data, thin=len(lines) > 1)
    return closed(fig)


@mpl.rc_context(STYLE)
def dots(
    frame: pd.DataFrame, *, xlabel: str, percent: bool = True, zero: bool = False, data: str = ""
) -> Figure:
    """Values of rows, a panel per group on a common row axis, a colour per series, with intervals.

    Args:
        frame: columns panel, row, series, mean, half, worlds, state; values and halves of intervals in fractions.
        percent: whether values are drawn in percent.
        zero: whether values are differences, with a line at zero; else no interval is drawn beyond 0 or 1.
        data: what ours was measured on, in words.
    """
    panels, rows, series = (list(dict.fromkeys(frame[name])) for name in ("panel", "row", "series"))
    size = (10, 1.3 + 0.34 * len(rows))
    fig, axes = plt.subplots(1, max(len(panels), 1), figsize=size, sharey=True, squeeze=False)
    shift = dict(zip(series, 0.26 * (np.arange(len(series)) - (len(series) - 1) / 2)))
    for ax, panel in zip(axes[0], panels):
        for name, colour in zip(series, _colours(len(series))):
            lines = frame[(frame["panel"] == panel) & (frame["series"] == name)]
            place = np.array([rows.index(row) + shift[name] for row in lines["row"]])
            good = (lines["state"] == "").to_numpy()
            mean, half = (lines[key].to_numpy(float)[good] for key in ("mean", "half"))
            error = half if zero else _within(mean, half)
            ax.errorbar(mean, place[good], xerr=error, fmt="o", color=colour, ms=6, elinewidth=1.4, capsize=2)
            ax.scatter(
                lines["mean"][~good], place[~good], facecolor="white", edgecolor=colour, s=34, zorder=3
            )
        if zero:
            ax.axvline(0, color=INK, lw=1, zorder=0.5)
        ax.set(title=panel, xlabel=xlabel)
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        if percent:
            _percent(ax.xaxis)
        if not np.isfinite(frame.loc[frame["panel"] == panel, "mean"]).any():
            ax.set(xticks=[], xlabel="")
        _states(ax, frame[frame["panel"] == panel], rows=rows, shift=shift)
    handles = [
        Line2D([], [], color=colour, marker="o", lw=1.4, label=name)
        for name, colour in zip(series, _colours(len(series)))
    ]
    handles = handles if len(series) > 1 else []
    handles.append(Line2D([], [], lw=0, label=interval_over(frame["worlds"].tolist(), data=data)))
    fig.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    return closed(fig)


def _states(ax: Axes, frame: pd.DataFrame, *, rows: Sequence[str], shift: Mapping[str, Number]) -> None:
    """Why a row of ``dots`` does not count, beside its mark; where it has none, on the side that the others leave."""
    middle = np.mean(ax.get_xlim())
    for line in frame[frame["state"] != ""].itertuples():
        note = f"{line.series}: {line.state}" if len(shift) > 1 else line.state
        here, style = (
            rows.index(line.row) + shift[line.series],
            {"va": "center", "fontsize": 7, "color": NOTE},
        )
        if np.isfinite(line.mean):
            right = line.mean < middle
            side = {"ha": "left" if right else "right", "textcoords": "offset points"}
            ax.annotate(note, (line.mean, here), (6 if right else -6, 0), **side, **style)
        else:
            left = (frame.loc[frame["row"] == line.row, "mean"] > middle).any()
            side = {"ha": "left" if left else "right", "transform": ax.get_yaxis_transform()}
            ax.text(0.01 if left else 0.99, here, note, **side, **style)


@mpl.rc_context(STYLE)
def lines(
    frame: pd.DataFrame, *, xlabel: str, ylabels: Mapping[str, str], columns: int, data: str = ""
) -> Figure:
    """Curves with intervals, a panel per group, a colour per series; zero is marked where a panel shows both sides.

    Args:
        frame: columns panel, x, series, mean, half (fractions) and worlds.
        ylabels: panel -> label.
        columns: of panels.
        data: what ours was measured on, in words.
    """
    panels, series = list(ylabels), list(dict.fromkeys(frame["series"]))
    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(10, 0.7 + 2.5 * rows), sharex=True, squeeze=False)
    colours = dict(zip(series, _colours(len(series))))
    for ax, panel in zip(axes.flat, panels):
        for name, group in frame[frame["panel"] == panel].groupby("series", sort=False):
            ax.errorbar(
                group["x"], group["mean"], yerr=group["half"], fmt="o-", color=colours[name], ms=5,
                elinewidth=1.4, capsize=3,
            )  # fmt: skip
        if (frame.loc[frame["panel"] == panel, "mean"] < 0).any():
            ax.axhline(0, color=INK, lw=1, zorder=0.5)
        if not np.isfinite(frame.loc[frame["panel"] == panel, "mean"]).any():
            _nothing(ax)
        ax.set(title=panel, ylabel=ylabels[panel])
        _percent(ax.yaxis)
    for ax in axes[-1]:
        ax.set(xlabel=xlabel)
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in colours.items()]
    handles.append(Line2D([], [], lw=0, label=interval_over(frame["worlds"].tolist(), data=data)))
    fig.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    return closed(fig)


@mpl.rc_context(STYLE)
def spread(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """How far worlds differ against how well a training does, a dot per row.

    Args:
        frame: columns row, rank1, std (fractions), worlds, state.
    """
    fig, ax = plt.subplots(figsize=(7, 3.3))
    good = frame["state"] == ""
    ax.scatter(frame["rank1"][good], frame["std"][good], color=OURS, s=30, label="a row")
    if not good.all():
        ax.scatter(
            frame["rank1"][~good], frame["std"][~good], facecolor="white", edgecolor=OURS, s=30,
            label="not comparable",
        )  # fmt: skip
    for row in frame.sort_values("std").tail(1).itertuples():
        right = row.rank1 < np.mean(ax.get_xlim())
        ax.annotate(
            row.row, (row.rank1, row.std), (-3 if right else 3, 6), textcoords="offset points", fontsize=7,
            color=NOTE, ha="left" if right else "right", va="bottom",
        )  # fmt: skip
        ax.margins(y=0.15)  # nothing is drawn above the widest
    ax.set(xlabel="rank-1 on holistic queries, mean over worlds, %", title=title)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("standard deviation\nbetween worlds, points")
    if frame.empty:
        _nothing(ax)
        ax.set_axis_off()
        return closed(fig)
    fig.legend(loc="outside lower right", ncols=2)
    for axis in (ax.xaxis, ax.yaxis):
        _percent(axis)
    return closed(fig)


def _nothing(ax: Axes) -> None:
    ax.text(0.5, 0.5, "nothing recorded", transform=ax.transAxes, ha="center", va="center", color=NOTE)


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
            ax.add_patch(Rectangle((x, y), 0.94, 0.86, facecolor=VERDICTS[status], lw=0))
            ink = ink_on(VERDICTS[status])
            for up, words in ((0.3, str(verdict.claim)), (0.62, MARKS[status])):
                ax.text(x + 0.47, y + up, words, ha="center", va="center", color=ink, fontsize=8)
    ax.set(xlim=(0, most), ylim=(len(verdicts), 0), title=title)
    ax.set_yticks(np.arange(len(verdicts)) + 0.43, list(verdicts))
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    patches = [
        Patch(color=VERDICTS[name], label=f"{MARKS[name]} {name} {count}") for name, count in counts.items()
    ]
    fig.legend(handles=patches, loc="outside lower center", ncols=5, handlelength=1)
    return closed(fig)


SVG = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reidlib",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # every word lists them
}
"""How a figure is saved whose file must be the same each time: words stay words."""


@mpl.rc_context(STYLE | {"figure.constrained_layout.use": False})
def forest(frame: pd.DataFrame, *, title: str, note: str) -> Figure:
    """Every claim's effect with its interval beside the printed one, in points, paper by paper.

    Sizes are fixed, so that the same numbers give the same file whatever fonts a machine has.

    Args:
        frame: columns paper, claim (its name), statement, status, printed, estimate, low, high (fractions); where there
            is a column worlds, too, it stands at the end of a row.
        note: what the interval is of.
    """
    lines, names = [], []
    for paper, rows in frame.groupby("paper", sort=False):
        lines += [None, *rows.itertuples()]
        names.append((len(lines) - len(rows) - 1, paper))
    high = 1.65 + 0.25 * len(lines)
    fig = plt.figure(figsize=(11, high))
    ax = fig.add_axes((0.47, 0.75 / high, 0.49, 1 - 1.65 / high))
    ax.axvline(0, color=INK, lw=1)
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "parse_math": False}
    for place, paper in names:
        ax.text(-0.91, place, paper, fontweight="bold", fontsize=10, **beside)
        ax.axhline(place - 0.55, color=FAINT, lw=1, xmin=-0.91, clip_on=False)
    for place, line in enumerate(lines):
        if line is None:
            continue
        fill = VERDICTS[line.status]
        ax.plot([line.low, line.high], [place, place], color=fill, lw=3.4, solid_capstyle="butt")
        ax.plot([line.estimate], [place], "o", color=fill, mec=INK, mew=0.7, ms=7.5)
        ax.plot([line.printed], [place], "D", color="white", mec=INK, ms=4)
        ax.text(-0.91, place, line.claim, fontsize=7.5, color=NOTE, **beside)
        ax.text(-0.865, place, MARKS[line.status], fontsize=8, **beside)
        ax.text(-0.835, place, fill_text(line.statement, 84), fontsize=7, linespacing=0.95, **beside)
        if "worlds" in frame:
            ax.text(1.025, place, f"{line.worlds:g}", fontsize=7.5, color=NOTE, ha="center", **beside)
    if "worlds" in frame:
        ax.text(1.025, -0.85, "worlds", fontsize=7.5, color=NOTE, ha="center", **beside)
    ax.tick_params(top=True, labeltop=True)
    ax.set(ylim=(len(lines) - 0.4, -0.6), yticks=[], xlabel="effect on the claimed side, points of accuracy")
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    _percent(ax.xaxis)
    words = [status for status in VERDICTS if status in set(frame["status"])]
    handles = [Patch(color=VERDICTS[status], label=f"{MARKS[status]} {status}") for status in words]
    handles.append(Line2D([], [], color="white", marker="D", mec=INK, lw=0, label="printed"))
    fig.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 1 - 0.3 / high),
        ncols=len(handles),
        handlelength=1,
    )
    fig.text(0.007, 1 - 0.17 / high, title, fontsize=12, fontweight="bold", va="center")
    fig.text(0.007, 0.12 / high, note, fontsize=7.5, color=NOTE)
    return closed(fig)


@mpl.rc_context(STYLE)
def loss_history(history: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """Loss terms over training on a log scale, and the learning rate (``lr``) below."""
    fig, (ax, rate) = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True, height_ratios=[4, 1])
    terms = {name: np.asarray(values, float) for name, values in history.items() if name != "lr"}
    for (name, values), colour, dash in zip(terms.items(), _colours(len(terms)), cycle(DASHES)):
        shown = np.where(values > 0, values, np.nan)
        ax.plot(_progress(len(values)), shown, color=colour, ls=dash, label=_term(name))
    ax.set(ylabel="weighted loss (log)", yscale="log", title=title)
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    fig.legend(loc="outside right upper", handlelength=2.6)
    rate.plot(_progress(len(history["lr"])), history["lr"], color=PRINTED)
    rate.set(xlabel="training, %", ylabel="learning\nrate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return closed(fig)


def _term(name: str) -> str:
    """A term of a loss in words: what it asks for, and of which embedding."""
    kind, _, where = name.partition("_")
    words = [{"id": "identity"}.get(kind, kind), {"concat": "concatenated", "isa": "ISA"}.get(where, where)]
    return ", ".join(filter(None, words))


@mpl.rc_context(STYLE)
def loss_panels(
    curves: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    *,
    less: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    ylabels: tuple[str, str],
    worlds: Sequence[int],
    data: str = "",
) -> Figure:
    """One curve per name and panel on a common scale, and below them, finer, by how much each lies above one of them.

    Intervals are those of the differences: curves themselves differ by their worlds far more than from each other.

    Args:
        curves: panel -> name -> ``mean``; a name without a curve is left out.
        less: the same of the differences, with ``half`` of the interval.
        ylabels: of the curves and of the differences.
        worlds: behind the curves.
        data: what ours was measured on, in words.
    """
    size = (2.35 * len(curves) + 0.6, 4.3)
    fig, panels = plt.subplots(2, len(curves), figsize=size, sharex=True, sharey="row", squeeze=False)
    names = list(dict.fromkeys(name for group in curves.values() for name in group))
    styles = {
        name: {"color": colour, "ls": dash}
        for name, colour, dash in zip(names, _colours(len(names)), cycle(DASHES))
    }
    for line, groups in zip(panels, (curves, less)):
        for ax, text in zip(line, curves):
            for name, curve in groups[text].items():
                ax.plot(_progress(len(curve["mean"])), curve["mean"], lw=1.4, **styles[name])
            if not groups[text]:
                _nothing(ax)
    for ax, text in zip(panels[0], curves):
        ax.set(title=text, xlim=(0, 100))
    for ax, group in zip(panels[1], less.values()):
        for name, curve in group.items():
            band = curve["mean"] - curve["half"], curve["mean"] + curve["half"]
            shade = {"color": styles[name]["color"], "alpha": 0.12, "lw": 0}
            ax.fill_between(_progress(len(curve["mean"])), *band, **shade)
        ax.axhline(0, color=INK, lw=1, zorder=0.5)
        ax.set(xlabel="training, %")
    for ax, words in zip(panels[:, 0], ylabels):
        ax.set(ylabel=words)
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    handles.append(Patch(alpha=0, label=interval_over(worlds, data=data)))
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.2)
    return closed(fig)


@mpl.rc_context(STYLE)
def bars(frame: pd.DataFrame, *, xlabel: str, ylabel: str, own: str = "", data: str = "") -> Figure:
    """Groups of bars, one bar per model, with 95 % intervals over worlds that end at 0 and at 100 %.

    Args:
        frame: columns model, group, rank1 (fraction), half, queries (of a world), worlds.
        own: the paper's own model, which is blue in every paper's figure.
        data: what ours was measured on, in words.
    """
    models, groups = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["group"]))
    fig, ax = plt.subplots(figsize=(8, 3.4))
    if frame.empty:
        _nothing(ax)
        ax.set_axis_off()
        return closed(fig)
    wide = 0.8 / len(models)
    others = iter(_colours(len(models) + 1)[1:] if own in models else _colours(len(models)))
    colours = {model: OURS if model == own else next(others) for model in models}
    for number, (model, colour) in enumerate(colours.items()):
        rows = frame[frame["model"] == model]
        x = [groups.index(group) + (number - (len(models) - 1) / 2) * wide for group in rows["group"]]
        ax.bar(x, rows["rank1"], 0.92 * wide, color=colour, label=model)
        ax.errorbar(x, rows["rank1"], _within(rows["rank1"], rows["half"]), fmt="none", ecolor=INK, capsize=2)
    queries = frame.groupby("group")["queries"].max()
    ax.set_xticks(range(len(groups)), [f"{group}\n({queries[group]})" for group in groups])
    ax.set(ylabel=ylabel, ylim=(0, 1 if frame["rank1"].max() > 0.8 else None))
    over = interval_over(frame["worlds"].tolist(), data=data)
    ax.set_xlabel(f"{xlabel} (queries of a world)\n{over}")
    ax.grid(axis="x", visible=False)
    _percent(ax.yaxis)
    fig.legend(loc="outside upper right", ncols=len(models))
    return closed(fig)


def _within(mean: np.ndarray | pd.Series, half: np.ndarray | pd.Series) -> np.ndarray:
    """Error bars ``[2, n]`` of fractions, which end where fractions end."""
    mean, half = np.asarray(mean, float), np.asarray(half, float)
    return np.maximum(np.stack([np.minimum(half, mean), np.minimum(half, 1 - mean)]), 0)


@mpl.rc_context(STYLE)
def shares(frame: pd.DataFrame, *, data: str = "") -> Figure:
    """Stacked bars: how much of each map lies on the person, on what is in front, and elsewhere.

    Args:
        frame: columns place, map, model, person, front, background (fractions), person_half, front_half (of the
            interval over worlds) and worlds; one panel per place.
        data: what ours was measured on, in words.
    """
    places = list(dict.fromkeys(frame["place"]))
    height = 1.2 + 0.4 * len(frame) / max(len(places), 1)
    fig, panels = plt.subplots(1, max(len(places), 1), figsize=(10, height), sharey=True, squeeze=False)
    colours = {"person": CORRECT, "front": WRONG, "background": FAINT}
    for ax, place in zip(panels[0], places):
        rows = frame[frame["place"] == place]
        left = np.zeros(len(rows))
        for column, colour in colours.items():
            ax.barh(range(len(rows)), rows[column], 0.75, left=left, color=colour)
            left = left + rows[column].to_numpy()
            if column != "background":
                error = _within(left, rows[f"{column}_half"])
                ax.errorbar(left, range(len(rows)), xerr=error, fmt="none", ecolor=INK, lw=1, capsize=2)
        ax.set_yticks(
            range(len(rows)), [f"{m}, {k}".removeprefix("–, ") for m, k in zip(rows["model"], rows["map"])]
        )
        ax.set(title=place, xlabel="share of the map, %", xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
        ax.grid(axis="y", visible=False)
        _percent(ax.xaxis)
    if not places:
        _nothing(panels[0, 0])
    labels = {"person": "person", "front": "what is in front", "background": "background"}
    handles = [Patch(color=colour, label=labels[name]) for name, colour in colours.items()]
    over = interval_over(frame["worlds"].tolist(), data=data)
    handles.append(Patch(alpha=0, label=f"each share: {over}"))
    fig.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1)
    return closed(fig)


@mpl.rc_context(STYLE)
def part_bars(
    values: Float[np.ndarray, "worlds K"],
    *,
    mean: Float[np.ndarray, " K"],
    half: Float[np.ndarray, " K"],
    names: Sequence[str],
    ylabel: str,
    data: str = "",
) -> Figure:
    """One bar per part in the part's colour: mean over worlds with its interval, and each world as a dot."""
    fig, ax = plt.subplots(figsize=(8, 3))
    place, known = np.arange(len(names)), np.isfinite(values).any(1).sum()
    ax.bar(place, mean, 0.7, color=PARTS[: len(names)])
    for world in values:
        ax.scatter(place + 0.2, world, color=INK, s=9, zorder=3)
    ax.errorbar(place, mean, _within(mean, half), fmt="none", ecolor=INK, capsize=3)
    ax.set_xticks(place, [name.replace(" ", "\n") for name in names])
    ax.set(ylabel=ylabel, xlabel=f"{interval_over([int(known)], data=data)}; a dot is one world", ylim=(0, 1))
    ax.grid(axis="x", visible=False)
    if not known:
        _nothing(ax)
    return closed(fig)


@mpl.rc_context(STYLE)
def signed_matrices(
    matrices: Mapping[str, Float[np.ndarray, "R _"]],
    *,
    rows: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    units: Mapping[str, str],
) -> Figure:
    """Matrices with the same rows side by side, red above zero and blue below; NaN is left blank.

    Args:
        matrices: title of a panel -> values; each panel has its own scale, symmetric around zero.
        rows: names, shown once; one without any value says so.
        columns: names per panel.
        units: what the colours of a panel mean.
    """
    widths = [values.shape[1] for values in matrices.values()]
    size = (2 + 0.42 * sum(widths) + 1.1 * len(widths), 1.4 + 0.26 * len(rows))
    fig, panels = plt.subplots(1, len(widths), figsize=size, width_ratios=widths, squeeze=False)
    for ax, (name, values) in zip(panels[0], matrices.items()):
        known = np.isfinite(values)
        limit = np.abs(values[known]).max(initial=1e-9)
        image = ax.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto")
        for row in np.flatnonzero(~known.any(1)):
            ax.text(
                values.shape[1] / 2 - 0.5,
                row,
                "not recorded",
                ha="center",
                va="center",
                fontsize=7.5,
                color=NOTE,
            )
        ax.set_xticks(range(values.shape[1]), columns[name], rotation=90)
        ax.set_yticks(range(len(rows)), rows if ax is panels[0][0] else [])
        ax.set_title(name)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        bar = fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        bar.set_label(units[name], fontsize=7)
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
    title: str = "",
    note: str = "",
) -> Figure:
    """Predicted visibility or quality by true visible fraction (NaN: unknown), one panel per part.

    A box reaches from quartile to quartile, with the median in it; whiskers end at the furthest value within one and a
    half of its heights. Values beyond are left out.

    Args:
        note: what stands at the foot.
    """
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
        there = set(frame.loc[frame["part"] == number, "share"])
        for place, share in enumerate(SHARES):
            if share not in there:
                low = {"transform": ax.get_xaxis_transform(), "ha": "center", "fontsize": 7.5, "color": NOTE}
                ax.text(place, 0.03, "none", **low)
    fig.supxlabel("\n".join(filter(None, ("true visible fraction", note))), fontsize=9)
    fig.supylabel(ylabel, fontsize=9)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
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
