"""Distances against naive loops and against the released code of BPBreID, run in double precision."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from tolerance import EXACT, rounding

from reidlib.distances import apart, euclidean, part_euclidean, safe_sqrt, visible_part_distance

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

DTYPES = (torch.float32, torch.float64)
QUERY = torch.tensor([[[1, 0], [0, 1], [1, 1]], [[0, 0], [2, 0], [0, 3]]]).double()
GALLERY = torch.tensor(
    [[[4, 4], [0, 1], [1, 1]], [[1, 0], [3, 4], [1, 2]], [[0, 1], [2, 2], [2, 3]]]
).double()
BINARY = (
    torch.tensor([[0, 1, 0], [1, 1, 1]]).double(),
    torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 1]]).double(),
)
SOFT = (
    torch.tensor([[0, 0.81, 0], [1, 0.64, 0.25]], dtype=torch.float64),
    torch.tensor([[1, 0, 0.36], [0.49, 1, 0], [0, 0, 0.09]], dtype=torch.float64),
)
NONE = (None, None)


def naive(query, gallery, visibility, *, normalized):
    """Eq. 9 in loops; infinity where no slot is shared."""
    result = torch.empty(len(query), len(gallery), dtype=query.dtype)
    for i, a in enumerate(query):
        for j, b in enumerate(gallery):
            total = weight = 0.0
            for s in range(len(a)):
                x, y = a[s], b[s]
                if normalized:
                    x, y = x / x.norm().clamp_min(1e-12), y / y.norm().clamp_min(1e-12)
                w = 1.0 if visibility[0] is None else math.sqrt(visibility[0][i, s] * visibility[1][j, s])
                total, weight = total + w * (x - y).norm().item(), weight + w
            result[i, j] = total / weight if weight > 0 else math.inf
    return result


def ours(query, gallery, visibility, *, normalized):
    return visible_part_distance(
        query.unbind(1),
        gallery.unbind(1),
        query_visibility=visibility[0],
        gallery_visibility=visibility[1],
        normalized=normalized,
    )


@pytest.mark.parametrize(
    ("visibility", "normalized", "expected"),
    [
        (BINARY, False, [[math.inf, math.sqrt(18), math.inf], [3.9464611135, 2.56155281281, 2]]),
        (
            BINARY,
            True,
            [[math.inf, math.sqrt(0.4), math.inf], [0.882683432365, 0.9472135955, 0.579568297377]],
        ),
        (NONE, False, [[5 / 3, 1.74754689571, 1.96211650579], [3.37633006816, 2.179106396, 5 / 3]]),
        (SOFT, False, [[math.inf, math.sqrt(18), math.inf], [4.86744203288, 2.66565633366, 2]]),
    ],
)
def test_distances_of_the_released_code(visibility, normalized, expected):
    """The released code writes 1 + max of the comparable part distances for infinity."""
    distances = ours(QUERY, GALLERY, visibility, normalized=normalized)
    tolerance = 3e-8 if visibility is NONE else EXACT  # slots at distance 0: the root of a rounded square
    torch.testing.assert_close(distances, torch.tensor(expected), atol=tolerance, rtol=0)
    if visibility is BINARY and not normalized:
        shared = torch.einsum("qs,gs->sqg", *BINARY) > 0
        largest = part_euclidean(QUERY, GALLERY)[shared].max()
        assert 1 + largest.item() == pytest.approx(1 + math.sqrt(32), abs=EXACT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("kind", ["none", "binary", "soft"])
def test_visible_part_distance_equals_a_naive_loop(dtype, normalized, kind):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(5, 3, 6, generator=generator, dtype=dtype)
    gallery = torch.randn(7, 3, 6, generator=generator, dtype=dtype)
    gallery[2] = gallery[1]  # a tie
    query[4] = 0  # no direction
    visibility = NONE
    if kind != "none":
        scores = [torch.rand(n, 3, generator=generator, dtype=dtype) for n in (5, 7)]
        visibility = tuple((s > 0.5).to(dtype) for s in scores) if kind == "binary" else tuple(scores)
        visibility[0][0] = 0  # nothing visible
        visibility[1][:, 1] = 0  # one part invisible everywhere
    distances = ours(query, gallery, visibility, normalized=normalized)
    # |a|^2 + |b|^2 - 2ab of six numbers each; no two images are nearer than a half
    size = 2.0 if normalized else (query.square().sum(-1).max() + gallery.square().sum(-1).max()).item()
    expected = naive(query, gallery, visibility, normalized=normalized)
    torch.testing.assert_close(distances, expected, atol=rounding(dtype, steps=6 + 4, size=size), rtol=0)
    assert distances.dtype == dtype
    assert torch.equal(distances[:, 1], distances[:, 2]) == (kind == "none")


def test_half_precision_embeddings_are_compared_in_full_precision():
    query = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(1)).half()
    with torch.autocast("cpu", torch.bfloat16):
        distances = ours(query, query, NONE, normalized=True)
    assert distances.dtype == torch.float32
    expected = naive(query.float(), query.float(), NONE, normalized=True)
    zero = math.sqrt(rounding(torch.float32, steps=8, size=2))  # the root of a rounded zero
    torch.testing.assert_close(distances, expected, atol=zero, rtol=0)


def test_inputs_stay_as_they_were():
    query, gallery, visibility = QUERY.clone(), GALLERY.clone(), [score.clone() for score in BINARY]
    ours(query, gallery, visibility, normalized=True)
    assert torch.equal(query, QUERY)
    assert torch.equal(gallery, GALLERY)
    assert all(map(torch.equal, visibility, BINARY))


def test_mismatched_arguments_are_refused():
    with pytest.raises(ValueError, match="give both or neither"):
        ours(QUERY, GALLERY, (BINARY[0], None), normalized=True)
    with pytest.raises(ValueError, match="3 and 2 slots"):
        visible_part_distance(QUERY.unbind(1), GALLERY.unbind(1)[:2])
    with pytest.raises(ValueError, match=r"query_visibility has shape \(2, 3\).*\(2, 2\)"):
        ours(QUERY[:, :2], GALLERY[:, :2], BINARY, normalized=True)
    wider = BINARY[1].repeat(1, 2)
    with pytest.raises((ValueError, TypeCheckError), match="gallery_visibility"):
        ours(QUERY, GALLERY, (BINARY[0], wider), normalized=True)


def test_scores_of_half_precision_weigh_as_their_values_do():
    expected = ours(QUERY, GALLERY, SOFT, normalized=True)
    halves = tuple(scores.sqrt().half().square() for scores in SOFT)
    found = ours(QUERY.float(), GALLERY.float(), halves, normalized=True)
    assert found.dtype == torch.float32
    shown = expected.isfinite()
    assert torch.equal(found.isfinite(), shown)
    torch.testing.assert_close(found[shown].double(), expected[shown], atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_euclidean_equals_a_naive_loop(dtype):
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(2, n, 5, generator=generator, dtype=dtype) for n in (3, 4))
    b[:, 0] = a[:, 0]  # a zero distance
    expected = (a[:, :, None] - b[:, None]).square().sum(-1).sqrt()
    found, size = euclidean(a, b), 2 * a.square().sum(-1).max().item()
    error = rounding(dtype, steps=5 + 4, size=size)
    zero = expected == 0
    assert (found[zero] <= math.sqrt(error)).all()  # the root of a rounded zero
    torch.testing.assert_close(found[~zero], expected[~zero], atol=error, rtol=0)


@pytest.mark.parametrize("unit", [True, False])
def test_foreign_vectors_keep_their_distances(unit):
    """Far from the origin, huge, tiny, and one of zeros."""
    generator = torch.Generator().manual_seed(3)
    query, gallery = (torch.randn(n, 6, generator=generator) for n in (3, 5))
    query[0] = 0
    for scale, offset in ((1, 0), (1, 1e6), (1e38, 0), (1e-40, 0)):
        a, b = query * scale + offset, gallery * scale + offset
        found = euclidean(*apart(a, b, unit=unit)) / (1 if unit else scale)
        left, right = (
            x / x.norm(dim=-1, keepdim=True).clamp_min(1e-300) if unit else x / scale for x in (a, b)
        )
        expected = (left[:, None] - right[None]).norm(dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    for wrong in (1e300, 1e-300):
        with pytest.raises(ValueError, match="gallery: the square of row 1 is beyond double precision"):
            apart(query, torch.cat([gallery[:1], gallery[1:] * wrong]), unit=unit)


def test_zero_distance_has_zero_gradient():
    square = torch.tensor([0.0, -1e-9, 4.0], requires_grad=True)
    safe_sqrt(square).sum().backward()
    assert square.grad.tolist() == [0, 0, 0.25]
    points = torch.ones(3, 2, requires_grad=True)
    euclidean(points, points).sum().backward()
    assert points.grad.abs().sum() == 0


def test_euclidean_passes_gradcheck():
    a, b = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 3))
    assert torch.autograd.gradcheck(euclidean, (a, b))


def test_what_is_not_a_number_stays_so():
    square = torch.tensor([torch.nan, -1.0, 0.0, 4.0], requires_grad=True)
    assert torch.equal(safe_sqrt(square).isnan(), torch.tensor([True, False, False, False]))
    assert safe_sqrt(square)[1:].tolist() == [0, 0, 2]
    safe_sqrt(square)[1:].sum().backward()
    assert square.grad[1:].tolist() == [0, 0, 0.25]
