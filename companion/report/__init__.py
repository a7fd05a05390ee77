"""Numbers, verdicts and pages for readers: ``tables`` and ``notebook`` for notebooks, ``pages`` writes files."""

from companion.formats import percent, styled
from companion.report import comparing
from companion.report.explorer import explore
from companion.report.notebook import (
    agreement,
    besides,
    compute,
    data_table,
    footnotes_of,
    live_check,
    needs_truth,
    open_inputs,
    open_study,
    provenance,
    recipe,
    rescored,
    show,
    trace,
    try_it,
)
from companion.report.released import beside_printed, open_checkpoint, shown
from companion.report.sentences import contrast, learned_answer, spread_answer, start_answer
from companion.report.tables import (
    answer,
    following,
    paper_versus_ours,
    points,
    scores,
    sizes,
    verdict_table,
)

__all__ = [
    "agreement",
    "answer",
    "beside_printed",
    "besides",
    "comparing",
    "compute",
    "contrast",
    "data_table",
    "explore",
    "following",
    "footnotes_of",
    "learned_answer",
    "live_check",
    "needs_truth",
    "open_checkpoint",
    "open_inputs",
    "open_study",
    "paper_versus_ours",
    "percent",
    "points",
    "provenance",
    "recipe",
    "rescored",
    "scores",
    "show",
    "shown",
    "sizes",
    "spread_answer",
    "start_answer",
    "styled",
    "trace",
    "try_it",
    "verdict_table",
]
