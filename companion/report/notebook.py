"""What notebooks call: open a study, show source and inputs, look into a run, explore."""

import ast
import inspect
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import Code, Markdown
from pandas.io.formats.style import Styler

from companion import places, records, runner
from companion.claims import Verdict
from companion.formats import percent, styled
from companion.inputs import Inputs, NoTruth
from companion.papers import paper
from companion.plan import Plan, carry_out
from companion.presets import preset as preset_of
from companion.report.tables import beside_it, footnotes
from companion.run import RunConfig
from companion.start import is_start
from companion.study import METRICS, Study
from companion.trained import Trained, initial
from reidlib import doctor
from reidlib.options import settings
from reidlib.recipe import TrainConfig

INJECTED = "# Parameters\n"  # as papermill's own cell begins
COMPUTE = ("auto", "missing", "nothing", "all")
SHOWN = ("default", "no-visibility", "part", "global", "parts", "reranked")
"""Test-time variants that a tried model is shown under, where it has them."""
OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}


def open_study(
    slug: str, *, preset: str, seeds: int | None, dataset: str | None = None, device: str = "auto"
) -> Study:
    """Check a notebook's parameters, say what it will show, and give access to the records.

    Args:
        dataset: at preset ``real``, which of the paper's data sets; None is that of its ablations.

    Raises:
        ValueError: unknown parameter, preset or data set, impossible number of seeds, a device this machine lacks, or
            the code of another checkout.
    """
    places.check_code(Path.cwd())
    refuse_unknown_parameters()
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"DEVICE {device!r} is unknown; expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("DEVICE is 'cuda' but this machine has no CUDA device; use DEVICE='auto'")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks for CUDA
    study = Study(paper(slug), preset_of(preset).name, seeds, dataset)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() and device != "cpu" else "CPU"
    print(f"paper {slug}, preset {study.preset_name}, commit {runner.commit()}, device {where}")
    return study


def refuse_unknown_parameters() -> None:
    """Papermill passes any name on with a warning; a misspelt one would change nothing.

    Raises:
        ValueError: naming the one that was probably meant.
    """
    shell = get_ipython()
    cells = shell.user_ns.get("In", ()) if shell else ()
    known = next((_assigned(cell) for cell in cells if cell.startswith("PRESET =")), [])
    for cell in cells:
        for name in _assigned(cell) if known and cell.startswith(INJECTED) else ():
            if name not in known:
                near = get_close_matches(name.upper(), known, n=1)
                meant = f"did you mean {near[0]}? " if near else ""
                raise ValueError(f"the notebook has no parameter {name!r}: {meant}It has {', '.join(known)}")


def _assigned(cell: str) -> list[str]:
    return [target.id for line in ast.parse(cell).body for target in getattr(line, "targets", ())]


def compute(study: Study, what: str) -> None:
    """Say which records the study lacks and what they will cost, and compute them.

    The row that the notebook shows is computed in any case. Interrupted, the same cell goes on where it stopped.

    Args:
        what: ``missing`` rows, ``nothing`` but the shown row, ``all`` anew; ``auto`` is ``missing`` at preset gpu,
            which a GPU can do in minutes.

    Raises:
        ValueError: another word; preset gpu without a GPU, unless ``what`` asks for it; a run failed.
    """
    worlds = range(1, (study.seeds or 1) + 1)
    wanted = [study.run(name, seed=seed) for seed in worlds for name in study.trainings()]
    carry_out_rows(wanted, what, least=[study.run(study.paper.main)])


def carry_out_rows(wanted: Sequence[RunConfig], what: str, *, least: Sequence[RunConfig]) -> None:
    """Say which records of some runs are lacking and what they will cost, and compute them; see ``compute``.

    Args:
        least: computed in any case.
    """
    if what not in COMPUTE:
        raise ValueError(f"COMPUTE {what!r} is unknown; expected one of {', '.join(COMPUTE)}")
    preset_name, worlds = wanted[0].preset, len({run.seed for run in wanted})
    plan, full = Plan.of(wanted), preset_name == "gpu"
    several = f"{worlds} world{'s' * (worlds > 1)}"
    print(f"shown is every recorded world; trained here, if missing: {preset_name}, {several}: {plan.cost()}")
    if what == "auto":
        if full and plan.runs and not torch.cuda.is_available():
            raise ValueError(
                "PRESET gpu without a GPU: set COMPUTE to missing to train these on the CPU, to nothing for the "
                "shown model alone, or use PRESET cpu"
            )
        what = "missing" if full else "nothing"
    if what == "all":
        plan = Plan(tuple(wanted))
    elif what == "nothing":
        plan = Plan.of(least)
    outcomes = carry_out(plan, fresh=what == "all", progress=True)
    if outcomes["failed"]:
        raise ValueError(f"{outcomes['failed']} runs failed, as said above; the others are recorded")


def open_inputs(study: Study) -> Inputs:
    """Index the data of a study's main row, and say what they are; of real data, what the doctor warns of.

    Raises:
        FileNotFoundError: a real data set is not there.
    """
    inputs = Inputs.of(study.run(study.paper.main))
    if not study.real:
        print(f"data: synthetic benchmark {inputs.data.profile!r}; not the papers' datasets")
        return inputs
    for split in inputs.splits.values():
        for line in doctor.warnings(split):
            print(line)
    name = inputs.data.holistic
    print(f"data: {name}, trained on {inputs.train.name} as the paper did")
    print(f"other rows: `python -m companion run --paper {study.paper.slug} --preset real --dataset {name}`")
    return inputs


@contextmanager
def needs_truth() -> Iterator[None]:
    """A cell that only synthetic data can fill: with real data it says why it stays empty."""
    try:
        yield
    except NoTruth as error:
        print(f"not shown: {error}")


def show(item: object) -> Code:
    """The library's own source of a class or function, for a notebook."""
    item = inspect.unwrap(item)
    where = Path(inspect.getsourcefile(item)).relative_to(places.ROOT)
    source = textwrap.dedent(inspect.getsource(item))
    return Code(f"# {where}\n{source}", language="python")


def data_table(inputs: Inputs) -> Styler:
    """Images, identities, cameras and distractors of every split; of real data, what the doctor finds."""
    if inputs.data.real:
        found = {name: doctor.examine(name, places.DATA).frame() for name in inputs.splits}
        return styled(pd.concat(found, names=["data set"]).reset_index(level=0))
    lines = [
        {"data set": name, "split": side, **numbers}
        for name, split in inputs.splits.items()
        for side, numbers in split.counts().items()
        if numbers["images"]
    ]
    return styled(pd.DataFrame(lines)).format(thousands=",")


def recipe(run: RunConfig, *, paper: Mapping[str, str] | None = None) -> Styler:
    """The recipe used beside the paper's own, every field in full.

    Args:
        paper: the paper's size, batch, optimiser, learning rate, length and start, in words; None compares
            with BPBreID's released code, field by field.
    """
    size, used = f"{run.data.height}x{run.data.width}", _flat(settings(run.train))
    if paper is not None:
        here = (
            size,
            f"{run.train.identities} people x {run.train.images} images",
            f"{OPTIMISERS[run.train.optimiser]}, weight decay {run.train.weight_decay:g}",
            f"{run.train.lr:g}, {run.train.schedule}",
            f"{run.train.iterations} steps" if run.train.iterations else f"{run.train.epochs} epochs",
            start_in_words(run),
        )
        return styled(pd.DataFrame({"field": list(paper), "paper": list(paper.values()), "here": here}))
    released = _flat(settings(TrainConfig.released()))
    lines = [("image size", "256x128", size), ("start", "ImageNet weights", start_in_words(run))]
    differing = [key for key in used if used[key] != released[key]]
    lines += [(FIELDS.get(key, key), *(_said(known[key]) for known in (released, used))) for key in differing]
    return styled(pd.DataFrame(lines, columns=["field", "paper (released code)", "here"]))


FIELDS = {
    "identities": "people in a batch",
    "images": "images of a person",
    "augment.flip": "share of images flipped",
    "iterations": "length, steps",
    "epochs": "length, epochs",
    "lr": "learning rate",
    "channels_last": "channels last in memory",
}
"""Fields of a recipe in words."""


def _said(value: Any) -> str:
    return (
        {None: "–", True: "yes", False: "no"}[value]
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of fields by both names."""
    found = {}
    for name, value in nested.items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def start_in_words(run: RunConfig) -> str:
    """What a run's network is before its training."""
    weights = run.model_config.weights
    if weights is None:
        return "noise"
    return f"{weights}: pretrained on other generated people" if is_start(weights) else weights


def trace(run: RunConfig) -> Styler:
    """Every module of the run's model, its output shape on one image, and its parameters."""
    model, rows = initial(run, identities=160).eval(), []

    def note(name: str):
        def hook(module, _, output) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shape = str(tuple(first.shape)) if isinstance(first, torch.Tensor) else ""
            if isinstance(first, dict):
                shape = ", ".join(f"{key} {tuple(value.shape)}" for key, value in first.items())
            count = sum(parameter.numel() for parameter in module.parameters())
            rows.append({"module": name, "output": shape, "parameters": f"{count:,}"})

        return hook

    inside = {id(module) for module in model.backbone.modules()}
    own = {name.removeprefix("head."): module for name, module in model.named_modules()}
    named = {"backbone": model.backbone} | {
        name: module
        for name, module in own.items()
        if name not in ("", "head")
        and id(module) not in inside
        and name.count(".") <= 1
        and _is_called(module)
    }
    hooks = [module.register_forward_hook(note(name)) for name, module in named.items()]
    with torch.inference_mode():
        model(torch.zeros(1, 3, run.data.height, run.data.width))
    for hook in hooks:
        hook.remove()
    total = sum(parameter.numel() for parameter in model.parameters())
    return styled(pd.DataFrame([*rows, {"module": "total", "output": "", "parameters": f"{total:,}"}]))


def _is_called(module: torch.nn.Module) -> bool:
    """Whether a module has a forward pass of its own and is no mere container."""
    return not isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict))


def try_it(run: RunConfig, **changes: Any) -> Styler | None:
    """A variation of a run beside it: read from any record that means it, else trained now.

    Says what it will take, what cannot work, and how to go on after an interrupt.
    """
    told = ", ".join(f"{name} = {value!r}" for name, value in changes.items())
    try:
        varied = run.vary(**changes)
    except (ValueError, TypeError) as error:  # a value, or a field that there is not
        print(f"{told} cannot work: {error}")
        return None
    try:
        known = varied.hash == run.hash or records.alike(varied) is not None
        print(f"{told}: {'recorded' if known else Plan.of([replace(varied, paper=runner.LIVE)]).cost()}")
        found, base = runner.live(run, varied, name=run.name), runner.complete(run)
    except ValueError as error:  # which only training finds
        print(f"{told} cannot work: {error}")
        return None
    except KeyboardInterrupt:
        kept, steps = runner.reached(replace(varied, paper=runner.LIVE)), run.train.iterations
        total = "" if steps is None else f" of {steps}"  # of a recipe that counts epochs, the images tell
        print(f"stopped; {kept}{total} steps are kept: run the cell again, and it goes on from there")
        return None
    lines = []
    for test_set in run.data.test_sets:
        for scoring in [s for s in SHOWN if s in found.metrics[test_set]]:
            tried, shown = (
                found.metrics[test_set][scoring],
                base.metrics[test_set].get(scoring) if base else None,
            )
            line = {"test set": test_set, "by": scoring} | {m: percent(tried[m]) for m in METRICS}
            gaps = {m: percent(tried[m] - shown[m], signed=True) if shown else "–" for m in METRICS}
            lines.append(line | {f"{m} less the shown row's": gap for m, gap in gaps.items()})
    return styled(pd.DataFrame(lines)).set_caption(f"{told}; one training, one world: no interval")


def rescored(trained: Trained, scoring: Any) -> Styler:
    """A model's accuracy under a test-time variant that no table names, beside its default, in percent."""
    default, lines = trained.run.scoring("default"), []
    for test_set in trained.run.data.test_sets:
        tried, known = (trained.rescore(variant, test_set).summary() for variant in (scoring, default))
        line = {"test set": test_set} | {m: percent(tried[m]) for m in METRICS}
        lines.append(line | {f"{m} default": percent(known[m]) for m in METRICS})
    return styled(pd.DataFrame(lines)).set_caption("one training, one world: no interval")


def footnotes_of(study: Study, table: str) -> Markdown:
    """A table's footnotes for a notebook."""
    return Markdown("\n".join(f"- {note}" for note in footnotes(study, table)))


def besides(verdicts: Iterable[Verdict]) -> Markdown:
    """What other readings say beside each claim that has any, longer trainings among them; a list in markdown."""
    told = {verdict.claim: beside_it(verdict) for verdict in verdicts}
    lines = [f"- **C{claim}**: {words[:1].lower()}{words[1:]}" for claim, words in told.items() if words]
    return Markdown("\n".join(lines) or "No other reading stands beside a claim.")


def live_check(study: Study, trained: Trained) -> Styler:
    """The model trained on this machine beside its record, with the spread of worlds to judge the difference by."""
    found = _live(study, trained)
    return styled(found.drop(columns="agrees")).set_caption(_in_words(found))


def agreement(study: Study, trained: Trained) -> str:
    """Whether the live model is as good as its record, but for the spread of worlds; in a sentence."""
    return _in_words(_live(study, trained))


APART = 2
"""Standard deviations of worlds that a live model may be from its record: both vary, so that one would be too few."""


def _in_words(found: pd.DataFrame) -> str:
    if (found["worlds"] < 2).any():
        return "one world: how much worlds differ is not known yet"
    off = found.loc[~found["agrees"], "test set"]
    if len(off):
        where = ", ".join(off)
        return f"the live model differs from its record by more than two standard deviations of worlds, on {where}"
    return f"the live model agrees with its record within two standard deviations of {found['worlds'].min()} worlds"


def _live(study: Study, trained: Trained) -> pd.DataFrame:
    record, lines = records.find(trained.run), []
    for test_set in trained.run.data.test_sets:
        live = trained.score("default", test_set).summary()
        known = record.metrics[test_set]["default"] if record else {}
        line, agrees, worlds = {"test set": test_set}, True, 0
        for metric in METRICS:
            spread = study.scored(study.paper.main, test_set=test_set, metric=metric)
            std, worlds = (spread.std, spread.seeds) if spread else (np.nan, 0)
            agrees &= abs(live[metric] - known.get(metric, np.nan)) <= APART * std
            line |= {
                f"{metric} live": percent(live[metric]),
                f"{metric} record": percent(known.get(metric, np.nan)),
            }
            line |= {f"{metric} std of worlds": percent(std)}
        lines.append(line | {"worlds": worlds, "agrees": bool(agrees)})
    return pd.DataFrame(lines)


def provenance(study: Study) -> Styler:
    """Which records a notebook shows, a line per row: hashes by world, and all commits, versions and devices."""
    lines = []
    for name in study.trainings():
        if found := study.records(name):
            origins = [record.provenance for record in found]
            lines.append(
                {
                    "row": name,
                    "records, world by world": ", ".join(f"{record.seed}: {record.hash}" for record in found),
                    "commits": _every(origin["commit"] for origin in origins),
                    "torch": _every(origin["versions"]["torch"] for origin in origins),
                    "device": _every(origin["device"] for origin in origins),
                    "seconds": float(np.mean([origin["seconds"] for origin in origins])),
                    "images/s": float(np.mean([origin["throughput"] for origin in origins])),
                    "alarms": "; ".join(alarm for record in found for alarm in record.alarms),
                    "test scorings": sum(record.test_scorings for record in found),
                }
            )  # fmt: skip
    return styled(pd.DataFrame(lines)).format(precision=1)


def _every(values: Iterable[str]) -> str:
    """Different values, in the order in which they come."""
    return ", ".join(dict.fromkeys(values))
