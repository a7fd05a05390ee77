"""Paper-versus-ours tables, verdicts and the sentences that state them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from companion.claims import Verdict, compared, lacking
from companion.contrasts import in_words
from companion.formats import heading, metric_in_words, number, percent, styled
from companion.intervals import LEVEL, Interval
from companion.paper import Cell
from companion.plots.charts import MARKS, VERDICTS
from companion.published import SIDED, printed
from companion.records import RunRecord
from companion.study import FEWEST, METRICS, Study
from companion.views import MaskTruth, title
from companion.words import Status
from reidlib.complexity import complexity
from reidlib.models import MODELS
from reidlib.palette import ink_on

REACH = 1000
"""Worlds beyond which it does not matter how many more would decide a claim."""


SHRUNK, MUCH = (Status.SMALLER, Status.NONE, Status.UNDECIDED), 0.8
"""Verdicts for which it is said what the printed effect comes to here, and from which share of it on."""


def points(interval: Interval) -> str:
    """An estimate and its interval in percentage points, or hundredths of a measure against ground truth."""
    if not interval.worlds:
        return "–"
    text, low, high = (
        percent(edge, signed=True) for edge in (interval.estimate, interval.low, interval.high)
    )
    return f"{text} [{low},\u00a0{high}]" if interval.freedom else text


def verdict_table(verdicts: list[Verdict]) -> Styler:
    """All verdicts of a paper: the printed effect beside ours, and one word."""
    frame = pd.DataFrame([verdict_line(verdict) for verdict in verdicts])
    frame.insert(1, "verdict", frame.pop("verdict"))  # in sight on a narrow page
    fills = [VERDICTS[v.status] for v in verdicts]
    styles = [f"background:{fill};color:{ink_on(fill)}" for fill in fills]
    return styled(frame).apply(lambda _: styles, subset=["verdict"]).set_caption(CAPTION)


CAPTION = (
    "Effects in points, averaged over a claim's contrasts (or over those of the comparison that the remark names), "
    "with the 95 % interval over worlds. Sure: percent above one point, within one, and below minus one."
)


def verdict_line(verdict: Verdict) -> dict[str, str | int]:
    """A line of the table of verdicts, as text."""
    decided = not verdict.reason or verdict.status == Status.UNDECIDED
    shown = verdict.endpoint if verdict.endpoint and decided else None
    return {
        "claim": f"C{verdict.claim}",
        "the paper says": verdict.statement,
        "where": verdict.source,
        "verdict": f"{MARKS[verdict.status]} {verdict.status}",
        "printed": percent(verdict.printed, signed=True),
        "ours": points(shown) + ("" if verdict.points else f" {verdict.unit}") if shown else "–",
        "sure": sureness(verdict) if shown else "–",
        "worlds": verdict.worlds if shown else "–",
        "remark": remark(verdict),
    }


def sureness(verdict: Verdict) -> str:
    """How sure it is that an effect lies above one point, within one, and below minus one; a dash where it is not."""
    if np.isnan(verdict.sure[0]) or not verdict.points:
        return "–"
    return "\u00a0/\u00a0".join(f"{100 * share:.0f}" for share in verdict.sure)


def remark(verdict: Verdict) -> str:
    """What a computation gave; which comparison decides; why none does, or how many worlds would."""
    if verdict.kind == "exact":
        return f"computed: {verdict.found}"
    told = [f"worst {verdict.decisive}"] if verdict.decisive else []
    if verdict.compared:
        told.append(f"here: {verdict.compared}")
    if verdict.status in SHRUNK and verdict.expected < MUCH * verdict.printed:
        told.append(f"printed, as a share of the errors left here: {percent(verdict.expected, signed=True)}")
    if not verdict.reason and verdict.uncorrected != verdict.status:
        told.append(f"{verdict.uncorrected} but for the correction for {verdict.among} comparisons")
    if not verdict.reason and verdict.unmoderated not in (None, verdict.status):
        told.append(f"{verdict.unmoderated} by Student's t alone")
    if verdict.unlike and not verdict.reason:
        fell = " and ".join(percent(share) for share in verdict.learned)
        told.append(f"the identity losses of its two sides fell by {fell} %")
    if not verdict.reason and verdict.looks > 1:
        told.append("the second look, at ten worlds")
    if verdict.reason:
        told.append(verdict.reason)
    elif verdict.status == Status.UNDECIDED and verdict.needed:
        many = f"about {verdict.needed:.0f}" if verdict.needed <= REACH else f"more than {REACH:,}"
        told.append(f"{many} worlds would decide")
    elif verdict.margin:
        told.append(f"margin {100 * verdict.margin:g} point{'s' if verdict.margin > 0.01 else ''}")
    return "; ".join(told)


def answer(verdict: Verdict) -> str:
    """One sentence that states a verdict with its numbers."""
    head = f"**C{verdict.claim}: {verdict.status}**"
    if verdict.status == Status.UNTESTABLE:
        return f"{head}. {verdict.note}"
    if verdict.kind == "exact" or (verdict.reason and verdict.status != Status.UNDECIDED):
        return f"{head}; {remark(verdict)}."
    known = not np.isnan(verdict.printed)
    printed = f" (printed {percent(verdict.printed, signed=True)} {verdict.unit})" if known else ""
    data = "on the papers' data" if verdict.real else "on synthetic data"
    worlds = f"{verdict.worlds} worlds" if verdict.worlds > 1 else "one world"
    tail = f"; {remark(verdict)}" if remark(verdict) and verdict.worlds > 1 else ""
    ours = f"{points(verdict.endpoint)} {verdict.unit}"
    return f"{head}. The paper: {verdict.statement}{printed}. Here, {data}: {ours} ({worlds}{tail})."


def beside_it(verdict: Verdict) -> str:
    """What other readings of a claim would say, in sentences; empty where there are none."""
    told = []
    for aside in verdict.asides:
        printed = "" if np.isnan(aside.printed) else f", printed {percent(aside.printed, signed=True)}"
        told.append(f"{aside.compared}: {points(aside.interval)}{printed}, *{aside.status}*")
    return f"Beside it: {'; '.join(told)}." if told else ""


def contrast_table(study: Study, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Every single contrast: ours with interval, printed, Holm's p over all that claim a side."""
    lines = []
    for verdict in verdicts:
        for outcome in verdict.outcomes:
            contrast, interval = outcome.contrast, outcome.interval
            known = interval if interval.worlds else None
            sided = verdict.kind in SIDED and not contrast.beside and outcome.counts
            lines.append(
                {
                    "claim": f"C{verdict.claim}" + (" (beside)" if contrast.beside else ""),
                    "contrast": in_words(study, contrast),
                    "metric": metric_in_words(contrast.metric),
                    "printed": percent(contrast.printed, signed=True),
                    "ours": points(known) if known else "–",
                    "p (Holm)": "–" if np.isnan(outcome.p) else f"{outcome.p:.3f}" if outcome.p >= 0.001 else "<0.001",
                    "as claimed": ("yes" if interval.estimate > 0 else "no") if sided else "–",
                    "worlds": interval.worlds or "–",
                    "remark": outcome.reason,
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many single contrasts have the claimed sign, and how many of them are decided, in a sentence."""
    sided = [
        outcome
        for verdict in verdicts
        if verdict.kind in SIDED
        for outcome in verdict.outcomes
        if outcome.counts and not outcome.contrast.beside
    ]
    claimed = [outcome for outcome in sided if outcome.interval.estimate > 0]
    decided = [outcome for outcome in sided if outcome.p < 1 - LEVEL]
    mine = sum(outcome.interval.estimate > 0 for outcome in decided)
    return (
        f"Of {len(sided)} contrasts that claim a side and can be compared, {len(claimed)} have the claimed sign; "
        f"after Holm's correction {len(decided)} are decided, {mine} as claimed and {len(decided) - mine} against it."
    )


def paper_versus_ours(
    study: Study,
    table: str,
    *,
    baseline: str | None = None,
    dataset: str | None = None,
    rows: Sequence[str] = (),
) -> Styler:
    """A table of the paper with our value beside every printed one.

    Args:
        baseline: row against which gains are shown, in the paper and in ours.
        dataset: only this printed column.
        rows: only these; nothing for all, with those that the paper cites.
    """
    frame = wide(study, table, baseline=baseline, dataset=dataset, rows=rows)
    if frame.empty:
        raise ValueError(f"{study.paper.slug} {table} has no column {dataset!r}")
    base = title(study, study.paper.cell(table, baseline, frame["printed on"].iloc[0])) if baseline else ""
    gain = f"; a gain is over {base}, paired within all worlds that both have" if baseline else ""
    sets = [*frame.groupby("printed on", sort=False)]
    where = f"{beside(*sets[0])}. " if len(sets) == 1 else ""
    ours = "Printed (real data) beside ours" if _is_printed(frame) else "Ours"
    worlds = [count for count in frame["worlds"] if count != "–"]
    caption = (
        f"{study.paper.title}, {study.paper.table_title(table)}, percent. {where}{ours} "
        f"({data_label(study, worlds=worlds)}; mean over worlds ± half of its 95 % interval, none with fewer than "
        f"{FEWEST}{gain}). {BOLD} bold{_faint(frame)}."
    )
    css, drop = looks(frame), ["printed on", "ours on"] if len(sets) == 1 else ["ours on"]
    shown = frame.assign(
        **{"printed on": [beside(name, rows) for name, rows in sets for _ in range(len(rows))]}
    )
    css = css.drop(columns=drop).rename(columns={"printed on": "data"})
    shown = shown.drop(columns=drop).rename(columns={"printed on": "data"})
    if "data" in shown:
        shown["data"] = shown["data"].mask(shown["data"].duplicated(), "")
    css = css.rename(columns=heading)
    return styled(shown).apply(lambda _: css, axis=None).set_caption(caption)


def _faint(frame: pd.DataFrame) -> str:
    """Which rows of a table are faint, as its caption says it; nothing where none is."""
    worlds = pd.to_numeric(frame["worlds"], errors="coerce")
    told = ["cited only"] if (frame["ours on"] == "–").any() else []
    told += ["of fewer worlds"] if (worlds < worlds.max()).any() else []
    marks = [mark for mark in (FAILED, LACKING) if frame["row"].str.endswith(mark).any()]
    told += [f"{' or '.join(marks)} not comparable, see the notes"] if marks else []
    return f"; faint: {', or '.join(told)}" if told else ""


def _is_printed(frame: pd.DataFrame) -> bool:
    """Whether the paper prints any number of a table that ``wide`` made."""
    return bool((frame.filter(regex=r"^\w+ printed$") != "–").to_numpy().any())


def beside(name: str, rows: pd.DataFrame) -> str:
    """Which of our test sets stands beside a printed data set, in words; ours alone where nothing is printed."""
    ours = [place for place in dict.fromkeys(rows["ours on"]) if place != "–"]
    if ours and not _is_printed(rows):
        return ", ".join(ours)
    return f"{name} beside {', '.join(ours)}" if ours and ours != [name] else name


BOLD = "Best of a column (of ours: among comparable rows of most worlds) in"
BEST, DIM = "font-weight:700", "opacity:.55"
"""How the best number of a column is written, and a row that is cited, failed, or of fewer worlds than others."""
FAILED, LACKING = "†", "‡"
"""Marks of a row that the convergence gate holds back, and of one of which the preset lacks what it is about."""


def looks(frame: pd.DataFrame) -> pd.DataFrame:
    """The style of every cell of a table that ``wide`` made: ``BEST``, ``DIM`` or nothing."""
    css = pd.DataFrame("", index=frame.index, columns=frame.columns)
    worlds = pd.to_numeric(frame["worlds"], errors="coerce")
    weak = frame["row"].str.endswith((FAILED, LACKING)) | (worlds < worlds.max())
    for column in frame.filter(regex=r"^\w+ (printed|ours)$"):
        values = frame[column].str.extract(r"^(\d+\.\d)")[0].astype(float)
        values = values.mask(weak) if column.endswith("ours") else values
        per_set = values.groupby(frame["printed on"])
        several = per_set.transform("count") > 1
        css.loc[several & (values == per_set.transform("max")), column] = BEST
    faint = weak | (frame["ours on"] == "–")
    return css.mask((css == "").mul(faint, axis=0), DIM)  # the best printed number is bold in a faint row too


def data_label(*studies: Study, worlds: Sequence[int] = ()) -> str:
    """On which data, at which preset and in how many worlds ours was measured, in words; one preset after the other.

    Args:
        worlds: of every row that is shown; nothing for all rows of the papers.
    """
    labels = []
    for name in dict.fromkeys(study.preset_name for study in studies):
        known = [study for study in studies if study.preset_name == name]
        data = "the same data" if known[0].real else "synthetic data"
        counts = worlds or [len(study.records(row.slug)) for study in known for row in study.paper.rows]
        least, most = min(counts), max(counts)
        many = f"{most} world{'s' * (most != 1)}" if least == most else f"{least} to {most} worlds"
        labels.append(f"{data}, preset {name}, {many}")
    return "; ".join(labels)


CITED = "cited"


def wide(
    study: Study,
    table: str,
    *,
    baseline: str | None = None,
    dataset: str | None = None,
    rows: Sequence[str] = (),
) -> pd.DataFrame:
    """The same as text, without styles: column by column of the paper, its own rows and then those it cites.

    A table of which the paper prints nothing has no columns for it.
    """
    cells = [cell for cell in study.paper.cells if cell.table == table and dataset in (None, cell.dataset)]
    cells = [cell for cell in cells if not rows or cell.row in rows]
    known = printed(study.paper.slug).query("table == @table")
    lines = []
    for where in dict.fromkeys(cell.dataset for cell in cells):
        column = known[known["dataset"] == where]
        values = {(row.row, row.metric): row.value for row in reversed([*column.itertuples()])}
        base = study.paper.cell(table, baseline, where) if baseline else None
        here = [cell for cell in cells if cell.dataset == where]
        own = column.drop_duplicates("row").set_index("row")
        lines += [_own(study, cell, values, base=base) | {"in the paper": _name(own, cell)} for cell in here]
        cited = own[(own["kind"] == CITED) & ~own.index.isin([cell.row for cell in here]) & (not rows)]
        lines += [
            {"row": line.variant, "in the paper": CITED, "printed on": where, "ours on": "–", "worlds": "–"}
            | {f"{m} printed": percent(values.get((line.Index, m))) for m in study.metrics(table)}
            for line in cited.itertuples()
        ]
    frame = pd.DataFrame(lines).fillna("–")
    if frame.empty or _is_printed(frame):
        return frame
    return frame.drop(columns=["in the paper", *frame.filter(regex=" printed$")])


def _own(
    study: Study, cell: Cell, values: Mapping[tuple[str, str], float], *, base: Cell | None
) -> dict[str, str | int]:
    """A line of a table: every metric printed and ours, and their gains over a baseline."""
    mark = f" {FAILED}" if study.unconverged(cell.run, dataset=cell.dataset) else ""
    mark = mark or (f" {LACKING}" if cell.run in lacking(study) else "")
    line = {"row": title(study, cell) + mark, "in the paper": "", "printed on": cell.dataset}
    line["ours on"] = study.test_set(cell)
    for metric in study.metrics(cell.table):
        known, ours = values.get((cell.row, metric), np.nan), study.value(cell, metric)
        line[f"{metric} printed"] = percent(known)
        line[f"{metric} ours"] = percent(ours.mean, half=ours.half) if ours else "–"
        if base:
            gain = compared(study, cell, base, metric)
            line[f"{metric} gain printed"] = percent(
                known - values.get((base.row, metric), np.nan), signed=True
            )
            line[f"{metric} gain ours"] = percent(gain.estimate, half=gain.half, signed=True)
    level = study.value(cell, study.metrics(cell.table)[0])
    return line | {"worlds": level.seeds if level else "–"}


def _name(column: pd.DataFrame, cell: Cell) -> str:
    """What a row is called in the paper, and whether that only cites it."""
    if cell.row not in column.index:
        return "not in it"
    line = column.loc[cell.row]
    return CITED if line["kind"] == CITED else line["variant"]


LOST = re.compile(r"OCR lost the decimal point \(\d+\)")
"""A note that would stand under half of a table, once for each number."""
NUMBERS = re.compile(r"\d[\d.]*")


def footnotes(study: Study, table: str) -> list[str]:
    """What every table must carry: doubts about printed values, and why a row of ours cannot be compared."""
    cells = {cell.row: cell for cell in study.paper.cells if cell.table == table}
    notes: dict[str, list[tuple]] = {}
    for line in printed(study.paper.slug).query("table == @table and note != ''").itertuples():
        words = title(study, cells[line.row]) if line.row in cells else line.variant
        note = LOST.sub("our copy lost decimal points, restored here", line.note.removeprefix("info: "))
        notes.setdefault(note, []).append((words, f"{heading(line.metric)} on {line.dataset}"))
    told = []
    for note, found in notes.items():
        where = f" ({found[0][1]})" if len(found) == 1 else ""
        told.append(f"{', '.join(dict.fromkeys(words for words, _ in found))}{where}: {note}")
    reasons: dict[str, list[str]] = {}
    for cell in (cell for cell in study.paper.cells if cell.table == table):
        if alarms := study.unconverged(cell.run, dataset=cell.dataset):
            reasons.setdefault(f"{FAILED} {_briefly(alarms)}", []).append(title(study, cell))
        elif why := lacking(study).get(cell.run):
            reasons.setdefault(f"{LACKING} {why}", []).append(title(study, cell))
    return told + [f"{', '.join(dict.fromkeys(rows))}: {note}" for note, rows in reasons.items()]


def _briefly(alarms: Sequence[str]) -> str:
    """Why a row is held back: of the same alarm in several worlds the first, and how many more there are."""
    kinds = dict(Counter(NUMBERS.sub("#", alarm) for alarm in alarms))
    first = {NUMBERS.sub("#", alarm): alarm for alarm in reversed(alarms)}
    return "; ".join(
        first[kind] + (f", and so in {count - 1} other world{'s' * (count > 2)}" if count > 1 else "")
        for kind, count in kinds.items()
    )


def sizes(
    configs: Mapping[str, Any],
    *,
    model: str,
    identities: int,
    size: tuple[int, int],
    known: Mapping[str, str] | None = None,
) -> Styler:
    """Parameters of several configs of a model, without and with its identity classifiers, and multiply-adds.

    Args:
        size: of an image.
        known: what the paper prints, for some of the configs.
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
        lines.append(line | ({"printed": known.get(name, "–")} if known else {}))
    return styled(pd.DataFrame(lines))


def scores(record: RunRecord, *, scorings: Sequence[str]) -> Styler:
    """A record's accuracy on every test set, in percent."""
    lines = [
        {"test set": name, "scoring": scoring} | {m: percent(table[scoring][m]) for m in METRICS}
        for name, table in record.metrics.items()
        for scoring in scorings
    ]
    return styled(pd.DataFrame(lines)).set_caption("one training, one world: no interval")


def following(found: MaskTruth, *, less: int = 0) -> Styler:
    """On which region each mask is highest and lowest, and the mask it is most like.

    Args:
        less: taken away from what a mask weighs, as in the matrix above it: one of a map that is nowhere negative.
    """
    lines = []
    for row, name in enumerate(found.names):
        weights = found.weights[row] - less
        high, low = np.nanargmax(weights), np.nanargmin(weights)
        others = np.where(np.arange(len(found.names)) == row, 0.0, found.correlation[row])
        like = int(np.abs(others).argmax())
        lines.append(
            {
                "map": name,
                "highest on": f"{found.regions[high]} ({number(weights[high], signed=True)})",
                "lowest on": f"{found.regions[low]} ({number(weights[low], signed=True)})",
                "most like, or opposite to": f"{found.names[like]} (correlation {number(others[like], signed=True)})",
            }
        )
    return styled(pd.DataFrame(lines))
