"""Numbers and tables as people read them; everywhere else accuracies are fractions."""

import numpy as np
import pandas as pd


def percent(value: float | None, *, std: float = np.nan, signed: bool = False) -> str:
    """A fraction in percent with one decimal, its spread behind it; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    text = f"{value * 100:+.1f}" if signed else f"{value * 100:.1f}"
    return text if np.isnan(std) else f"{text} ± {std * 100:.1f}"


def styled(frame: pd.DataFrame) -> "pd.io.formats.style.Styler":
    """A table for a notebook: no index, text to the left, its caption below."""
    cells = [{"selector": "td, th", "props": "text-align:left; white-space:normal; vertical-align:top"}]
    caption = [
        {"selector": "caption", "props": "caption-side:bottom; text-align:left; font-size:90%; color:#57606a"}
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
