"""Paper-versus-ours tables, verdicts and the sentences that state them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from companion.claims import Outcome, Status, Verdict
from companion.formats import percent, styled
from companion.plots.charts import VERDICTS
from companion.records import RunRecord
from companion.study import METRICS, Study
from companion.views import MaskTruth
from reidlib.complexity import complexity
from reidlib.models import MODELS

MARKS = {
    Status.REPRODUCED: "✔",
    Status.CONTRADICTED: "✘",
    Status.INCONCLUSIVE: "≈",
    Status.NOT_TESTED: "·",
    Status.UNTESTABLE: "–",
}


def points(outcome: Outcome) -> str:
    """A contrast's estimate and interval in percentage points."""
    if outcome.missing:
        return f"no usable record of {', '.join(outcome.missing)}"
    return f"{outcome.estimate * 100:+.1f} [{outcome.low * 100:+.1f}, {outcome.high * 100:+.1f}]"


def verdict_table(verdicts: list[Verdict]) -> Styler:
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
    colors = [VERDICTS[v.status] for v in verdicts]
    return styled(frame).apply(lambda _: [f"color:{c};font-weight:600" for c in colors], subset=["verdict"])


def deciding(verdict: Verdict) -> str:
    """The contrast nearest to failing (or the reason why there is none), in words."""
    if not verdict.outcomes:
        return verdict.found or verdict.note or "computed"
    missing = sorted({name for o in verdict.outcomes for name in o.missing})
    if verdict.status == Status.NOT_TESTED:
        return f"no usable record of {', '.join(missing)}"
    worst = weakest(verdict)
    contrast = worst.contrast
    many = f" (the weakest of {len(verdict.outcomes)})" if len(verdict.outcomes) > 1 else ""
    sides = " − ".join(_names(side) for side in (contrast.plus, contrast.minus) if side)
    return f"{contrast.metric}: {sides} = {points(worst)}{many}"


def weakest(verdict: Verdict) -> Outcome:
    """The contrast that decides a verdict: of those that agree with it, the one nearest to failing."""
    return min((o for o in verdict.outcomes if o.status == verdict.status), key=_slack)


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
    frame = wide(study, table, baseline=baseline, dataset=dataset)
    if frame.empty:
        raise ValueError(f"{study.paper.slug} {table} has no column {dataset!r}")
    caption = f"{study.paper.title} {table}: printed (real data) beside ours ({data_label(study)}), percent"
    return styled(frame).set_caption(caption)


def data_label(study: Study) -> str:
    """On which data and at which preset ours was measured, in words."""
    data = "the same data" if study.real else "synthetic data"
    return f"{data}, preset {study.preset_name}"


def wide(
    study: Study, table: str, *, baseline: str | None = None, dataset: str | None = None
) -> pd.DataFrame:
    """The same as text, without styles: a line per row and printed column; see ``paper_versus_ours``."""
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


def scores(record: RunRecord, *, scorings: Sequence[str]) -> pd.DataFrame:
    """A record's accuracy on every test set, in percent."""
    return pd.DataFrame(
        [
            {"test set": name, "scoring": scoring} | {m: percent(table[scoring][m]) for m in METRICS}
            for name, table in record.metrics.items()
            for scoring in scorings
        ]
    )


def following(found: MaskTruth) -> pd.DataFrame:
    """On which region each mask is highest and lowest, and the mask it is most like."""
    lines = []
    for row, name in enumerate(found.names):
        weights = found.weights[row]
        high, low = np.nanargmax(weights), np.nanargmin(weights)
        others = np.where(np.arange(len(found.names)) == row, 0.0, found.correlation[row])
        like = int(np.abs(others).argmax())
        lines.append(
            {
                "map": name,
                "highest on": f"{found.regions[high]} ({weights[high]:+.2f})",
                "lowest on": f"{found.regions[low]} ({weights[low]:+.2f})",
                "most like, or opposite to": f"{found.names[like]} (correlation {others[like]:+.2f})",
            }
        )
    return pd.DataFrame(lines)
