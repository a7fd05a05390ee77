"""What the papers' printed numbers say about themselves and about each other; nothing is trained for it."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from companion import published
from companion.contrasts import Contrast, contrasts
from companion.formats import percent
from companion.paper import Paper
from companion.published import PERCENT, SIDED

UNITS = {"params_m": 1e6, "gflops": 1e9}
"""Printed sizes -> what one of each counts."""
COLUMNS = ["paper", "where", "printed"]


def impossible(papers: Iterable[Paper]) -> pd.DataFrame:
    """Rows whose accuracy falls as more ranks count, though a hit within five is one within ten.

    Returns:
        Columns paper, where, printed.
    """
    lines = []
    for paper in papers:
        known = published.printed(paper.slug)
        ranks = known[known["metric"].str.startswith("rank")].dropna(subset="value")
        ranks = ranks.assign(k=ranks["metric"].str.removeprefix("rank").astype(int)).sort_values(
            "k", kind="stable"
        )
        for (table, _, name, dataset), row in ranks.groupby(
            ["table", "row", "variant", "dataset"], sort=False
        ):
            if not row["value"].is_monotonic_increasing:
                values = ", ".join(f"rank-{k} {percent(value)}" for k, value in zip(row["k"], row["value"]))
                kind = "" if row["kind"].iloc[0] == "own" else " (cited)"
                lines.append((paper.title, f"{paper.table_title(table)}: {name}{kind}, {dataset}", values))
    return pd.DataFrame(lines, columns=COLUMNS)


def printed_twice(papers: Iterable[Paper]) -> pd.DataFrame:
    """One model on one data set with different numbers in two places of its paper.

    Returns:
        Columns paper, where, printed.
    """
    lines = []
    for paper in papers:
        known = published.printed(paper.slug).dropna(subset="value")
        keys = known["table"] + "/" + known["row"] + "@" + known["dataset"]
        model = keys.map({cell.key: paper.title_of(cell.run, cell.scoring) for cell in paper.cells})
        own = known.assign(model=model)[model.notna() & known["metric"].isin(PERCENT)]
        for (name, dataset, metric), cells in own.groupby(["model", "dataset", "metric"], sort=False):
            lines += _differing(
                paper.title, f"{name}, {dataset}, {metric}", cells, cells["table"].map(paper.table_title)
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def cited_differently(papers: Sequence[Paper]) -> tuple[pd.DataFrame, int]:
    """Methods that several papers cite, on one data set, with different numbers.

    Returns:
        Columns paper, where, printed; and how many numbers are cited by several papers.
    """
    every = pd.concat([published.printed(paper.slug).assign(paper=paper.title) for paper in papers])
    cited = every[(every["kind"] == "cited") & every["metric"].isin(PERCENT)].dropna(subset="value")
    lines, shared = [], 0
    for (_, dataset, metric), cells in cited.groupby(["row", "dataset", "metric"], sort=False):
        shared += cells["paper"].nunique() > 1
        name = f"{cells['variant'].iloc[0]}, {dataset}, {metric}"
        lines += _differing(", ".join(cells["paper"].unique()), name, cells, cells["paper"])
    return pd.DataFrame(lines, columns=COLUMNS), shared


def _differing(paper: str, what: str, cells: pd.DataFrame, places: pd.Series) -> list[tuple[str, str, str]]:
    """A line where cells differ, each value with its first place."""
    first = ~cells["value"].duplicated()
    told = [f"{percent(value)} ({place})" for value, place in zip(cells["value"][first], places[first])]
    return [(paper, what, ", ".join(told))] if len(told) > 1 else []


def unsupported(paper: Paper) -> list[Contrast]:
    """Contrasts that a claim needs and whose printed numbers are level or on the other side."""
    known = published.claims().query("paper == @paper.slug")
    claims = known[known["kind"].isin(SIDED)]["claim"]
    return [
        contrast
        for contrast in contrasts(paper)
        if contrast.claim in set(claims) and not contrast.beside and contrast.printed <= 0
    ]


def sizes(paper: Paper) -> pd.DataFrame:
    """Every size that a paper prints, beside the exact count.

    Returns:
        Columns row, variant, dataset, metric (``params_m`` or ``gflops``), printed, exact, reading (of the text), and
        rule: truncated or rounded to the printed digits, or another.
    """
    known = published.printed(paper.slug).set_index(["row", "dataset", "metric"])
    lines = []
    for size in paper.sizes():
        cell = known.loc[[(size.row, size.dataset, size.metric)]].iloc[0]
        lines.append(
            {"row": size.row, "variant": cell["variant"], "dataset": size.dataset, "metric": size.metric}
            | {"printed": f"{cell['value']:.{size.digits}f}", "exact": size.exact, "reading": size.reading}
            | {"rule": _rule(size.exact / UNITS[size.metric], printed=cell["value"], digits=size.digits)}
        )
    return pd.DataFrame(lines)


def _rule(exact: float, *, printed: float, digits: int) -> str:
    """How an exact count becomes the printed number."""
    steps = exact * 10**digits
    for name, value in {"truncated": np.floor(steps), "rounded": np.round(steps)}.items():
        if round(printed * 10**digits) == value:
            return name
    return "another"
