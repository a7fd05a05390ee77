"""What is still to be computed, what it will cost, and doing it: the same for notebooks and the command line."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch

from companion import inputs, places, pretrain, runner, start
from companion.run import RunConfig
from companion.sweep import sweep
from reidlib import doctor

SECONDS = {"smoke": 4.0, "cpu": 140.0, "gpu": 15.0, "real": 4 * 3600.0}
"""A run where none was measured: rough, on one core, or on one GPU from preset gpu on."""
WITHOUT_GPU = {"gpu": 4 * 3600.0, "real": 20 * 86400.0}
"""The same on one core: 45,000 images of 16 GFLOP, and a hundred times as many, at 50 GFLOP/s."""
SCORING = 1.4
"""A run's time over that of its training."""
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

    @property
    def seconds(self) -> float:
        """One after the other, by what the records of the same paper took, else by rule of thumb."""
        return math.fsum(
            _seconds(run.paper, run.preset) for run in {r.training: r for r in self.runs}.values()
        )

    @property
    def disk(self) -> float:
        """Bytes."""
        return math.fsum(DISK[run.preset] for run in self.runs if run.shown)

    def cost(self, *, jobs: int = 1) -> str:
        """In words."""
        if not self.runs:
            return f"all {self.there} records are there"
        return (
            f"{self.there} records are there, {len(self.runs)} are missing: about "
            f"{spell(self.seconds / jobs)}, {self.disk / 1e9:.1f} GB of disk"
        )


@cache
def _seconds(paper: str, preset: str) -> float:
    if preset in WITHOUT_GPU and not torch.cuda.is_available():
        return WITHOUT_GPU[preset]
    known = []
    for source in places.RESULTS.glob(f"runs/{paper}/{preset}-*-s1-*.json"):
        try:
            known.append(json.loads(source.read_text())["provenance"]["seconds"])
        except (ValueError, KeyError, TypeError):
            continue  # who reads the record will say what is wrong with it
    return SCORING * median(known) if known else SECONDS[preset]


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
    budget: float | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> dict[str, int]:
    """Compute a plan's runs, after the networks they start from; say what is done and how long the rest will take.

    Interrupted at any time, the same call goes on where it stopped.

    Args:
        jobs: runs side by side, one thread each.
        devices: that train each run together.
        budget: seconds after which nothing new starts and running trainings stop at an epoch's end.
        fresh: recompute records that are there.
        progress: also show the steps of every run; of one at a time.

    Returns:
        How many runs ended ``done``, ``interrupted``, ``not started`` or ``failed``.
    """
    start.require(plan.runs)
    lacking = {
        (run.preset, run.model_config.backbone)
        for run in plan.runs
        if start.missing(run.model_config.weights)
    }
    for preset, backbone in sorted(lacking):
        print(f"pretraining {backbone}, which has no start yet", flush=True)
        pretrain.make(start.pretraining(backbone, preset))
    for run in plan.runs[:1]:
        for split in inputs.index(run.data, workers=jobs).values():
            for line in doctor.warnings(split) if run.data.real else ():
                print(line, file=sys.stderr)
    return sweep(
        plan.runs,
        jobs=jobs,
        devices=devices,
        budget=budget,
        fresh=fresh,
        progress=progress,
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
