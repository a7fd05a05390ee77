"""From a run config to its record, straight: inputs, training, scoring, record, each once."""

import io
import json
import logging
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import nn

from companion import places, records, start, truth
from companion.fingerprint import behaviour, same, stale
from companion.inputs import Inputs
from companion.paper import Measured
from companion.records import RecordError, RunRecord
from companion.run import LIVE, RunConfig, differences
from companion.trained import Origin, Trained, figure_maps, initial
from reidlib.extraction import extract
from reidlib.files import replacing
from reidlib.models.stored import load_model, save_model
from reidlib.training import CheckpointError, History, fit, told

logger = logging.getLogger(__name__)


def train(
    run: RunConfig,
    *,
    fresh: bool = False,
    renew: bool = False,
    deadline: float | None = None,
    progress: bool = True,
    devices: int = 1,
    compiled: bool = False,
) -> RunRecord:
    """The record of a run: read if it is there, else trained, scored and written.

    A lock stops two processes from computing the same run; a killed one resumes from its last epoch. Records of
    other configs, which the new one takes the place of, go when it is written.

    Args:
        fresh: recompute although a record is there, from nothing that is cached.
        renew: a record of another config, of other data or of other code counts as absent.
        deadline: ``time.time()`` at which to stop after the current epoch.
        devices: that train it together.
        compiled: see ``reidlib.training.fit``.

    Raises:
        Interrupted: the deadline came first; calling again resumes.
        RecordError: a record of the same name belongs to another config, unless it shall be renewed.
    """
    _check_flag(fresh)
    known = _current if renew else complete
    if not fresh and (record := known(run)):
        if not run.shown and weights_path(run).exists():  # a kill came after the record
            with lock(run):
                forget(run)
        return record
    start.require([run])
    with lock(run):
        if not fresh and (record := known(run)):
            return record
        started = datetime.now(UTC)
        if fresh:
            forget(run)
        found = _fit(Inputs.of(run), deadline=deadline, progress=progress, devices=devices, compiled=compiled)
        record = _record(found, started=started, progress=progress)
        records.write(record, records.path(run))
        if records.tracked(run):
            records.remove(run, others=True)
        if not run.shown:
            forget(run)
    return record


def trained(
    inputs: Inputs,
    *,
    fresh: bool = False,
    deadline: float | None = None,
    progress: bool = True,
    devices: int = 1,
    compiled: bool = False,
) -> Trained:
    """The trained model of a run, trained now if its weights are not cached.

    Args:
        deadline, devices, compiled: as in ``train``.

    Raises:
        Interrupted: the deadline came first.
        ValueError: ``fresh`` is neither true nor false.
    """
    _check_flag(fresh)
    with lock(inputs.run):
        if fresh:
            forget(inputs.run)
        return _fit(inputs, deadline=deadline, progress=progress, devices=devices, compiled=compiled)


def _check_flag(fresh: object) -> None:
    """Text is true whatever it says, and hours of training may hang on it."""
    if not isinstance(fresh, bool):
        raise ValueError(
            f"FRESH is {fresh!r}; expected True or False (papermill gives them with -p, text with -r)"
        )


def live(run: RunConfig, varied: RunConfig, *, name: str) -> RunRecord:
    """The record of a variation: of any row that means it, else from the cache, else trained now.

    One that changes nothing is the run itself.

    Args:
        run: what was varied.
        varied: the same with other settings.
        name: readable part of the cached file's name.
    """
    known = varied.model_config.scorings()
    scorings = tuple(scoring for scoring in run.scorings if scoring in known)
    varied = replace(varied, paper=LIVE, name=name, scorings=scorings)
    if varied.hash == run.hash:
        return complete(run) or train(varied)
    if found := records.alike(varied):
        _refuse_other_data(found, varied)
    return found or train(varied)


def complete(run: RunConfig) -> RunRecord | None:
    """The run's record if it holds every scoring that the run asks for.

    One that lacks some is filled from cached weights and features, by retraining where there are none.
    """
    record = records.find(run)
    if record and all(
        set(run.scorings) <= record.metrics.get(name, {}).keys() for name in run.data.test_sets
    ):
        _refuse_other_data(record, run)
        return record
    return None


def _current(run: RunConfig) -> RunRecord | None:
    """As ``complete``, of today's config, data and code alone."""
    try:
        record = complete(run)
    except RecordError:
        return None
    return None if record is None or stale(record, run) else record


def _refuse_other_data(record: RunRecord, run: RunConfig) -> None:
    """A record of real data stands for the images and part labels that it was made of.

    Raises:
        RecordError: the data set on this machine is another one; one that is not here is no contradiction.
    """
    if not run.data.real:
        return
    try:
        here = Inputs.of(run).fingerprints
    except FileNotFoundError:
        return
    if lines := differences(record.provenance["data"], here):
        raise RecordError(
            f"record {records.path(run).name} was made of other data:\n  "
            + "\n  ".join(lines)
            + f"\nremedy: restore the data set, or .venv/bin/python -m companion run --replace --paper {run.paper} "
            f"--preset real --dataset {run.data.holistic}"
        )


def forget(run: RunConfig) -> None:
    """Drop the cached features, weights and checkpoint of a run; its record stays."""
    _forget_features(run)
    weights_path(run).unlink(missing_ok=True)
    _forget_checkpoint(run)


def _forget_checkpoint(run: RunConfig) -> None:
    _checkpoint_path(run).unlink(missing_ok=True)
    _begun_path(run).unlink(missing_ok=True)


def _forget_features(run: RunConfig) -> None:
    """Of other weights than those that are about to be: an old embedding must not enter a new record."""
    folder = places.CACHE / "features" / run.training
    if folder.exists():
        shutil.rmtree(folder)


def weights_path(run: RunConfig) -> Path:
    return places.CACHE / "weights" / f"{run.training}.safetensors"


def _checkpoint_path(run: RunConfig) -> Path:
    return places.CACHE / "checkpoints" / f"{run.training}.pt"


def _begun_path(run: RunConfig) -> Path:
    """What the code did that began a training: its checkpoint tells recipe and data alone."""
    return _checkpoint_path(run).with_suffix(".json")


def _origin_path(run: RunConfig) -> Path:
    return weights_path(run).with_suffix(".training.pt")


def reached(run: RunConfig) -> int:
    """Steps of an interrupted training that its checkpoint keeps."""
    path = _checkpoint_path(run)
    if not path.exists():
        return 0
    losses = torch.load(path, map_location="cpu", weights_only=True)["history"]["losses"]
    return max(map(len, losses.values()), default=0)


@contextmanager
def lock(run: RunConfig) -> Iterator[None]:
    """Held while a run is trained or recorded, by one process at a time; re-entrant within a process.

    Raises:
        OSError: the cache cannot be written, or its disk knows no locks.
    """
    path = places.CACHE / f"{run.training.rpartition('-')[2]}.lock"
    held = FileLock(path, is_singleton=True)
    try:
        places.CACHE.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            logger.warning("waiting for another process, which computes %s", run.stem)
            held.acquire()
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(
            f"cannot lock {path} ({why}); name a folder on a local disk that you may write by COMPANION_CACHE"
        ) from error
    try:
        yield
    finally:
        held.release()


# -- training -----------------------------------------------------------------------------------------


def _fit(inputs: Inputs, *, deadline: float | None, progress: bool, devices: int, compiled: bool) -> Trained:
    """Train a run unless its weights are cached and today's code and data would still train them."""
    run = inputs.run
    with lock(run):
        if known := _cached(inputs):
            return known
        data, now = inputs.fingerprints, behaviour(run)
        model, history = _learn(
            inputs, now, deadline=deadline, progress=progress, devices=devices, compiled=compiled
        )
        # weights that are read from a file are contiguous, and sums must keep their order
        model.to(memory_format=torch.contiguous_format).eval()
        found = Trained(inputs, model, Origin(history, now, commit(), data))
        _forget_features(run)
        _keep(found)
        _forget_checkpoint(run)
        return found


def _learn(
    inputs: Inputs,
    now: list[float],
    *,
    deadline: float | None,
    progress: bool,
    devices: int,
    compiled: bool,
) -> tuple[nn.Module, History]:
    """Train on from the checkpoint, or afresh where it was begun by other code or on other data, or is damaged.

    Args:
        now: what today's code does.
    """
    run, checkpoint = inputs.run, _checkpoint_path(inputs.run)
    _forget_other_code(run, now)
    begun = checkpoint.exists()
    model = initial(run, identities=inputs.identities)
    if run.data.real:
        _rehearse(model, inputs)
    try:
        history = fit(
            model,
            inputs.loader(),
            config=run.train,
            seed=run.draw,
            checkpoint=checkpoint,
            deadline=deadline,
            devices=devices,
            compiled=compiled,
            label=run.stem if progress else None,
        )
    except CheckpointError as error:
        if not begun:
            raise
        logger.warning("%s (done: %s starts afresh)", error, run.stem)
        _forget_checkpoint(run)
        return _learn(inputs, now, deadline=deadline, progress=progress, devices=devices, compiled=compiled)
    return model, history


def _forget_other_code(run: RunConfig, now: list[float]) -> None:
    """Drop a checkpoint that was not begun by code that does what today's does: one record must not mix the two."""
    note = _begun_path(run)
    if _checkpoint_path(run).exists():
        try:
            if same(json.loads(note.read_text()), now):
                return
        except (OSError, ValueError, TypeError):  # lost or damaged
            pass
        logger.warning("the interrupted training of %s was begun by other code; it starts afresh", run.stem)
        _forget_checkpoint(run)
    with replacing(note) as handle:
        handle.write(json.dumps(now).encode())


def _cached(inputs: Inputs) -> Trained | None:
    """The model of the cached weights, if today's code and data would still train it; None if they are damaged."""
    run = inputs.run
    if not (weights_path(run).exists() and _origin_path(run).exists()):
        return None
    try:
        note = torch.load(_origin_path(run), weights_only=True)
        origin = Origin(History(**note["history"]), note["behaviour"], note["commit"], note["data"])
        model = load_model(weights_path(run))
    except (
        ValueError,
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        UnpicklingError,
        SafetensorError,
    ) as error:
        changed = [f"and are damaged ({type(error).__name__})"]
    else:
        changed = [] if same(origin.behaviour, behaviour(run)) else ["by code that behaved differently"]
        known, now = (_learned(data, inputs) for data in (origin.data, inputs.fingerprints))
        changed += [] if known == now else ["on other data"]
        if not changed:
            return Trained(inputs, model, replace(origin, data=inputs.fingerprints))
    logger.warning("cached weights of %s were trained %s; training again", run.stem, " and ".join(changed))
    forget(run)
    return None


def _learned(data: Mapping[str, str], inputs: Inputs) -> Mapping[str, str | None]:
    """Those fingerprints that the weights depend on: of real data, the test sets may be others."""
    if not inputs.data.real:
        return data
    return {name: data.get(name) for name in (inputs.data.train_set, "part labels")}


def _keep(trained: Trained) -> None:
    """Write weights, and before them how they came about."""
    packed = io.BytesIO()
    torch.save(asdict(trained.origin), packed)
    with replacing(_origin_path(trained.run)) as handle:
        handle.write(packed.getbuffer())
    inputs, data = trained.inputs, trained.inputs.data
    drawn = "" if data.real else f", profile {data.profile}, seed {data.seed}"
    save_model(
        trained.model,
        weights_path(trained.run),
        trained_on=data.train_set + drawn,
        size=(data.height, data.width),
        identities=inputs.identities,
    )


def _rehearse(model: nn.Module, inputs: Inputs) -> None:
    """Decode all test images and embed one of each set: hours of training should not end with a broken image."""
    for name in inputs.data.test_sets:
        extract(model, inputs.test_set(name).query[torch.tensor([0])], groups=inputs.groups)


# -- records ------------------------------------------------------------------------------------------


def _record(trained: Trained, *, started: datetime, progress: bool) -> RunRecord:
    run, origin = trained.run, trained.origin
    metrics, measures, slices, arrays = {}, {}, {}, {}
    for name in told(run.data.test_sets, label=f"{run.stem}, scoring" if progress else None):
        metrics[name], hits = {}, {}
        for scoring in run.scorings:
            result = trained.score(scoring, name)
            metrics[name][scoring] = {key: round(value, 6) for key, value in result.summary().items()}
            first = np.where(result.valid, result.rank == 1, np.nan)
            hits |= {f"{scoring}/rank1": first, f"{scoring}/mAP": result.ap}
            wide = result.rank.max() > np.iinfo(np.uint16).max
            arrays[f"{name}/{scoring}/rank"] = result.rank.astype(np.uint32 if wide else np.uint16)
            arrays[f"{name}/{scoring}/ap"] = result.ap.astype(np.float16)
        arrays[f"{name}/pid"] = trained.features(name)[0].pid.numpy().astype(np.int32)
        found = run.measure(trained, name) if run.measure else Measured()
        measures[name] = dict(found.summary) | means(found.values, queries=len(result.rank))
        if name == run.data.occluded and not run.data.real:
            slices[name] = truth.slices(trained.test_set(name), hits)
        arrays |= {f"{name}/{key}": array.astype(np.float16) for key, array in found.values.items()}
    if run.shown:
        arrays |= {
            f"{name}/maps": maps.numpy().astype(np.float16) for name, maps in figure_maps(trained).items()
        }
    return RunRecord(
        config=run.identity(),
        hash=run.hash,
        name=run.name,
        paper=run.paper,
        preset=run.preset,
        seed=run.seed,
        provenance=_provenance(origin, started=started),
        history=origin.history.thinned(100 if run.shown else 20),
        alarms=origin.history.alarms,
        metrics=metrics,
        measures=measures,
        slices=slices,
        behaviour=origin.behaviour,
        arrays=arrays if run.shown else {},
        test_scorings=len(run.scorings) * len(run.data.test_sets),
        parameters=sum(p.numel() for p in trained.model.parameters()),
    )


def means(values: Mapping[str, np.ndarray], *, queries: int) -> dict[str, float]:
    """The mean of every measure that has a value for each query, NaN left out."""
    return {
        name: float(f"{np.nanmean(array):.5g}") if np.isfinite(array).any() else float("nan")
        for name, array in values.items()
        if array.shape == (queries,)
    }


def _provenance(origin: Origin, *, started: datetime) -> dict:
    packages = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "lightning-fabric")
    return {
        "commit": origin.commit,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu {platform.machine()}",
        "data": origin.data,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(origin.history.seconds, 1),
        "throughput": round(origin.history.throughput, 1),
    } | ({"compiled": True} if origin.history.compiled else {})


def commit() -> str:
    """The checkout's commit, abbreviated; ``unknown`` for a copy that git knows nothing of."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=places.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"
