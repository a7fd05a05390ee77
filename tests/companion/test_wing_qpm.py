"""QPM's measures: quality and focus against values worked out by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from tolerance import EXACT

from companion.papers.qpm import focus, quality_agreement, quality_drop

close = partial(np.allclose, rtol=0, atol=EXACT)

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


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
