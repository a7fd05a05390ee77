"""Measures of masks and maps against values worked out by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from tolerance import EXACT

from companion.papers.dpti import entropy
from companion.truth import mask_correlation, mask_cosine, mask_regions, mass

close = partial(np.allclose, rtol=0, atol=EXACT)

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


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
