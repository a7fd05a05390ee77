"""Figures: ``sheets`` draws on pictures, the others draw numbers; contact sheets and rankings are the library's."""

from companion.plots.charts import (
    bars,
    dots,
    dumbbells,
    forest,
    grid_heat,
    lines,
    loss_history,
    loss_panels,
    paper_versus_ours,
    part_bars,
    printed_and_ours,
    shares,
    signed_matrices,
    spread,
    verdict_strip,
    visibility_boxes,
)
from companion.plots.comparing import PairPanel, pairs, trade
from companion.plots.sheets import attention, label_overlay
from reidlib.sheets import failures, image_grid, ranking

__all__ = [
    "PairPanel",
    "attention",
    "bars",
    "dots",
    "dumbbells",
    "failures",
    "forest",
    "grid_heat",
    "image_grid",
    "label_overlay",
    "lines",
    "loss_history",
    "loss_panels",
    "paper_versus_ours",
    "pairs",
    "part_bars",
    "printed_and_ours",
    "ranking",
    "shares",
    "signed_matrices",
    "spread",
    "trade",
    "verdict_strip",
    "visibility_boxes",
]
