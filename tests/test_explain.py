"""Overlap and agreement with ground truth, against values worked out by hand."""

import numpy as np
import torch

from reidlib.explain import attention_iou, auc, focus, quality_agreement, visibility_agreement


def test_iou_of_hand_made_maps():
    labels = torch.tensor([[[0, 1], [2, 2]]], dtype=torch.uint8)
    attended = torch.tensor([[0, 1], [1, 2]])
    maps = torch.nn.functional.one_hot(attended, 3).permute(2, 0, 1)[None].float()
    assert attention_iou(maps, labels, lookup=torch.arange(3, dtype=torch.uint8)) == [0.5, 0.5]


def test_auc_counts_ordered_pairs_and_halves_ties():
    score, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auc(score, positive) == np.mean(pairs)
    assert np.isnan(auc(score, np.ones(4, dtype=bool)))


def test_perfect_visibility_agrees_with_the_truth():
    truth = np.array([[0.0, 0.5], [0.2, 1.0], [0.1, 0.9]])
    found = visibility_agreement(truth, truth)
    assert found["visibility_auc"] == 1
    assert found["visibility_spearman"] == 1


def test_quality_agreement_ignores_what_all_images_share():
    share = np.array([[1.0, 0.1], [0.9, 1.0], [0.1, np.nan], [1.0, 0.9]])
    score = 0.1 * share + np.array([0.5, 0.2])  # the second stripe always scores less
    score[2, 1] = 0.9  # not known: must not count
    found = quality_agreement(score, share)
    assert found["stripes"] == 7
    assert found["spearman"] > 0.9
    assert found["visible"] > found["hidden"]
    assert quality_agreement(1 - score, share)["spearman"] < -0.9


def test_focus_is_heat_on_the_person_over_mean_heat():
    labels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    labels[:, :, :2] = 3
    heat = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).expand(2, 2, 2)
    assert np.allclose(focus(heat, labels), 1.5)
    assert np.isnan(focus(heat, torch.zeros_like(labels))).all()
