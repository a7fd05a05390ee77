"""Numbers as people read them: paper-versus-ours tables, verdicts, sentences, the README's first screen.

Percent with one decimal exist here only; everywhere else numbers are fractions.
"""

import difflib
import inspect
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from companion import claims, plots, records, runner, views
from companion.claims import Outcome, Status, Verdict
from companion.papers import GRIDS
from companion.presets import PRESETS, RunConfig
from companion.published import ROOT, printed
from companion.records import RESULTS, RunRecord
from companion.study import METRICS, Study
from companion.truth import NoTruth
from reidlib import doctor
from reidlib.complexity import complexity
from reidlib.models import MODELS
from reidlib.training import TrainConfig

MARKS = {
    Status.REPRODUCED: "✔",
    Status.CONTRADICTED: "✘",
    Status.INCONCLUSIVE: "≈",
    Status.NOT_TESTED: "·",
    Status.UNTESTABLE: "–",
}
COLORS = {
    Status.REPRODUCED: "#1a7f37",
    Status.CONTRADICTED: "#c62828",
    Status.INCONCLUSIVE: "#9a6700",
    Status.NOT_TESTED: "#6e7781",
    Status.UNTESTABLE: "#6e7781",
}
OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}
TITLES = {"bpbreid": "BPBreID", "qpm": "QPM", "pan": "PAN", "dpti": "DPTI", "aap": "AaP-ReID"}
BEGIN, END = "<!-- results: written by `make tables` from the records -->", "<!-- /results -->"


def percent(value: float, *, std: float = np.nan, signed: bool = False) -> str:
    """A fraction in percent with one decimal, its spread behind it; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    text = f"{value * 100:+.1f}" if signed else f"{value * 100:.1f}"
    return text if np.isnan(std) else f"{text} ± {std * 100:.1f}"


def points(outcome: Outcome) -> str:
    """A contrast's estimate and interval in percentage points."""
    if outcome.missing:
        return f"no usable record of {', '.join(outcome.missing)}"
    return f"{outcome.estimate * 100:+.1f} [{outcome.low * 100:+.1f}, {outcome.high * 100:+.1f}]"


# -- notebooks ----------------------------------------------------------------------------------------


def open_study(
    paper: str, *, preset: str, seeds: int | None, dataset: str | None = None, device: str = "auto"
) -> Study:
    """Check a notebook's parameters, say what it will show, and give access to the records.

    Args:
        dataset: at preset ``real``, which of the paper's data sets; None is that of its ablations.

    Raises:
        ValueError: unknown preset or data set, impossible number of seeds, or a device this machine lacks.
        FileNotFoundError: a real data set is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"DEVICE {device!r} is unknown; expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("DEVICE is 'cuda' but this machine has no CUDA device; use DEVICE='auto'")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks for CUDA
    study = Study(paper, preset, seeds, dataset)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() and device != "cpu" else "CPU"
    print(f"paper {paper}, preset {study.preset_name}, commit {runner.commit()}, device {where}")
    if study.preset_name != "real":
        print(
            f"data: synthetic benchmark {PRESETS[study.preset_name].data.profile!r}; not the papers' datasets"
        )
        return study
    data = study.run(next(iter(study.grid.runs))).data
    name = data.test_sets[0]
    for split in runner.prepare(data).values():
        for line in doctor.warnings(split):
            print(line)
    print(f"data: {name}, trained on {data.train_set} as the paper did; this notebook trains one model")
    print(f"other rows: `python -m reidlib run --paper {paper} --preset real --dataset {name}`")
    return study


@contextmanager
def needs_truth() -> Iterator[None]:
    """A cell that only synthetic data can fill: with real data it says why it stays empty."""
    try:
        yield
    except NoTruth as error:
        print(f"not shown: {error}")


def show(item: object) -> "Code":  # noqa: F821
    """The library's own source of a class or function, for a notebook."""
    from IPython.display import Code

    item = inspect.unwrap(item)
    where = Path(inspect.getsourcefile(item)).relative_to(ROOT)
    source = textwrap.dedent(inspect.getsource(item))
    return Code(f"# {where}\n{source}", language="python")


def verdict_table(verdicts: list[Verdict]) -> "pd.io.formats.style.Styler":
    """All verdicts of a paper with the contrast that decides each."""
    rows = [
        {
            "claim": f"C{v.claim}",
            "the paper says": v.statement,
            "where": v.source,
            "verdict": f"{MARKS[v.status]} {v.status}",
            "the deciding contrast, in points": deciding(v),
            "seeds": v.seeds or "",
        }
        for v in verdicts
    ]
    frame = pd.DataFrame(rows)
    colors = [COLORS[v.status] for v in verdicts]
    return _style(frame).apply(lambda _: [f"color:{c};font-weight:600" for c in colors], subset=["verdict"])


def deciding(verdict: Verdict) -> str:
    """The contrast nearest to failing (or the reason why there is none), in words."""
    if not verdict.outcomes:
        return verdict.found or verdict.note or "computed"
    missing = sorted({name for o in verdict.outcomes for name in o.missing})
    if verdict.status == Status.NOT_TESTED:
        return f"no usable record of {', '.join(missing)}"
    worst = min((o for o in verdict.outcomes if o.status == verdict.status), key=_slack)
    contrast = worst.contrast
    many = f" (the weakest of {len(verdict.outcomes)})" if len(verdict.outcomes) > 1 else ""
    sides = " − ".join(_names(side) for side in (contrast.plus, contrast.minus) if side)
    return f"{contrast.metric}: {sides} = {points(worst)}{many}"


def _slack(outcome: Outcome) -> float:
    side = 1 if outcome.contrast.sign == ">" else -1
    edge = outcome.low if side > 0 else outcome.high
    return side * (edge - outcome.contrast.margin)


def _names(references: tuple[str, ...]) -> str:
    text = " + ".join(reference.split("/", 1)[1] for reference in references)
    return f"({text})" if len(references) > 1 else text


def answer(verdict: Verdict) -> str:
    """One sentence that states a verdict with its numbers."""
    seeds = f"{verdict.seeds} seeds" if verdict.seeds > 1 else "one seed"
    counts = Counter(o.status for o in verdict.outcomes)
    tally = ", ".join(f"{n} of {len(verdict.outcomes)} contrasts {status}" for status, n in counts.items())
    tail = f" {tally}, {seeds}." if verdict.outcomes and verdict.seeds else ""
    where = " on the synthetic benchmark" if verdict.outcomes and not verdict.real else ""
    return f"C{verdict.claim} is {verdict.status}{where}: {deciding(verdict)}.{tail}"


def paper_versus_ours(study: Study, table: str, *, baseline: str | None = None, dataset: str | None = None):
    """A table of the paper with our value beside every printed one.

    Args:
        baseline: row against which gains are shown, in the paper and in ours.
        dataset: only this printed column.
    """
    frame = _wide(study, table, baseline=baseline, dataset=dataset)
    if frame.empty:
        raise ValueError(f"{study.paper} {table} has no column {dataset!r}")
    caption = (
        f"{TITLES[study.paper]} {table}: printed (real data) beside ours ({_data_label(study)}), percent"
    )
    return _style(frame).set_caption(caption)


def _data_label(study: Study) -> str:
    data = "the same data" if study.preset_name == "real" else "synthetic data"
    return f"{data}, preset {study.preset_name}"


def _wide(
    study: Study, table: str, *, baseline: str | None = None, dataset: str | None = None
) -> pd.DataFrame:
    frame = study.frame(table)
    if dataset:
        frame = frame[frame["dataset"] == dataset]
    lines = []
    for (row, where), group in frame.groupby(["row", "dataset"], sort=False):
        values = group.set_index("metric")
        collapsed = " †" if study.collapsed(values["run"].iloc[0], dataset=where) else ""
        line = {"row": row + collapsed, "printed on": where, "ours on": values["test_set"].iloc[0]}
        for metric in study.metrics(table):
            line[f"{metric} printed"] = percent(values.loc[metric, "printed"])
            line[f"{metric} ours"] = percent(values.loc[metric, "ours"], std=values.loc[metric, "std"])
            if baseline:
                base = frame[
                    (frame["row"] == baseline) & (frame["dataset"] == where) & (frame["metric"] == metric)
                ].iloc[0]
                line[f"{metric} gain printed"] = percent(
                    values.loc[metric, "printed"] - base["printed"], signed=True
                )
                line[f"{metric} gain ours"] = percent(values.loc[metric, "ours"] - base["ours"], signed=True)
        line["seeds"] = int(values["seeds"].min())
        lines.append(line)
    return pd.DataFrame(lines)


def footnotes(study: Study, table: str) -> list[str]:
    """The doubts about printed values that every table showing them must carry."""
    notes = study.frame(table)[["row", "note"]].drop_duplicates()
    grouped = notes[notes["note"] != ""].groupby("note", sort=False)["row"].agg(list)
    return [
        f"{', '.join(dict.fromkeys(rows))}: {note.removeprefix('info: ')}" for note, rows in grouped.items()
    ]


def data_table(run: RunConfig) -> "pd.io.formats.style.Styler":
    """Images, identities, cameras and distractors of every split; of real data, what the doctor finds."""
    splits = runner.prepare(run.data)
    if run.data.profile == "real":
        found = {name: doctor.examine(name, runner.REAL).frame() for name in splits}
        return _style(pd.concat(found, names=["data set"]).reset_index(level=0))
    lines = [
        {"data set": name, "split": side, **numbers}
        for name, split in splits.items()
        for side, numbers in split.counts().items()
        if numbers["images"]
    ]
    return _style(pd.DataFrame(lines)).format(thousands=",")


def recipe(run: RunConfig, *, paper: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The recipe used beside the paper's own.

    Args:
        paper: the paper's size, batch, optimiser, learning rate, length and start, in words; None compares
            with BPBreID's released code, field by field.
    """
    size, used = f"{run.data.height}x{run.data.width}", asdict(run.train)
    if paper is not None:
        here = (
            size,
            f"{run.train.identities} people x {run.train.images} images",
            f"{OPTIMISERS[run.train.optimiser]}, weight decay {run.train.weight_decay:g}",
            f"{run.train.lr:g}, {run.train.schedule}",
            f"{run.train.iterations} steps" if run.train.iterations else f"{run.train.epochs} epochs",
            run.model_config.weights or "from scratch",
        )
        return pd.DataFrame({"field": list(paper), "paper": list(paper.values()), "here": here})
    released = asdict(TrainConfig.released())
    keys = [key for key in used if used[key] != released[key]]
    lines = [
        {"field": key, "paper (released code)": str(released[key]), "here": str(used[key])} for key in keys
    ]
    return pd.DataFrame([{"field": "image size", "paper (released code)": "256x128", "here": size}, *lines])


def sizes(
    configs: Mapping[str, Any],
    *,
    model: str,
    identities: int,
    size: tuple[int, int],
    printed: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Parameters of several configs of a model, without and with its identity classifiers, and multiply-adds.

    Args:
        size: of an image.
        printed: what the paper prints, for some of the configs.
    """
    lines = []
    for name, config in configs.items():
        found = complexity(partial(MODELS[model], config), identities=identities, size=size)
        line = {
            "reading": name,
            "at test time": f"{found.parameters:,}",
            "in training": f"{found.training:,}",
        }
        line["multiply-adds"] = f"{found.operations / 1e9:.3f} G"
        lines.append(line | ({"printed": printed.get(name, "–")} if printed else {}))
    return pd.DataFrame(lines)


def cost(study: Study, name: str, *, gallery: int) -> "pd.io.formats.style.Styler":
    """Milliseconds per training step and per matched query, printed and ours; ours at this preset, now.

    Args:
        gallery: images that a query is matched with.
    """
    own = printed(study.paper).query("table == 'table8' and kind == 'own'").set_index("metric")["value"]
    run = study.run(name)
    seconds = views.matching_seconds(run, scorings=("part", "default"), gallery=gallery)
    batch = run.train.identities * run.train.images
    steps = [batch / r.provenance["throughput"] for r in study.records(name)]
    lines = (
        ("training step, ms", 1e3 * own["train_s_per_iter"], 1e3 * np.mean(steps) if steps else np.nan),
        ("query, part branch, ms", np.nan, 1e3 * seconds["part"]),
        ("query, nearest 30 refined, ms", 1e3 * own["infer_s_per_img"], 1e3 * seconds["default"]),
        ("refined over part branch", np.nan, seconds["default"] / seconds["part"]),
    )
    frame = pd.DataFrame(lines, columns=["what", "printed (Titan V)", "here"])
    return _style(frame).format(precision=2, na_rep="–")


def following(truth: views.MaskTruth) -> pd.DataFrame:
    """On which region each mask is highest and lowest, and the mask it is most like."""
    lines = []
    for row, name in enumerate(truth.names):
        weights = truth.weights[row]
        high, low = np.nanargmax(weights), np.nanargmin(weights)
        others = np.where(np.arange(len(truth.names)) == row, 0.0, truth.correlation[row])
        like = int(np.abs(others).argmax())
        lines.append(
            {
                "map": name,
                "highest on": f"{truth.regions[high]} ({weights[high]:+.2f})",
                "lowest on": f"{truth.regions[low]} ({weights[low]:+.2f})",
                "most like, or opposite to": f"{truth.names[like]} (correlation {others[like]:+.2f})",
            }
        )
    return pd.DataFrame(lines)


def mask_table(study: Study, runs: Mapping[str, str]) -> pd.DataFrame:
    """How alike and how signed the masks of several runs are, averaged over their records.

    Args:
        runs: title -> run.
    """
    keys = {
        "mean |correlation| of two masks": "alike",
        "of a mask with its likest": "most_alike",
        "share of negative values": "negative",
    }
    lines = []
    for title, name in runs.items():
        found = study.measured(name)
        values = {
            text: np.mean([m.get(key, np.nan) for m in found] or [np.nan]) for text, key in keys.items()
        }
        line = {"model": title} | {t: "–" if np.isnan(v) else f"{v:.2f}" for t, v in values.items()}
        lines.append(line | {"seeds": len(found)})
    return pd.DataFrame(lines)


def template_table(study: Study, runs: Mapping[str, str]) -> pd.DataFrame:
    """What an occluder does to templates: how far they move, and how much attention stays on what is hidden.

    Args:
        runs: title -> run.
    """
    keys = {
        "templates moved": "moved",
        "from another person": "moved-person",
        "template maps on the place: without": "templates-clear",
        "template maps on the place: with": "templates-hidden",
        "part attention on the place: without": "parts-clear",
        "part attention on the place: with": "parts-hidden",
    }
    study.require_truth()
    lines = []
    for title, name in runs.items():
        known = study.records(name)
        line = {"model": title}
        for text, key in keys.items():
            found = [
                np.nanmean(r.per_query("synth-occluded", "default", key))
                for r in known
                if r.has("synth-occluded", "default", key)
            ]
            line[text] = f"{np.mean(found):.3f}" if found else "–"
        lines.append(line | {"seeds": len(known)})
    return pd.DataFrame(lines)


def map_table(study: Study, runs: Mapping[str, str]) -> pd.DataFrame:
    """How spread and how alike the maps of several runs' templates are, averaged over their records.

    Args:
        runs: title -> run.
    """
    lines = []
    for title, name in runs.items():
        for kind, text in (("templates", "where templates come from"), ("parts", "part attention")):
            found = [measures[kind] for measures in study.measured(name) if kind in measures]
            if found:
                values = {key: np.mean([m[key] for m in found]) for key in ("entropy", "cosine")}
                line = {"model": title, "maps": text, "entropy, of the largest": f"{values['entropy']:.2f}"}
                line |= {"mean cosine of two": f"{values['cosine']:.2f}", "seeds": len(found)}
                lines.append(line)
    return pd.DataFrame(lines)


def size_table() -> "pd.io.formats.style.Styler":
    """Every size that AaP-ReID prints, beside the exact count, cut and rounded to two decimals."""
    frame = claims.printed_sizes()
    bold = frame["rule"].map(lambda rule: "font-weight:600" if rule != "truncated" else "")
    styled = _style(frame).apply(lambda _: bold, subset=["rule"])
    return styled.format(precision=2, thousands=",")


def saliency_table(study: Study, runs: Mapping[str, str]) -> pd.DataFrame:
    """Shares of saliency on the person, on what is in front, and elsewhere, in percent.

    Args:
        runs: title -> run.
    """
    frame = views.saliency_shares(study, dict(runs))
    for column in ("person", "front", "background"):
        frame[column] = frame[column].map(percent)
    return frame.rename(columns={"front": "what is in front"})


def trace(run: RunConfig) -> pd.DataFrame:
    """Every module of the run's model, its output shape on one image, and its parameters."""
    model, rows = runner.build(run, identities=160).eval(), []

    def note(name: str):
        def hook(module, _, output) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shape = str(tuple(first.shape)) if isinstance(first, torch.Tensor) else ""
            if isinstance(first, dict):
                shape = ", ".join(f"{key} {tuple(value.shape)}" for key, value in first.items())
            count = sum(parameter.numel() for parameter in module.parameters())
            rows.append({"module": name, "output": shape, "parameters": f"{count:,}"})

        return hook

    own = getattr(model, "head", model)
    inside = {id(m) for m in model.backbone.modules()}
    named = {"backbone": model.backbone} | {
        name: module
        for name, module in own.named_modules()
        if name and id(module) not in inside and name.count(".") <= 1 and _is_called(module)
    }
    hooks = [module.register_forward_hook(note(name)) for name, module in named.items()]
    with torch.inference_mode():
        model(torch.zeros(1, 3, run.data.height, run.data.width))
    for hook in hooks:
        hook.remove()
    total = sum(parameter.numel() for parameter in model.parameters())
    return pd.DataFrame([*rows, {"module": "total", "output": "", "parameters": f"{total:,}"}])


def _is_called(module: torch.nn.Module) -> bool:
    """Whether a module has a forward pass of its own and is no mere container."""
    return not isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict))


def scores(record: RunRecord, *, scorings: Sequence[str]) -> pd.DataFrame:
    """A record's accuracy on every test set, in percent."""
    return pd.DataFrame(
        [
            {"test set": name, "scoring": scoring} | {m: percent(table[scoring][m]) for m in METRICS}
            for name, table in record.metrics.items()
            for scoring in scorings
        ]
    )


def rescored(run: RunConfig, scoring: Any) -> pd.DataFrame:
    """A run's accuracy under a test-time variant that no table names, beside its default, in percent."""
    default, lines = run.model_config.scorings()["default"], []
    for test_set in run.data.test_sets:
        tried, known = (runner.rescore(run, variant, test_set).summary() for variant in (scoring, default))
        line = {"test set": test_set} | {m: percent(tried[m]) for m in METRICS}
        lines.append(line | {f"{m} default": percent(known[m]) for m in METRICS})
    return pd.DataFrame(lines)


def footnotes_of(study: Study, table: str) -> "Markdown":  # noqa: F821
    """A table's footnotes for a notebook."""
    from IPython.display import Markdown

    return Markdown("\n".join(f"- {note}" for note in footnotes(study, table)))


def live_check(run: RunConfig) -> pd.DataFrame:
    """The run trained on this machine beside its committed record."""
    record = records.find(run)
    lines = []
    for test_set in run.data.test_sets:
        live = runner.score(run, "default", test_set).summary()
        known = record.metrics[test_set]["default"] if record else {}
        line = {"test set": test_set} | {f"{m} live": percent(live[m]) for m in METRICS}
        lines.append(line | {f"{m} record": percent(known.get(m, np.nan)) for m in METRICS})
    return pd.DataFrame(lines)


def provenance(study: Study) -> "pd.io.formats.style.Styler":
    """Which records a notebook shows: commit, device, versions, duration."""
    lines = []
    for name in study.trainings():
        for record in study.records(name):
            origin = record.provenance
            lines.append(
                {
                    "record": f"{name} s{record.seed} {record.hash}", "commit": origin["commit"],
                    "torch": origin["versions"]["torch"], "device": origin["device"],
                    "seconds": origin["seconds"], "images/s": origin["throughput"],
                    "alarms": "; ".join(record.alarms), "test scorings": record.test_scorings,
                }
            )  # fmt: skip
    return _style(pd.DataFrame(lines)).format(precision=1)


def _style(frame: pd.DataFrame):
    cells = [{"selector": "td, th", "props": "text-align:left; white-space:normal; vertical-align:top"}]
    caption = [
        {"selector": "caption", "props": "caption-side:bottom; text-align:left; font-size:90%; color:#57606a"}
    ]
    return frame.style.hide(axis="index").set_table_styles(cells + caption)


# -- files --------------------------------------------------------------------------------------------


def reference_study(studies: Mapping[str, Study]) -> Study:
    """The one whose records stand in the README: gpu where every run is recorded, else cpu."""
    return studies["cpu"] if studies["gpu"].coverage()["missing"] else studies["gpu"]


def write_tables(*, check: bool = False) -> list[Path]:
    """Write results/tables and the README's results; return the files that changed (or would)."""
    studies = {paper: {name: Study(paper, name) for name in ("cpu", "gpu")} for paper in GRIDS}
    front = {paper: reference_study(known) for paper, known in studies.items()}
    wanted = {ROOT / "README.md": front_page((ROOT / "README.md").read_text(), front)}
    for paper, known in studies.items():
        for name, study in known.items():
            if any(study.records(run) for run in study.grid.runs):
                wanted[RESULTS / "tables" / f"{paper}-{name}.md"] = paper_page(study)
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if not check:
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(wanted[path])
            temporary.replace(path)
    return changed


def paper_page(study: Study) -> str:
    """All tables of a paper and their footnotes, as markdown."""
    seeds = {len(study.records(name)) for name in study.grid.runs}
    lines = [f"# {TITLES[study.paper]}: printed and ours", ""]
    lines += [
        f"Ours: {_data_label(study)}, {min(seeds)} to {max(seeds)} seeds. Printed: the papers' real datasets. Percent.",
        "",
    ]
    for table in dict.fromkeys(cell.table for cell in study.grid.cells):
        lines += [f"## {table.capitalize()}", "", _markdown(_wide(study, table)), ""]
        lines += [f"- {note}" for note in footnotes(study, table)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def front_page(readme: str, studies: Mapping[str, Study]) -> str:
    """The README with its results section written anew.

    Args:
        studies: paper -> the records to show.

    Raises:
        ValueError: the README has lost the markers between which results stand.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no section between {BEGIN!r} and {END!r}; put the markers back")
    head, tail = readme.split(BEGIN)[0], readme.split(END)[1]
    return "\n".join([head + BEGIN, "", *_results(studies), "", END + tail])


def _results(studies: Mapping[str, Study]) -> list[str]:
    """How many claims held per paper, then every verdict and the main models' accuracy, paper by paper."""
    found = {paper: claims.verdicts(study) for paper, study in studies.items()}
    counts = {paper: Counter(v.status for v in verdicts) for paper, verdicts in found.items()}
    overview = [
        {"paper": f"[{TITLES[paper]}](results/rendered/{paper}.html)", "claims": len(found[paper])}
        | {f"{MARKS[s]} {s}": counts[paper][s] for s in Status}
        for paper in GRIDS
    ]
    lines = [_markdown(pd.DataFrame(overview)), ""]
    for paper, study in studies.items():
        lines += [f"### {TITLES[paper]}", "", *_claims(study, found[paper]), *_headline(study), ""]
    return lines


def _claims(study: Study, verdicts: list[Verdict]) -> list[str]:
    """All verdicts of a paper, and what speaks against its claims in the paper itself."""
    rows = [
        {"": MARKS[v.status], "claim": f"C{v.claim}. {v.statement}", "verdict": str(v.status),
         "deciding contrast": deciding(v), "seeds": v.seeds or ""}
        for v in verdicts
    ]  # fmt: skip
    head = f"Measured on {_data_label(study)}; numbers in percentage points with 95 % intervals."
    lines = [head, "", _markdown(pd.DataFrame(rows)), ""]
    notes = [f"- C{v.claim}: {v.note}" for v in verdicts if v.note and (v.outcomes or v.found)]
    if notes:
        lines += ["What limits a claim in the paper, or in our test of it:", "", *notes, ""]
    return lines


def _headline(study: Study) -> list[str]:
    """Accuracy of the main models on the holistic and on the occluded twin."""
    rows = []
    for title, run, scoring in study.grid.headline:
        row = {"model": title}
        for test_set in ("synth-market", "synth-occluded"):
            for metric in METRICS:
                value = study.scored(run, test_set=test_set, scoring=scoring, metric=metric)
                row[f"{test_set} {metric}"] = percent(value.mean, std=value.std) if value else "–"
        rows.append(row | {"seeds": len(study.records(run))})
    steps = {study.run(run).train.iterations for _, run, _ in study.grid.headline}
    label = f"{_data_label(study)}, {' or '.join(map(str, sorted(steps)))} training steps"
    return [f"Accuracy in percent ({label}):", "", _markdown(pd.DataFrame(rows))]


def _markdown(frame: pd.DataFrame) -> str:
    """A GitHub table (pandas would need one more dependency for it)."""
    header = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "| " + " | ".join("---" for _ in frame.columns) + " |"
    rows = [
        "| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |"
        for row in frame.itertuples(index=False)
    ]
    return "\n".join([header, rule, *rows])


def difference(old: str, new: str) -> str:
    """A unified diff, for the message of a test that finds a generated file out of date."""
    return "\n".join(
        difflib.unified_diff(old.splitlines(), new.splitlines(), "tracked", "generated", lineterm="")
    )


# -- exploring ----------------------------------------------------------------------------------------


def explore(run: RunConfig, *, test_set: str, query: int):
    """Widgets that pick a query and show its ranked gallery and why the first image outranks the second."""
    from IPython.display import display
    from ipywidgets import Dropdown, IntSlider, interactive

    def draw(test_set: str, query: int, top: int) -> None:
        view = views.ranked(run, test_set, query, scorings=("default",), titles=("default",), top=top)
        display(plots.ranking(view.query, view.gallery, correct=view.correct, distances=view.distances))
        display(why(run, test_set, query))

    last = len(runner.test_set(run.data, test_set).query) - 1
    return interactive(
        draw,
        {
            "manual": True,
            "manual_name": "show",
        },  # draws on demand: a headless run has nobody to answer a widget
        test_set=Dropdown(options=run.data.test_sets, value=test_set),
        query=IntSlider(min=0, max=last, value=min(query, last), continuous_update=False),
        top=IntSlider(min=3, max=12, value=8, continuous_update=False),
    )


def why(run: RunConfig, test_set: str, query: int) -> pd.DataFrame:
    """Distance and weight, slot by slot, of a query's two nearest gallery images."""
    slots = views.why(run, test_set, query)
    columns = {"slot": slots.names, "weight in query": _weights(slots.weights[:, 0])}
    for place, name in enumerate(("first", "second"), start=1):
        columns[f"weight in {name}"] = _weights(slots.weights[:, place])
        columns[f"distance to {name}"] = [
            f"{d:.3f}" if np.isfinite(d) else "–" for d in slots.distances[:, place - 1]
        ]
    return pd.DataFrame(columns)


def _weights(values: np.ndarray) -> list[str]:
    """Visibility as a word, quality as a number."""
    if values.dtype == bool:
        return ["visible" if value else "hidden" for value in values]
    return ["–" if np.isnan(value) else f"{value:.2f}" for value in values]
