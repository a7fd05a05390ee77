import math
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from tolerance import PRINTED

from reidlib import evaluation
from reidlib.evaluation import RANKS, evaluate, ranking, single_shot
from reidlib.protocol import Protocol
from reidlib.types import Features, Metrics

PROTOCOLS = pytest.mark.parametrize("protocol", list(Protocol))


def features(pid, camid) -> Features:
    """Features whose only embedding is the image's number, so that a given matrix can be looked up."""
    number = torch.arange(len(pid), dtype=torch.float64)[:, None]
    return Features({"number": number}, {}, torch.as_tensor(pid), torch.as_tensor(camid))


def lookup(matrix: torch.Tensor):
    def distance(query: Features, gallery: Features) -> torch.Tensor:
        rows = query.embeddings["number"][:, 0].long()
        return matrix[rows][:, gallery.embeddings["number"][:, 0].long()]

    return distance


def naive_order(row, query, gallery, protocol) -> list[int]:
    """Gallery indices that count for a query (pid, camid), nearest first, ties in gallery order."""
    pid, camid = query
    counts = [
        index
        for index, (other, camera) in enumerate(gallery)
        if not (protocol == "market" and other == pid and camera == camid and pid != 0)
    ]
    return sorted(counts, key=lambda index: (row[index], index))


def naive(row, query, gallery, protocol, trapezoid=False) -> tuple[int, float, float]:
    """Rank, AP and INP of one query, by walking down its ranking."""
    found, first, last, total = 0, 0, 0, 0.0
    for rank, index in enumerate(naive_order(row, query, gallery, protocol), start=1):
        if gallery[index][0] == query[0] != 0:
            before = found / (rank - 1) if rank > 1 else 1.0
            found += 1
            first, last = first or rank, rank
            total += (found / rank + before) / 2 if trapezoid else found / rank
    return (first, total / found, found / last) if found else (0, math.nan, math.nan)


def check(metrics: Metrics, matrix, query, gallery, protocol, *, trapezoid=False) -> None:
    pairs = list(zip(gallery.pid.tolist(), gallery.camid.tolist()))
    expected = [
        naive(row, asked, pairs, protocol, trapezoid)
        for row, asked in zip(matrix.tolist(), zip(query.pid.tolist(), query.camid.tolist()))
    ]
    for found, wanted in zip((metrics.rank, metrics.ap, metrics.inp), zip(*expected)):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def case(seed=0, queries=23, images=150, people=7, cameras=3, levels=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda high, count: torch.randint(high, (count,), generator=generator)  # noqa: E731
    query = features(draw(people, queries) + 1, draw(cameras, queries))
    gallery = features(draw(people + 1, images), draw(cameras, images))  # 0 is a distractor
    matrix = torch.rand(queries, images, generator=generator, dtype=dtype)
    return query, gallery, (matrix * levels).floor() if levels else matrix


@PROTOCOLS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [None, 5, 1])
@pytest.mark.parametrize("trapezoid", [False, True])
def test_equals_a_naive_loop(protocol, dtype, levels, trapezoid):
    query, gallery, matrix = case(levels=levels, dtype=dtype)
    options = {"distance": lookup(matrix), "protocol": protocol, "trapezoid": trapezoid}
    check(evaluate(query, gallery, **options), matrix, query, gallery, protocol, trapezoid=trapezoid)


@PROTOCOLS
@pytest.mark.parametrize("levels", [None, 40])
def test_equals_a_naive_loop_when_matches_are_near(protocol, levels):
    query, gallery, matrix = case(images=400, people=40, levels=levels)
    matrix = torch.where(query.pid[:, None] == gallery.pid, matrix / 8, matrix)
    metrics = evaluate(query, gallery, distance=lookup(matrix), protocol=protocol)
    check(metrics, matrix, query, gallery, protocol)


def test_result_does_not_depend_on_block_chunk_or_threads(monkeypatch):
    query, gallery, matrix = case(levels=20)
    options = {"distance": lookup(matrix), "protocol": Protocol.MARKET}
    whole = evaluate(query, gallery, **options)
    threads = torch.get_num_threads()
    try:
        for block, chunk, count in [(1, 7, 1), (5, 64, 3), (22, 150, 2), (1000, 1, 2)]:
            monkeypatch.setattr(evaluation, "CHUNK", chunk)
            torch.set_num_threads(count)
            part = evaluate(query, gallery, **options, block=block)
            for name in ("rank", "ap", "inp"):
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
    finally:
        torch.set_num_threads(threads)


LEVELS = st.sampled_from([0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)).item(), 3.0, math.inf])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_input(data):
    queries, images = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    whole = lambda low, high, count: data.draw(arrays(np.int64, count, elements=st.integers(low, high)))  # noqa: E731
    query = features(whole(0, 2, queries), whole(0, 1, queries))
    gallery = features(whole(0, 2, images), whole(0, 1, images))
    matrix = torch.from_numpy(data.draw(arrays(np.float32, (queries, images), elements=LEVELS)))
    protocol = data.draw(st.sampled_from(Protocol))
    options = {"distance": lookup(matrix), "protocol": protocol, "block": data.draw(st.integers(1, 6))}
    pairs = list(zip(gallery.pid.tolist(), gallery.camid.tolist()))
    asked = list(zip(query.pid.tolist(), query.camid.tolist()))

    nearest, correct = ranking(query, gallery, top=4, distance=lookup(matrix), protocol=protocol)
    for found, right, row, one in zip(nearest, correct, matrix.tolist(), asked):
        order = naive_order(row, one, pairs, protocol)[:4]
        assert found.tolist() == order + [-1] * (4 - len(order))
        assert right.tolist() == [i >= 0 and pairs[i][0] == one[0] != 0 for i in found.tolist()]

    if all(naive(row, one, pairs, protocol)[0] == 0 for row, one in zip(matrix.tolist(), asked)):
        with pytest.raises(ValueError, match="same data set"):
            evaluate(query, gallery, **options)
    else:
        check(evaluate(query, gallery, **options), matrix, query, gallery, protocol)


def test_by_hand():
    """Correct images at ranks 2, 3 and 6 of seven; the nearest image is the query's own camera's."""
    query = features([4], [0])
    gallery = features([4, 0, 4, 4, 9, 9, 4, 9], [0, 0, 1, 2, 1, 1, 1, 1])
    matrix = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]])
    options = {"distance": lookup(matrix), "protocol": Protocol.MARKET}
    metrics = evaluate(query, gallery, **options)
    assert metrics.rank.tolist() == [2]
    assert metrics.mAP == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert metrics.mINP == pytest.approx(3 / 6)
    trapezoid = evaluate(query, gallery, **options, trapezoid=True)
    assert trapezoid.mAP == pytest.approx((0 + 1 / 2 + 1 / 2 + 2 / 3 + 2 / 5 + 3 / 6) / 6)
    assert evaluate(query, gallery, distance=lookup(matrix), protocol=Protocol.NO_CAMERA).rank.tolist() == [1]


def test_hand_example_of_dpti():
    """Matches at ranks 1, 3 and 6 of seven: AP .72222222, INP .5."""
    query, gallery = features([4], [0]), features([4, 9, 4, 9, 9, 4, 9], [1] * 7)
    metrics = evaluate(query, gallery, distance=lookup(torch.arange(7.0)[None]), protocol=Protocol.NO_CAMERA)
    assert metrics.mAP == pytest.approx(0.72222222, abs=PRINTED)
    assert metrics.mINP == 0.5


def test_a_protocol_may_be_named():
    query, gallery, matrix = case()
    by_name, by_rule = (
        evaluate(query, gallery, distance=lookup(matrix), protocol=rule)
        for rule in ("market", Protocol.MARKET)
    )
    np.testing.assert_array_equal(by_name.ap, by_rule.ap)
    for refuses in (ranking, single_shot):
        with pytest.raises(ValueError, match="protocol = 'markt'; expected one of market, no-camera"):
            refuses(query, gallery, distance=lookup(matrix), protocol="markt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_distances_rank_as_their_values_do(dtype):
    query, gallery, matrix = case()
    half = matrix.to(dtype)
    options = {"query": query, "gallery": gallery, "protocol": Protocol.MARKET}
    found, expected = (evaluate(**options, distance=lookup(values)) for values in (half, half.double()))
    np.testing.assert_array_equal(found.ap, expected.ap)
    nearest, same = (ranking(**options, distance=lookup(values))[0] for values in (half, half.double()))
    np.testing.assert_array_equal(nearest, same)


def test_ties_follow_gallery_order():
    query, gallery = features([1], [0]), features([2, 1, 2, 1], [1, 1, 1, 1])
    for value in (0.25, math.inf):
        options = {"distance": lookup(torch.full((1, 4), value)), "protocol": Protocol.MARKET}
        assert evaluate(query, gallery, **options).rank.tolist() == [2]
        assert ranking(query, gallery, **options, top=3)[0].tolist() == [[0, 1, 2]]


def test_query_without_match_is_skipped_and_counted():
    query, gallery = features([1, 2, 0], [0, 0, 0]), features([1, 1, 2, 0], [0, 1, 0, 1])
    metrics = evaluate(query, gallery, distance=lookup(torch.zeros(3, 4)), protocol=Protocol.MARKET)
    assert metrics.skipped == 2  # the only image of identity 2 is the query's camera's; 0 never matches
    assert metrics.rank.tolist() == [1, 0, 0]
    assert np.isnan(metrics.ap).tolist() == np.isnan(metrics.inp).tolist() == [False, True, True]
    assert metrics.summary()["mAP"] == 1.0


def test_errors_name_the_argument_and_the_remedy():
    query, gallery, matrix = case()
    options = {"distance": lookup(matrix), "protocol": Protocol.MARKET}
    with pytest.raises(ValueError, match="query is empty"):
        evaluate(query[:0], gallery, **options)
    with pytest.raises(ValueError, match="gallery is empty"):
        ranking(query, gallery[:0], **options)
    with pytest.raises(ValueError, match="holds junk"):
        evaluate(query, features([-1, 1], [0, 1]), **options)
    with pytest.raises(ValueError, match="second camera"):
        evaluate(features([1], [0]), features([1], [0]), **options)
    with pytest.raises(ValueError, match=r"shape \(23, 3\)"):
        evaluate(query, gallery, distance=lambda q, g: torch.zeros(len(q), 3), protocol=Protocol.MARKET)
    with pytest.raises(ValueError, match="block is 0"):
        evaluate(query, gallery, **options, block=0)
    for top in (-1, 0, 2.5, True):
        with pytest.raises((ValueError, TypeCheckError), match="top"):
            ranking(query, gallery, **options, top=top)
    for value in (math.nan, -math.inf):
        matrix[9, 3] = value
        with pytest.raises(ValueError, match=f"{value} for query 9"):
            evaluate(query, gallery, **options, block=4)


def test_distances_are_not_changed():
    query, gallery, matrix = case()
    before = matrix.clone()
    rows = lambda q, g: matrix[: len(q)]  # a view  # noqa: E731
    evaluate(query, gallery, distance=rows, protocol=Protocol.MARKET)
    ranking(query, gallery, distance=rows, protocol=Protocol.MARKET)
    assert torch.equal(matrix, before)


def drawn(distances, query, gallery, *, draws, rng):
    """CMC by drawing one image of each person for every query, as toolkits do."""
    hits = np.zeros((len(query), 10))
    for row, (pid, camid) in enumerate(zip(query.pid.tolist(), query.camid.tolist())):
        known = list(zip(gallery.pid.tolist(), gallery.camid.tolist()))
        kept = [place for place, who in enumerate(known) if who != (pid, camid)]
        people = sorted({known[place][0] for place in kept})
        for _ in range(draws):
            chosen = [rng.choice([place for place in kept if known[place][0] == who]) for who in people]
            order = sorted(chosen, key=lambda place: (distances[row, place], place))
            first = [known[place][0] for place in order].index(pid)
            hits[row, first:] += 1 / draws
    return hits[:, [0, 2, 4, 9]]


def test_single_shot_is_what_many_draws_approach():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(1, 13), 4)
    gallery = Features({}, {}, torch.tensor(people), torch.tensor(np.tile([0, 0, 1, 1], 12)))
    query = Features({}, {}, torch.arange(1, 7), torch.zeros(6, dtype=torch.long))
    distances = torch.tensor(rng.integers(0, 20, (6, 48)), dtype=torch.float32)  # with ties
    found = single_shot(query, gallery, distance=lambda *_: distances, protocol=Protocol.MARKET)
    expected = drawn(distances.numpy(), query, gallery, draws=1500, rng=rng)
    assert np.abs(found - expected).max() < 0.06
    assert np.abs(found - expected).mean() < 0.012
    assert (np.diff(found, axis=1) >= 0).all()


def test_single_shot_of_one_image_each_is_cmc():
    rng = np.random.default_rng(1)
    gallery = Features({}, {}, torch.arange(1, 31), torch.ones(30, dtype=torch.long))
    query = Features({}, {}, torch.tensor([3, 7, 99]), torch.zeros(3, dtype=torch.long))
    distances = torch.tensor(rng.random((3, 30)), dtype=torch.float32)
    found = single_shot(query, gallery, distance=lambda *_: distances, protocol=Protocol.MARKET)
    rank = evaluate(query, gallery, distance=lambda *_: distances, protocol=Protocol.MARKET).rank
    assert np.isnan(found[2]).all()
    for row in (0, 1):
        assert found[row].tolist() == [float(rank[row] <= k) for k in RANKS]


HOSTILE = st.sampled_from([math.nan, -math.inf, math.inf, 0.0, -0.0, -1.0, 3e38, 1e-45])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_comes_is_scored_or_refused(data):
    """Nobody, one person, one camera, junk, distances that are no numbers: finite scores or one clear line."""
    queries, images = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 6))
    people, cameras = (
        st.integers(-1, data.draw(st.integers(-1, 2))),
        st.integers(0, data.draw(st.integers(0, 1))),
    )
    whole = lambda elements, count: data.draw(arrays(np.int64, count, elements=elements))  # noqa: E731
    query = features(whole(people, queries), whole(cameras, queries))
    gallery = features(whole(people, images), whole(cameras, images))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    with np.errstate(over="ignore"):
        matrix = torch.from_numpy(
            data.draw(arrays(np.float64, (queries, images), elements=HOSTILE)).astype(dtype)
        )
    protocol = data.draw(st.sampled_from(Protocol))
    refusals = r"is empty|holds junk|matches any|distance is (nan|-inf) for query"
    broken = bool((matrix.isnan() | (matrix == -math.inf)).any())
    for score in (evaluate, single_shot):
        try:
            found = score(query, gallery, distance=lookup(matrix), protocol=protocol)
        except ValueError as error:
            assert re.search(refusals, str(error))  # noqa: PT017
            continue
        assert not broken
        valid = found.valid if score is evaluate else ~np.isnan(found[:, 0])
        assert valid.any()
        values = [found.ap, found.inp] if score is evaluate else [found]
        assert all(((value[valid] >= 0) & (value[valid] <= 1 + 1e-12)).all() for value in values)
