"""The papers' printed tables and claims; ``data/published/`` is the only place that holds them."""

from functools import cache

import pandas as pd

from companion import places

PERCENT = ("rank1", "rank3", "rank5", "rank10", "mAP", "mINP")


@cache
def printed(slug: str) -> pd.DataFrame:
    """Every printed value of a paper: table, row, variant, dataset, metric, value, kind, note.

    Accuracies are fractions; ``kind`` is ``own`` (the paper's own run) or ``cited``.
    """
    source = places.PUBLISHED / f"{slug}.csv"
    frame = pd.read_csv(source, dtype={"row": str, "variant": str}, keep_default_na=False)
    value = pd.to_numeric(frame["value"], errors="coerce")
    frame["value"] = value.where(~frame["metric"].isin(PERCENT), value / 100)
    return frame


@cache
def claims() -> pd.DataFrame:
    """Every claim of the papers: paper, claim, statement, source, kind, margin (points), lacks, note."""
    return _texts("claims.csv")


@cache
def contrasts() -> pd.DataFrame:
    """The contrasts behind claims: paper, claim, metric, plus, minus, printed_plus, printed_minus, role."""
    return _texts("contrasts.csv")


@cache
def contradictions() -> pd.DataFrame:
    """What the papers say in two ways: paper, place, contradiction, here (what is done about it)."""
    return _texts("contradictions.csv")


def _texts(name: str) -> pd.DataFrame:
    return pd.read_csv(places.PUBLISHED / name, dtype=str, keep_default_na=False)
