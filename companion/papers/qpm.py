"""QPM's tables as runs: components (Tables V, VI), attentions (VII), parts (IX), widths (X), gamma (XI, no run)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from companion.papers import Cell, Grid
from companion.presets import Preset, RunConfig
from reidlib.models.qpm import GAMMAS, Config

ATTENTIONS = ("fc", "rga", "ra", "cbam")
PARTS = (2, 3, 4, 8)  # besides the default 6
WIDTHS = (128, 256, 512)  # as printed, besides the default 1024
GAMMA_ROWS = {f"gamma{gamma}": "default" if gamma == 0.6 else f"gamma-{gamma}" for gamma in GAMMAS}
PARTS_ONLY = {"global_feature": "none", "attention": "none"}

CHANGES = {
    "qpm": {},
    "part-branch": PARTS_ONLY,
    "baseline-triplet": PARTS_ONLY | {"quality": False},
    "baseline": PARTS_ONLY | {"quality": False, "triplet": False},
    "agfe": {"attention": "none"},
    "gap": {"global_feature": "gap", "attention": "none", "part_branch": False, "quality": False},
    "single": {"global_feature": "single", "attention": "none"},
    "gap-isa": {"global_feature": "gap"},
    **{f"{name}-sa": {"attention": name} for name in ATTENTIONS},
    **{f"k{k}": {"parts": k} for k in PARTS},
}
"""What each run changes in QPM; rows of K and d follow the others."""


def _run(preset: Preset, *, name: str, backbone: str = "resnet50", **changes: object) -> RunConfig:
    """QPM at a preset's scale, its images half as high again, with the scores kept from the global losses."""
    base = Config()
    config = replace(
        base,
        backbone=preset.backbones[backbone],
        width=preset.width,
        dim=base.dim // preset.embedding_divisor,
        global_dim=base.global_dim // preset.embedding_divisor,
        detach_quality=True,  # deviation D5: from scratch the global losses' gradient spoils the scores
        normalise=True,  # deviation D6: without, hardly anything is learnt from scratch
    )
    config = replace(config, **changes)
    if not config.scored:
        config = replace(config, detach_quality=False)
    data = replace(preset.data, height=preset.data.height * 3 // 2)
    kept = tuple(config.scorings()) if name == "qpm" else _kept(config)
    return RunConfig("qpm", name, "qpm", config, data, preset.train, preset.name, scorings=kept)


def _kept(config: Config) -> tuple[str, ...]:
    """Test-time variants in the record of a run: all but the gammas."""
    return tuple(name for name in config.scorings() if not name.startswith("gamma"))


def _width(preset: Preset, *, d: int) -> RunConfig:
    dim = d // preset.embedding_divisor
    return _run(preset, name=f"d{d}", dim=dim, global_dim=dim)


def _runs() -> dict[str, Callable[[Preset], RunConfig]]:
    runs = {name: partial(_run, name=name, **changes) for name, changes in CHANGES.items()}
    runs |= {f"d{d}": partial(_width, d=d) for d in WIDTHS}
    runs["hr"] = partial(_run, name="hr", backbone="hrnet-w32")
    runs["literal-gradient"] = partial(_run, name="literal-gradient", detach_quality=False)
    return runs


def _cells() -> tuple[Cell, ...]:
    both = ("occluded-duke", "p-dukemtmc-transfer")
    cells = [
        Cell(table, row, dataset, run)
        for table, dataset, models in (
            ("table1", "occluded-duke", {"qpm": "qpm", "qpm-hrnet": "hr"}),
            ("table2", "p-dukemtmc", {"qpm": "qpm", "qpm-hrnet": "hr"}),
            ("table3", "partial-reid", {"qpm": "qpm"}),
            ("table3", "partial-ilids", {"qpm": "qpm"}),
            ("table4", "p-dukemtmc-transfer", {"qpm": "qpm"}),
            ("table8", "occluded-duke", {"qpm": "qpm"}),
        )
        for row, run in models.items()
    ]
    components = {
        "baseline": ("baseline", "default"),
        "baseline+triplet": ("baseline-triplet", "default"),
        "part-branch": ("part-branch", "default"),
        "gap-global": ("gap", "default"),
        "gap-global+isa": ("gap-isa", "default"),
        "agfe-global": ("agfe", "agfe"),
        "agfe-global+isa": ("qpm", "agfe"),
        "qpm": ("qpm", "default"),
        "agfe-weights-pooled": ("agfe", "gap"),  # not in the paper: the same weights, pooled
        "isa-weights-pooled": ("qpm", "gap"),  # likewise
        "scores-off-at-test": (
            "qpm",
            "part-without-quality",
        ),  # not in the paper: the same weights, all q = 1
        "literal-gradient": ("literal-gradient", "default"),  # not in the paper: without deviation D5
    }
    tables = {
        "table5": components,
        "table6": {
            "gap-global": ("gap", "default"),
            "si-global": ("single", "default"),
            "agfe-global": ("agfe", "agfe"),
        },
        "table7": {
            "agfe-global": ("agfe", "agfe"),
            **{f"agfe-global+{name}-sa": (f"{name}-sa", "agfe") for name in ATTENTIONS},
            "agfe-global+isa": ("qpm", "agfe"),
        },
        "table9": {f"k{k}": ("qpm" if k == 6 else f"k{k}", "default") for k in (2, 3, 4, 6, 8)},
        "table10": {f"d{d}": ("qpm" if d == 1024 else f"d{d}", "default") for d in (*WIDTHS, 1024)},
        "table11": {row: ("qpm", scoring) for row, scoring in GAMMA_ROWS.items()},
    }
    return (
        *cells,
        *(
            Cell(table, row, dataset, *run)
            for table, rows in tables.items()
            for row, run in rows.items()
            for dataset in both
        ),
    )


GRID = Grid(
    "qpm",
    _runs(),
    _cells(),
    main=("qpm", "part-branch", "baseline-triplet", "agfe"),
    headline=(
        ("Baseline: stripes, identity loss", "baseline", "default"),
        ("Baseline with triplet", "baseline-triplet", "default"),
        ("Part branch: learnt quality", "part-branch", "default"),
        ("GAP global", "gap", "default"),
        ("AGFE global", "agfe", "agfe"),
        ("AGFE global with ISA", "qpm", "agfe"),
        ("QPM", "qpm", "default"),
    ),
)
