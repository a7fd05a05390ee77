"""Figures: ``sheets`` draws on pictures, ``charts`` draws numbers; contact sheets and rankings are the library's."""

from companion.plots.charts import (
    bars,
    dumbbells,
    grid_heat,
    loss_history,
    loss_panels,
    paper_versus_ours,
    part_bars,
    printed_and_ours,
    shares,
    signed_matrices,
    verdict_strip,
    visibility_boxes,
)
from companion.plots.sheets import attention, label_overlay
from reidlib.sheets import failures, image_grid, ranking

__all__ = [
    "attention",
    "bars",
    "dumbbells",
    "failures",
    "grid_heat",
    "image_grid",
    "label_overlay",
    "loss_history",
    "loss_panels",
    "paper_versus_ours",
    "part_bars",
    "printed_and_ours",
    "ranking",
    "shares",
    "signed_matrices",
    "verdict_strip",
    "visibility_boxes",
]
