"""Many runs side by side, by processes or a Dask cluster: a thread each, a budget, and what became of every run."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable

from companion import cluster, pretrain, runner, start
from companion.fingerprint import one_thread
from companion.run import RunConfig
from reidlib.training import Interrupted

logger = logging.getLogger(__name__)


def sweep(
    runs: Iterable[RunConfig],
    *,
    jobs: int = 1,
    devices: int = 1,
    compiled: bool = False,
    budget: float | None = None,
    fresh: bool = False,
    renew: bool = False,
    progress: bool = False,
    dask: str | None = None,
    report: Callable[[RunConfig, str, float], None] | None = None,
) -> dict[str, int]:
    """Compute missing records, several runs side by side with one thread each.

    A run whose start is not there makes it first; those whose start is there come before it.

    Args:
        jobs: processes; on a GPU one is usual.
        devices: that train each run together.
        compiled: see ``reidlib.training.fit``.
        budget: seconds after which nothing new starts and running trainings stop at an epoch's end.
        fresh, renew: see ``runner.train``.
        progress: show the steps of every run, which is legible with one job.
        dask: address of a Dask scheduler whose workers take the place of processes, however many they are.
        report: called with every finished run.

    Returns:
        How many runs ended ``done``, ``interrupted``, ``not started`` or ``failed``.
    """
    from joblib import Parallel, delayed

    deadline = None if budget is None else time.time() + budget
    outcomes = {"done": 0, "interrupted": 0, "not started": 0, "failed": 0}
    options = (deadline, fresh, renew, devices, compiled, progress)
    if dask:
        ended = cluster.everywhere(dask, _job, ordered(runs), *options)
    else:
        calls = (delayed(_job)(run, *options) for run in ordered(runs))
        ended = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    for run, outcome, seconds in ended:
        outcomes[outcome] += 1
        if report:
            report(run, outcome, seconds)
    return outcomes


def ordered(runs: Iterable[RunConfig]) -> list[RunConfig]:
    """Those whose start is there first; then one of every start that is lacking, so that all are made side by side."""
    lacking: Counter[str] = Counter()

    def place(run: RunConfig) -> int:
        weights = run.model_config.weights
        if not start.missing(weights):
            return 0
        lacking[weights] += 1
        return lacking[weights]

    return sorted(runs, key=place)


def _job(
    run: RunConfig,
    deadline: float | None,
    fresh: bool,
    renew: bool,
    devices: int,
    compiled: bool,
    progress: bool,
) -> tuple[RunConfig, str, float]:
    started = time.monotonic()
    try:
        if deadline is not None and time.time() > deadline:
            return run, "not started", 0.0
        how = {"deadline": deadline, "progress": progress, "devices": devices, "compiled": compiled}
        with one_thread():
            if start.missing(run.model_config.weights):
                makes = start.pretraining(run.model_config.backbone, run.preset)
                pretrain.make(makes, **how)
            runner.train(run, fresh=fresh, renew=renew, **how)
    except Interrupted:
        return run, "interrupted", time.monotonic() - started
    except Exception as error:  # whatever breaks one run must not keep the others from running
        logger.exception("%s failed: %s", run.stem, error)
        return run, "failed", time.monotonic() - started
    return run, "done", time.monotonic() - started
