"""Printed cells -> runs and scorings, one module per paper; the grid is data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

from companion.presets import TWINS, Preset, RunConfig, preset
from companion.published import printed
from companion.recipes import literal


@dataclass(frozen=True)
class Cell:
    """One printed value set: where it stands, and the training and test-time variant behind it."""

    table: str
    row: str
    dataset: str  # as printed; TWINS says which synthetic set stands for it
    run: str  # name of a run of the paper's grid
    scoring: str = "default"

    @property
    def key(self) -> str:
        return f"{self.table}/{self.row}@{self.dataset}"

    @property
    def test_set(self) -> str:
        return TWINS[self.dataset]


@dataclass(frozen=True)
class Grid:
    """A paper's runs, the most informative first, and its cells.

    Args:
        runs: name -> builder of the run at a preset (seed 0).
        cells: what the paper prints.
        main: runs that deserve several seeds before others get a second one.
        headline: what the README shows: title, run, scoring.
        computed: tables that a computation fills, no training.
    """

    paper: str
    runs: dict[str, Callable[[Preset], RunConfig]]
    cells: tuple[Cell, ...]
    main: tuple[str, ...]
    headline: tuple[tuple[str, str, str], ...]
    computed: tuple[str, ...] = ()

    def run(self, name: str, *, preset_name: str, seed: int = 0, dataset: str | None = None) -> RunConfig:
        """The run of a name; at the ``real`` preset as its paper trained it for one of its data sets.

        Raises:
            ValueError: no such run, or a data set that the paper does not print.
        """
        if name not in self.runs:
            raise ValueError(f"{self.paper} has no run {name!r}; expected one of {', '.join(self.runs)}")
        run = replace(self.runs[name](preset(preset_name)), seed=seed)
        if preset_name == "real":
            return literal(run, dataset)
        if dataset is not None:
            raise ValueError(f"dataset = {dataset!r}: only the real preset has one training per data set")
        return run

    def cell(self, table: str, row: str, dataset: str) -> Cell:
        """The cell that stands at a printed place.

        Raises:
            ValueError: the paper prints no such row.
        """
        for cell in self.cells:
            if (cell.table, cell.row, cell.dataset) == (table, row, dataset):
                return cell
        rows = sorted({c.row for c in self.cells if c.table == table})
        raise ValueError(
            f"{self.paper} {table} has no row {row!r} for {dataset}; its rows are {', '.join(rows)}"
        )

    def uncovered(self) -> list[str]:
        """Printed own rows without a cell; a test keeps this empty. What names no data set, a size, needs none."""
        own = printed(self.paper).query("kind == 'own' and dataset != '' and table not in @self.computed")
        keys = {cell.key for cell in self.cells}
        return sorted({f"{r.table}/{r.row}@{r.dataset}" for r in own.itertuples()} - keys)

    def queue(self, *, preset_name: str, seeds: int, dataset: str | None = None) -> list[RunConfig]:
        """All runs for this many seeds, in the order in which they should be computed.

        Every run once, then the main runs' further seeds, then the others'.
        """
        names = [(name, seed) for seed in range(seeds) for name in self.runs]
        names.sort(key=lambda item: (item[1] > 0, item[0] not in self.main if item[1] else False, item[1]))
        runs = [self.run(n, preset_name=preset_name, seed=seed, dataset=dataset) for n, seed in names]
        first = {run.hash: run for run in reversed(runs)}  # at real, "literal" rows are the main ones again
        return [run for run in runs if first[run.hash] is run]


GRIDS = ("bpbreid", "qpm", "pan", "dpti", "aap")
"""Papers whose grid exists so far."""


@cache
def grid(paper: str) -> Grid:
    """The grid of a paper.

    Raises:
        ValueError: unknown paper, or one without a grid yet.
    """
    printed(paper)
    if paper not in GRIDS:
        raise ValueError(f"paper {paper!r} has no grid yet; available: {', '.join(GRIDS)}")
    return import_module(f"companion.papers.{paper}").GRID
