"""What is still to be computed, what it will cost, and doing it: the same for notebooks and the command line."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from statistics import median

from companion import costs, inputs, places, runner, start
from companion.presets import PRESETS
from companion.run import RunConfig
from companion.sweep import sweep
from reidlib import doctor
from reidlib.footprint import Card

SECONDS = {"smoke": 4.0, "cpu": 140.0, "gpu": 15.0, "real": 4 * 3600.0}
"""Training a run where nobody measured or counted it: rough, on one core, or on one GPU from preset gpu on."""
WITHOUT_GPU = {"gpu": 4 * 3600.0, "real": 20 * 86400.0}
"""The same on one core: 45,000 images of 16 GFLOP, and a hundred times as many, at 50 GFLOP/s."""
SCORING = 1.4
"""A run's time over that of its training, on a core."""
SCORED = {"gpu": 90.0, "real": 300.0}
"""Seconds on a core for what follows training on a GPU: thirteen rows of preset gpu, ten side by side on sixteen cores,
took 93 to 211 seconds, of which each trained 60 to 125 on the card that they shared; rough at real."""
DISK = {"smoke": 2e6, "cpu": 30e6, "gpu": 600e6, "real": 1e9}
"""Bytes of a run's features, weights and checkpoint, rough."""


@dataclass(frozen=True)
class Plan:
    """Some runs, and what computing those without a record will cost.

    Args:
        runs: without a record, in the order in which they should be computed.
        there: how many others have one.
    """

    runs: tuple[RunConfig, ...]
    there: int = 0

    @classmethod
    def of(cls, wanted: Iterable[RunConfig]) -> "Plan":
        """Those of some runs that have no record yet."""
        wanted = [*wanted]
        missing = tuple(run for run in wanted if runner.complete(run) is None)
        return cls(missing, len(wanted) - len(missing))

    def seconds(self, *, jobs: int = 1) -> float:
        """So many runs at a time, which share a GPU; with the starts that are lacking."""
        runs = {run.training: run for run in self.runs}.values()
        trained, scored = zip(
            (0.0, 0.0), *map(_seconds, runs), *((s, 0.0) for s in map(_start, _lacking(runs)))
        )
        device = bool(runs) and _card(self.runs[0]) is not None
        return math.fsum(trained) / (1 if device else jobs) + math.fsum(scored) / jobs

    @property
    def too_large(self) -> tuple[RunConfig, ...]:
        """The runs whose batch, as counted, does not fit on this machine's GPU."""
        return tuple(run for run in self.runs if (card := _card(run)) and costs.fits(run, card) is False)

    @property
    def disk(self) -> float:
        """Bytes."""
        return math.fsum(DISK[run.preset] for run in self.runs if run.shown)

    def cost(self, *, jobs: int = 1) -> str:
        """In words."""
        if not self.runs:
            return f"all {self.there} records are there"
        return f"{self.there} records are there, {len(self.runs)} are missing: {self.takes(jobs=jobs)}"

    def takes(self, *, jobs: int = 1) -> str:
        """Minutes and disk in words, which starts are made on the way, and what this GPU is too small for."""
        words = [f"about {spell(self.seconds(jobs=jobs))}, {self.disk / 1e9:.1f} GB of disk"]
        if starts := sorted({run.model_config.backbone for run in _lacking(self.runs)}):
            words.append(f"with pretraining of {', '.join(starts)}")
        if large := self.too_large:
            words.append(f"too large for this GPU: {', '.join(run.name for run in large)}")
        return "; ".join(words)


def _card(run: RunConfig) -> Card | None:
    """The GPU that would train a run; None where a core does."""
    return costs.here() if run.preset in SCORED else None


def _seconds(run: RunConfig) -> tuple[float, float]:
    """Of training, and of what follows on a core: as counted for this GPU, as the paper's records took, or a guess."""
    if (card := _card(run)) is None:
        if run.preset in WITHOUT_GPU:
            return WITHOUT_GPU[run.preset], 0.0
        training = _recorded(run.paper, run.preset) * run.train.iterations
        return training, (SCORING - 1) * training
    minutes = costs.minutes(run, card)
    return SECONDS[run.preset] if minutes is None else 60 * minutes, SCORED[run.preset]


def _lacking(runs: Iterable[RunConfig]) -> list[RunConfig]:
    """One run for every start that is not there."""
    return [*{w: run for run in runs if start.missing(w := run.model_config.weights)}.values()]


def _start(run: RunConfig) -> float:
    """Of making a run's start, whose steps are as those of the run."""
    made = start.pretraining(run.model_config.backbone, run.preset)
    images = [train.iterations * train.identities * train.images for train in (made.train, run.train)]
    return _seconds(run)[0] * images[0] / images[1]


@cache
def _recorded(paper: str, preset: str) -> float:
    """Seconds of a step: the median over a paper's records, a guess without any."""
    known = []
    for source in places.RESULTS.glob(f"runs/{paper}/{preset}-*-s1-*.json"):
        try:
            record = json.loads(source.read_text())
            known.append(record["provenance"]["seconds"] / record["config"]["train"]["iterations"])
        except (ValueError, KeyError, TypeError):
            continue  # who reads the record will say what is wrong with it
    return median(known) if known else SECONDS[preset] / PRESETS[preset].train.iterations


def spell(seconds: float) -> str:
    """A duration in its largest fitting unit."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} seconds"


def carry_out(
    plan: Plan,
    *,
    jobs: int = 1,
    devices: int = 1,
    compiled: bool = False,
    budget: float | None = None,
    fresh: bool = False,
    renew: bool = False,
    progress: bool = False,
    dask: str | None = None,
) -> dict[str, int]:
    """Compute a plan's runs, and the networks they start from; say what is done and how long the rest will take.

    Interrupted at any time, the same call goes on where it stopped.

    Args:
        jobs: runs side by side, one thread each.
        devices: that train each run together.
        compiled: see ``reidlib.training.fit``.
        budget: seconds after which nothing new starts and running trainings stop at an epoch's end.
        fresh, renew: see ``runner.train``.
        progress: also show the steps of every run; of one at a time.
        dask: address of a Dask scheduler, whose workers take the place of ``jobs``.

    Returns:
        How many runs ended ``done``, ``interrupted``, ``not started`` or ``failed``.
    """
    start.require(plan.runs)
    for run in plan.runs[:1]:
        for split in inputs.index(run.data, workers=jobs).values():
            for line in doctor.warnings(split) if run.data.real else ():
                print(line, file=sys.stderr)
    return sweep(
        plan.runs,
        jobs=jobs,
        devices=devices,
        compiled=compiled,
        budget=budget,
        fresh=fresh,
        renew=renew,
        progress=progress,
        dask=dask,
        report=_progress(len(plan.runs)),
    )


def _progress(total: int) -> Callable[[RunConfig, str, float], None]:
    """Tells of every finished run, and how long the others will take."""
    begin, done = time.monotonic(), []

    def tell(run: RunConfig, outcome: str, seconds: float) -> None:
        done.append(run)
        if outcome != "not started":
            left = (time.monotonic() - begin) / len(done) * (total - len(done))
            rest = f"; about {spell(left)} left" if len(done) < total else ""
            print(f"[{len(done)}/{total}] {run.stem} {outcome} in {seconds:.0f} s{rest}", flush=True)

    return tell
