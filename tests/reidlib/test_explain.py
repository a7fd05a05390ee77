"""Overlap and agreement with ground truth, against values worked out by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from tolerance import EXACT

from reidlib.explain import (
    attention_iou,
    auc,
    entropy,
    focus,
    grad_cam,
    mask_correlation,
    mask_cosine,
    mask_regions,
    mass,
    quality_agreement,
    quality_drop,
    stretched,
    visibility_agreement,
)
from reidlib.types import ReIDOutput

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


def test_quality_agreement_looks_within_images_and_positions():
    share = np.array([[1.0, 0.1], [0.9, 1.0], [0.1, 0.9], [1.0, 0.9]])
    bright = np.array([[1.0], [0.3], [0.6], [0.9]])  # an image's own level of scores must not count
    score = bright * np.exp(0.5 * share + np.array([0.0, -0.4])) / 2
    found = quality_agreement(score, share)
    assert found["stripes"] == 8
    assert found["spearman"] > 0.99
    assert quality_agreement(1 / score / 20, share)["spearman"] < -0.99
    unknown = np.where(share == 1.0, np.nan, share)
    assert quality_agreement(score, unknown)["stripes"] == 5


def test_entropy_tells_when_one_stripe_has_all_the_weight():
    share = np.array([[1.0, 0.2], [0.3, 1.0], [0.9, 0.4]])
    assert quality_agreement(np.full((3, 2), 0.5), share)["entropy"] == 1
    assert quality_agreement(np.array([[1 - 1e-9, 1e-9]] * 3), share)["entropy"] < 0.01


def test_quality_drop_is_the_log_ratio_of_shown_to_hidden_stripes():
    share = np.array([[1.0, 0.1, 0.5], [1.0, 1.0, 1.0], [np.nan, 0.0, 0.9]])
    score = np.array([[0.8, 0.4, 0.5], [0.8, 0.8, 0.5], [0.8, 0.2, 0.5]])
    places = np.log(score).mean(0)
    expected = np.log(0.8) - places[0] - (np.log(0.4) - places[1])
    found = quality_drop(score, share)
    assert close(found[0], expected)
    assert np.isnan(found[1])
    assert close(found[2], np.log(0.5) - places[2] - (np.log(0.2) - places[1]))


def test_focus_is_the_log_ratio_of_heat_on_person_and_on_what_hides_them():
    person, other = (torch.zeros(2, 4, 4, dtype=torch.bool) for _ in range(2))
    person[:, :, :2], other[0, :, 2:] = True, True
    heat = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).expand(2, 2, 2)
    found = focus(heat, person, other)
    assert close(found[0], np.log(3))
    assert np.isnan(found[1])


def test_mask_regions_are_means_in_units_of_the_masks_magnitude():
    masks = torch.tensor([[[[4.0, 4.0], [-1.0, -1.0]]], [[[2.0, 2.0], [2.0, 2.0]]]])
    top = torch.tensor([[0, 0], [1, 1]])
    regions = torch.stack([top, torch.tensor([[0, 0], [9, 9]])])  # the second image has no region 1
    found = mask_regions(masks, regions, count=3)
    assert close(found[0, :2], [(4 / 2.5 + 1) / 2, -1 / 2.5])
    assert np.isnan(found[0, 2])
    assert close(mask_regions(7 * masks, regions, count=3), found, equal_nan=True)


def test_mask_correlation_tells_copies_from_opposites():
    mask = torch.randn(3, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    found = mask_correlation(torch.cat([mask, 2 * mask + 1, -mask], dim=1))
    assert close(found, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])


def test_mask_cosine_is_one_for_copies_and_for_uniform_maps():
    masks = torch.rand(3, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    assert close(mask_cosine(torch.cat([masks, 5 * masks], dim=1)), 1)
    assert close(mask_cosine(torch.ones(2, 4, 4, 2)), 1)
    assert close(mask_cosine(torch.eye(8).view(1, 8, 4, 2)), 0)


def test_a_softmax_alone_makes_no_masks_alike():
    logits = 0.3 * torch.randn(20, 6, 16, 8, generator=torch.Generator().manual_seed(0))
    found = mask_correlation(logits.softmax(1))
    assert np.abs(found[~np.eye(6, dtype=bool)]).max() < 0.3


def test_entropy_of_maps_is_one_if_uniform_and_none_for_one_cell():
    uniform, single = torch.full((2, 1, 4, 2), 1 / 8), torch.zeros(2, 1, 4, 2)
    single[:, :, 1, 1] = 1
    assert close(entropy(uniform), 1)
    assert entropy(single) == 0
    assert close(entropy(torch.cat([uniform, single])), 0.5)


def test_mass_is_the_share_within_a_region():
    maps = torch.tensor([[[[0.5, 0.1], [0.3, 0.1]]]])
    region = torch.zeros(1, 8, 4, dtype=torch.bool)
    region[:, :4, :2] = True  # the first cell
    region[:, 4:, 1:2] = True  # half of the one below
    assert close(mass(maps, region).item(), 0.5 + 0.3 / 2)


def test_stretched_maps_use_their_own_range():
    found = stretched(torch.tensor([[[2.0, 4.0]], [[0.0, 0.0]]]), size=(1, 2))
    assert close(found, [[[0, 1]], [[0, 0]]])


def test_grad_cam_finds_what_the_score_reads():
    """Two channels, copies of the image's own; the score reads one of them, so its picture is the map."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 2, 1, bias=False)
            with torch.no_grad():
                self.layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])

        def forward(self, images):
            return ReIDOutput({"global": self.layer(images).mean((2, 3))})

    model, images = Two().eval(), torch.zeros(2, 3, 8, 4)
    images[:, 0, 2, 1] = 5.0
    images[:, 1, 6, 3] = 7.0
    for channel, place in ((0, (2, 1)), (1, (6, 3))):
        found = grad_cam(
            model,
            images,
            layer=model.layer,
            score=lambda o: o.embeddings["global"][:, channel],  # noqa: B023
        )
        assert found.shape == (2, 8, 4)
        assert (found[:, place[0], place[1]] > 0.99).all()
        assert found.dtype == torch.float32  # the package's own
        assert np.isclose(found.sum(), 2, rtol=0, atol=1e-6)  # two pixels of one
    assert all(parameter.grad is None for parameter in model.parameters())
