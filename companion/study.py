"""The records of one paper at one preset, as values of its printed cells."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from companion import places, records
from companion.inputs import NoTruth
from companion.paper import Cell, Paper
from companion.presets import preset
from companion.published import PERCENT, printed
from companion.records import RunRecord
from companion.run import RunConfig

METRICS = ("rank1", "mAP")
MAX_SEEDS = 16


def resolved(paper: Paper, preset_name: str) -> str:
    """The preset of a name; ``auto`` is this machine's where the paper has records at it, else ``cpu``.

    Raises:
        ValueError: unknown name.
    """
    name = preset(preset_name).name
    if preset_name == "auto" and not any((places.RESULTS / "runs" / paper.slug).glob(f"{name}-*.json")):
        return "cpu"  # whose records are always there
    return name


@dataclass(frozen=True)
class Value:
    """One number of ours: mean and standard deviation over seeds (NaN with one seed)."""

    mean: float
    std: float
    seeds: int


@dataclass(frozen=True, eq=False)
class Study:
    """What is recorded for a paper at a preset.

    Args:
        paper: under study.
        preset_name: smoke, cpu, gpu or real.
        seeds: at most this many seeds are used; None takes all that are recorded.
        dataset: at ``real``, which of the paper's data sets ``run`` is for; None is that of its ablations.

    Raises:
        ValueError: unknown preset or data set, or seeds below 1.
    """

    paper: Paper
    preset_name: str
    seeds: int | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        preset(self.preset_name)
        if self.seeds is not None and not 1 <= self.seeds <= MAX_SEEDS:
            raise ValueError(f"SEEDS must be between 1 and {MAX_SEEDS}, got {self.seeds!r}")
        if self.dataset is not None:
            self.run(self.paper.main)

    @property
    def real(self) -> bool:
        """Whether it is about photographs."""
        return self.preset_name == "real"

    def run(self, name: str, *, seed: int = 0, dataset: str | None = None) -> RunConfig:
        """The training of a row at this preset; at ``real``, for one of the paper's data sets."""
        return self.paper.run(name, preset_name=self.preset_name, seed=seed, dataset=dataset or self.dataset)

    @cached_property
    def _records(self) -> dict[tuple[str, str | None], list[RunRecord]]:
        return {}

    def records(self, name: str, *, dataset: str | None = None) -> list[RunRecord]:
        """The records of a row, one per seed, in order of seed; empty where nothing is recorded.

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
            runs = [self.run(name, seed=seed, dataset=dataset) for seed in range(self.seeds or MAX_SEEDS)]
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

    def collapsed(self, name: str, *, dataset: str | None = None) -> list[str]:
        """The collapse alarms of a run's records; such a training shows a failure, not the claimed effect."""
        return sorted({alarm for record in self.records(name, dataset=dataset) for alarm in record.alarms})

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

    def per_query(self, cell: Cell, metric: str) -> tuple[np.ndarray, list[int]]:
        """Per-query values of a cell ``[seeds, Q]`` and the seeds they belong to."""
        known, test_set = self._of(cell)
        found = [r for r in known if r.has(test_set, cell.scoring, metric)]
        rows = [record.per_query(test_set, cell.scoring, metric) for record in found]
        return np.array(rows), [record.seed for record in found]

    def spread(self, test_set: str, metric: str) -> tuple[float, int]:
        """Standard deviation from seed to seed of a mean per-query value, pooled over the runs with several seeds.

        Collapsed runs do not count.

        Returns:
            A fraction and its degrees of freedom; 0 and 0 where no run has several seeds.
        """
        if (test_set, metric) not in self._spreads:
            squares, freedom = self._squares(test_set, metric)
            deviation = float(np.sqrt(squares / freedom)) if freedom else 0.0
            self._spreads[test_set, metric] = deviation, freedom
        return self._spreads[test_set, metric]

    @cached_property
    def _spreads(self) -> dict[tuple[str, str], tuple[float, int]]:
        return {}

    def _squares(self, test_set: str, metric: str) -> tuple[float, int]:
        squares, freedom = 0.0, 0
        for name in self.trainings(test_set):
            known = self.records(name, dataset=test_set)
            found = [record for record in known if record.has(test_set, "default", metric)]
            if len(found) > 1 and not any(record.alarms for record in found):
                means = [np.nanmean(record.per_query(test_set, "default", metric)) for record in found]
                squares += float(np.var(means, ddof=1)) * (len(means) - 1)
                freedom += len(means) - 1
        return squares, freedom

    def identities(self, cell: Cell) -> np.ndarray:
        """Identity of every query of the cell's test set. ``[Q]``"""
        known, test_set = self._of(cell)
        return known[0].arrays[f"{test_set}/pid"]

    def value(self, cell: Cell, metric: str) -> Value | None:
        """Mean and spread of a cell over its seeds, None where it has no record."""
        known, test_set = self._of(cell)
        return _mean(known, test_set=test_set, scoring=cell.scoring, metric=metric)

    def scored(
        self, name: str, *, test_set: str, scoring: str = "default", metric: str = "rank1"
    ) -> Value | None:
        """Mean and spread over seeds of a run under a test-time variant on a test set."""
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
        """Printed and own values side by side: table, row, dataset, test_set, metric, printed, ours, std, seeds."""
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
                        "ours": ours.mean, "std": ours.std, "seeds": ours.seeds,
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
        return {"rows": len(names), "recorded": len(names - incomplete), "missing": absent}


def _mean(found: list[RunRecord], *, test_set: str, scoring: str, metric: str) -> Value | None:
    rows = [r.metrics[test_set][scoring] for r in found if scoring in r.metrics.get(test_set, {})]
    if not rows:
        return None
    values = np.array([row[metric] for row in rows])
    return Value(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan, len(values))
