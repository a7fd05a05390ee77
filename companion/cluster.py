"""Runs on a Dask cluster (extra ``dask``): its workers are looked at first, then each takes a run at a time.

All share the checkout, or at least its ``results``. The run of a worker that dies is done again by another, from its
last checkpoint where they share the cache too. joblib's own Dask backend is not used: it waits forever for a run that
takes down every worker that tries it.
"""

import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from companion import inputs, places
from companion.presets import DataConfig
from companion.run import RunConfig, differences
from reidlib.files import replacing

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

PATIENCE = 20  # seconds for a scheduler to answer
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "lightning-fabric", "distributed")


def everywhere(
    address: str, job: Callable[..., tuple[RunConfig, str, float]], runs: Iterable[RunConfig], *options: Any
) -> Iterator[tuple[RunConfig, str, float]]:
    """What a job says of every run, in the order in which they end.

    Args:
        address: of the scheduler, such as ``tcp://node01:8786``.
        job: called with a run and the options, on a worker.

    Raises:
        ValueError: no extra, no scheduler, or a worker that is not as this machine is.
    """
    from distributed import as_completed

    runs = [*runs]
    with _connected(address) as client, _token() as token:
        if not client.nthreads():
            print(f"waiting for workers of {address}", flush=True)
            client.wait_for_workers(1)
        data = tuple({run.data for run in runs if run.data.real})
        here = look(token, data)
        _check(client, here, token, data)
        waiting = {}
        for run in runs:
            key = f"{run.stem}-{uuid4().hex[:8]}"
            waiting[client.submit(_checked, job, here["code"], run, *options, key=key, pure=False)] = run
        for future in as_completed(waiting):
            if error := future.exception():  # of the worker: a job tells its own
                told = (type(error), error, future.traceback())
                logger.error("%s failed: %s", waiting[future].stem, error, exc_info=told)
                yield waiting[future], "failed", 0.0
            else:
                yield future.result()


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "--dask needs the extra dask: .venv/bin/python -m pip install -e '.[dask]'"
        ) from None
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--dask {address}: no Dask scheduler answers ({error or type(error).__name__})"
        ) from error
    with client:
        yield client


@contextmanager
def _token() -> Iterator[str]:
    """A file among the results, which every worker must see."""
    path = places.RESULTS / f".cluster-{uuid4().hex}.tmp"  # git ignores what a kill leaves
    with replacing(path) as handle:
        handle.write(b"")
    try:
        yield path.name
    finally:
        path.unlink()


def look(token: str, data: Iterable[DataConfig] = ()) -> dict[str, Any]:
    """What a machine would compute with: code, versions, whether its results are the others', its real data."""
    return {
        "code": _code(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "results": "shared" if (places.RESULTS / token).exists() else f"of its own, {places.RESULTS}",
        "data": {name: found for config in data for name, found in _fingerprints(config).items()},
    }


def _code() -> str:
    """Of all source files of the three packages."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for package in ("companion", "reidlib", "synthreid"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _fingerprints(data: DataConfig) -> dict[str, str]:
    try:
        return {name: split.fingerprint for name, split in inputs.index(data).items()}
    except (OSError, ValueError) as error:
        return {data.train_set: f"none ({error})"}


def _check(client: "Client", here: dict[str, Any], token: str, data: tuple[DataConfig, ...]) -> None:
    """Refuse a cluster of which a worker would compute something else.

    Raises:
        ValueError: naming the first such worker and how it differs.
    """
    remedy = (
        "start every worker in this checkout, with its environment and one thread: "
        ".venv/bin/dask worker ADDRESS --nthreads 1"
    )
    if several := [worker for worker, threads in client.nthreads().items() if threads > 1]:
        raise ValueError(
            f"worker {several[0]} has several threads, which would share one random state; {remedy}"
        )
    try:
        seen = client.run(look, token, data)
    except Exception as error:  # whatever their code raises
        raise ValueError(f"a worker has other code ({type(error).__name__}: {error}); {remedy}") from error
    for worker, there in seen.items():
        if lines := differences(here, there):
            raise ValueError(
                f"worker {worker} is not as this machine is:\n  " + "\n  ".join(lines) + f"\n{remedy}"
            )


def _checked(job: Callable, code: str, run: RunConfig, *options: Any) -> tuple[RunConfig, str, float]:
    """A job on a worker, which may have joined after the others were looked at."""
    if _code() != code:
        raise ValueError(
            f"this worker has code {_code()}, the sweep has {code}; start it in the same checkout"
        )
    return job(run, *options)
