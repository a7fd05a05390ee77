"""Numbers and tables as people read them; everywhere else accuracies are fractions."""

import numpy as np
import pandas as pd


def percent(value: float | None, *, half: float = np.nan, signed: bool = False) -> str:
    """A fraction in percent with one decimal, half of its interval behind it; a dash where there is none."""
    return number(np.nan if value is None else 100 * value, half=100 * half, digits=1, signed=signed)


def number(value: float, *, half: float = np.nan, digits: int = 2, signed: bool = False) -> str:
    """A number and half of its interval; a dash where there is none."""
    if np.isnan(value):
        return "–"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if np.isnan(half) else f"{text} ± {half:.{digits}f}"


def styled(frame: pd.DataFrame) -> "pd.io.formats.style.Styler":
    """A table for a notebook: no index, text to the left, its caption above."""
    cells = [{"selector": "td, th", "props": "text-align:left; white-space:normal; vertical-align:top"}]
    caption = [
        {"selector": "caption", "props": "caption-side:top; text-align:left; font-size:90%; color:#57606a"}
    ]
    return frame.style.hide(axis="index").set_table_styles(cells + caption)


def markdown(frame: pd.DataFrame) -> str:
    """A GitHub table (pandas would need one more dependency for it)."""
    header = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "| " + " | ".join("---" for _ in frame.columns) + " |"
    rows = [
        "| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |"
        for row in frame.itertuples(index=False)
    ]
    return "\n".join([header, rule, *rows])
