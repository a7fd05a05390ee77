"""Many runs side by side: processes of one thread each, a budget, and what became of every run."""

import logging
import time
from collections.abc import Callable, Iterable

from companion import runner
from companion.fingerprint import one_thread
from companion.run import RunConfig
from reidlib.training import Interrupted

logger = logging.getLogger(__name__)


def sweep(
    runs: Iterable[RunConfig],
    *,
    jobs: int = 1,
    devices: int = 1,
    budget: float | None = None,
    fresh: bool = False,
    progress: bool = False,
    report: Callable[[RunConfig, str, float], None] | None = None,
) -> dict[str, int]:
    """Compute missing records, several runs side by side with one thread each.

    Args:
        jobs: processes; on a GPU one is usual.
        devices: that train each run together.
        budget: seconds after which nothing new starts and running trainings stop at an epoch's end.
        progress: show the steps of every run, which is legible with one job.
        report: called with every finished run.

    Returns:
        How many runs ended ``done``, ``interrupted``, ``not started`` or ``failed``.
    """
    from joblib import Parallel, delayed

    deadline = None if budget is None else time.time() + budget
    outcomes = {"done": 0, "interrupted": 0, "not started": 0, "failed": 0}
    calls = (delayed(_job)(run, deadline, fresh, devices, progress) for run in runs)
    for run, outcome, seconds in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
        outcomes[outcome] += 1
        if report:
            report(run, outcome, seconds)
    return outcomes


def _job(
    run: RunConfig, deadline: float | None, fresh: bool, devices: int, progress: bool
) -> tuple[RunConfig, str, float]:
    started = time.monotonic()
    try:
        if deadline is not None and time.time() > deadline:
            return run, "not started", 0.0
        with one_thread():
            runner.train(run, deadline=deadline, fresh=fresh, progress=progress, devices=devices)
    except Interrupted:
        return run, "interrupted", time.monotonic() - started
    except (ValueError, OSError, RuntimeError) as error:
        # one broken run must not keep the others from running
        logger.error("%s failed: %s", run.stem, error)
        return run, "failed", time.monotonic() - started
    return run, "done", time.monotonic() - started
