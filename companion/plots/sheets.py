"""Maps and labels over pictures: arrays in, a `Figure` out; a wing draws with the same primitives.

Heat maps share one colormap and print its range.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from reidlib.palette import INK, PRINTED
from reidlib.sheets import (
    GAP,
    STYLE,
    Margins,
    Number,
    Pictures,
    canvas,
    closed,
    label,
    picture,
    room,
)

PARTS = (
    "#e8c547", "#d1495b", "#3a9d9d", "#7a5195", "#e88d3f", "#2f6db3",
    "#8cc152", "#c06fa8", "#5d4e37", "#4fc1e9", "#2e7d4f",
)  # fmt: skip
HEAT = "magma"
SIGNED = "RdBu_r"


@mpl.rc_context(STYLE)
def label_overlay(images: Pictures, labels: Integer[np.ndarray, "N h w"], *, names: Sequence[str]) -> Figure:
    """Images above, and below them their part labels (0 is background) in one colour per part."""
    count, height, width = images.shape[:3]
    step, pitch = 1 + GAP, height / width + GAP
    margins = Margins(right=room(names) + 0.35)
    fig, ax = canvas(count * step - GAP, 2 * pitch - GAP, margins=margins)
    colours = ListedColormap([(0, 0, 0, 0), *(to_rgba(c, 0.75) for c in PARTS[: len(names)])])
    for number, (image, parts) in enumerate(zip(images, labels)):
        x = number * step
        picture(ax, image, x=x, y=0)
        picture(ax, grey(image), x=x, y=pitch)
        extent = (x, x + 1, 2 * pitch - GAP, pitch)
        ax.imshow(parts, cmap=colours, vmin=0, vmax=len(names), extent=extent, interpolation="nearest")
    patches = [Patch(color=colour, label=name) for colour, name in zip(PARTS, names)]
    ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
    return closed(fig)


@mpl.rc_context(STYLE)
def attention(
    images: Pictures,
    maps: Float[np.ndarray, "N K h w"],
    *,
    names: Sequence[str],
    visibility: Float[np.ndarray, "N K"] | None = None,
    truth: Float[np.ndarray, "N K"] | None = None,
    ranges: Float[np.ndarray, "N K 2"] | None = None,
    scale: str = "attention, 0 to 1",
) -> Figure:
    """Part attention in [0, 1] over each image, one column per part.

    Args:
        images: pictures at any size.
        maps: attention of K parts; drawn bilinearly at the picture's size.
        names: of the K parts.
        visibility: predicted, in [0, 1]; parts below 0.5 are faded.
        truth: true visible fraction, in [0, 1].
        ranges: of each map before it was stretched to [0, 1], printed under it.
        scale: what the colours mean.
    """
    count, parts = maps.shape[:2]
    tall = images.shape[1] / images.shape[2]
    texts = [
        np.char.add(f"{name} ", np.char.mod("%.1f", values))
        for name, values in (("pred", visibility), ("true", truth))
        if values is not None
    ]
    if ranges is not None:  # two lines each
        texts.append(np.array([[_range(pair) for pair in row] for row in ranges]))
    lines = len(texts) + (ranges is not None)
    step, pitch = 1 + GAP, tall + GAP + 0.26 * lines
    margins = Margins(right=0.75, top=0.32)
    fig, ax = canvas((parts + 1) * step - GAP, count * pitch - GAP, margins=margins)
    for column, name in enumerate(("input", *names)):
        label(ax, name.replace(" ", "\n"), x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        picture(ax, images[row], x=0, y=y)
        for part in range(parts):
            x, faded = (part + 1) * step, visibility is not None and bool(visibility[row, part] < 0.5)
            picture(ax, grey(images[row]), x=x, y=y)
            if np.isnan(maps[row, part]).all():
                label(ax, "not\nrecorded", x=x + 0.5, y=y + tall / 3, side="bottom", size=6)
                continue
            heat(ax, maps[row, part], extent=(x, x + 1, y + tall, y), faded=faded)
            text = "\n".join(values[row, part] for values in texts)
            label(ax, text, x=x + 0.5, y=y + tall, side="bottom", size=6, color=PRINTED if faded else INK)
    bar = ax.inset_axes(((parts + 1) * step + 0.1, 0, 0.16, tall), transform=ax.transData)
    fig.colorbar(mpl.cm.ScalarMappable(Normalize(0, 1), HEAT), cax=bar, ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_ylabel(scale, fontsize=7)
    return closed(fig)


def _range(pair: np.ndarray) -> str:
    return "–" if np.isnan(pair).any() else f"≥ {pair[0]:.2g}\n≤ {pair[1]:.2g}"


def heat(ax: Axes, values: np.ndarray, *, extent: tuple[Number, ...], faded: bool) -> None:
    """A map over a picture, more opaque where it is larger (NaN: not at all); a faded one lies under a veil."""
    ax.imshow(
        values,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        alpha=opacity(np.clip(np.nan_to_num(values), 0, 1)),
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


def opacity(values: np.ndarray) -> np.ndarray:
    """Of a map in [0, 1] over a picture."""
    return 0.3 + 0.55 * values


def grey(image: np.ndarray) -> np.ndarray:
    """Luminance, so that colour means label or attention only."""
    return np.repeat((image @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None], 3, axis=-1)
