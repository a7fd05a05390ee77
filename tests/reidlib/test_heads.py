"""Poolings and heads against naive loops."""

import numpy as np
import pytest
import torch
from tolerance import EXACT
from torch.nn.functional import interpolate

from reidlib.heads import IdentityHead, Reduction, global_pool, stripe_maps, stripe_pool, weighted_pool

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@pytest.fixture
def features():
    return torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stripes", [1, 2, 3, 7])
def test_stripes_are_means_of_rows(features, stripes):
    found = stripe_pool(features, stripes=stripes)
    for k in range(stripes):
        first, last = 7 * k // stripes, -(-7 * (k + 1) // stripes)  # where they do not divide, they overlap
        close(found[:, k], features[:, :, first:last].mean((2, 3)))
    close(stripe_pool(features, stripes=1)[:, 0], global_pool(features))


@pytest.mark.parametrize(("height", "stripes"), [(16, 6), (24, 6), (16, 8), (4, 4), (1, 1)])
def test_stripe_maps_share_out_every_row_once(height, stripes):
    maps = stripe_maps(torch.zeros(2, 3, height, 4), stripes=stripes)
    assert maps.shape == (2, stripes + 1, height, 4)
    assert maps[:, 0].eq(0).all()
    assert maps.sum(1).eq(1).all()
    rows = maps[0, :, :, 0].argmax(0)
    assert rows.tolist() == sorted(rows.tolist())
    assert rows.unique().tolist() == list(range(1, stripes + 1))
    if (height, stripes) == (16, 6):
        assert maps[0, 1:, :, 0].sum(1).tolist() == [3, 3, 2, 3, 2, 3]  # as the released code has it


@pytest.mark.parametrize("height", [8, 16, 24])
@pytest.mark.parametrize("stripes", [2, 3, 4, 5, 6, 7, 8])
def test_stripe_maps_are_those_of_the_released_code(height, stripes):
    """Cut at image size, every fourth row kept, sampled with aligned corners."""
    edges = np.round(np.arange(stripes + 1) * 16 * height / stripes).astype(int)
    whole = torch.zeros(1, stripes, 16 * height, 1)
    for k in range(stripes):
        whole[:, k, edges[k] : edges[k + 1]] = 1
    small = interpolate(whole, size=(4 * height, 1), mode="nearest")
    expected = interpolate(small, size=(height, 1), mode="bilinear", align_corners=True)
    maps = stripe_maps(torch.zeros(1, 3, height, 1), stripes=stripes)
    close(maps[:, 1:], expected)
    if (height, stripes) == (16, 5):
        close(maps[0, 1:, :, 0].sum(1), torch.tensor([3.4, 3.4, 3.2, 3.0, 3.0]))


@pytest.mark.parametrize("average", ["gwap", "mean"])
def test_weighted_pool_equals_a_naive_loop(features, average):
    maps = torch.rand(2, 5, 7, 4, generator=torch.Generator().manual_seed(1))
    maps[1, 2] = 0  # a part that is nowhere
    found = weighted_pool(features, maps, average=average)
    for n in range(2):
        for k in range(5):
            total = sum(maps[n, k, y, x] * features[n, :, y, x] for y in range(7) for x in range(4))
            size = max(maps[n, k].sum().item(), 1e-6) if average == "gwap" else 28
            close(found[n, k], total / size)


def test_the_neck_has_no_bias_and_the_classifier_none_either():
    head = IdentityHead(4, 7)
    embedding = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    necked, logits = head(embedding)
    close(necked, (embedding - embedding.mean(0)) / (embedding.var(0, unbiased=False) + 1e-5).sqrt())
    close(logits, necked @ head.classifier.weight.T)
    assert not head.neck.bias.requires_grad
    assert head.classifier.bias is None


def test_a_reduction_is_linear_norm_relu():
    reduce = Reduction(5, 3).eval()
    pooled = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    close(reduce(pooled), (pooled @ reduce[0].weight.T / (1 + 1e-5) ** 0.5).relu())
