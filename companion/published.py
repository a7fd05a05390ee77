"""The papers' printed tables and claims; ``data/published/`` is the only place that holds them."""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from companion import places

PERCENT = ("rank1", "rank3", "rank5", "rank10", "mAP", "mINP")

SIDED = ("contrast", "each", "each-set", "each-metric")
"""Kinds that claim a side: of the average of all contrasts, of each comparison of rows, of it on every data set, or of
it in every metric."""

PRINTED = ("table", "row", "variant", "dataset", "metric", "value", "kind", "note")
CLAIMS = ("paper", "claim", "statement", "source", "kind", "margin", "unit", "lacks", "note")
CONTRASTS = ("paper", "claim", "metric", "plus", "minus", "printed_plus", "printed_minus", "role")
CONTRADICTIONS = ("paper", "place", "contradiction", "here")


@cache
def printed(slug: str) -> pd.DataFrame:
    """Every printed value of a paper: table, row, variant, dataset, metric, value, kind, note.

    Accuracies are fractions; ``kind`` is ``own`` (the paper's own run) or ``cited``.

    Raises:
        ValueError: a line is not as it should be.
    """
    name = f"{slug}.csv"
    frame = _texts(name, PRINTED)
    value = pd.to_numeric(frame["value"], errors="coerce")
    _refuse(name, frame, "value", ~np.isfinite(value) & (frame["value"] != ""), "a number or nothing")
    _refuse(name, frame, "kind", ~frame["kind"].isin(["own", "cited"]), "own or cited")
    frame["value"] = value.where(~frame["metric"].isin(PERCENT), value / 100)
    return frame


@cache
def claims() -> pd.DataFrame:
    """Every claim of the papers: paper, claim, statement, source, kind, margin (points), lacks, note.

    Raises:
        ValueError: a line is not as it should be.
    """
    frame = _of_papers("claims.csv", CLAIMS)
    margin = pd.to_numeric(frame["margin"], errors="coerce")
    _refuse("claims.csv", frame, "margin", ~(margin >= 0) & (frame["margin"] != ""), "points or nothing")
    _refuse("claims.csv", frame, "claim", frame.duplicated(["paper", "claim"]), "each number once")
    return frame


@cache
def contrasts() -> pd.DataFrame:
    """The contrasts behind claims: paper, claim, metric, plus, minus, printed_plus, printed_minus, role.

    Raises:
        ValueError: a line is not as it should be.
    """
    frame = _of_papers("contrasts.csv", CONTRASTS)
    _refuse("contrasts.csv", frame, "metric", frame["metric"].str.strip() == "", "one or more")
    cells = (frame["plus"] + frame["minus"]).str.strip()
    _refuse("contrasts.csv", frame, "plus", cells == "", "a cell here or under minus")
    return frame


@cache
def contradictions() -> pd.DataFrame:
    """What the papers say in two ways: paper, place, contradiction, here (what is done about it).

    Raises:
        ValueError: a line is not as it should be.
    """
    return _of_papers("contradictions.csv", CONTRADICTIONS)


def _of_papers(name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Lines of which each names a paper: one that no paper reads would be lost unseen."""
    frame = _texts(name, columns)
    known = [path.stem for path in places.PUBLISHED.glob("*.csv") if _is_printed(path)]
    _refuse(name, frame, "paper", ~frame["paper"].isin(known), "the name of a paper's file")
    return frame


def _is_printed(path: Path) -> bool:
    """Whether a file holds what a paper prints: by its columns."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\r\n") == ",".join(PRINTED)


def _texts(name: str, columns: Sequence[str]) -> pd.DataFrame:
    """A file of the columns as it stands; pandas' own reader moves or fills the fields of lines that have too many."""
    try:
        with (places.PUBLISHED / name).open(newline="", encoding="utf-8") as file:
            header, *lines = filter(None, csv.reader(file, strict=True))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    if tuple(header) != tuple(columns):
        raise ValueError(f"{name} has columns {', '.join(header)}; expected {', '.join(columns)}")
    if wrong := [line for line in lines if len(line) != len(columns)]:
        raise ValueError(
            f"{name}: {len(wrong[0])} fields in line {','.join(wrong[0])[:80]!r}; expected {len(columns)}"
        )
    return pd.DataFrame(lines, columns=[*columns], dtype=str)


def _refuse(name: str, frame: pd.DataFrame, column: str, wrong: pd.Series, expected: str) -> None:
    for line in frame[wrong].to_dict("records"):
        here = " ".join(line[key] for key in (*frame.columns[:2],))
        raise ValueError(f"{name}, {here}: {column} is {line[column]!r}; expected {expected}")
