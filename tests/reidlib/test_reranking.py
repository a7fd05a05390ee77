"""k-reciprocal re-ranking against the published code, run in double precision, and against the dense form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import EXACT

from reidlib import reranking
from reidlib.reranking import k_reciprocal
from reidlib.types import Features

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


def line(*points: float) -> Features:
    return cloud(torch.tensor(points)[:, None])


def cloud(vectors: torch.Tensor) -> Features:
    nothing = torch.zeros(len(vectors), dtype=torch.long)
    return Features({"x": vectors.double()}, {}, nothing, nothing)


def city(query: Features, gallery: Features) -> torch.Tensor:
    """City-block distances, exact for whole numbers, so that ties are ties."""
    return (query.embeddings["x"][:, None] - gallery.embeddings["x"]).abs().sum(-1)


def squared(query: Features, gallery: Features) -> torch.Tensor:
    return city(query, gallery).square()


def dense(distances: np.ndarray, queries: int, *, k1: int, k2: int, weight: float) -> np.ndarray:
    """The definition, image by image."""
    images = len(distances)
    rank = np.argsort(distances, axis=1, kind="stable")
    largest = distances.max(1, keepdims=True)
    scaled = distances / np.where(largest > 0, largest, 1)
    encoding = np.zeros((images, images))

    def reciprocal(i: int, k: int) -> list[int]:
        return [j for j in rank[i, : k + 1] if i in rank[j, : k + 1]]

    for i in range(images):
        own = reciprocal(i, k1)
        wider = set(own)
        for candidate in own:
            theirs = reciprocal(candidate, round(k1 / 2))
            if len(set(theirs) & set(own)) > 2 / 3 * len(theirs):
                wider |= set(theirs)
        for j in wider:
            encoding[i, j] = np.exp(-scaled[i, j])
        encoding[i] /= max(encoding[i].sum(), 1e-12)
    if k2 > 1:  # one leaves them as they are, also where an image is not its own nearest
        encoding = np.stack([encoding[rank[i, :k2]].mean(0) for i in range(images)])
    shared = np.minimum(encoding[:queries, None], encoding[None, queries:]).sum(2)
    return (1 - weight) * (1 - shared / (2 - shared)) + weight * scaled[:queries, queries:]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0.000816635161, 0.151579780483, 0.712044604106, 0.777631379962, 1],
              [0.798330585247, 0.696917463467, 0.000443786982, 0.139191609500, 0.766666666667]]),
        ({"weight": 0.0}, [[0, 0.208756964287, 0.944090185180, 1, 1],
                           [0.944090185180, 0.874860957954, 0, 0.191516331408, 0.666666666667]]),
        ({"k2": 1}, [[0.004132293987, 0.270087214816, 0.668272296971, 0.777631379962, 1],
                     [0.837467455621, 0.692172826901, 0.245135428225, 0.018886858939, 1]]),
    ],
)  # fmt: skip
def test_values_of_the_published_code(options, expected):
    found = k_reciprocal(
        line(0.0, 1.0), line(0.12, 0.31, 0.95, 1.17, 2.3), distance=squared, **({"k1": 3, "k2": 2} | options)
    )
    np.testing.assert_allclose(found, expected, atol=EXACT)


def test_distances_are_not_squared_again():
    def fourth(query: Features, gallery: Features) -> torch.Tensor:
        return squared(query, gallery).square()

    found = k_reciprocal(line(0.0, 1.0), line(0.12, 0.31, 0.95, 1.17, 2.3), distance=fourth, k1=3, k2=2)
    wrong = [0.000002222977, 0.154570254041, 0.663913813369, 0.720088770516, 1]
    np.testing.assert_allclose(found[0], wrong, atol=EXACT)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    images=st.integers(3, 60),
    spread=st.sampled_from([0, 1, 3, 50]),  # 0: all images are the same point
    k1=st.integers(1, 12),
    k2=st.integers(1, 4),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    block=st.integers(1, 20),
    wide=st.integers(1, 3),
)
def test_equals_the_dense_form(seed, images, spread, k1, k2, weight, block, wide):
    generator = torch.Generator().manual_seed(seed)
    points = cloud(torch.randint(-spread, spread + 1, (images, 2), generator=generator))
    queries, options = max(1, images // 3), {"k1": k1, "k2": min(k2, k1 + 1), "weight": weight}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "WIDE", wide)
        patch.setattr(reranking, "ROWS", 7)
        pair = points[slice(0, queries)], points[slice(queries, None)]
        found = k_reciprocal(*pair, distance=city, block=block, **options)
    expected = dense(city(points, points).double().numpy(), queries, **options)
    np.testing.assert_allclose(found, expected, atol=EXACT)


def test_sets_that_reach_beyond_the_kept_neighbours_are_measured_again():
    """Half of the images are one point: hubs, whose neighbourhoods leave the nearest few of everyone else."""
    generator = torch.Generator().manual_seed(0)
    scattered = torch.randint(-2, 3, (40, 2), generator=generator)
    points = cloud(torch.cat([torch.zeros(40, 2), scattered]))
    asked = []

    def counted(query: Features, gallery: Features) -> torch.Tensor:
        asked.append(len(query))
        return city(query, gallery)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "WIDE", 1)
        found = k_reciprocal(points[slice(0, 20)], points[slice(20, None)], distance=counted, k1=6, k2=3)
    expected = dense(city(points, points).double().numpy(), 20, k1=6, k2=3, weight=0.3)
    np.testing.assert_allclose(found, expected, atol=EXACT)
    assert sum(asked) > len(points)


def test_the_given_distances_are_not_changed():
    points = cloud(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
    table = city(points, points)
    before, place = table.clone(), iter(range(0, 12, 4))

    def given_table(query: Features, gallery: Features) -> torch.Tensor:
        start = next(place)
        return table[start : start + len(query)]

    k_reciprocal(points[slice(0, 4)], points[slice(4, None)], distance=given_table, k1=5, block=4)
    assert torch.equal(table, before)


def test_rounding_below_zero_and_half_precision_pass():
    points = cloud(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))

    def rounded(query: Features, gallery: Features) -> torch.Tensor:
        return (city(query, gallery) - 1e-7).bfloat16()

    def same(query: Features, gallery: Features) -> torch.Tensor:
        return rounded(query, gallery).float()

    pair = points[slice(0, 4)], points[slice(4, None)]
    found, expected = (k_reciprocal(*pair, distance=distance, k1=5) for distance in (rounded, same))
    assert torch.equal(found, expected)


def test_what_cannot_be_reranked_is_refused():
    def broken(value: float):
        def distance(query: Features, gallery: Features) -> torch.Tensor:
            table = city(query, gallery)
            table[:, -1] = value
            return table

        return distance

    def similarity(query: Features, gallery: Features) -> torch.Tensor:
        return -city(query, gallery)

    for value in (torch.inf, -torch.inf, torch.nan):
        with pytest.raises(ValueError, match="not finite"):
            k_reciprocal(line(0.0), line(1.0, 2.0), distance=broken(value))
    with pytest.raises(ValueError, match="negative for some pair.*one minus a similarity"):
        k_reciprocal(line(0.0), line(1.0, 2.0), distance=similarity)
    nobody = cloud(torch.zeros(0, 1))
    for pair, name in (
        ((nobody, line(1.0)), "query"),
        ((line(1.0), nobody), "gallery"),
        ((nobody,) * 2, "query"),
    ):
        with pytest.raises(ValueError, match=f"{name} is empty"):
            k_reciprocal(*pair, distance=city)
    with pytest.raises(ValueError, match=r"shape \(3, 1\); expected one row per image, \(3, 3\)"):
        k_reciprocal(line(0.0), line(1.0, 2.0), distance=lambda query, _: torch.zeros(len(query), 1))
    with pytest.raises(ValueError, match="block is 0"):
        k_reciprocal(line(0.0), line(1.0, 2.0), distance=city, block=0)
    with pytest.raises(ValueError, match="k2 = 9"):
        k_reciprocal(line(0.0), line(1.0, 2.0), distance=city, k1=3, k2=9)


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.sampled_from([0.0, 1.0, 1e-30, 1e30]), min_size=2, max_size=9),
    k1=st.integers(1, 40),
    queries=st.integers(1, 8),
)
def test_duplicates_and_more_neighbours_than_images_give_numbers(points, k1, queries):
    everyone, queries = line(*points), min(queries, len(points) - 1)
    pair = everyone[slice(0, queries)], everyone[slice(queries, None)]
    found = k_reciprocal(*pair, distance=city, k1=k1, k2=min(6, k1 + 1))
    assert ((found >= -EXACT) & (found <= 1 + EXACT)).all()
