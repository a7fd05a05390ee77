"""A sweep by two Dask workers of which one is killed in mid-run, and clusters that would compute something else."""

import os
import time
from collections import Counter
from dataclasses import replace

import pytest

from companion import cluster, places, records, sweep
from companion.papers import PAPERS
from companion.presets import DataConfig
from companion.run import RunConfig
from reidlib.recipe import TrainConfig

STEPS = 12
WORKER = """
import os, signal
from pathlib import Path
from companion import places, records
from reidlib import training

HOME = Path({home!r})
places.DATA, places.SYNTHETIC = HOME / "data", Path({drawn!r})
places.RESULTS, places.CACHE = HOME / "results", HOME / "cache"

def noted(self, bar):
    first, name = self.history.steps, type(self.model).__name__
    epoch(self, bar)
    if self.config.iterations == {steps}:  # no fingerprint's
        with (HOME / "epochs").open("a") as file:
            file.write(f"{{os.getpid()}} {{name}} {{first}}\\n")
        if first:
            try:
                (HOME / "killed").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


def written(record, target):
    write(record, target)
    with (HOME / "written").open("a") as file:
        file.write(target.stem + "\\n")


if records.write.__name__ != "written":  # Dask loads this file twice
    epoch, write = training._Job.epoch, records.write
    training._Job.epoch, records.write = noted, written
"""


def runs() -> list[RunConfig]:
    short = TrainConfig(iterations=STEPS, identities=4)
    found = [PAPERS["bpbreid"].run(row, preset_name="smoke") for row in ("bot", "pcb", "k8")]
    return [replace(run, train=short, scorings=("default",), measure=None) for run in found]


def test_the_run_of_a_killed_worker_is_done_again_and_no_record_is_written_twice(scratch, drawn, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the optional package of clusters")
    worker = scratch / "worker.py"
    worker.write_text(WORKER.format(home=str(scratch), drawn=str(drawn), steps=STEPS))
    options = {"threads_per_worker": 1, "dashboard_address": None, "preload": [str(worker)]}
    with distributed.LocalCluster(n_workers=2, **options) as workers:
        outcomes = sweep.sweep(runs(), dask=workers.scheduler_address)
    assert outcomes == {"done": 3, "interrupted": 0, "not started": 0, "failed": 0}
    assert Counter((scratch / "written").read_text().split()) == Counter(run.stem for run in runs())
    epochs = [line.split() for line in (scratch / "epochs").read_text().splitlines()]
    assert str(os.getpid()) not in {pid for pid, *_ in epochs}
    twice = [
        key for key, count in Counter((name, int(first)) for _, name, first in epochs).items() if count > 1
    ]
    assert len(twice) == 1  # of one run, and of that the second epoch alone
    assert twice[0][1] > 0
    killed = {"BoT": 0, "PCB": 1, "BPBreID": 2}[twice[0][0]]
    found = records.find(runs()[killed])
    monkeypatch.setattr(places, "RESULTS", scratch / "alone")
    monkeypatch.setattr(places, "CACHE", scratch / "alone" / "cache")
    assert sweep.sweep([runs()[killed]])["done"] == 1
    assert records.find(runs()[killed]).metrics == found.metrics
    assert not [*(scratch / "results").glob(".cluster-*")]


class Workers:
    """What a client tells of its workers."""

    def __init__(self, threads: int = 1, **changes: object) -> None:
        self.threads, self.changes = threads, changes

    def nthreads(self) -> dict[str, int]:
        return {"a": 1, "b": self.threads}

    def run(self, look, token, data) -> dict[str, dict]:
        return {"a": look(token, data), "b": look(token, data) | self.changes}


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (Workers(threads=4), "worker b has several threads"),
        (
            Workers(code="0123"),
            "worker b is not as this machine is:\n  code: .* -> 0123\nstart every worker in",
        ),
        (Workers(versions={"python": "3.0"}), "versions.python: .* -> 3.0"),
        (Workers(results="of its own, elsewhere"), "results: shared -> of its own, elsewhere"),
        (Workers(data={"market1501": "none (lost)"}), "data.market1501: absent -> none"),
    ],
)
def test_a_worker_that_would_compute_something_else_is_one_clear_error(scratch, monkeypatch, workers, words):
    monkeypatch.setattr(cluster, "_PACKAGES", ())
    with cluster._token() as token, pytest.raises(ValueError, match=words):
        cluster._check(workers, cluster.look(token), token, ())
    with cluster._token() as token:
        cluster._check(Workers(), cluster.look(token), token, ())


def test_a_machine_without_the_data_says_so(scratch, monkeypatch):
    monkeypatch.setattr(cluster, "_PACKAGES", ())  # the extra need not be here
    data = DataConfig("real", 64, 32, train_set="market1501", test_sets=("market1501",))
    with cluster._token() as token:
        found = cluster.look(token, [data])
    assert found["results"] == "shared"
    assert found["data"]["market1501"].startswith("none (")


def test_a_scheduler_that_does_not_answer_is_one_clear_error(scratch, monkeypatch):
    pytest.importorskip("distributed", reason="the optional package of clusters")
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    began = time.time()
    with pytest.raises(ValueError, match="--dask tcp://127.0.0.1:9: no Dask scheduler answers"):
        sweep.sweep(runs(), dask="tcp://127.0.0.1:9")
    assert time.time() - began < 30
