"""Kill every stage at random moments, run the same again, and compare with an unbroken run byte for byte.

A child of this process does the work and is killed by SIGKILL, at a random time or before a random file operation
(open, rename, remove, ...), up to three times in a row; then it runs to its end. What it leaves must be what an
unbroken run leaves, in everything but times. Everything lies in a folder of its own, which is removed.

    python tools/kills.py --kills 50
    python tools/kills.py sweep notebook --kills 50 --output results/kills.json

A file is added to after every trial, until each stage named has that many kills; stages not named stay as they are.
Stopped at any time, the same command goes on. To count a stage anew, take it out of the file.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with running threads must not fork

import argparse
import hashlib
import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from companion import places, pretrain, records, runner, start
from companion.fingerprint import behaviour
from companion.inputs import Inputs
from companion.papers import paper
from companion.records import RunRecord
from reidlib.data.loading import load_stack
from reidlib.files import replacing
from reidlib.options import at_least
from reidlib.recipe import TrainConfig
from synthreid import benchmark

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
"""Audit events of changes to a file system; opening for writing is the other."""
MOST = 3  # kills in a row before the work may end
TIMES = ("started", "seconds", "throughput")  # of a record's provenance
SWEEP = """
from companion.sweep import sweep
from kills import several

raise SystemExit(sweep(several(), jobs=2)["failed"])
"""
CLUSTER = """
from companion.sweep import sweep
from distributed import LocalCluster
from kills import several

with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
    failed = sweep(several(), dask=workers.scheduler_address)["failed"]
raise SystemExit(failed)
"""
COPIED = ("companion", "reidlib", "synthreid", "notebooks", "data/published", "pyproject.toml")


@dataclass(frozen=True)
class Stage:
    """What is killed, and what must come out.

    Args:
        work: does it, in a child process whose places lie in the folder.
        left: file or value -> what must be the same at the end.
        check: raises if what a reader finds after a kill is neither whole nor absent.
        group: whether processes of the work's own may be killed or left alone, too.
        slow: a stage of minutes, whose time is the measure, not its file operations.
    """

    work: Callable[[Path], None]
    left: Callable[[Path], dict]
    check: Callable[[Path], None] = lambda folder: None
    group: bool = False
    slow: bool = False


# -- stages -------------------------------------------------------------------------------------------


def settle(folder: Path) -> None:
    """All places in a folder."""
    places.DATA, places.RESULTS, places.CACHE = folder / "data", folder / "results", folder / "cache"
    places.WEIGHTS = places.DATA / "weights"


TINY = benchmark.Profile("tiny", 4, 4, 4, 2, 4, 4, 2, 2, (128, 64), 1.0)
BRIEF = TrainConfig(iterations=6, identities=4, images=2)  # in three epochs


def short():
    run = paper("bpbreid").run("k8", preset_name="smoke")
    data = replace(run.data, profile="tiny", test_sets=run.data.test_sets[:2])
    return replace(run, data=data, train=BRIEF, scorings=("default",))


def several():
    """Runs of a sweep: those of ``smoke``, with few steps and two sets to score, so that many kills take minutes."""
    for row in ("bot", "pcb", "k2", "k4"):
        run = paper("bpbreid").run(row, preset_name="smoke")
        data = replace(run.data, test_sets=run.data.test_sets[:2])
        yield replace(run, data=data, train=BRIEF, scorings=("default",), measure=None)


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".lock", ".tmp"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def timeless(source: Path) -> dict:
    body = json.loads(source.read_text())
    body["provenance"] = {key: value for key, value in body["provenance"].items() if key not in TIMES}
    return body


def made(folder: Path) -> dict:
    """Records without times, and all of their arrays, weights and features."""
    found = {str(path.relative_to(folder)): timeless(path) for path in folder.rglob("runs/*/*.json")}
    kinds = ("*.npz", "*.safetensors", "*.npy")
    files = (path for kind in kinds for path in folder.rglob(kind))
    return found | {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def draw(folder: Path, *, workers: int = 1) -> None:
    benchmark.generate(folder / "synthetic", profile="tiny", workers=workers)


def whole_or_absent(folder: Path) -> None:
    made = folder / "synthetic" / "tiny-1"
    assert not made.exists() or (made / "manifest.json").exists(), "a benchmark without a manifest"


def decode(folder: Path) -> None:
    split = Inputs.of(short()).train
    load_stack(split.train, size=(64, 32), cache=folder / "images")


def train(folder: Path) -> None:
    settle(folder)
    runner.train(short(), progress=False)


def make_start(folder: Path) -> None:
    settle(folder)
    pretrain.make(stand_in(), progress=False)


def stand_in():
    run = start.pretraining("small-thin", "cpu")
    return replace(run, preset="smoke", data=replace(run.data, profile="tiny", seed=1), train=BRIEF)


def numbered(number: int) -> RunRecord:
    run = paper("bpbreid").run("bot", preset_name="cpu")
    return RunRecord(
        config=run.identity(), hash=run.hash, name=run.name, paper=run.paper, preset=run.preset, seed=1,
        provenance={}, history={"x": [float(number)] * 3000}, alarms=[], metrics={}, measures={}, slices={},
        behaviour=[float(number)], test_scorings=1, parameters=1,
        arrays={f"a{k}": np.full(5000, number, np.float32) for k in range(8)},
    )  # fmt: skip


def write_record(folder: Path) -> None:
    """Once, then again and again in place of the last."""
    settle(folder)
    for number in (*range(20), 0):
        record = numbered(number)
        records.write(record, records.path(paper("bpbreid").run("bot", preset_name="cpu")))


def one_of_them(folder: Path) -> None:
    settle(folder)
    found = records.find(paper("bpbreid").run("bot", preset_name="cpu"))
    if found is not None:
        (number,) = found.behaviour
        assert found.history == {"x": [number] * 3000}, "losses of another record"
        assert len(found.arrays) == 8, "arrays are missing"
        for array in found.arrays.values():
            assert (array == number).all(), f"arrays of record {array[0]:.0f} beside record {number:.0f}"


def checkout(folder: Path) -> dict[str, str]:
    """A copy of the code to run as a command, and its environment."""
    for name in COPIED:
        source, target = places.ROOT / name, folder / name
        if not target.exists():
            copy = shutil.copytree if source.is_dir() else shutil.copy
            target.parent.mkdir(parents=True, exist_ok=True)
            copy(source, target)
    if not (folder / "data" / "synthetic").exists():
        (folder / "data" / "synthetic").symlink_to(places.SYNTHETIC)
    paths = (str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, paths))
    return os.environ | {"PYTHONPATH": path, "COMPANION_CACHE": str(folder / "results" / "cache")}


def command(folder: Path, *words: str) -> None:
    environment = checkout(folder)
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def sweep(folder: Path) -> None:
    command(folder, "-c", SWEEP)


def cluster(folder: Path) -> None:
    command(folder, "-c", CLUSTER)


def notebook(folder: Path) -> None:
    """Up to the trained model and its check against the record: what follows reads and draws."""
    whole = json.loads((places.ROOT / "notebooks" / "pan.ipynb").read_text())
    starts = ("".join(cell["source"]).startswith("## 8.") for cell in whole["cells"])
    (folder / "in.ipynb").write_text(json.dumps(whole | {"cells": whole["cells"][: [*starts].index(True)]}))
    words = ("-m", "papermill", "--cwd", "notebooks", "--no-progress-bar", "-k", "python3")
    command(folder, *words, "in.ipynb", "out.ipynb", "-p", "PRESET", "smoke")


STAGES = {
    "data generation": Stage(draw, lambda folder: tree(folder / "synthetic"), whole_or_absent),
    "data generation, two workers": Stage(
        partial(draw, workers=2), lambda folder: tree(folder / "synthetic"), whole_or_absent, group=True
    ),
    "image cache": Stage(decode, lambda folder: tree(folder / "images")),
    "training": Stage(train, made),
    "record": Stage(write_record, made, one_of_them),
    "pretraining": Stage(make_start, made),
    "sweep": Stage(sweep, made, group=True, slow=True),
    "Dask workers": Stage(cluster, made, group=True, slow=True),
    "notebook": Stage(notebook, made, group=True, slow=True),
}


# -- killing ------------------------------------------------------------------------------------------


def child(stage: Stage, folder: Path, *, last: int | None = None, count: Path | None = None) -> int:
    """Begin a stage's work; killed before file operation number ``last``, or with their number in a file."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    with open(folder.parent / "log.txt", "a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    seen = [0]

    def hook(event: str, arguments: tuple) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event in CHANGES:
            seen[0] += 1
            if seen[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.addaudithook(hook)
        stage.work(folder)
        if count:
            count.write_text(str(seen[0]))
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def ended(pid: int, *, timeout: float) -> int | None:
    """How a child ended, None if it has not."""
    until = time.monotonic() + timeout
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(min(0.05, timeout / 1000))
    except KeyboardInterrupt:  # which its session does not hear
        end(pid)
        raise
    return None


def family(pid: int) -> list[int]:
    """The processes of a child's session, which is its own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == pid and words[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def end(pid: int) -> None:
    """End a child and the processes of its session, as a command that is stopped must."""
    for member in family(pid):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def strike(pid: int, stage: Stage, chance: random.Random) -> str:
    """Kill a child, or some of its processes where it has any; which."""
    members = family(pid) if stage.group else [pid]
    others = [member for member in members if member != pid]
    who = chance.choice(("all processes", "the first", "another")) if others else "the first"
    struck = {"all processes": members, "the first": [pid], "another": [chance.choice(others or [pid])]}
    for victim in struck[who]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return who


def unbroken(stage: Stage, folder: Path) -> tuple[dict, float, int]:
    """What the work leaves, how long it takes, and its file operations."""
    folder.mkdir()
    count, began = folder.parent / "count", time.monotonic()
    if code := ended(child(stage, folder, count=count), timeout=3600):
        raise SystemExit(f"error: the unbroken run failed ({code}); see {folder.parent / 'log.txt'}")
    return stage.left(folder), time.monotonic() - began, int(count.read_text())


def torment(name: str, *, kills: int, limit: float, seed: int, home: Path, known: dict) -> Iterator[dict]:
    """Kill a stage until it was killed so often; the tally after every trial, on top of a known one."""
    stage, home = STAGES[name], home / name.replace(" ", "-")
    tally, faults = Counter(known), [*known.get("faults", ())]
    left = known.get("temporary files left", 0)
    for key in ("seconds unbroken", "temporary files left", "faults"):
        del tally[key]
    until = time.monotonic() + limit
    if tally["kills"] >= kills:
        return
    home.mkdir()
    expected, seconds, operations = unbroken(stage, home / "unbroken")
    while tally["kills"] < kills and time.monotonic() < until:
        trial = tally["completed"]
        chance, folder = random.Random(f"{seed} {name} {trial}"), home / f"trial-{trial}"
        folder.mkdir()
        for _ in range(chance.randint(1, min(MOST, kills - tally["kills"]))):
            by_time = stage.slow or chance.random() < 0.5
            last = None if by_time else chance.randint(1, operations)
            pid = child(stage, folder, last=last)
            code = ended(pid, timeout=chance.uniform(0, seconds) if by_time else 3600)
            if code is None:
                how = f"at a time, {strike(pid, stage, chance)}"
                ended(pid, timeout=3600)
            elif code == -signal.SIGKILL:
                how = "before a file operation"
            else:  # it had ended
                continue
            tally["kills"], tally[how] = tally["kills"] + 1, tally[how] + 1
            try:
                stage.check(folder)
            except AssertionError as error:
                faults.append(f"after a kill: {error}")
        code = ended(child(stage, folder), timeout=3600)
        tally["completed"] += 1
        found = stage.left(folder) if code == 0 else {}
        if code:
            faults.append(f"trial {trial}: the same command ended with {code}")
        elif found != expected:
            names = sorted(
                key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
            )
            faults.append(f"trial {trial}: other than unbroken: {', '.join(names[:5])}")
        left += sum(1 for _ in folder.rglob("*.tmp"))
        if not (code or found != expected):
            shutil.rmtree(folder)
        print(
            f"{name}: {tally['kills']} kills, {tally['completed']} completed, {len(faults)} faults",
            flush=True,
        )
        yield dict(sorted(tally.items())) | {
            "seconds unbroken": round(seconds, 2),
            "temporary files left": left,
            "faults": faults,
        }


def add(output: Path | None, tallies: dict) -> None:
    """Put tallies in a file in place of the same stages' there."""
    if output:
        with replacing(output) as handle:
            handle.write((json.dumps(read(output) | tallies, indent=1) + "\n").encode())


def read(output: Path | None) -> dict:
    return json.loads(output.read_text()) if output and output.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", help=f"default: all; {', '.join(STAGES)}")
    parser.add_argument("--kills", type=at_least(1), default=50, help="of each stage")
    parser.add_argument("--limit", type=at_least(1), default=3600, help="seconds for each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="json that the tally is added to")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the trials")
    options = parser.parse_args()
    if unknown := sorted(set(options.stages) - STAGES.keys()):
        sys.exit(f"error: no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    names = options.stages or [*STAGES]
    if "Dask workers" in names and find_spec("distributed") is None:
        if options.stages:
            sys.exit("error: Dask workers need the extra dask")
        print("Dask workers are left out: they need the extra dask")
        names.remove("Dask workers")
    logging.disable(logging.INFO)
    cv2.setNumThreads(1)
    home = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        broken = every(names, options, home=home)
    except KeyboardInterrupt:
        shutil.rmtree(home)
        print("interrupted; the same command goes on with what --output holds", file=sys.stderr)
        return 130
    if options.keep or broken:
        print(f"trials: {home}")
    else:
        shutil.rmtree(home)
    return 1 if broken else 0


def every(names: list[str], options: argparse.Namespace, *, home: Path) -> bool:
    """Kill stages and tell their tallies; whether one has faults."""
    runner.commit = lambda: "pinned"  # records name the checkout's, which may move meanwhile
    places.SYNTHETIC, benchmark.PROFILES["tiny"] = home / "drawn", TINY
    train(home / "warm")  # what is imported late, and fingerprints, every child finds there
    behaviour(stand_in())
    benchmark.generate(places.SYNTHETIC, profile="smoke")  # what sweeps and notebooks read
    tallies = {name: read(options.output).get(name, {}) for name in names}
    for name in names:
        trials = torment(
            name, kills=options.kills, limit=options.limit, seed=options.seed, home=home, known=tallies[name]
        )
        for tally in trials:
            tallies[name] = tally
            add(options.output, {name: tally})
    print(json.dumps(tallies, indent=1))
    return any(tally.get("faults") for tally in tallies.values())


if __name__ == "__main__":
    sys.exit(main())
