"""Part labels: groups, targets, and the released grouping of PifPaf fields."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import EXACT, rounding
from trees import plant, plant_fields

from reidlib.data.datasets import load
from reidlib.data.loading import BatchConfig, Loader, batches, load_stack
from reidlib.data.masks import (
    KEYPOINTS,
    LIMBS,
    PART_LABELS,
    check_fields,
    check_labels,
    draw_fields,
    field_targets,
    group_fields,
    groups,
    part_targets,
    shrink_fields,
    swap_fields,
    swap_sides,
)
from reidlib.data.transforms import Augment, apply

pytestmark = pytest.mark.numeric

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
    return (15 * out).softmax(1)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SIZES), st.integers(0, 99))
def test_part_targets_equal_naive_loop(k, seed):
    labels = torch.randint(
        0, 12, (2, 12, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    expected = naive_targets(labels, groups(k), stride=4, weight=0.4)
    found = part_targets(labels, groups(k))
    torch.testing.assert_close(found, expected, atol=rounding(torch.float32, steps=16), rtol=0)


def test_targets_of_both_kinds_are_probabilities(fields):
    """Soft ones, that a model may attend with as they are: sharpened once."""
    labels = torch.zeros(1, 4, 8, dtype=torch.uint8)
    labels[0, :2, :4] = 1  # a cell of eight pixels of head, one of nothing
    head = math.exp(15 * 8 / 16) / (math.exp(15 * 8 / 16) + math.exp(15 * 0.4 * 8 / 16) + 1)
    found = part_targets(labels, groups(2))
    assert found[0, 1, 0, 0].item() == pytest.approx(head, abs=1e-6)
    stored = torch.from_numpy(shrink_fields(fields[0].numpy(), size=(4, 24)))[None]
    for targets in (found, field_targets(stored, groups(8))):
        torch.testing.assert_close(targets.sum(1), torch.ones_like(targets[:, 0]))
    assert found.max() < 0.996  # e^6 against two of e^0: a second softmax would make it 1


def test_targets_need_whole_cells():
    with pytest.raises(ValueError, match="cells of 4 pixels"):
        part_targets(torch.zeros(1, 6, 8, dtype=torch.uint8), groups(5))


def test_flip_swaps_sides_and_undoes_itself():
    labels = torch.arange(12, dtype=torch.uint8).view(1, 1, 12)
    flipped = swap_sides(labels.flip(-1))
    assert flipped.flip(-1).flatten().tolist() == [0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10]
    assert torch.equal(swap_sides(flipped.flip(-1)), labels)
    for before, after in enumerate(flipped.flip(-1).flatten().tolist()):
        if before > 3:
            left, right = PART_LABELS[before - 1].split(), PART_LABELS[after - 1].split()
            assert left[0] != right[0]
            assert left[1:] == right[1:]


@pytest.fixture
def fields():
    """The six pixels of the checkpoint."""
    fields = torch.zeros(1, 36, 1, 6, dtype=torch.float64)
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
        (1, 0): 0.999989032448,
        (4, 1): 0.499784126086,
        (5, 1): 0.499784126086,
        (0, 2): 0.996206095496,
        (3, 2): 0.000474238063057,
        (4, 3): 0.904492813221,
        (2, 3): 0.0953328411353,
        (8, 4): 0.995594816544,
        (2, 5): 0.49998924786,
        (6, 5): 0.49998924786,
    }
    for (part, pixel), value in expected.items():
        assert soft[part, pixel].item() == pytest.approx(value, abs=EXACT)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
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


CHANNELS = (*KEYPOINTS, *("-".join(limb) for limb in LIMBS))


def test_channels_are_those_of_the_published_fields():
    assert len(CHANNELS) == 36
    assert [CHANNELS[i] for i in (0, 5, 10, 15, 16)] == [
        "nose", "left_shoulder", "right_wrist", "left_ankle", "right_ankle",
    ]  # fmt: skip
    assert CHANNELS[21] == "left_hip-right_hip"
    assert CHANNELS[25] == "left_shoulder-left_elbow"
    assert CHANNELS[35] == "right_ear-right_shoulder"


@pytest.mark.parametrize("k", SIZES)
def test_groups_hold_channels_of_their_own_side(k):
    found = groups(k)
    for name, channels in zip(found.names, found.channels):
        sides = {side for side in ("left", "right") for c in channels if CHANNELS[c].count(side) == 2}
        if "left" in name or "right" in name:
            assert sides <= {name.split()[0] if name.split()[0] in ("left", "right") else name.split()[1]}


def test_mirroring_swaps_sides_and_undoes_itself():
    numbers = torch.arange(36, dtype=torch.uint8).view(1, 36, 1, 1)
    swapped = swap_fields(numbers)
    assert torch.equal(swap_fields(swapped), numbers)
    for before, after in enumerate(swapped.flatten().tolist()):
        ends = {
            frozenset(CHANNELS[i].translate(str.maketrans("", "", " ")).split("-")) for i in (before, after)
        }
        turned = {frozenset(_other(joint) for joint in pair) for pair in ends}
        assert ends == turned


def _other(joint):
    side, _, rest = joint.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, joint)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (None, "cannot be read"),
        (np.zeros((17, 4, 2), np.float32), r"shape \(17, 4, 2\)"),
        (np.zeros((4, 2, 36), np.float32), r"shape \(4, 2, 36\)"),
        (np.zeros((36, 0, 2), np.float32), "shape"),
        (np.zeros((36, 4, 2), np.uint8), "uint8"),
        (np.full((36, 4, 2), 1.5, np.float32), "1.5"),
        (np.full((36, 4, 2), np.nan, np.float32), "nan"),
    ],
)
def test_wrong_fields_are_refused(fields, error):
    with pytest.raises(ValueError, match=rf"a\.npy.*{error}.*36, h, w"):
        check_fields(fields, Path("a.npy"))


def test_fields_keep_the_checkpoint_through_storage(fields):
    stored = torch.from_numpy(shrink_fields(fields[0].numpy(), size=(4, 24)))  # six cells of one row
    assert stored.shape == (36, 1, 6)
    labels = group_fields(stored[None].float() / 255, groups(8)).argmax(1)
    assert labels.flatten().tolist() == [1, 4, 0, 4, 8, 2]


def test_image_and_fields_move_together():
    """A field that is the image's red channel stays so under every draw."""
    generator = torch.Generator().manual_seed(0)
    red = torch.randint(0, 256, (1, 1, 8, 4), generator=generator, dtype=torch.uint8)
    images = red.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)  # [1, 3, 32, 16]
    fields = torch.zeros(1, 36, 8, 4, dtype=torch.uint8)
    fields[:, 0] = red[:, 0]
    still = torch.tensor([[0, 0, 0, 0, 0, 0, 0]])
    for draw in ([0, 0, 0], [4, -4, 0], [0, 0, 1], [-8, 4, 1]):
        moved = still.clone()
        moved[0, :3] = torch.tensor(draw)
        moved[0, 3:] = torch.tensor([4, 4, 8, 4])  # erased: rows 4-11, columns 4-7
        pictures, found = apply(images, fields, draws=moved)
        whole, _ = apply(images, None, draws=still)
        assert found.shape == fields.shape
        assert found[0, :, 1:3, 1].eq(0).all()
        shown = ((pictures[0, 0, ::4, ::4] * 0.229 + 0.485) * 255).round().byte()
        shown[1:3, 1] = 0
        assert torch.equal(found[0, 0], shown)
        assert whole.shape == pictures.shape


@pytest.fixture
def masked(tmp_path):
    """Occluded-Duke in small, with fields: the nose fills the upper half, the left ankle the lower one."""
    home = plant("occluded-duke", tmp_path)
    plant_fields(home, suffix=".jpg.confidence_fields.npy")
    return load("occluded-duke", tmp_path)


def test_fields_become_targets_of_every_k(masked, tmp_path):
    stack = load_stack(masked.train, size=(64, 32), cache=tmp_path / "cache", labels=masked.labels)
    assert stack.masks.shape == (24, 36, 16, 8)
    config = BatchConfig(identities=4, images=2, augment=Augment(pad=0.1))
    for k in SIZES:
        batch = next(Loader(stack, config, 0, groups(k)).epoch(0))
        assert batch.masks.shape == (8, k + 1, 16, 8)
        ones = torch.ones(8, 16, 8)
        torch.testing.assert_close(
            batch.masks.sum(1), ones, atol=rounding(torch.float32, steps=k + 1), rtol=0
        )
        _, targets = next(batches(stack, groups=groups(k)))
        assert (targets[:, :, 2].argmax(1) == 1).all()
        assert targets[:, :, 13].argmax(1).unique().numel() == 1


def test_mixed_kinds_of_masks_are_refused(masked, tmp_path):
    records = list(masked.train)
    records[1] = type(records[1])(records[1].path, records[1].pid, records[1].camid, Path("labels.png"))
    with pytest.raises(ValueError, match="mix part labels"):
        load_stack(records, size=(64, 32), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="sides that 4 divides"):
        load_stack(masked.train, size=(30, 15), cache=tmp_path / "cache")


def test_drawn_fields_lie_where_the_keypoints_are():
    points = np.stack([np.full(17, 32.0), np.linspace(4, 124, 17)], 1)
    found = draw_fields(points, np.ones(17), size=(128, 64))
    assert found.shape == (36, 16, 8)
    check_fields(found, Path("drawn.npy"))
    for channel in range(17):
        row, column = np.unravel_index(found[channel].argmax(), (16, 8))
        assert abs(row * 8 + 4 - points[channel, 1]) <= 4
        assert column in (3, 4)
    assert draw_fields(points, np.zeros(17), size=(128, 64)).max() == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data(), k=st.sampled_from([1, 2, 5, 8, 11]))
def test_any_labels_and_fields_become_probabilities(data, k):
    """One label throughout, none at all, confidences of nothing or of everything."""
    try:
        known = groups(k)
    except ValueError as error:
        assert f"k = {k}: no grouping" in str(error)  # noqa: PT017
        return
    seed = data.draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    low = data.draw(st.integers(0, 11))
    labels = torch.randint(low, data.draw(st.integers(low, 11)) + 1, (2, 8, 4), generator=generator).byte()
    bytes_ = st.sampled_from([0, 1, 127, 128, 255])
    fields = torch.full((2, 36, 3, 2), data.draw(bytes_), dtype=torch.uint8)
    fields[:, data.draw(st.integers(0, 35))] = data.draw(bytes_)
    for targets in (part_targets(labels, known), field_targets(fields, known)):
        assert targets.shape[1] == k + 1
        assert targets.isfinite().all()
        torch.testing.assert_close(targets.sum(1), torch.ones_like(targets[:, 0]))
