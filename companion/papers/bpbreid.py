"""BPBreID's tables as runs: objectives (Table 4), parts (Table 5), components (Table 2), backbones (Table 1)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from companion.papers import Cell, Grid
from companion.presets import Preset, RunConfig
from reidlib.models import MODELS
from reidlib.models.bpbreid import GILT_GRID, Config

FROM_SCRATCH = 10.0  # deviation D5: at the paper's 0.35, attention is not learned without pretrained weights
STRIPES = 6  # of the PCB architecture
PARTS = (2, 3, 4, 5, 6, 8, 11)
BACKBONES = {"bpbreid-rn": "resnet50", "bpbreid-ri": "resnet50-ibn", "bpbreid-hr": "hrnet-w32"}
VISIBILITY = ("default", "no-visibility", "threshold", "soft", "truth")
EMBEDDINGS = ("parts", "parts-no-visibility", "global", "foreground", "concat")
OBJECTIVES = tuple(GILT_GRID)
STRIPE_OBJECTIVES = tuple(name for name in OBJECTIVES if name not in ("idx7", "idx10"))  # no foreground there


def _run(
    preset: Preset,
    *,
    name: str,
    config: Any,
    model: str = "bpbreid",
    scorings: tuple[str, ...] = ("default", "parts"),
) -> RunConfig:
    return RunConfig(
        "bpbreid", name, model, config, preset.data, preset.train, preset.name, scorings=scorings
    )


def _scaled(preset: Preset, *, backbone: str = "resnet50") -> Config:
    """The paper's model at a preset's scale."""
    base = Config()
    return replace(
        base,
        backbone=preset.backbones[backbone],
        width=preset.width,
        dim=base.dim // preset.embedding_divisor,
        attention_weight=FROM_SCRATCH,
    )


def _without_attention_loss(config: Config, *, attention: str) -> Config:
    """Attention that is given, not learned; the weight of its absent loss is left at the paper's."""
    return replace(config, attention=attention, attention_weight=Config().attention_weight)


def _variant(
    preset: Preset, *, name: str, scorings: tuple[str, ...], change: Callable[[Config], Config]
) -> RunConfig:
    return _run(preset, name=name, config=change(_scaled(preset)), scorings=scorings)


def _parts(preset: Preset, *, k: int) -> RunConfig:
    singles = tuple(f"part-{part}" for part in range(1, k + 1)) if k in (6, 8) else ()
    config = replace(_scaled(preset), parts=k)
    return _run(preset, name=f"k{k}", config=config, scorings=VISIBILITY + EMBEDDINGS + singles)


def _backbone(preset: Preset, *, row: str) -> RunConfig:
    config = _scaled(preset, backbone=BACKBONES[row])
    return _run(
        preset,
        name=row.removeprefix("bpbreid-"),
        config=config,
        scorings=("default", "no-visibility", "parts"),
    )


def _objective(preset: Preset, *, name: str) -> RunConfig:
    config = replace(_scaled(preset), objective=GILT_GRID[name])
    return _run(preset, name=f"objective-{name}", config=config)


def _stripes(preset: Preset, *, name: str) -> RunConfig:
    config = _without_attention_loss(_scaled(preset), attention="stripes")
    config = replace(config, parts=STRIPES, objective=GILT_GRID[name])
    return _run(preset, name=f"stripes-{name}", config=config, scorings=("default",))


def _baseline(preset: Preset, *, model: str) -> RunConfig:
    config = MODELS[model].Config(backbone=preset.backbones["resnet50"], width=preset.width)
    if model == "pcb":  # deviation D6: from scratch, PCB hardly learns under its dropout
        config = replace(config, dropout=0.0, dim=config.dim // preset.embedding_divisor)
    return _run(preset, name=model, config=config, model=model, scorings=("default",))


def _runs() -> dict[str, Callable[[Preset], RunConfig]]:
    runs = {"k8": partial(_parts, k=8)}
    runs |= {model: partial(_baseline, model=model) for model in ("bot", "pcb")}
    runs["fixed-attention"] = partial(
        _variant,
        name="fixed-attention",
        scorings=("default", "no-visibility", "parts"),
        change=lambda config: _without_attention_loss(config, attention="fixed"),
    )
    runs["per-part-triplet"] = partial(
        _variant,
        name="per-part-triplet",
        scorings=("default", "parts"),
        change=lambda config: replace(config, triplet="per-part"),
    )
    runs["stripes-gilt"] = partial(_stripes, name="gilt")
    runs["k6"] = partial(_parts, k=6)
    runs |= {f"objective-{name}": partial(_objective, name=name) for name in OBJECTIVES if name != "gilt"}
    runs |= {f"k{k}": partial(_parts, k=k) for k in PARTS if k not in (6, 8)}
    runs["visible-triplet"] = partial(
        _variant,
        name="visible-triplet",
        scorings=("default", "parts"),
        change=lambda config: replace(config, visible_triplet=True),
    )
    runs |= {
        row.removeprefix("bpbreid-"): partial(_backbone, row=row) for row in BACKBONES if row != "bpbreid-rn"
    }
    runs |= {f"stripes-{name}": partial(_stripes, name=name) for name in STRIPE_OBJECTIVES if name != "gilt"}
    return runs


def _cells() -> tuple[Cell, ...]:
    datasets = ("market1501", "dukemtmc", "occluded-duke", "occluded-reid", "p-dukemtmc")
    backbone = {"bpbreid-rn": "k8", "bpbreid-ri": "ri", "bpbreid-hr": "hr", "bot": "bot", "pcb": "pcb"}
    cells = [Cell("table1", row, dataset, run) for row, run in backbone.items() for dataset in datasets]
    components = {
        "bot": ("bot", "default"),
        "bpbreid-rn": ("k8", "default"),
        "wo-learnable-attention": ("fixed-attention", "default"),
        "wo-visibility-scores": ("k8", "no-visibility"),
        "wo-part-avgd-triplet-loss": ("per-part-triplet", "default"),
        "true-visibility": ("k8", "truth"),  # not in the paper: what perfect visibility scores would give
        "visibility-in-training": ("visible-triplet", "default"),  # section 4.4.1, text only
    }
    cells += [Cell("table2", row, "occluded-duke", *run) for row, run in components.items()]
    singles = {
        "f-g": "global",
        "f-f": "foreground",
        "f-c": "concat",
        "f-parts": "parts",
        "f-f+parts": "default",
    }
    # the paper's order is right arm (label 4 of the grouping) before left arm (label 3)
    singles |= {
        f"f-{row}": f"part-{label}" for row, label in zip(range(1, 7), (1, 2, 4, 3, 5, 6), strict=True)
    }
    cells += [Cell("table3", row, "occluded-duke", "k6", scoring) for row, scoring in singles.items()]
    learned = {name: "k8" if name == "gilt" else f"objective-{name}" for name in OBJECTIVES}
    cells += [Cell("table4", name, "occluded-duke", run) for name, run in learned.items()]
    cells += [Cell("table4", f"{name}@parts", "occluded-duke", run, "parts") for name, run in learned.items()]
    cells += [Cell("table4", f"{name}@pcb", "occluded-duke", f"stripes-{name}") for name in STRIPE_OBJECTIVES]
    cells += [Cell("table5", f"k{k}", "occluded-duke", f"k{k}") for k in PARTS]
    return tuple(cells)


GRID = Grid(
    "bpbreid",
    _runs(),
    _cells(),
    main=("k8", "bot", "pcb", "stripes-gilt"),
    headline=(
        ("BoT", "bot", "default"),
        ("PCB, its own losses", "pcb", "default"),
        ("PCB architecture, GiLt losses", "stripes-gilt", "default"),
        ("BPBreID", "k8", "default"),
        ("BPBreID, visibility off", "k8", "no-visibility"),
        ("BPBreID, true visibility", "k8", "truth"),
    ),
)
