"""Numbers and tables as people read them; everywhere else accuracies are fractions."""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from reidlib.data import index

PLUS_MINUS = "\u00a0±\u00a0"
"""Between a number and half of its interval: no line ends there."""
NUMBER = re.compile(r"–|<?[+-]?\d[\d,.]*(\u00a0±\u00a0[\d.]+| \[.*\])?")
BLANK = str.maketrans("0123456789±.", "\u2007" * 11 + "\u2008")
"""Blanks as wide as the signs that they stand for."""


def percent(value: float | None, *, half: float = np.nan, signed: bool = False) -> str:
    """A fraction in percent with one decimal, half of its interval behind it; a dash where there is none."""
    return number(np.nan if value is None else 100 * value, half=100 * half, digits=1, signed=signed)


def number(value: float, *, half: float = np.nan, digits: int = 2, signed: bool = False) -> str:
    """A number and half of its interval; a dash where there is none."""
    if np.isnan(value):
        return "–"
    value = round(value, digits) + 0.0  # no zero bears a minus
    text = f"{value:{'+' if signed and value else ''}.{digits}f}"
    return text if np.isnan(half) else f"{text}{PLUS_MINUS}{half:.{digits}f}"


def p_value(p: float) -> str:
    """A p-value with three decimals, which never reads as zero; a dash where there is none."""
    return "<0.001" if p < 0.001 else number(p, digits=3)


OWN = {
    "length": "Length of training",
    "start": "Start of training",
    "parser": "Parsers that err",
    "occluded": "Occluded queries",
    "partial": "Partial queries",
    "visibility": "Rules of visibility",
}
"""Tables that no paper has, in words."""


def table_title(table: str) -> str:
    """``table4`` as people say it."""
    return OWN.get(table) or re.sub(r"(?<=[a-z])(?=\d)", " ", table).capitalize()


MEASURES = {
    "drop": "fall of a hidden stripe's score",
    "drop-object": "fall of a hidden stripe's score behind things",
    "drop-person": "fall of a hidden stripe's score behind people",
    "focus-person": "heat on the right person",
    "rho-shift": "weight that follows what is hidden",
    **{
        f"{kind}-{where}": f"{map_} on {words}"
        for kind, map_ in (
            ("maximum", "channel maximum"),
            ("identity", "Grad-CAM of the identity"),
            ("similarity", "Grad-CAM of the similarity"),
        )
        for where, words in (("person", "the person"), ("front", "what is in front"))
    },
}
"""Measures against ground truth that claims name, in words."""


def metric_in_words(name: str) -> str:
    """An accuracy or a measure as people say it."""
    return MEASURES.get(name) or heading(name)


def heading(name: str) -> str:
    """A column's name as people read it: rank-1 for ``rank1``."""
    return re.sub(r"\brank(?=\d)", "rank-", str(name))


def styled(frame: pd.DataFrame) -> "pd.io.formats.style.Styler":
    """A table for a notebook: no index, its caption above, text to the left, numbers to the right on their decimals.

    One that is wider than the page scrolls.
    """
    frame = frame.rename(columns=heading)
    numeric = [place for place, name in enumerate(frame) if is_numeric(frame[name])]
    shown = frame.assign(**{name: aligned(frame[name]) for name in frame.columns[numeric]})
    styles = [
        {"selector": "", "props": "display:block; max-width:100%; overflow-x:auto"},
        {"selector": "td, th", "props": "text-align:left; white-space:normal; vertical-align:top"},
        {"selector": "caption", "props": "caption-side:top; text-align:left; font-size:90%; opacity:.75"},
    ]
    right, line = "text-align:right; font-variant-numeric:tabular-nums", "white-space:nowrap"
    for place in numeric:  # names of columns may take two lines, numbers may not
        styles.append({"selector": f"td.col{place}, th.col{place}", "props": right})
        styles.append({"selector": f"td.col{place}", "props": line})
    return shown.style.hide(axis="index").set_table_styles(styles)


def is_numeric(column: pd.Series) -> bool:
    """Whether all of a column is numbers, or text that shows them."""
    return all(NUMBER.fullmatch(str(value).strip("*")) for value in column)


def aligned(column: pd.Series) -> pd.Series:
    """The same, with blanks where a spread is narrower than the widest or missing, so that decimals stand in line."""
    texts = column.astype(str) if column.dtype == object or str(column.dtype) == "str" else None
    if texts is None or not texts.str.contains("±").any():
        return column
    tails = texts.str.extract(f"({PLUS_MINUS}.*)$")[0].fillna("")
    widest = max(tails, key=len)
    blanks = [widest.translate(BLANK)[len(tail) :] if tail else widest.translate(BLANK) for tail in tails]
    return texts + blanks


def mathml(tex: str, *, display: str) -> str:
    """A formula as MathML, which browsers draw without a script.

    Args:
        display: block or inline.
    """
    from latex2mathml.converter import convert

    tex = re.sub(r"\\tag\{(.+?)\}", r"\\qquad (\1)", tex)
    return convert(tex.replace("\n", " "), display=display).replace("|", "&#x7C;")  # bars end table cells


def markdown(frame: pd.DataFrame) -> str:
    """A GitHub table (pandas would need one more dependency for it)."""
    header = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "| " + " | ".join("---:" if is_numeric(frame[name]) else "---" for name in frame) + " |"
    rows = [
        "| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |"
        for row in frame.itertuples(index=False)
    ]
    return "\n".join([header, rule, *rows])


SHOWN = 2
"""Names that a remark lists before it counts."""


def few(rows: Iterable[str]) -> str:
    """Some names of a list, and how many more there are."""
    return index.few(rows, shown=SHOWN)
