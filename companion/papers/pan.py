"""PAN's tables as runs: sharing (Tables 1, 2), buffers (3), softmax (4), widths (Figure 2), masks (Figure 3)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from companion.papers import Cell, Grid
from companion.presets import Preset, RunConfig
from reidlib.models.pan import Config

WIDTHS = (32, 64, 128, 512, 1024)  # n_l as printed, besides the default 256
PARTS = (2, 6, 10, 12, 16, 18)  # p besides the default 14; the text names 14 and 16 only
SOURCES = {  # Table 3: of the masks, of the local features
    f"mask-{masks}-feat-{local}": (masks, local)
    for masks in ("conv40", "conv41", "conv50")
    for local in ("conv50", "conv51")
}
PROPOSED = "mask-conv50-feat-conv51"

CHANGES = {
    "pan": {},
    "unshared": {"shared": False},
    "softmax": {"masks": "softmax"},
    **{
        name: {"mask_source": masks, "local_source": local}
        for name, (masks, local) in SOURCES.items()
        if name != PROPOSED
    },
    **{f"p{p}": {"parts": p} for p in PARTS},
    "literal-pooling": {"pooling": "max"},
}
"""What each run changes in PAN; the baseline, OSNet and the widths follow."""


def _run(
    preset: Preset,
    *,
    name: str,
    backbone: str = "resnet50",
    dim: int = Config.dim,
    base: Config = Config(),  # noqa: B008
    **changes: object,
) -> RunConfig:
    """PAN at a preset's scale, its global branch pooled by the average."""
    config = replace(
        base,
        backbone=preset.backbones[backbone],
        width=preset.width,
        dim=dim // preset.embedding_divisor,
        global_dim=base.global_dim // preset.embedding_divisor,
        pooling="average",  # deviation D5: from scratch, the masks learn far worse beside global max pooling
    )
    config = replace(config, **changes)
    return RunConfig(
        "pan", name, "pan", config, preset.data, preset.train, preset.name, scorings=tuple(config.scorings())
    )


def _runs() -> dict[str, Callable[[Preset], RunConfig]]:
    runs = {name: partial(_run, name=name, **changes) for name, changes in CHANGES.items()}
    runs["pcb-baseline"] = partial(_run, name="pcb-baseline", base=Config.baseline())
    runs["pcb-literal-pooling"] = partial(
        _run, name="pcb-literal-pooling", base=Config.baseline(), pooling="max"
    )
    runs["osnet"] = partial(_run, name="osnet", backbone="osnet")
    runs["osnet-unshared"] = partial(_run, name="osnet-unshared", backbone="osnet", shared=False)
    return runs | {f"n{n}": partial(_run, name=f"n{n}", dim=n) for n in WIDTHS}


def _cells() -> tuple[Cell, ...]:
    holistic, occluded = ("market1501", "dukemtmc"), "occluded-duke"
    everywhere = (occluded, *holistic)
    gammas = {f"gamma{n / 256 * Config().gamma:g}": f"n{n}" for n in WIDTHS} | {"gamma7": "pan"}
    tables = {
        "table1": (
            everywhere,
            {"pcb-baseline": "pcb-baseline", "pan-resnet50": "pan", "pan-osnet": "osnet"}
            | {  # not in the paper: without deviation D5
                "pan-literal-pooling": "literal-pooling",
                "pcb-baseline-literal-pooling": "pcb-literal-pooling",
            },
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
        Cell("table1", f"{row}-{branch}", dataset, run, scoring)
        for row, run in (("pan-resnet50", "pan"), ("pan-literal-pooling", "literal-pooling"))
        for branch, scoring in branches.items()
        for dataset in everywhere
    ]
    misaligned = {"pcb-baseline": "pcb-baseline", "pan-resnet50": "pan", "pan-osnet": "osnet"}
    cells += [
        Cell("partial", row, "partial-reid", run) for row, run in misaligned.items()
    ]  # not in the paper
    return tuple(cells)


GRID = Grid(
    "pan",
    _runs(),
    _cells(),
    main=("pan", "pcb-baseline", "unshared", "softmax"),
    headline=(
        ("PCB baseline", "pcb-baseline", "default"),
        ("PAN", "pan", "default"),
        ("PAN, parts only", "pan", "parts"),
        ("PAN, own layer per mask", "unshared", "default"),
        ("PAN, softmax masks", "softmax", "default"),
        ("PAN-OSNet", "osnet", "default"),
    ),
)
