"""Command line: ``python -m companion {run,status,data,tables}``."""

import argparse
import json
import logging
import sys
import time
from functools import partial
from pathlib import Path

from companion.papers import GRIDS
from companion.presets import PRESETS, preset
from companion.published import PAPERS

SECONDS_PER_RUN = {
    "smoke": 4,
    "cpu": 200,
    "gpu": 15,
    "real": 4 * 3600,
}  # rough, on one core or one GPU


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m companion", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="compute missing run records")
    run.add_argument("--paper", default="bpbreid", choices=PAPERS)
    run.add_argument("--preset", default="auto", choices=("auto", *PRESETS))
    run.add_argument(
        "--dataset", help="at preset real: which of the paper's data sets; default: its ablations'"
    )
    run.add_argument("--seeds", type=int, default=1, help="seeds per run (0, 1, ...)")
    run.add_argument("--only", nargs="+", help="names of runs; default: all of the paper's grid")
    run.add_argument(
        "--budget", type=float, help="stop cleanly after this many seconds; calling again resumes"
    )
    run.add_argument("--jobs", type=int, default=1, help="runs side by side, one thread each")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="recompute records that are there")
    again.add_argument("--replace", action="store_true", help="recompute records whose config changed")
    again.add_argument("--stale", action="store_true", help="recompute records whose behaviour changed")
    status = commands.add_parser("status", help="which printed rows have a record")
    status.add_argument("--paper", choices=PAPERS)
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--check", action="store_true", help="recompute behavioural fingerprints (a second per record)"
    )
    synth = commands.add_parser("synth", help="generate the synthetic benchmark")
    synth.add_argument("--preset", default="auto", choices=("auto", *(n for n in PRESETS if n != "real")))
    synth.add_argument("--workers", type=int, default=1)
    tables = commands.add_parser(
        "tables", help="write results/tables and the README's results from the records"
    )
    tables.add_argument("--check", action="store_true", help="only say whether they are up to date")
    return top


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    commands = {
        "run": _run,
        "status": _status,
        "synth": _synth,
        "doctor": _doctor,
        "masks": _masks,
        "rank": _rank,
        "tables": _tables,
    }
    try:
        return commands[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from companion import records, runner
    from companion.papers import grid
    from reidlib import doctor

    if options.seeds < 1 or options.jobs < 1:
        raise ValueError(f"--seeds and --jobs must be at least 1, got {options.seeds} and {options.jobs}")
    if options.fresh and options.budget is not None:
        raise ValueError(
            "--fresh recomputes everything in every call, so --budget would never finish; use one of them"
        )
    runs = _chosen(options, grid(options.paper))
    if options.replace:
        runs = [run for run in runs if _refused(run)]
        for run in runs:
            records.remove(run)
    elif options.stale:
        runs = [run for run in runs if (record := records.find(run)) and runner.stale(record, run)]
    elif not options.fresh:
        runs = [run for run in runs if runner.complete(run) is None]
    name = preset(options.preset).name
    if not runs:
        print("nothing to do: every record is there")
        return _compare(options) if name == "real" else 0
    if name == "real":
        for split in runner.prepare(runs[0].data).values():
            for line in doctor.warnings(split):
                print(line, file=sys.stderr)
    minutes = len(runs) * SECONDS_PER_RUN[name] / options.jobs / 60
    print(
        f"{len(runs)} runs at preset {name}, about {minutes:.0f} minutes with {options.jobs} jobs", flush=True
    )
    runner.prepare(runs[0].data, workers=options.jobs)
    begin, done = time.time(), []

    def tell(run, outcome: str, seconds: float) -> None:
        done.append(run)
        if outcome != "not started":
            spent = time.time() - begin
            left = spent / len(done) * (len(runs) - len(done)) / 60
            print(
                f"[{len(done)}/{len(runs)}] {run.stem} {outcome} in {seconds:.0f} s; {left:.0f} min left",
                flush=True,
            )

    fresh = options.fresh or options.stale
    outcomes = runner.sweep(runs, jobs=options.jobs, budget=options.budget, fresh=fresh, report=tell)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count))
    if name == "real":
        _compare(options)
    return 1 if outcomes["failed"] else 0


def _compare(options: argparse.Namespace) -> int:
    """Print what the paper prints for a data set beside what was measured on it, in percent."""
    from companion.recipes import BENCHMARKS
    from companion.study import Study

    frame = Study(options.paper, "real", options.seeds).frame()
    dataset = options.dataset or BENCHMARKS[options.paper][0]
    frame = frame[(frame["test_set"] == dataset) & (frame["seeds"] > 0)]
    if frame.empty:
        print(f"nothing is recorded on {dataset}")
        return 0
    percent = {name: (100 * frame[name]).round(1) for name in ("printed", "ours", "std")}
    columns = ["table", "row", "dataset", "metric", "printed", "ours", "std", "seeds"]
    print(frame.assign(**percent)[columns].to_string(index=False))
    return 0


def _chosen(options: argparse.Namespace, grid) -> list:
    made = partial(grid.run, preset_name=options.preset, dataset=options.dataset)
    wanted = {made(name).hash for name in options.only or grid.runs}  # an unknown name is an error at once
    queue = grid.queue(preset_name=options.preset, seeds=options.seeds, dataset=options.dataset)
    names = {run.name for run in queue if run.hash in wanted}  # at real, some rows are the main one again
    return [run for run in queue if run.name in names]


def _refused(run) -> bool:
    from companion import records, runner

    try:
        runner.complete(run)
    except records.RecordError:
        return True
    return False


def _status(options: argparse.Namespace) -> int:
    from companion import records, runner
    from companion.study import Study

    table = {}
    for paper in [options.paper] if options.paper else GRIDS:
        table[paper] = {}
        for name in ("cpu", "gpu"):
            study = Study(paper, name)
            table[paper][name] = study.coverage()
            if options.check:
                queue = [study.run(run) for run in study.grid.runs]
                found = [(run, records.find(run)) for run in queue]
                table[paper][name]["stale"] = [
                    r.name for r, record in found if record and runner.stale(record, r)
                ]
    if options.json:
        print(json.dumps(table, indent=1))
        return 0
    for paper, presets in table.items():
        for name, entry in presets.items():
            minutes = len(entry["missing"]) * SECONDS_PER_RUN[name] / 60
            print(f"{paper:8} {name:4} {entry['recorded']:3} of {entry['rows']} printed own rows recorded")
            if entry["missing"]:
                print(
                    f"         missing (about {minutes:.0f} min on one core or GPU): {', '.join(entry['missing'])}"
                )
            if entry.get("stale"):
                print(f"         stale: {', '.join(entry['stale'])}")
    return 0


def _synth(options: argparse.Namespace) -> int:
    from companion import runner

    data = preset(options.preset).data
    for split in runner.prepare(data, workers=options.workers).values():
        counts = {side: n["images"] for side, n in split.counts().items()}
        print(f"{split.name:26} {counts}  index {split.fingerprint}")
    for split in runner.prepare(data.validation()).values():
        print(f"{split.name:26} index {split.fingerprint}")
    return 0


def _tables(options: argparse.Namespace) -> int:
    from companion import report

    changed = report.write_tables(check=options.check)
    for path in changed:
        print(f"{'out of date' if options.check else 'wrote'}: {Path(path).relative_to(report.ROOT)}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
