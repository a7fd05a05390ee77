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
    """Every claim of the papers as data: one line per contrast, lines of one claim share its number."""
    return pd.read_csv(places.PUBLISHED / "claims.csv", dtype=str, keep_default_na=False)
