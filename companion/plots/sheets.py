"""Maps, labels and scores over pictures: arrays in, a `Figure` out.

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

from reidlib.sheets import (
    FAINT,
    GAP,
    INK,
    OURS,
    PRINTED,
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
        picture(ax, _grey(image), x=x, y=pitch)
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
    fig, ax = canvas((parts + 1) * step - GAP, count * pitch - GAP, margins=margins)
    for column, name in enumerate(("input", *names)):
        label(ax, name.replace(" ", "\n"), x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        picture(ax, images[row], x=0, y=y)
        for part in range(parts):
            x, faded = (part + 1) * step, visibility is not None and bool(visibility[row, part] < 0.5)
            picture(ax, _grey(images[row]), x=x, y=y)
            _heat(ax, maps[row, part], extent=(x, x + 1, y + tall, y), faded=faded)
            text = "\n".join(f"{name} {values[row, part]:.1f}" for name, values in known.items())
            label(ax, text, x=x + 0.5, y=y + tall, side="bottom", size=6, color=PRINTED if faded else INK)
    bar = ax.inset_axes(((parts + 1) * step + 0.1, 0, 0.16, tall), transform=ax.transData)
    fig.colorbar(mpl.cm.ScalarMappable(Normalize(0, 1), HEAT), cax=bar, ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7)
    bar.set_ylabel("attention, 0 to 1", fontsize=7)
    return closed(fig)


@mpl.rc_context(STYLE)
def signed_masks(
    images: Pictures,
    masks: Float[np.ndarray, "N K h w"],
    *,
    fusion: Float[np.ndarray, "N h w"],
    names: Sequence[str],
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
    fig, ax = canvas((parts + 2) * step - GAP, count * pitch - GAP, margins=Margins(right=0.75, top=0.32))
    for column, name in enumerate(("input", "fusion", *names)):
        label(ax, name, x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        picture(ax, images[row], x=0, y=y)
        for column in range(1, parts + 2):
            picture(ax, _grey(images[row]), x=column * step, y=y)
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
    return closed(fig)


@mpl.rc_context(STYLE)
def quality_bars(
    images: Pictures,
    scores: Float[np.ndarray, "N K"],
    *,
    truth: Float[np.ndarray, "N K"] | None = None,
    titles: Sequence[str],
) -> Figure:
    """Images with a bar per stripe beside them: predicted quality, and a tick at the true visible share if given."""
    count, parts = scores.shape
    tall = images.shape[1] / images.shape[2]
    step = 2 + 2 * GAP
    margins = Margins(top=0.25, bottom=0.35)
    fig, ax = canvas(count * step - GAP, tall, margins=margins)
    thick = tall / parts
    for number in range(count):
        x = number * step
        picture(ax, images[number], x=x, y=0)
        label(ax, titles[number], x=x + 0.5, y=0, side="top")
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
    return closed(fig)


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
