"""Run records: one small JSON per training, with per-query values beside it.

A record is written under a temporary name and renamed, json last, so that a killed process never
leaves half a record; its config's hash is part of the file name and is checked on reading.
"""

import errno
import json
import logging
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin
from zipfile import BadZipFile

import numpy as np

from companion import places
from companion.presets import PRESETS
from companion.run import LIVE, RunConfig, differences
from reidlib.files import replacing

SCHEMA = 2

_UNREADABLE = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, BadZipFile, zlib.error)
"""What reading json, zip and arrays may end in; a depth that nobody writes is a RuntimeError."""

logger = logging.getLogger(__name__)


class RecordError(ValueError):
    """A record that cannot be used: corrupt, or of another config."""


@dataclass(frozen=True)
class RunRecord:
    """What one training left behind.

    Args:
        metrics: ``metrics[test_set][scoring]`` = rank1, rank3, rank5, rank10, mAP, mINP, counts.
        measures: what only ground truth can give (attention IoU, visibility AUC), per test set.
        slices: ``slices[test_set][group]``: number of queries, and accuracies of the test-time variants on them.
        arrays: per-query values and maps for figures; of the run that figures show.
        behaviour: loss terms of three steps and test distances on a fixed tiny batch; a record is
            stale when recomputing them gives something else.
        test_scorings: how often a test set was scored for this run.
    """

    config: dict
    hash: str
    name: str
    paper: str
    preset: str
    seed: int
    provenance: dict  # commit, versions, device, data fingerprint, start, seconds, throughput
    history: (
        dict  # loss term and lr -> means over 100 stretches of training, 20 where no figure shows the run
    )
    alarms: list[str]
    metrics: dict[str, dict[str, dict[str, float]]]
    measures: dict[str, dict]
    slices: dict[str, dict]
    behaviour: list[float]
    test_scorings: int
    parameters: int
    schema: int = SCHEMA
    arrays: dict[str, np.ndarray] = field(default_factory=dict, compare=False)

    def value(self, test_set: str, scoring: str, metric: str) -> float:
        """An accuracy under a test-time variant, or a measure against ground truth; NaN where there is none."""
        known = self.metrics.get(test_set, {}).get(scoring, {})
        if metric in known:
            return known[metric]
        found = self.measures.get(test_set, {}).get(metric, np.nan)
        return float(found) if isinstance(found, int | float) else np.nan

    @property
    def learned(self) -> float:
        """By how much an identity loss fell from the first to the last twentieth of the steps, over the first.

        The mean over the identity losses; NaN where there is none.
        """
        falls = []
        for name, values in self.history.items():
            if name.startswith("id"):
                stretches = np.array_split(values, min(20, len(values)))
                falls.append(1 - stretches[-1].mean() / stretches[0].mean())
        return float(np.mean(falls)) if falls else np.nan

    def per_query(self, test_set: str, scoring: str, metric: str) -> np.ndarray:
        """Per-query rank-1 hits, AP, or a measure against ground truth; NaN where there is none. ``[Q]``"""
        if f"{test_set}/{metric}" in self.arrays:
            return self.arrays[f"{test_set}/{metric}"].astype(np.float64)
        rank = self.arrays[f"{test_set}/{scoring}/rank"].astype(np.int64)
        if metric == "mAP":
            return self.arrays[f"{test_set}/{scoring}/ap"].astype(np.float64)
        hits = (rank <= int(metric.removeprefix("rank"))).astype(np.float64)
        return np.where(rank > 0, hits, np.nan)


def folder(run: RunConfig) -> Path:
    """Where the record of a run belongs: tracked results, or scratch for presets that are not kept."""
    home = places.RESULTS if tracked(run) else places.CACHE
    return home / "runs" / run.paper


def tracked(run: RunConfig) -> bool:
    """Whether the record belongs to the repository."""
    return PRESETS[run.preset].tracked and run.paper != LIVE


def path(run: RunConfig) -> Path:
    return folder(run) / f"{run.stem}.json"


def write(record: RunRecord, target: Path) -> None:
    """Write the arrays, if there are any, then the json, each complete or not at all.

    Raises:
        OSError: a file cannot be written.
    """
    body = asdict(replace(record, arrays={})) | {"arrays": sorted(record.arrays)}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in body.items())
    try:
        with replacing(target) as text:
            text.write(f"{{\n{lines}\n}}\n".encode())
            text.flush()  # a full disk tells here
            if record.arrays:
                with replacing(target.with_suffix(".npz")) as binary:
                    np.savez_compressed(binary, **record.arrays)
                    binary.flush()
                    # both are complete; the old record goes before its arrays do, or a kill would leave a mixed pair
                    target.unlink(missing_ok=True)
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "mend that place"
        raise OSError(
            f"cannot write record {target}: {error.strerror}; {remedy} and call again, its weights are cached"
        ) from error


def read(source: Path) -> RunRecord:
    """Read a record and its arrays.

    Raises:
        RecordError: unreadable, of another schema, or its arrays are missing or corrupt.
    """
    try:
        body = json.loads(source.read_text())
        if not isinstance(body, dict):
            raise ValueError(f"it holds {type(body).__name__}, no object")
        names = body.pop("arrays", [])
        if body.get("schema") != SCHEMA:
            raise RecordError(
                f"record {source.name} has schema {body.get('schema')}, this code reads {SCHEMA}; recompute it"
            )
        record = RunRecord(**body)
        if wrong := [f.name for f in fields(record) if not _is(getattr(record, f.name), f.type)]:
            raise ValueError(f"{', '.join(wrong)}: values of another kind")
        if names:
            with np.load(source.with_suffix(".npz")) as arrays:
                record.arrays.update({name: arrays[name] for name in names})
    except RecordError:
        raise
    except _UNREADABLE as error:
        raise RecordError(f"record {source.name} is corrupt ({error}); it will be recomputed") from error
    return record


def _is(value: object, kind: Any) -> bool:
    """Whether what json read is of a type such as ``dict[str, list[float]]``; whole numbers are numbers, too."""
    outer, inner = get_origin(kind) or kind, get_args(kind)
    if outer is float:
        outer = (int, float)
    if not isinstance(value, outer) or not inner:
        return isinstance(value, outer)
    return all(_is(item, inner[-1]) for item in (value.values() if outer is dict else value))


def alike(run: RunConfig) -> RunRecord | None:
    """A record that means the same training, whatever its paper and name; None where no readable one does."""
    home = places.RESULTS / "runs"
    for target in sorted(home.glob(f"*/{run.preset}-*-s{run.seed}-{run.hash}.json")):
        with suppress(RecordError):
            return read(target)
    return None


def find(run: RunConfig) -> RunRecord | None:
    """The record of a run, or None where there is none or it is corrupt (which is logged).

    Raises:
        RecordError: a record of the same name and seed belongs to another config; the message lists
            the fields that differ. ``run --replace`` computes it anew.
    """
    target = path(run)
    if not target.exists():
        if not tracked(run):  # scratch: another config is another file, nothing to protect
            return None
        for other in _same_name(run):
            lines = differences(_config(other), run.identity())
            raise RecordError(
                f"record {other.name} belongs to another config:\n  "
                + "\n  ".join(lines)
                + f"\nremedy: .venv/bin/python -m companion run --replace --paper {run.paper} --preset {run.preset}"
            )
        return None
    try:
        record = read(target)
    except RecordError as error:
        logger.warning("%s", error)
        return None
    if record.config != run.identity():
        lines = differences(record.config, run.identity())
        raise RecordError(
            f"record {target.name} was edited:\n  "
            + "\n  ".join(lines)
            + f"\nremedy: .venv/bin/python -m companion run --replace --paper {run.paper} --preset {run.preset}"
        )
    return record


def _config(source: Path) -> dict:
    try:
        return json.loads(source.read_text())["config"]
    except (ValueError, KeyError, TypeError):
        return {"record": "corrupt"}


def remove(run: RunConfig, *, others: bool = False) -> None:
    """Delete what ``find`` would return or refuse for this run.

    Args:
        others: those of other configs alone.
    """
    for target in _same_name(run) if others else [path(run), *_same_name(run)]:
        target.with_suffix(".npz").unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def _same_name(run: RunConfig) -> list[Path]:
    return [
        p
        for p in sorted(folder(run).glob(f"{run.prefix}*.json"))
        if len(p.stem) == len(run.stem) and p != path(run)
    ]
