"""PAN under study: sharing (Tables 1, 2), buffers (3), softmax (4), widths (Figure 2), masks (Figure 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from companion import forensics
from companion.checks import holds, reads_no_labels
from companion.formats import number, styled
from companion.intervals import moderated
from companion.paper import LITERAL, Cell, Measured, Paper, Row, Size, longer
from companion.plots.sheets import HEAT, SIGNED, grey, heat
from companion.real import ERASING, Recipe, steps
from companion.run import RunConfig
from companion.study import Study, Value
from companion.trained import Trained
from companion.truth import mask_measures
from companion.views import MaskTruth, Pictures, SlotView, blocks, figure_pictures
from companion.words import Status, worst
from reidlib.complexity import complexity
from reidlib.models import pan
from reidlib.models.pan import Config
from reidlib.sheets import GAP, STYLE, Margins, canvas, closed, label, picture
from reidlib.types import Features

WIDTHS = (32, 64, 128, 512, 1024)  # n_l as printed, besides the default 256
PARTS = (2, 6, 10, 12, 16, 18)  # p besides the default 14; the text names 14 and 16 only
SOURCES = {  # Table 3: of the masks, of the local features
    f"mask-{masks}-feat-{local}": (masks, local)
    for masks in ("conv40", "conv41", "conv50")
    for local in ("conv50", "conv51")
}
PROPOSED = "mask-conv50-feat-conv51"
BASELINE = {"masks": "stripes", "parts": 6, "shared": False}

ROWS = (
    Row("pan", "PAN", titles={"parts": "PAN, parts only", "global": "PAN, global only"}),
    Row("unshared", "PAN, own layer per mask", {"shared": False}),
    Row("softmax", "PAN, softmax masks", {"masks": "softmax"}),
    *(
        Row(
            name,
            f"PAN, masks from {masks.capitalize()}, parts from {local.capitalize()}",
            {"mask_source": masks, "local_source": local},
        )
        for name, (masks, local) in SOURCES.items()
        if name != PROPOSED
    ),
    *(Row(f"p{p}", f"PAN, {p} masks", {"parts": p}) for p in PARTS),
    Row("pcb-baseline", "PCB baseline", BASELINE),
    Row("pan-again", "PAN, another network", again=True),
    Row("pcb-baseline-again", "PCB baseline, another network", BASELINE, again=True),
    Row("pan-scratch", "PAN from scratch", scratch=True),
    Row("pcb-baseline-scratch", "PCB baseline from scratch", BASELINE, scratch=True),
    longer(Row("pan", "PAN")),
    longer(Row("pcb-baseline", "PCB baseline", BASELINE)),
    Row("osnet", "PAN-OSNet", {"backbone": "osnet"}),
    Row("osnet-unshared", "PAN-OSNet, own layer per mask", {"backbone": "osnet", "shared": False}),
    *(Row(f"n{n}", f"PAN, n_l = {n}, gamma = {n / 256 * Config().gamma:g}", {"dim": n}) for n in WIDTHS),
)


def _cells() -> tuple[Cell, ...]:
    holistic, occluded = ("market1501", "dukemtmc"), "occluded-duke"
    everywhere = (occluded, *holistic)
    gammas = {f"gamma{n / 256 * Config().gamma:g}": f"n{n}" for n in WIDTHS} | {"gamma7": "pan"}
    tables = {
        "table1": (
            everywhere,
            {"pcb-baseline": "pcb-baseline", "pan-resnet50": "pan", "pan-osnet": "osnet"},
        ),
        "table2": (
            everywhere,
            {
                "pan-resnet50": "pan",
                "pan-resnet50-notshared": "unshared",
                "pan-osnet": "osnet",
                "pan-osnet-notshared": "osnet-unshared",
            },
        ),
        "table3": ((occluded,), {name: "pan" if name == PROPOSED else name for name in SOURCES}),
        "table4": ((*holistic, occluded), {"softmax": "softmax", "no-softmax": "pan"}),
        "figure2": (
            (occluded,),
            dict(sorted(gammas.items(), key=lambda item: float(item[0].removeprefix("gamma")))),
        ),
        "figure3": (
            (occluded, "market1501"),
            {f"p{p}": "pan" if p == 14 else f"p{p}" for p in sorted((*PARTS, 14))},
        ),
    }
    cells = [
        Cell(table, row, dataset, run)
        for table, (datasets, rows) in tables.items()
        for row, run in rows.items()
        for dataset in datasets
    ]
    branches = {"global-only": "global", "parts-only": "parts"}  # not in the paper: the same weights
    cells += [
        Cell("table1", f"pan-resnet50-{branch}", dataset, "pan", scoring)
        for branch, scoring in branches.items()
        for dataset in everywhere
    ]
    misaligned = {"pcb-baseline": "pcb-baseline", "pan-resnet50": "pan", "pan-osnet": "osnet"}
    starts = ("pan", "pan-scratch", "pcb-baseline", "pcb-baseline-scratch")
    # not in the paper
    cells += [Cell("start", run, dataset, run) for run in starts for dataset in everywhere[:2]]
    cells += [
        Cell("length", run, dataset, f"{run}-long")
        for run in ("pan", "pcb-baseline")
        for dataset in (occluded, "market1501")
    ]
    cells += [Cell("partial", row, "partial-reid", run) for row, run in misaligned.items()]
    return tuple(cells)


def _adapt(run: RunConfig, _row: str, _dataset: str) -> RunConfig:
    train = steps(epochs=120, decays=(60, 90), warm_epochs=20, warm_start=0.1, lr=3.5e-4, augment=ERASING)
    return replace(run, train=train)


RECIPE = Recipe(("occluded-duke", "market1501", "dukemtmc"), _adapt)


def measure(trained: Trained, name: str) -> Measured:
    """Which part of the body each mask weighs, and whether masks are alike, on the occluded queries."""
    data = trained.run.data
    if data.real or trained.run.model_config.figure_map is None or name != data.occluded:
        return Measured()
    whole, occluded = trained.inputs.pair()
    found = mask_measures(trained.maps(occluded.query, "masks"), occluded, whole)
    return Measured(found)


# -- what the notebook shows --------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskView:
    """Signed masks on some queries, and the fusion of all."""

    images: Pictures
    masks: Float[np.ndarray, "N K h w"]
    fusion: Float[np.ndarray, "N h w"]  # in [0, 1]: the sum of magnitudes, stretched image by image


def masks(trained: Trained, test_set: str) -> MaskView:
    """The model's masks on every other fixed figure query."""
    rows, images = figure_pictures(trained, test_set)
    found = trained.maps(trained.test_set(test_set).query[rows], "masks").numpy()
    fusion = np.abs(found).sum(1)
    low, high = fusion.min((1, 2), keepdims=True), fusion.max((1, 2), keepdims=True)
    span = np.where(high - low > 1e-3 * high, high - low, np.inf)  # softmax masks add up to one everywhere
    return MaskView(images, found, (fusion - low) / span)


@mpl.rc_context(STYLE)
def signed_masks(
    images: Pictures,
    masks: Float[np.ndarray, "N K h w"],
    *,
    fusion: Float[np.ndarray, "N h w"],
    names: Sequence[str],
) -> Figure:
    """Signed masks over each image, red above zero and blue below, behind the fusion of all in [0, 1].

    Under each mask stands its largest magnitude.

    Args:
        images: pictures at any size.
        masks: some masks, each drawn in units of its own largest magnitude.
        fusion: of all masks.
        names: of the masks shown.
    """
    count, parts = masks.shape[:2]
    tall = images.shape[1] / images.shape[2]
    step, pitch = 1 + GAP, tall + GAP + 0.13
    fig, ax = canvas((parts + 2) * step - GAP, count * pitch - GAP, margins=Margins(right=0.75, top=0.32))
    for column, name in enumerate(("input", "fusion", *names)):
        label(ax, name, x=column * step + 0.5, y=0, side="top", size=7.5)
    for row in range(count):
        y = row * pitch
        picture(ax, images[row], x=0, y=y)
        for column in range(1, parts + 2):
            picture(ax, grey(images[row]), x=column * step, y=y)
        heat(ax, fusion[row], extent=(step, step + 1, y + tall, y), faded=False)
        for part in range(parts):
            x = (part + 2) * step
            largest = max(np.abs(masks[row, part]).max(), 1e-12)
            values = masks[row, part] / largest
            label(ax, f"± {largest:.2g}", x=x + 0.5, y=y + tall, side="bottom", size=6)
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
    bar.set_ylabel("mask, of its largest", fontsize=7)
    if count > 1:
        low = ax.inset_axes(((parts + 2) * step + 0.1, pitch, 0.16, tall), transform=ax.transData)
        fig.colorbar(mpl.cm.ScalarMappable(Normalize(0, 1), HEAT), cax=low, ticks=[0, 1])
        low.tick_params(labelsize=7)
        low.set_ylabel("fusion, of its range", fontsize=7)
    bar.tick_params(labelsize=7)
    bar.set_ylabel("mask, of its largest", fontsize=7)
    return closed(fig)


def mask_table(study: Study, rows: Sequence[str]) -> Styler:
    """How alike and how signed the masks of several rows are: mean over worlds, half of its 95 % interval."""
    keys = {
        "mean |correlation| of two masks": "alike",
        "of a mask with its likest": "most_alike",
        "share of negative values": "negative",
    }
    lines = []
    for name in rows:
        found = study.measured(name)
        values = {text: Value.of([m.get(key, np.nan) for m in found]) for text, key in keys.items()}
        texts = {text: number(value.mean, half=value.half) for text, value in values.items()}
        lines.append({"model": study.paper.title_of(name)} | texts | {"worlds": len(found)})
    return styled(pd.DataFrame(lines))


def fusion_table(found: MaskTruth) -> Styler:
    """How much all masks together weigh each region, in units of the mean over the image."""
    line = {"all masks together on": "mean magnitude"}
    return styled(pd.DataFrame([line | {r: number(w) for r, w in zip(found.regions, found.fusion)}]))


def slots(trained: Trained, one: Features, gallery: Features) -> SlotView:
    """The global block and the parts of the descriptor."""
    config = trained.run.model_config
    kind = "stripe" if config.masks == "stripes" else "mask"
    widths = [config.global_dim, *[config.dim] * config.parts]
    return blocks(one, gallery, name="concat_bn", widths=widths, kind=kind)


# -- claims that a computation decides ----------------------------------------------------------------


@cache
def _sizes() -> list[Size]:
    """At test time, 256x128 pixels; the text's model shares a layer, the printed size counts one per mask."""
    configs = {
        ("pan-resnet50", LITERAL): Config(),
        ("pan-resnet50", "a layer per mask"): Config(shared=False),
        ("pcb-baseline", LITERAL): Config.baseline(),
    }
    found = []
    for (row, reading), config in configs.items():
        cost = complexity(partial(pan.PAN, config))
        found.append(Size(row, "", "params_m", 1, cost.parameters, reading))
        found.append(Size(row, "", "gflops", 2, cost.operations, reading))
    return found


def _size(_: Study) -> tuple[Status, str]:
    """Claim 13: the printed digits; the proposed model shares its layer."""
    known, words = forensics.sizes(PAPER), []
    for (row, reading), lines in known.groupby(["row", "reading"], sort=False):
        size, work = lines["exact"]
        name = {"pan-resnet50": "PAN", "pcb-baseline": "baseline"}[row]
        name += "" if reading == LITERAL else f" with {reading}"
        words.append(f"{name} {size / 1e6:.1f} M and {work / 1e9:.2f} G")
    return holds("another" not in known.loc[known["reading"] == LITERAL, "rule"].tolist()), ", ".join(words)


def _masks_lie_on_bodies(study: Study) -> tuple[Status, str]:
    """Claim 19: the mean magnitude of all masks together over each body part less that over the background."""
    found = [m["fusion_regions"] for m in study.measured(study.paper.main) if "fusion_regions" in m]
    if not found:
        return Status.UNMEASURED, f"nothing recorded of {study.paper.title_of(study.paper.main)}"
    background, *body, front = np.array(found).T  # over worlds
    gaps = moderated([part - background for part in body])
    place, status = worst(gaps)
    decisive = gaps[place]
    if not decisive.freedom:
        return Status.UNDECIDED, "one world: no interval"
    text = (
        f"mean magnitude over the background {background.mean():.2f} of the image's, over the {len(body)} parts of the "
        f"body {np.min(np.mean(body, axis=1)):.2f} to {np.max(np.mean(body, axis=1)):.2f}, the least of them less "
        f"background {decisive.estimate:+.2f} [{decisive.low:+.2f}, {decisive.high:+.2f}] over {decisive.worlds} "
        f"worlds; over what is in front {front.mean():.2f}"
    )
    return status, text


PAPER = Paper(
    slug="pan",
    title="PAN",
    rows=ROWS,
    cells=_cells(),
    headline=(
        ("pcb-baseline", "default"),
        ("pan", "default"),
        ("pan", "parts"),
        ("unshared", "default"),
        ("softmax", "default"),
        ("osnet", "default"),
    ),
    widths={"pan": ("dim", "global_dim")},
    recipe=RECIPE,
    measure=measure,
    exact={"13": _size, "18": reads_no_labels, "19": _masks_lie_on_bodies},
    sizes=_sizes,
    slots=slots,
)
