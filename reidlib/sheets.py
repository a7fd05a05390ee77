"""Sheets of pictures: contact sheets and ranked galleries, and the primitives that they are drawn with.

Arrays in, a `Figure` out. Colours and signs are the palette's: query dark, correct blue with ✓, wrong orange with ✗.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from reidlib.palette import CORRECT, INK, PRINTED, QUERY, SIGNS, WRONG

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


@mpl.rc_context(STYLE)
def image_grid(images: Sheet, *, column_titles: Sequence[str] = (), title: str = "") -> Figure:
    """A contact sheet; equal titles of neighbouring columns are written once, over all of them."""
    rows, columns, height, width = images.shape[:4]
    step, pitch = 1 + GAP, height / width + GAP
    margins = Margins(top=0.25 * bool(column_titles))
    fig, ax = canvas(columns * step - GAP, rows * pitch - GAP, title=title, margins=margins)
    for row, column in np.ndindex(rows, columns):
        picture(ax, images[row, column], x=column * step, y=row * pitch)
    start = 0
    for text, same in groupby(column_titles):
        stop = start + len(list(same))
        label(ax, text, x=(start + stop) / 2 * step - GAP / 2, y=0, side="top")
        if stop - start > 1:
            ax.plot(
                [start * step + 0.1, stop * step - GAP - 0.1],
                [-0.05, -0.05],
                color=PRINTED,
                lw=1,
                clip_on=False,
            )
        start = stop
    return closed(fig)


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
    margins = Margins(left=room(titles), top=0.25)
    fig, ax = canvas((top + 1) * step + 0.1, rows * pitch, title=title, margins=margins)
    places = 0.05 + step * np.arange(top + 1) + 0.2 * (np.arange(top + 1) > 0)
    for x, text in zip(places, ("query", *range(1, top + 1))):
        label(ax, str(text), x=x + 0.5, y=-0.05, side="top")
    for row, text in enumerate(titles):
        label(ax, text, x=0, y=row * pitch + tall / 2, side="left")
    for row, column in np.ndindex(rows, top + 1):
        x, y, rank = places[column], row * pitch, column - 1
        if column == 0:
            picture(ax, queries[row], x=x, y=y, frame=QUERY)
            continue
        picture(ax, gallery[row, rank], x=x, y=y, frame=CORRECT if correct[row, rank] else WRONG)
        if distances is not None:
            text = f"{distances[row, rank]:.2f}".replace("inf", "∞")
            label(ax, text, x=x + 0.5, y=y + tall + 0.04, side="bottom", size=7)
    return closed(fig)


@dataclass(frozen=True)
class Margins:
    """Room for text around a sheet of pictures, in inches."""

    left: float = 0.05
    right: Number = 0.05
    top: Number = 0.05
    bottom: Number = 0.05


def canvas(width: Number, height: Number, *, margins: Margins, title: str = "") -> tuple[Figure, Axes]:
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
        style = {"va": "top", "fontsize": 10, "fontweight": "bold", "parse_math": False}
        fig.text(0.05 / wide, 1 - 0.05 / high, readable(title), **style)
    return fig, ax


def room(texts: Sequence[str]) -> float:
    """Room for the longest of some texts, at the usual size."""
    return 0.15 + 0.072 * max((len(readable(text)) for text in texts), default=-1.4)


def label(
    ax: Axes, text: str, *, x: Number, y: Number, side: str, size: Number = 9, color: str = INK
) -> None:
    """Text beside a point: to its left, above or below it, three points away."""
    offset = {"left": (-5, 0), "top": (0, 4), "bottom": (0, -2)}[side]
    across = {"left": "right", "top": "center", "bottom": "center"}[side]
    along = {"left": "center", "top": "baseline", "bottom": "top"}[side]
    ax.annotate(
        readable(text), (x, y), offset, textcoords="offset points", ha=across, va=along, fontsize=size, color=color,
        linespacing=1.05, annotation_clip=False, parse_math=False,
    )  # fmt: skip


def readable(text: str) -> str:
    """Text as the font can write it: bytes that are no UTF-8, and signs that it lacks, by their numbers."""
    font = get_font(findfont(FontProperties(family=mpl.rcParams["font.family"])))
    known = font.get_charmap()
    return "".join(
        sign if ord(sign) in known or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


def picture(ax: Axes, image: np.ndarray, *, x: Number, y: Number, frame: str | None = None) -> None:
    tall = image.shape[0] / image.shape[1]
    ax.imshow(image, extent=(x, x + 1, y + tall, y), aspect="auto")
    if frame:
        ax.add_patch(Rectangle((x, y), 1, tall, fill=False, edgecolor=frame, lw=2.5, clip_on=False))
    if frame in SIGNS:
        badge = {"boxstyle": "square,pad=0.12", "facecolor": frame, "lw": 0}
        ax.text(x + 0.97, y + 0.03, SIGNS[frame], color="white", fontsize=8, ha="right", va="top", bbox=badge)


def closed(fig: Figure) -> Figure:
    plt.close(fig)  # so that a notebook shows it once, as the value of the cell
    return fig
