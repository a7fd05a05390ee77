"""The papers' printed tables, as fractions; ``data/published/`` is the only place that holds them."""

from functools import cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: ``data/``, ``notebooks/`` and ``results/`` lie below it."""

PUBLISHED = ROOT / "data" / "published"
PAPERS = ("bpbreid", "qpm", "pan", "dpti", "aap")
PERCENT = ("rank1", "rank3", "rank5", "rank10", "mAP", "mINP")


@cache
def printed(paper: str) -> pd.DataFrame:
    """Every printed value of a paper: table, row, variant, dataset, metric, value, kind, note.

    Accuracies are fractions; ``kind`` is ``own`` (the paper's own run) or ``cited``.

    Raises:
        ValueError: the paper is not one of the five.
    """
    if paper not in PAPERS:
        raise ValueError(f"paper {paper!r} is unknown; expected one of {', '.join(PAPERS)}")
    frame = pd.read_csv(PUBLISHED / f"{paper}.csv", dtype={"row": str, "variant": str}, keep_default_na=False)
    value = pd.to_numeric(frame["value"], errors="coerce")
    frame["value"] = value.where(~frame["metric"].isin(PERCENT), value / 100)
    return frame


@cache
def claims() -> pd.DataFrame:
    """Every claim of the papers as data: one line per contrast, lines of one claim share its number."""
    return pd.read_csv(PUBLISHED / "claims.csv", dtype=str, keep_default_na=False)
