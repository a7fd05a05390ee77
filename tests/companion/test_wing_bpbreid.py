"""BPBreID's measures: overlap and visibility against values worked out by hand."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from tolerance import EXACT

from companion.papers.bpbreid import GAP, attention_iou, auc, crossing, parser_answer, visibility_agreement

close = partial(np.allclose, rtol=0, atol=EXACT)

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


def test_iou_of_hand_made_maps():
    labels = torch.tensor([[[0, 1], [2, 2]]], dtype=torch.uint8)
    attended = torch.tensor([[0, 1], [1, 2]])
    maps = torch.nn.functional.one_hot(attended, 3).permute(2, 0, 1)[None].double()
    assert attention_iou(maps, labels, lookup=torch.arange(3, dtype=torch.uint8)) == [0.5, 0.5]


def test_auc_counts_ordered_pairs_and_halves_ties():
    score, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auc(score, positive) == np.mean(pairs)  # in quarters
    assert np.isnan(auc(score, np.ones(4, dtype=bool)))


def test_perfect_visibility_agrees_with_the_truth():
    truth = np.array([[0.0, 0.5], [0.2, 1.0], [0.1, 0.9]])
    found = visibility_agreement(truth, truth)
    assert found["visibility_auc"] == 1
    assert found["visibility_spearman"] == 1


def test_learned_attention_pays_from_where_the_line_crosses_zero():
    share = np.array([0.0, 0.5, 1.0])
    assert close(crossing(share, np.array([-0.2, -0.1, 0.3])), 0.625)
    assert crossing(share, np.array([0.1, 0.2, 0.3])) is None
    assert crossing(share, np.array([-0.1, -0.2, -0.3])) is None


def test_what_a_parser_error_costs_is_said_from_the_curves():
    gaps = [
        (f"{name}, {GAP}", x, GAP, y, 0.01, 5)
        for name in ("rank-1", "mAP")
        for x, y in ((0.0, -0.1), (1.0, 0.1))
    ]
    frame = pd.DataFrame(gaps, columns=["panel", "x", "series", "mean", "half", "worlds"])
    said = parser_answer(frame)
    assert said.count("-10.0\u00a0±\u00a01.0 at 0, +10.0\u00a0±\u00a01.0 at 1; the sign changes at 0.50") == 2
    assert "nothing can be said" in parser_answer(frame.assign(worlds=0))
