"""DPTI's tables as runs: what the part attention is asked with (Table 4) and backbones (Table 5)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from companion.papers import Cell, Grid
from companion.presets import Preset, RunConfig
from reidlib.models.dpti import Config

APART = {"spread": 1.0, "decay": False}  # deviation D5: from a small start, all templates stay alike
SMALL_START = {"spread": Config.spread, "decay": Config.decay}
STEPS = {"cpu": 1440}  # deviation D7: from scratch, the head learns late
CHANGES = {
    "gd": {},
    "g": {"templates": "none"},
    "gt": {"templates": "static"},
    "gp": {"templates": "grid"},
    "gdw": {"weighted": True},
    "separate-losses": {"joint": False},
    "small-start": SMALL_START,
    "weighted-small-start": {"weighted": True} | SMALL_START,
}
"""What each run changes in row G+D."""

BACKBONES = ("resnet50-ibn", "osnet", "resnet18")


def _run(preset: Preset, *, name: str, backbone: str = "resnet50", **changes: object) -> RunConfig:
    """DPTI at a preset's scale, its templates started apart, its schedule longer."""
    base = Config()
    config = replace(
        base,
        backbone=preset.backbones[backbone],
        width=preset.width,
        dim=base.dim // preset.embedding_divisor,
        # deviation D6: on a CPU, fused attention with dropout is slow
        attention_dropout=base.attention_dropout if preset.name == "gpu" else 0.0,
    )
    templates = changes.get("templates", base.templates)
    config = replace(config, **((APART if templates in ("static", "dynamic") else {}) | changes))
    return RunConfig(
        "dpti",
        name,
        "dpti",
        config,
        preset.data,
        replace(preset.train, iterations=STEPS.get(preset.name, preset.train.iterations)),
        preset.name,
        scorings=tuple(config.scorings()),
    )


def _runs() -> dict[str, Callable[[Preset], RunConfig]]:
    runs = {name: partial(_run, name=name, **changes) for name, changes in CHANGES.items()}
    return runs | {name: partial(_run, name=name, backbone=name) for name in BACKBONES}


def _cells() -> tuple[Cell, ...]:
    table4 = {
        "g": "g",
        "g+p": "gp",
        "g+t": "gt",
        "g+d": "gd",
        "g+d+w": "gdw",
        "g+d-separate-losses": "separate-losses",  # not in the paper's table: section 3.6
        "g+d-small-start": "small-start",  # not in the paper: without deviation D5
        "g+d+w-small-start": "weighted-small-start",
    }
    cells = [
        Cell("table1", "ours", "market1501", "gd"),
        Cell("table2", "ours", "occluded-reid", "gd"),
        Cell("table3", "ours", "partial-reid", "gd"),
        Cell("table3", "ours", "partial-ilids", "gd"),
    ]
    cells += [
        Cell("table4", row, dataset, run)
        for row, run in table4.items()
        for dataset in ("market1501", "occluded-reid", "partial-reid")
    ]
    cells += [
        Cell(
            "table4", f"{row}-before-neck", dataset, run, "before"
        )  # not in the paper: another test descriptor
        for row, run in (("g+d", "gd"), ("g+d+w", "gdw"))
        for dataset in ("market1501", "occluded-reid", "partial-reid")
    ]
    cells += [
        Cell("table5", row, "market1501", run)
        for row, run in {"resnet50": "gdw", **{name: name for name in BACKBONES}}.items()
    ]
    occluded = {"g": "g", "g+p": "gp", "g+t": "gt", "g+d": "gd", "g+d+w": "gdw"}
    cells += [
        Cell("occluded", row, "occluded-duke", run) for row, run in occluded.items()
    ]  # not in the paper
    return tuple(cells)


GRID = Grid(
    "dpti",
    _runs(),
    _cells(),
    main=("gd", "g", "gt", "gp", "gdw"),
    headline=(
        ("G: global only", "g", "default"),
        ("G+P: grid cells", "gp", "default"),
        ("G+T: static templates", "gt", "default"),
        ("G+D: dynamic templates", "gd", "default"),
        ("G+D+W: weighted", "gdw", "default"),
    ),
)
