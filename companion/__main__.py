"""Runs, records and pages of the five papers, and their released weights: ``python -m companion COMMAND``."""

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

from companion import places
from companion.paper import Paper
from companion.papers import PAPERS, paper
from companion.presets import PRESETS, preset
from companion.run import RunConfig
from reidlib.data.datasets import DATASETS
from reidlib.options import at_least

EXAMPLES = """examples:
  python -m companion status                           which printed rows have a record
  python -m companion run --paper qpm --preset cpu --seeds 5 --jobs 2
  python -m companion try --paper bpbreid --row k8 --set parts=5
  python -m companion run --paper pan --preset real --dataset market1501 --only pan
  python -m companion score --checkpoint bpbreid_occ_duke.pth --dataset occluded-duke --root data

Other commands: python -m reidlib --help, python -m synthreid --help, make help.
"""

EVERY = "all"
"""Stands for all papers."""

REAL = tuple(name for name in DATASETS if not name.startswith("synth"))
"""The data sets of photographs."""

KILLED = "error: a process was killed, most likely for want of memory; resume with fewer --jobs"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m companion",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"reidlib {version('reidlib')}")
    commands = top.add_subparsers(dest="command", required=True)
    _add_data(commands.add_parser("data", help="generate the synthetic benchmark of a preset"))
    _add_pretrain(commands.add_parser("pretrain", help="make the networks that models start from"))
    _add_run(commands.add_parser("run", help="compute missing run records"))
    _add_score(
        commands.add_parser(
            "score", help="BPBreID's released weights on a data set, beside what the paper prints"
        )
    )
    _add_try(commands.add_parser("try", help="train a variation that no table names, and print its scores"))
    _add_status(commands.add_parser("status", help="which printed rows have a record"))
    _add_costs(commands.add_parser("costs", help="minutes and memory of every training on a GPU, estimated"))
    _add_config(commands.add_parser("config", help="a row's full configuration, as its record will hold it"))
    _add_tables(
        commands.add_parser("tables", help="write results/tables and the README's findings from the records")
    )
    return top


def _add_data(data: argparse.ArgumentParser) -> None:
    data.add_argument("--preset", default="auto", choices=("auto", *(n for n in PRESETS if n != "real")))
    data.add_argument("--workers", type=at_least(1), default=1)


def _add_pretrain(pretrain: argparse.ArgumentParser) -> None:
    pretrain.add_argument("--preset", default="auto", choices=("auto", "cpu", "gpu"))
    pretrain.add_argument("--only", nargs="+", metavar="BACKBONE", help="default: all that some row needs")
    pretrain.add_argument("--fresh", action="store_true", help="make again what is there")
    pretrain.add_argument(
        "--jobs", type=at_least(1), default=1, help="networks side by side, one thread each"
    )


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--paper", default="bpbreid", choices=(*PAPERS, EVERY))
    run.add_argument("--preset", default="auto", choices=("auto", *PRESETS))
    run.add_argument(
        "--dataset", help="at preset real: which of the paper's data sets; default: its ablations'"
    )
    run.add_argument("--seeds", type=at_least(1), default=1, help="worlds (1, 2, ...)")
    run.add_argument("--only", nargs="+", metavar="ROW", help="of any of the papers named; default: all")
    run.add_argument(
        "--budget",
        type=at_least(1),
        metavar="SECONDS",
        help="stop cleanly after this many seconds; calling again resumes",
    )
    run.add_argument("--jobs", type=at_least(1), default=1, help="runs side by side, one thread each")
    run.add_argument("--devices", type=at_least(1), default=1, help="GPUs that train each run together")
    run.add_argument(
        "--compile", action="store_true", help="compile every training's step (CUDA graphs on a GPU)"
    )
    run.add_argument(
        "--dask", metavar="ADDRESS", help="of a Dask scheduler: its workers do the runs, one each at a time"
    )
    again = run.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="recompute records that are there")
    again.add_argument("--replace", action="store_true", help="recompute records whose config changed")
    again.add_argument("--stale", action="store_true", help="recompute records whose behaviour changed")


def _add_score(score: argparse.ArgumentParser) -> None:
    score.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="as the authors released it"
    )
    score.add_argument("--dataset", required=True, choices=REAL, metavar="NAME", help=", ".join(REAL))
    score.add_argument("--root", type=Path, default=places.DATA, help="folder that holds the set's folder")
    score.add_argument("--output", type=Path, help="folder of the attention maps; default: in results/cache")


def _add_try(attempt: argparse.ArgumentParser) -> None:
    attempt.add_argument("--paper", required=True, choices=PAPERS)
    attempt.add_argument("--row", help="what to vary; default: the row that the notebook shows")
    attempt.add_argument("--preset", default="auto", choices=("auto", *PRESETS))
    attempt.add_argument("--dataset", help="at preset real: which of the paper's data sets")
    attempt.add_argument("--seed", type=at_least(1), default=1, help="of the world")
    attempt.add_argument("--reading", help="of the paper, where its text and its released code differ")
    attempt.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="fields of the model's config"
    )


def _add_status(status: argparse.ArgumentParser) -> None:
    status.add_argument("--paper", choices=PAPERS)
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--check", action="store_true", help="recompute behavioural fingerprints (seconds per record)"
    )


def _add_costs(costs: argparse.ArgumentParser) -> None:
    costs.add_argument("--preset", default="gpu", choices=("gpu", "real"))
    costs.add_argument("--card", default="h200", help="one of reidlib.footprint.CARDS")
    costs.add_argument(
        "--count", action="store_true", help="first count what results/costs.csv lacks (seconds each)"
    )


def _add_config(config: argparse.ArgumentParser) -> None:
    config.add_argument("--paper", required=True, choices=PAPERS)
    config.add_argument("--row", help="default: the row that the notebook shows")
    config.add_argument("--preset", default="cpu", choices=PRESETS)
    config.add_argument("--dataset", help="at preset real: which of the paper's data sets")
    config.add_argument("--list", action="store_true", help="the paper's rows and their titles instead")


def _add_tables(tables: argparse.ArgumentParser) -> None:
    tables.add_argument("--check", action="store_true", help="only say whether they are up to date")


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "data": _data,
        "pretrain": _pretrain,
        "run": _run,
        "score": _score,
        "try": _try,
        "status": _status,
        "config": _config,
        "costs": _costs,
        "tables": _tables,
    }
    try:
        return commands[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(KILLED, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130


def _data(options: argparse.Namespace) -> int:
    from companion import inputs

    data = preset(options.preset).data
    for split in inputs.index(data, workers=options.workers).values():
        counts = {side: n["images"] for side, n in split.counts().items()}
        print(f"{split.name:26} {counts}  index {split.fingerprint}")
    for split in inputs.index(data.validation()).values():
        print(f"{split.name:26} index {split.fingerprint}")
    return 0


def _pretrain(options: argparse.Namespace) -> int:
    from joblib import Parallel, delayed

    from companion import pretrain, start

    name = preset(options.preset).name
    needed = _backbones(name)
    if unknown := sorted({*(options.only or ())} - {*needed}):
        raise ValueError(f"--only {unknown[0]}: no row needs it; expected one of {', '.join(needed)}")
    runs = [start.pretraining(backbone, name) for backbone in options.only or needed]
    calls = (delayed(pretrain.make)(run, fresh=options.fresh) for run in runs)
    found = Parallel(n_jobs=options.jobs, return_as="generator")(calls)
    for run, record in zip(runs, found):
        accuracy = ", ".join(
            f"{test_set} rank-1 {100 * values['default']['rank1']:.1f} mAP {100 * values['default']['mAP']:.1f}"
            for test_set, values in record.metrics.items()
        )
        print(f"{start.name(run)}: {accuracy}, {record.provenance['seconds']:.0f} s")
    return 0


def _backbones(preset_name: str) -> list[str]:
    """All that some row starts from a pretraining of."""
    runs = (
        chosen.run(row.slug, preset_name=preset_name) for chosen in map(paper, PAPERS) for row in chosen.rows
    )
    return [*dict.fromkeys(run.model_config.backbone for run in runs if run.model_config.weights)]


def _run(options: argparse.Namespace) -> int:
    from companion import start
    from companion.plan import Plan, carry_out
    from companion.study import MAX_SEEDS

    if options.seeds > MAX_SEEDS:
        raise ValueError(f"--seeds {options.seeds}: at most {MAX_SEEDS} worlds are used")
    if options.devices > 1 and options.jobs > 1:
        raise ValueError("--devices and --jobs: runs side by side would share the devices; use one of them")
    if options.devices > 1 and options.compile:
        raise ValueError("--devices and --compile: only one device's step can be compiled; use one of them")
    if options.dask and options.jobs > 1:
        raise ValueError("--dask and --jobs: the workers of the cluster decide how many runs go on at a time")
    if options.fresh and options.budget is not None:
        raise ValueError(
            "--fresh recomputes everything in every call, so --budget would never finish; use one of them"
        )
    runs, name = _wanted(options), preset(options.preset).name
    if not runs:
        print("nothing to do: every record is there")
        return _compare(options) if name == "real" else 0
    start.require(runs)  # before a cost is named that nobody can pay
    todo = Plan(tuple(runs))
    where = "one worker" if options.dask else f"{options.jobs} at a time"
    print(f"preset {name}, {where}: {todo.cost(jobs=options.jobs)}", flush=True)
    outcomes = carry_out(
        todo,
        jobs=options.jobs,
        devices=options.devices,
        compiled=options.compile,
        budget=options.budget,
        fresh=options.fresh,
        renew=options.replace or options.stale,
        dask=options.dask,
    )
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count))
    if name == "real":
        _compare(options)
    return 1 if outcomes["failed"] else 0


def _wanted(options: argparse.Namespace) -> list[RunConfig]:
    """The runs that the options ask for."""
    from companion import fingerprint, records, runner

    scale = {"preset_name": options.preset, "dataset": options.dataset}
    if options.paper == EVERY and options.preset == "real":
        raise ValueError(f"--paper {EVERY} goes without preset real, whose data sets belong to one paper")
    runs = []
    for chosen, slugs in _rows(options):
        hashes = {chosen.run(slug, **scale).hash for slug in slugs}
        names = {run.name for run in chosen.queue(seeds=1, **scale) if run.hash in hashes}
        queue = [run for run in chosen.queue(seeds=options.seeds, **scale) if run.name in names]
        runs += [(run.seed, place, run) for place, run in enumerate(queue)]
    runs.sort(key=lambda item: item[:2])  # world by world, the first rows of all papers first
    runs = [run for *_, run in runs]
    if options.replace:
        return [run for run in runs if _refused(run)]
    if options.stale:
        return [run for run in runs if (record := records.find(run)) and fingerprint.stale(record, run)]
    return runs if options.fresh else [run for run in runs if runner.complete(run) is None]


def _rows(options: argparse.Namespace) -> list[tuple[Paper, list[str]]]:
    """The papers that the options name, and of each the rows.

    Raises:
        ValueError: a row that none of them has.
    """
    papers = [*PAPERS.values()] if options.paper == EVERY else [paper(options.paper)]
    own = [(chosen, [row.slug for row in chosen.rows]) for chosen in papers]
    wanted = options.only or {slug for _, slugs in own for slug in slugs}
    if unknown := [slug for slug in wanted if not any(slug in slugs for _, slugs in own)]:
        if options.paper != EVERY:
            papers[0].row(unknown[0])  # which names those that it has
        raise ValueError(
            f"--only {unknown[0]}: no paper has such a row; `python -m companion config --paper NAME --list` names them"
        )
    return [(chosen, [slug for slug in slugs if slug in wanted]) for chosen, slugs in own]


def _refused(run: RunConfig) -> bool:
    from companion import records, runner

    try:
        runner.complete(run)
    except records.RecordError:
        return True
    return False


def _compare(options: argparse.Namespace) -> int:
    """Print what the paper prints for a data set beside what was measured on it, in percent."""
    from companion.study import Study

    chosen = paper(options.paper)
    frame = Study(chosen, "real", options.seeds).frame()
    dataset = options.dataset or chosen.recipe.datasets[0]
    frame = frame[(frame["test_set"] == dataset) & (frame["seeds"] > 0)]
    if frame.empty:
        print(f"nothing is recorded on {dataset}")
        return 0
    percent = {name: (100 * frame[name]).round(1) for name in ("printed", "ours", "std")}
    columns = ["table", "row", "dataset", "metric", "printed", "ours", "std", "seeds"]
    print(frame.assign(**percent)[columns].to_string(index=False))
    return 0


def _score(options: argparse.Namespace) -> int:
    from companion import plots
    from companion.papers import bpbreid
    from companion.report import beside_printed, open_checkpoint
    from reidlib import doctor
    from reidlib.data.datasets import load
    from reidlib.files import replacing
    from reidlib.search import table

    split = load(options.dataset, options.root, sides=("query", "gallery"))
    trained = open_checkpoint(options.checkpoint, split)
    print(trained.inputs.released.source)
    for line in doctor.warnings(split):
        print(line, file=sys.stderr)
    print(
        f"{len(split.query):,} queries and {len(split.gallery):,} gallery images are embedded once",
        flush=True,
    )
    print(table(trained.score("default", split.name)).to_string(index=False))
    beside = beside_printed(trained)
    if beside.empty:
        print(f"the paper prints no row of this network on {split.name}")
    else:
        print(f"\nprinted rows of this network on {split.name}, in percent\n{beside.to_string(index=False)}")
    target = (options.output or places.CACHE / "released" / trained.run.name) / f"{split.name}-attention.png"
    with replacing(target) as handle:
        plots.attention(**bpbreid.attention(trained, split.name)).savefig(handle, format="png", dpi=150)
    print(f"attention maps: {target}")
    return 0


def _try(options: argparse.Namespace) -> int:
    from companion import runner
    from companion.report import scores

    chosen = paper(options.paper)
    row, name = options.row or chosen.main, preset(options.preset).name
    run = chosen.run(row, preset_name=name, seed=options.seed, dataset=options.dataset)
    varied = chosen.reading(run, options.reading) if options.reading else run
    varied = varied.vary(**dict(_setting(text) for text in options.set))
    label = "-".join([row, options.reading or "as-coded", *(text.replace("=", "") for text in options.set)])
    record = runner.live(run, varied, name=re.sub(r"[^\w.-]+", "_", label))
    table = scores(record, scorings=list(next(iter(record.metrics.values()))))
    print(table.data.to_string(index=False))
    return 0


def _setting(text: str) -> tuple[str, object]:
    """``parts=5`` as a name and a value: what JSON reads, else the word itself."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text!r}: expected NAME=VALUE")
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    return name, tuple(found) if isinstance(found, list) else found


def _status(options: argparse.Namespace) -> int:
    from companion import fingerprint
    from companion.plan import Plan, spell
    from companion.study import Study

    table = {}
    for slug in [options.paper] if options.paper else PAPERS:
        table[slug] = {}
        for name in ("cpu", "gpu", "real"):
            study = Study(paper(slug), name)
            table[slug][name] = study.coverage()
            if options.check:
                table[slug][name]["stale"] = [
                    f"{row} s{record.seed}"
                    for dataset in (paper(slug).recipe.datasets if study.real else (None,))
                    for row in study.trainings(dataset)
                    for record in study.records(row, dataset=dataset)
                    if fingerprint.stale(record, study.run(row, seed=record.seed, dataset=dataset))
                ]
    if options.json:
        print(json.dumps(table, indent=1))
        return 0
    for slug, presets in table.items():
        for name, entry in presets.items():
            asked = (item.partition("@") for item in entry["missing"])  # at real, row@dataset
            runs = tuple(
                paper(slug).run(row, preset_name=name, dataset=data or None) for row, _, data in asked
            )
            print(f"{slug:8} {name:4} {entry['recorded']:3} of {entry['rows']} printed own rows recorded")
            if entry["missing"]:
                shown = entry["missing"][:6] if name == "real" else entry["missing"]
                more = (
                    f" and {len(entry['missing']) - len(shown)} more"
                    if len(shown) < len(entry["missing"])
                    else ""
                )
                print(
                    f"         missing (about {spell(Plan(runs).seconds())} here): {', '.join(shown)}{more}"
                )
            if entry.get("stale"):
                print(f"         stale: {', '.join(entry['stale'])}")
    return 0


def _config(options: argparse.Namespace) -> int:
    chosen = paper(options.paper)
    if options.list:
        for row in chosen.rows:
            print(f"{row.slug:24} {row.title}")
        return 0
    row = chosen.row(options.row or chosen.main)
    run = chosen.run(row.slug, preset_name=options.preset, dataset=options.dataset)
    known = {"paper": chosen.title, "row": row.title, "record": run.stem, "scorings": run.scorings}
    print(json.dumps(known | run.identity(), indent=1))
    return 0


def _costs(options: argparse.Namespace) -> int:
    from companion import costs
    from reidlib.footprint import CARDS

    if options.card not in CARDS:
        raise ValueError(f"--card {options.card!r}: expected one of {', '.join(CARDS)}")
    if options.count:
        costs.write(PAPERS.values())
    card = CARDS[options.card]
    runs = [run for run in costs.trainings(PAPERS.values()) if run.preset == options.preset]
    counted = [(run, cost) for run in runs if (cost := costs.known(run))]
    for run, cost in counted:
        print(
            f"{run.paper:8} {run.name:32} {costs.steps(run):6} steps {costs.minutes(run, card):7.1f} min "
            f"{cost.memory / 1e9:6.1f} GB" + ("" if costs.fits(run, card) else "  does not fit")
        )
    total = sum(costs.minutes(run, card) for run, _ in counted)
    print(f"{len(counted)} of {len(runs)} trainings on one {options.card}: about {total:.0f} minutes")
    if len(counted) < len(runs):
        print("the others are not counted yet: --count does so")
    return 0


def _tables(options: argparse.Namespace) -> int:
    from companion.report import pages

    changed = pages.write_tables(check=options.check)
    for path in changed:
        print(f"{'out of date' if options.check else 'wrote'}: {path.relative_to(places.ROOT)}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
