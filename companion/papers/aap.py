"""AaP-ReID's tables as runs: what is added to AlignedReID++ (Table 1), which attention on which backbone (3)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from companion.papers import Cell, Grid
from companion.presets import Preset, RunConfig
from reidlib.models.aap import ATTENTIONS, Config

DATASETS = ("market1501", "dukemtmc", "cuhk03")
CHANGES = {
    "aap": {},
    "baseline": {"last_stride": 2, "band": False, "attention": "none"},
    "band": {"attention": "none"},
    "stride": {"band": False, "attention": "none"},
    "cwa-all": {"everywhere": True},
    "literal-head": {"head": "plain"},
}
"""What each run changes in AaP-ReID."""

BACKBONES = ("resnet50", "resnet18", "resnet34", "resnet101")
ROWS = {"baseline": "baseline", "stride": "stride", "band": "band", "cwa-all": "cwa-all", "aap-reid": "aap"}
PROPOSED = "resnet50-cwa-mul"


def _run(preset: Preset, *, name: str, **changes: object) -> RunConfig:
    """A row of Table 1 at a preset's scale."""
    config = Config(
        backbone=preset.backbones["resnet50"],
        width=preset.width,
        local_dim=Config.local_dim // preset.embedding_divisor,
        head="bn-neck",  # deviation D5: from scratch, the triplet keeps the literal head from learning
    )
    config = replace(config, **changes)
    scorings = tuple(config.scorings())
    return RunConfig("aap", name, "aap", config, preset.data, preset.train, preset.name, scorings=scorings)


def _backbone(preset: Preset, *, backbone: str, attention: str) -> RunConfig:
    """A cell of Table 3; where the preset has the paper's backbones, ResNet-50 with CWA(x) is Table 1's model."""
    name = f"{backbone}-{attention}"
    if name == PROPOSED and preset.deep[backbone] == preset.backbones[backbone]:
        return _run(preset, name="aap")
    run = _run(preset, name=name, backbone=preset.deep[backbone], attention=attention)
    return replace(run, scorings=("default",))


def _runs() -> dict[str, Callable[[Preset], RunConfig]]:
    runs = {name: partial(_run, name=name, **changes) for name, changes in CHANGES.items()}
    order = sorted(ATTENTIONS, key=lambda attention: attention != "cwa-mul")
    return runs | {
        f"{backbone}-{attention}": partial(_backbone, backbone=backbone, attention=attention)
        for backbone in BACKBONES
        for attention in order
    }


def _cells() -> tuple[Cell, ...]:
    suffixes = {"": "default", "+rk": "reranked"}
    table1 = [
        Cell("table1", row + suffix, dataset, run, scoring)
        for suffix, scoring in suffixes.items()
        for row, run in ROWS.items()
        for dataset in DATASETS
    ]
    table3 = [
        Cell("table3", f"{backbone}-{attention}", "market1501", f"{backbone}-{attention}")
        for backbone in sorted(BACKBONES, key=lambda name: int(name.removeprefix("resnet")))
        for attention in ATTENTIONS
    ]
    text = [
        Cell("text", f"aap-reid{suffix}", dataset, "aap", scoring)
        for suffix, scoring in suffixes.items()
        for dataset in DATASETS
    ]
    variants = {  # not in the paper: other distances of the same weights, and the head as published
        "aap-reid-global-only": ("aap", "global"),
        "aap-reid-unaligned": ("aap", "unaligned"),
        "baseline-global-only": ("baseline", "global"),
        "baseline-unaligned": ("baseline", "unaligned"),
        "aap-reid-literal-head": ("literal-head", "default"),
        "aap-reid-literal-head+rk": ("literal-head", "reranked"),
    }
    table1 += [Cell("table1", row, "market1501", *source) for row, source in variants.items()]
    occluded = [  # not in the paper: the same rows where something is in front of the person
        Cell("occluded", row + suffix, "occluded-duke", run, scoring)
        for suffix, scoring in suffixes.items()
        for row, run in ROWS.items()
    ]
    return (*table1, *table3, *text, *occluded)


def literal(row: str) -> Config:
    """The paper's own network of a row of Tables 1 to 3, for counting.

    Raises:
        KeyError: no such row.
    """
    if row in ROWS:
        return replace(Config(), **CHANGES[ROWS[row]])
    backbone, attention = row.split("-", 1)
    return Config(backbone=backbone, attention=attention)


GRID = Grid(
    "aap",
    _runs(),
    _cells(),
    main=("aap", "baseline", "band", "stride", "cwa-all"),
    headline=(
        ("AlignedReID++ baseline", "baseline", "default"),
        ("last stride 1", "stride", "default"),
        ("BaND", "band", "default"),
        ("CWA in all layers", "cwa-all", "default"),
        ("AaP-ReID", "aap", "default"),
        ("AaP-ReID, re-ranked", "aap", "reranked"),
    ),
    computed=("table2",),
)
