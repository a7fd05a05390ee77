"""The records of one paper at one preset, as values of its printed cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from companion import records
from companion.inputs import NoTruth
from companion.intervals import Interval
from companion.paper import Cell, Paper
from companion.presets import preset
from companion.published import PERCENT, printed
from companion.records import RunRecord
from companion.run import RunConfig

METRICS = ("rank1", "mAP")
MAX_SEEDS = 16
GATE = 0.10
"""How far below the main row's a row's holistic rank-1 may be, to be compared; fixed on validation identities."""

WORLDS = 5
"""In which every row is recorded; those of some claims have more."""

FEWEST = 3
"""Worlds from which on a level has an interval: that of two is thirteen standard errors wide on either side."""


@dataclass(frozen=True)
class Value:
    """One number of ours: mean and standard deviation over worlds (NaN with one world)."""

    mean: float
    std: float
    seeds: int  # how many worlds

    @classmethod
    def of(cls, values: Iterable[float]) -> "Value":
        """Mean and spread of one value a world; NaN are left out, and without any the mean is NaN."""
        known = np.array([value for value in values if not np.isnan(value)])
        if not len(known):
            return cls(np.nan, np.nan, 0)
        return cls(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else np.nan, len(known))

    @property
    def interval(self) -> Interval:
        """Of the mean over worlds, by Student's t; with one world there is none."""
        if self.seeds < 2:
            return Interval(self.mean, worlds=self.seeds)
        error, freedom = float(self.std / np.sqrt(self.seeds)), float(self.seeds - 1)
        return Interval(self.mean, error, freedom, self.seeds)

    @property
    def half(self) -> float:
        """Half-width of its 95 % interval; NaN with fewer than ``FEWEST`` worlds, of which it says next to nothing."""
        return self.interval.half if self.seeds >= FEWEST else np.nan


@dataclass(frozen=True, eq=False)
class Study:
    """What is recorded for a paper at a preset.

    Args:
        paper: under study.
        preset_name: smoke, cpu, gpu or real.
        seeds: at most this many worlds are used (1, 2, ...); None takes all that are recorded.
        dataset: at ``real``, which of the paper's data sets ``run`` is for; None is that of its ablations.

    Raises:
        ValueError: unknown preset or data set, or seeds below 1 or above ``MAX_SEEDS``.
    """

    paper: Paper
    preset_name: str
    seeds: int | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        preset(self.preset_name)
        if self.seeds is not None and (type(self.seeds) is not int or not 1 <= self.seeds <= MAX_SEEDS):
            raise ValueError(f"SEEDS must be a whole number from 1 to {MAX_SEEDS}, got {self.seeds!r}")
        if self.dataset is not None:
            self.run(self.paper.main)

    @property
    def real(self) -> bool:
        """Whether it is about photographs."""
        return self.preset_name == "real"

    def run(self, name: str, *, seed: int = 1, dataset: str | None = None) -> RunConfig:
        """The training of a row at this preset; at ``real``, for one of the paper's data sets."""
        return self.paper.run(name, preset_name=self.preset_name, seed=seed, dataset=dataset or self.dataset)

    @cached_property
    def _records(self) -> dict[tuple[str, str | None], list[RunRecord]]:
        return {}

    def records(self, name: str, *, dataset: str | None = None) -> list[RunRecord]:
        """The records of a row, one per world, in order; empty where nothing is recorded.

        Args:
            dataset: a printed column. At ``real`` each has a training of its own; elsewhere one serves all.
        """
        if not self.real:
            dataset = None
        else:
            dataset = dataset and self._measured_on(dataset)
            if dataset not in (None, *self.paper.recipe.datasets):
                return []  # a row of ours on a set that the paper leaves out
        if (name, dataset) not in self._records:
            runs = [
                self.run(name, seed=seed, dataset=dataset) for seed in range(1, (self.seeds or MAX_SEEDS) + 1)
            ]
            there = [run for run in runs if run.prefix in self._prefixes]
            self._records[name, dataset] = [record for run in there if (record := records.find(run))]
        return self._records[name, dataset]

    def trainings(self, dataset: str | None = None) -> list[str]:
        """The rows of the paper, each training once."""
        if not self.real:
            return self.paper.trainings(preset_name=self.preset_name)
        if dataset not in (None, *self.paper.recipe.datasets):
            return []
        return self.paper.trainings(preset_name="real", dataset=dataset or self.dataset)

    @cached_property
    def _prefixes(self) -> set[str]:
        """Of all record files, so that runs without a record need no search."""
        folder = records.folder(self.run(self.paper.main))
        return {f"{path.stem.rpartition('-')[0]}-" for path in folder.glob("*.json")}

    def test_set(self, cell: Cell) -> str:
        """Where a cell is measured: on the printed set at ``real``, else on its counterpart."""
        return self._measured_on(cell.dataset) if self.real else cell.test_set

    def _measured_on(self, dataset: str) -> str:
        return self.paper.recipe.measured_on.get(dataset, dataset)

    def _of(self, cell: Cell) -> tuple[list[RunRecord], str]:
        return self.records(cell.run, dataset=cell.dataset), self.test_set(cell)

    def unconverged(self, name: str, *, dataset: str | None = None) -> list[str]:
        """Why a row cannot be compared (the convergence gate); empty where it can.

        In some world an identity loss never left its start, or holistic rank-1 is, over the worlds that both have,
        more than ``GATE`` below the main row's of as many steps, or that row cannot be compared itself. Rows from noise
        are held to the first alone. A mechanism that goes inactive (all weight on one part) is a finding, not a failed
        training.
        """
        found = self.records(name, dataset=dataset)
        reasons = [f"{alarm} (world {record.seed})" for record in found for alarm in record.alarms]
        if found and not self.paper.row(name).scratch:
            measured_on = self._measured_on(dataset) if self.real and dataset else None
            holistic = self.run(name, dataset=measured_on).data.holistic
            reference = self.paper.as_long(name)
            main = {record.seed: record for record in self.records(reference, dataset=dataset)}
            behind = [
                main[record.seed].value(holistic, "default", "rank1")
                - record.value(holistic, "default", "rank1")
                for record in found
                if record.seed in main
            ]
            if behind and np.mean(behind) > GATE:
                title = self.paper.title_of(reference)
                reasons.append(f"holistic rank-1 {100 * np.mean(behind):.1f} points below that of {title}")
            if reference != name and self.unconverged(reference, dataset=dataset):
                title = self.paper.title_of(reference)
                reasons.append(f"{title}, which it is held to, cannot be compared itself")
        return reasons

    def require_truth(self) -> None:
        """Nothing where ground truth is known.

        Raises:
            NoTruth: at ``real``.
        """
        if self.real:
            raise NoTruth(self.run(self.paper.main).data.occluded)

    def measured(self, name: str) -> list[dict]:
        """What ground truth says of a run on the occluded set, one per record.

        Raises:
            NoTruth: at ``real``.
        """
        self.require_truth()
        occluded = self.run(name).data.occluded
        return [record.measures.get(occluded, {}) for record in self.records(name)]

    def values(self, cell: Cell, metric: str) -> pd.Series:
        """A cell's value in every world that has a record of it, as fractions.

        Args:
            metric: an accuracy (``rank1``, ``mAP``, ...) or a measure against ground truth.

        Returns:
            Indexed by world; empty where nothing is recorded.
        """
        known, test_set = self._of(cell)
        found = {record.seed: record.value(test_set, cell.scoring, metric) for record in known}
        return pd.Series(found, dtype=float).dropna()

    def value(self, cell: Cell, metric: str) -> Value | None:
        """Mean and spread of a cell over the first ``WORLDS`` worlds, None where it has no record."""
        known, test_set = self._of(cell)
        return _mean(known, test_set=test_set, scoring=cell.scoring, metric=metric)

    def shared(self, cells: Sequence[Cell], metric: str) -> pd.DataFrame:
        """Values of several cells in the worlds that all recorded ones have, so that they can be compared.

        Returns:
            A row per world, a column per cell (its place); of a cell without a record, NaN.
        """
        found = {place: self.values(cell, metric) for place, cell in enumerate(cells)}
        known = [values for values in found.values() if len(values)]
        worlds = sorted(set.intersection(*(set(values.index) for values in known))) if known else []
        return pd.DataFrame({place: values.reindex(worlds) for place, values in found.items()}, index=worlds)

    def scored(
        self, name: str, *, test_set: str, scoring: str = "default", metric: str = "rank1"
    ) -> Value | None:
        """Mean and spread over the first ``WORLDS`` worlds of a run under a test-time variant on a test set."""
        return _mean(self.records(name), test_set=test_set, scoring=scoring, metric=metric)

    def metrics(self, table: str) -> tuple[str, ...]:
        """The accuracies that the paper prints in a table for its own rows; rank-1 and mAP where it prints none."""
        known = self._printed_metrics.get(table, set())
        return tuple(metric for metric in PERCENT if metric in known) or METRICS

    @cached_property
    def _printed_metrics(self) -> dict[str, set[str]]:
        own = printed(self.paper.slug).query("kind == 'own'")
        return {table: set(rows["metric"]) for table, rows in own.groupby("table")}

    def frame(self, table: str | None = None) -> pd.DataFrame:
        """Printed and own values side by side.

        Returns:
            Columns table, row, dataset, test_set, run, scoring, metric, variant, note, printed, ours, std (over
            worlds), half (of the 95 % interval) and seeds (worlds).
        """
        values = {
            (v.table, v.row, v.dataset, v.metric): v
            for v in reversed([*printed(self.paper.slug).itertuples()])
        }
        lines = []
        for cell in self.paper.cells:
            if table and cell.table != table:
                continue
            for metric in self.metrics(cell.table):
                known = values.get((cell.table, cell.row, cell.dataset, metric))
                ours = self.value(cell, metric) or Value(np.nan, np.nan, 0)
                lines.append(
                    {
                        "table": cell.table, "row": cell.row, "dataset": cell.dataset, "test_set": self._of(cell)[1],
                        "run": cell.run, "scoring": cell.scoring, "metric": metric,
                        "variant": known.variant if known else "",
                        "note": known.note if known else "",
                        "printed": known.value if known else np.nan,
                        "ours": ours.mean, "std": ours.std, "half": ours.half, "seeds": ours.seeds,
                    }
                )  # fmt: skip
        return pd.DataFrame(lines)

    def coverage(self) -> dict:
        """How many printed own rows of a data set have all their cells recorded, and which runs are missing."""
        own = printed(self.paper.slug).query(
            "kind == 'own' and dataset != '' and table not in @self.paper.computed"
        )
        names = {(row.table, row.row) for row in own.itertuples()}
        cells = [cell for cell in self.paper.cells if (cell.table, cell.row) in names]
        incomplete = {(c.table, c.row) for c in cells if self.value(c, "rank1") is None}
        absent = [row.slug for row in self.paper.rows if not self.records(row.slug)]
        if self.real:  # where every data set has its own
            pairs = {(c.run, self._measured_on(c.dataset)) for c in cells}
            pairs = {pair for pair in pairs if pair[1] in self.paper.recipe.datasets}
            absent = [f"{run}@{data}" for run, data in sorted(pairs) if not self.records(run, dataset=data)]
        return {"rows": len(names), "recorded": len(names - incomplete), "missing": absent}


def _mean(found: list[RunRecord], *, test_set: str, scoring: str, metric: str) -> Value | None:
    """Over the worlds that every row has: worlds lie far apart, and some rows have more of them."""
    value = Value.of(record.value(test_set, scoring, metric) for record in found if record.seed <= WORLDS)
    return value if value.seeds else None
