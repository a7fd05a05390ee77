"""What figures say, in words computed from the same numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy.stats import spearmanr

from companion.claims import compared
from companion.formats import number, styled
from companion.study import FEWEST, Study, Value
from companion.views import FAILED

DONE = 0.94
"""Holistic rank-1 from which on a training counts as done when worlds are compared."""


def start_answer(frame: pd.DataFrame) -> str:
    """What the start changes, from ``views.starts``."""
    sentences = []
    for panel, lines in frame.groupby("panel", sort=False):
        if lines["mean"].isna().any():
            return "Not all rows from noise are recorded yet, so nothing can be said of the start."
        table = _both(lines)
        gain = 100 * (table["pretrained on other people"] - table["from noise"])
        span = dict.fromkeys(f"{edge:.1f}" for edge in (gain.min(), gain.max()))
        told = f"On `{panel}` the pretrained start adds {' to '.join(span)} points"
        told += (
            f", and leaves the rows in {'the same' if _alike(table) else 'another'} order"
            if len(table) > 1
            else ""
        )
        sentences.append(f"{told}.")
    if failed := {line.row for line in frame.itertuples() if line.state == FAILED}:
        sentences.append(f"Left out, since from noise it learned nothing: {', '.join(sorted(failed))}.")
    return " ".join(sentences)


def starts_answer(frames: Sequence[pd.DataFrame]) -> str:
    """What the start changes in the papers whose rows from noise are all recorded; empty where there is none."""
    gains, orders, worlds = [], [], set()
    for frame in frames:
        occluded = frame[frame["occluded"]]
        if occluded.empty or occluded["mean"].isna().any():
            continue
        table = _both(occluded)
        gains += [*(100 * (table["pretrained on other people"] - table["from noise"]))]
        orders += [_alike(table)] if len(table) > 1 else []
        worlds |= {*occluded["worlds"]}
    if not gains:
        return ""
    most, least = max(worlds), min(worlds)
    many = "one world" if most == 1 else f"{least if least == most else f'{least} to {most}'} worlds"
    return (
        f"on occluded queries the pretrained start adds {min(gains):.1f} to {max(gains):.1f} points of mAP to "
        f"{len(gains)} main rows, and keeps their order in {sum(orders)} of {len(orders)} papers ({many}). It was "
        "trained as a BoT is."
    )


def _both(lines: pd.DataFrame) -> pd.DataFrame:
    """Rows that learned from either start, a column for each."""
    failed = lines.loc[lines["state"] == FAILED, "row"]
    return lines[~lines["row"].isin(failed)].pivot(index="row", columns="series", values="mean")


def _alike(table: pd.DataFrame) -> bool:
    """Whether both starts put the rows in one order."""
    first, second = (table[series].sort_values().index.tolist() for series in table)
    return first == second


def spread_answer(frame: pd.DataFrame) -> str:
    """How far worlds differ in rows that are done and in others, from ``views.convergence``."""
    if frame.empty:
        return "No row is recorded in several worlds yet, so nothing can be said of their spread."
    done = frame["rank1"] >= DONE
    groups = ((f"of {DONE:.0%} or more", frame[done]), ("below that", frame[~done]))
    parts = [
        f"{100 * rows['std'].median():.1f} points in the {len(rows)} rows {words}"
        for words, rows in groups
        if len(rows)
    ]
    text = f"Median standard deviation of holistic rank-1 between worlds: {', '.join(parts)}."
    if len(frame) > 2 and frame["rank1"].nunique() > 1:
        rank1, std = frame["rank1"], frame["std"]
        rho, logit = (spearmanr(rank1, spread).statistic for spread in (std, std / (rank1 * (1 - rank1))))
        text += (
            f" Rank correlation of accuracy and spread over {len(frame)} rows: {rho:+.2f}, and {logit:+.2f} on the "
            "logit scale, where the room that is left below 100 % does not count."
        )
    return text


def learned_answer(study: Study) -> str:
    """How far the trainings of a paper came that are as long as its main row's, from its records."""
    found = {
        study.paper.title_of(name): Value.of(record.learned for record in study.records(name)).mean
        for name in study.trainings()
        if not study.paper.row(name).scratch and study.paper.as_long(name) == study.paper.main
    }
    known = {title: share for title, share in found.items() if not np.isnan(share)}
    if not known:
        return "No training with an identity loss is recorded yet."
    least, most = min(known, key=known.get), max(known, key=known.get)
    return (
        f"The identity losses of {len(known)} rows fell by {known[least]:.0%} ({least}) to {known[most]:.0%} ({most}) "
        "of what they were in the first twentieth of the steps. Losses on single parts and those behind dropout fall "
        "less by themselves, so that only rows with the same losses can be compared; where even a paper's main row "
        "learned little, its accuracy is largely its start's."
    )


def contrast(
    study: Study,
    table: str,
    row: str,
    *,
    metrics: Mapping[str, str],
    minus: str = "",
    unit: str = "points",
    dataset: str = "occluded-duke",
) -> Styler:
    """A row of a table, or that less another, under several metrics or measures, in hundredths.

    Args:
        metrics: in words.
        minus: the row to be taken away, paired within worlds; nothing where there is none.
        unit: of a hundredth, in words; the heading of the column.
    """
    cell, lines = study.paper.cell(table, row, dataset), []
    for metric, words in metrics.items():
        found = (
            compared(study, cell, study.paper.cell(table, minus, dataset), metric)
            if minus
            else Value.of(study.values(cell, metric).tolist())
        )
        mean, worlds = (found.estimate, found.worlds) if minus else (found.mean, found.seeds)
        text = number(100 * mean, half=100 * found.half, digits=1, signed=True)
        lines.append({"measure": words, unit: text, "worlds": worlds or "–"})
    least = 2 if minus else FEWEST
    caption = f"mean over worlds ± half of its 95 % interval, none with fewer than {least}"
    return styled(pd.DataFrame(lines)).set_caption(caption)
