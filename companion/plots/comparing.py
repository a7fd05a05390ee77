"""Models against each other: accuracy against cost, and every pair of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from companion.plots.charts import NOTE, interval_over
from companion.plots.sheets import SIGNED
from reidlib.palette import FAINT, INK, OURS, ink_on
from reidlib.sheets import STYLE, closed

PALE = "Blues"
"""Of values that have one sign."""


@mpl.rc_context(STYLE)
def trade(frame: pd.DataFrame, *, costs: dict[str, str], ylabel: str, data: str = "") -> Figure:
    """Accuracy against several costs, each on a logarithmic axis, a named dot per model; the best buys are joined.

    Args:
        frame: columns model, mean, half (fractions), worlds, and the costs.
        costs: column -> its label.
        data: what accuracy was measured on, in words.
    """
    fig, axes = plt.subplots(1, len(costs), figsize=(10, 3.9), sharey=True, squeeze=False)
    for ax, (cost, words) in zip(axes[0], costs.items()):
        ordered = frame.sort_values([cost, "mean"], ascending=[True, False])
        best = ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-np.inf)]
        ax.step(best[cost], best["mean"], where="post", color=FAINT, lw=3, zorder=1)
        ax.errorbar(frame[cost], frame["mean"], yerr=frame["half"], fmt="none", ecolor=FAINT, lw=1, zorder=1)
        ax.scatter(frame[cost], frame["mean"], color=OURS, s=34, zorder=3)
        ax.set_xscale("log")
        ax.margins(x=0.2)
        ax.set(xlabel=words)
        wide = frame[cost].max() > 50 * frame[cost].min()
        ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=9))
        ax.xaxis.set_major_formatter(FuncFormatter(_plain))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    axes[0][0].set_ylabel(ylabel)
    fig.legend(
        handles=[Line2D([], [], lw=0, label=interval_over(frame["worlds"].tolist(), data=data))],
        loc="outside lower right",
    )
    fig.canvas.draw()  # so that places are known
    for ax, cost in zip(axes[0], costs):
        _name(ax, frame["model"], frame[cost], frame["mean"])
    return closed(fig)


_HEIGHT, _WIDTH = 12, 4.6  # of a line and of a letter, in points
_AWAY, _LINE = 6, 11  # of a name from its dot, of two lines


def _name(ax: Axes, names: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Names beside their dots, on the first side where they hide neither a dot nor another name."""
    places = ax.transData.transform(np.column_stack([x, y])) * 72 / ax.figure.dpi
    taken = [(px - 4, py - 4, px + 4, py + 4) for px, py in places]
    inside = ax.bbox.extents * 72 / ax.figure.dpi
    sides = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    for name, (px, py), at in zip(names, places, zip(x, y)):
        wide = _WIDTH * len(name)
        boxes = []
        for right, up in sides:
            left = px + (_AWAY if right > 0 else -_AWAY - wide if right < 0 else -wide / 2)
            low = py + up * _LINE - _HEIGHT / 2
            boxes.append((left, low, left + wide, low + _HEIGHT))
        free = [
            box[0] > inside[0] and box[2] < inside[2] and not any(_overlap(box, other) for other in taken)
            for box in boxes
        ]
        best = free.index(True) if any(free) else 0
        taken.append(boxes[best])
        right, up = sides[best]
        ax.annotate(
            name, at, (right * _AWAY, up * _LINE), textcoords="offset points",
            ha={1: "left", -1: "right", 0: "center"}[right], va="center", fontsize=7.5, color=INK, zorder=2,
            bbox={"facecolor": "white", "lw": 0, "pad": 0.6, "alpha": 0.9},
        )  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _plain(value: float, _: int) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


@dataclass(frozen=True)
class PairPanel:
    """A matrix over all pairs of models: its values (NaN is blank), the format of a number, and what it is."""

    title: str
    values: Float[np.ndarray, "M M"]
    form: str
    strong: Bool[np.ndarray, "M M"] | None = None  # whose numbers are bold


@mpl.rc_context(STYLE)
def pairs(panels: Sequence[PairPanel], *, names: Sequence[str], title: str, note: str) -> Figure:
    """Matrices over all pairs of models with their numbers written in, a panel each.

    A panel with both signs has its scale around zero, another from its least to its largest value.

    Args:
        names: of the models.
        note: what stands at the foot.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(3.05 * len(panels) + 1, 4.8), squeeze=False)
    for ax, panel in zip(axes[0], panels):
        shades = _shades(panel.values)
        ax.imshow(shades)
        for (row, column), value in np.ndenumerate(panel.values):
            if np.isfinite(value):
                strong = panel.strong is not None and bool(panel.strong[row, column])
                ax.text(
                    column, row, panel.form.format(value), ha="center", va="center", fontsize=7,
                    color=ink_on(to_hex(shades[row, column])), fontweight="bold" if strong else "normal",
                )  # fmt: skip
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), names if ax is axes[0][0] else [])
        ax.set_title(panel.title, fontsize=9)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
    fig.suptitle(title, fontsize=10, fontweight="bold", ha="left", x=0.01)
    fig.supxlabel(note, fontsize=8, color=NOTE)
    return closed(fig)


def _shades(values: Float[np.ndarray, "M M"]) -> Float[np.ndarray, "M M 4"]:
    """The colour of every number; none where there is none."""
    low, high = np.nanmin(values), np.nanmax(values)
    limit = max(abs(low), abs(high))
    low, high, colours = (-limit, limit, SIGNED) if low < 0 else (low, high, PALE)
    shades = mpl.colormaps[colours](Normalize(low, high)(values))
    shades[~np.isfinite(values)] = 0
    return shades
