"""Part labels: groups, targets, and the released grouping of PifPaf fields."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.masks import PART_LABELS, check_labels, flip_labels, group_fields, groups, part_targets

SIZES = (2, 3, 4, 5, 6, 8, 11)


@pytest.mark.parametrize("k", SIZES)
def test_every_label_belongs_to_one_part(k):
    found = groups(k)
    assert len(found) == k == len(found.channels)
    assert found.lookup[0] == 0
    assert sorted(found.lookup[1:].unique().tolist()) == list(range(1, k + 1))


def test_left_and_right_are_apart():
    eight = groups(8)
    for number, label in enumerate(PART_LABELS, start=1):
        side = label.split()[0]
        if side in ("left", "right"):
            assert eight.names[eight.lookup[number] - 1].startswith(side)


def test_unknown_number_of_parts():
    with pytest.raises(ValueError, match=r"k = 7.*\[2, 3, 4, 5, 6, 8, 11\]"):
        groups(7)


def naive_targets(labels, found, *, stride, weight):
    n, height, width = labels.shape
    out = torch.zeros(n, len(found) + 1, height // stride, width // stride)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                part = int(found.lookup[int(labels[i, y, x])])
                out[i, part, y // stride, x // stride] += (weight if part == 0 else 1) / stride**2
    return out


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SIZES), st.sampled_from((2, 4)), st.integers(0, 99))
def test_part_targets_equal_naive_loop(k, stride, seed):
    labels = torch.randint(0, 12, (2, 8, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    expected = naive_targets(labels, groups(k), stride=stride, weight=0.4)
    found = part_targets(labels, groups(k), stride=stride)
    torch.testing.assert_close(found, expected)


def test_targets_need_whole_cells():
    with pytest.raises(ValueError, match="stride 4"):
        part_targets(torch.zeros(1, 6, 8, dtype=torch.uint8), groups(5))


def test_flip_swaps_sides_and_undoes_itself():
    labels = torch.arange(12, dtype=torch.uint8).view(1, 1, 12)
    flipped = flip_labels(labels)
    assert flipped.flip(-1).flatten().tolist() == [0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10]
    assert torch.equal(flip_labels(flipped), labels)
    for before, after in enumerate(flipped.flip(-1).flatten().tolist()):
        if before > 3:
            left, right = PART_LABELS[before - 1].split(), PART_LABELS[after - 1].split()
            assert left[0] != right[0]
            assert left[1:] == right[1:]


@pytest.fixture
def fields():
    """The six pixels of the checkpoint."""
    fields = torch.zeros(1, 36, 1, 6)
    fields[0, 0, 0, 0] = 0.9
    fields[0, 21, 0, 1] = 0.6
    fields[0, :, 0, 2] = 0.49
    fields[0, 9, 0, 3], fields[0, 11, 0, 3] = 0.55, 0.7
    fields[0, 16, 0, 4] = 0.5
    fields[0, 7, 0, 5], fields[0, 14, 0, 5] = 0.8, 0.8
    return fields


@pytest.mark.parametrize(
    ("key", "k", "labels"),
    [
        ("two_v", 2, [1, 2, 0, 2, 2, 1]),
        ("three_v", 3, [1, 3, 0, 3, 3, 2]),
        ("four", 4, [1, 3, 0, 3, 4, 2]),
        ("five", 5, [1, 3, 0, 3, 5, 2]),
        ("six_new", 6, [1, 2, 0, 2, 6, 3]),
        ("eight", 8, [1, 4, 0, 4, 8, 2]),
        ("eleven", 11, [1, 7, 0, 7, 11, 2]),
    ],
)
def test_released_labels(fields, key, k, labels):
    assert groups(k).key == key
    assert group_fields(fields, groups(k)).argmax(1).flatten().tolist() == labels


def test_released_soft_values(fields):
    soft = group_fields(fields, groups(8))[0, :, 0]  # [9, 6]
    expected = {
        (1, 0): 0.999989,
        (4, 1): 0.499784,
        (5, 1): 0.499784,
        (0, 2): 0.996206,
        (3, 2): 0.000474,
        (4, 3): 0.904493,
        (2, 3): 0.095333,
        (8, 4): 0.995595,
        (2, 5): 0.499989,
        (6, 5): 0.499989,
    }
    for (part, pixel), value in expected.items():
        assert soft[part, pixel].item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "cannot be read"),
        (np.zeros((4, 3), np.uint8), r"shape \(4, 3\)"),
        (np.zeros((4, 2, 3), np.uint8), r"shape \(4, 2, 3\)"),
        (np.zeros((4, 2), np.uint16), "uint16"),
        (np.full((4, 2), 12, np.uint8), "label 12"),
    ],
)
def test_unfit_part_maps_are_named(labels, message):
    with pytest.raises(ValueError, match=rf"m\.png.*{message}"):
        check_labels(labels, Path("m.png"), size=(4, 2))
    check_labels(np.full((4, 2), 11, np.uint8), Path("m.png"), size=(4, 2))
