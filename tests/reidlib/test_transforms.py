"""Augmentation: equal to a naive loop, and image and part map move together."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tolerance import rounding
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import interpolate

from reidlib.data.loading import BatchConfig, ImageStack, Loader
from reidlib.data.masks import swap_sides
from reidlib.data.transforms import ERASED, MEAN, STD, Augment, _boxes, apply, draw, normalise, recolour, zoom

pytestmark = pytest.mark.numeric

SIZE = (24, 12)
ROUNDING = rounding(
    torch.float32, steps=4, size=1 / min(STD)
)  # bytes become float32: scaled, shifted, erased


def generator(seed):
    return torch.Generator().manual_seed(seed)


def naive(image, labels, row):
    """Mirror, pad, crop, normalise, erase: one image, one step after the other."""
    down, right, flip, top, left, height, width = row.tolist()
    _, h, w = image.shape
    if flip:
        image, labels = image.flip(-1), swap_sides(labels[None].flip(-1))[0]
    out, out_labels = torch.zeros_like(image), torch.zeros_like(labels)
    for y in range(h):
        for x in range(w):
            if 0 <= y + down < h and 0 <= x + right < w:
                out[:, y, x] = image[:, y + down, x + right]
                out_labels[y, x] = labels[y + down, x + right]
    mean, std, erased = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD, ERASED))
    result = (out.double() / 255 - mean) / std
    result[:, top : top + height, left : left + width] = erased
    out_labels[top : top + height, left : left + width] = 0
    return result, out_labels


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 1))
def test_equals_naive_loop(seed, flip, pad, erase):
    images = torch.randint(0, 256, (4, 3, *SIZE), generator=generator(seed), dtype=torch.uint8)
    labels = torch.randint(0, 12, (4, *SIZE), generator=generator(seed), dtype=torch.uint8)
    augment = Augment(flip=flip, pad=pad, erase=erase)
    draws = draw(4, size=SIZE, augment=augment, generator=generator(seed))
    before = images.clone(), labels.clone()
    found, found_labels = apply(images, labels, draws=draws)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert torch.equal(apply(images, None, draws=draws)[0], found)
    for i in range(4):
        expected, expected_labels = naive(images[i], labels[i], draws[i])
        torch.testing.assert_close(found[i].double(), expected, atol=ROUNDING, rtol=0)
        assert torch.equal(found_labels[i], expected_labels)


def test_image_and_part_map_move_together():
    """The red of every pixel tells its label; after augmentation it still must."""
    labels = torch.randint(0, 4, (32, *SIZE), generator=generator(0), dtype=torch.uint8)
    images = torch.zeros(32, 3, *SIZE, dtype=torch.uint8)
    images[:, 0] = labels * 60
    draws = draw(32, size=SIZE, augment=Augment(pad=0.3), generator=generator(1))
    moved, moved_labels = apply(images, labels, draws=draws)
    red = ((moved[:, 0] * STD[0] + MEAN[0]) * 255 / 60).round()
    erased = (moved[:, 1] - ERASED[1]).abs() < ROUNDING
    assert erased.any()
    assert (moved_labels[erased] == 0).all()
    assert torch.equal(red[~erased], moved_labels[~erased].float())


def test_draws_stay_in_range():
    draws = draw(20_000, size=(256, 128), augment=Augment(), generator=generator(0))
    down, right, flip, top, left, height, width = draws.unbind(1)
    assert (down.min(), down.max(), right.min(), right.max()) == (-10, 10, -10, 10)
    erased = height > 0
    assert torch.equal(erased, width > 0)
    assert (height[erased].min(), height.max()) == (38, 166)
    assert (width[erased].min(), width.max()) == (19, 83)
    assert ((top >= 0) & (top + height <= 256)).all()
    assert ((left >= 0) & (left + width <= 128)).all()
    for share in (flip.double().mean(), erased.double().mean()):
        assert share.item() == pytest.approx(0.5, abs=0.02)


def test_every_image_has_its_own_draw():
    draws = draw(64, size=(64, 32), augment=Augment(), generator=generator(0))
    assert len(draws.unique(dim=0)) > 40


def test_nothing_to_do_is_the_test_transform():
    images = torch.randint(0, 256, (2, 3, *SIZE), generator=generator(0), dtype=torch.uint8)
    draws = draw(2, size=SIZE, augment=Augment(flip=0.0, pad=0.0, erase=0.0), generator=generator(0))
    assert torch.equal(apply(images, None, draws=draws)[0], normalise(images))


def test_refuses_impossible_chances():
    with pytest.raises(ValueError, match=r"flip = 1\.5"):
        Augment(flip=1.5)
    for area in ((0.02,), (), (0.4, 0.02), (0.0, 0.4), (float("nan"), 0.4)):
        with pytest.raises((ValueError, TypeCheckError), match="erase_area"):
            Augment(erase_area=area)


PLAIN = Augment(flip=0.0, pad=0.0, erase=0.0)


@pytest.mark.parametrize(
    "augment",
    [
        replace(PLAIN, erase=1.0, erase_area=(0.02, 0.4)),
        replace(PLAIN, zoom="enlarge"),
        replace(PLAIN, zoom="resized"),
        replace(PLAIN, jitter=1.0),
        replace(PLAIN, augmix=1.0),
    ],
)
def test_every_augmentation_draws_per_image_and_repeats(augment):
    blocks = torch.randint(0, 256, (1, 3, 8, 4), generator=generator(0)).float()
    picture = interpolate(blocks, size=(64, 32), mode="bilinear").byte()
    label = torch.arange(16) // 4
    names = tuple(map(str, range(16)))
    stack = ImageStack(
        picture.repeat(16, 1, 1, 1), None, label, label, label, names
    )  # sixteen times the same

    def batch(augment):
        config = BatchConfig(identities=4, images=4, augment=augment)
        return next(Loader(stack, config, 3).epoch(0)).images

    first, again, plain = batch(augment), batch(augment), batch(PLAIN)
    assert torch.equal(first, again)
    assert len(first.unique(dim=0)) > 6  # half of the enlarged ones stay
    assert len(plain.unique(dim=0)) == 1
    assert first.isfinite().all()
    assert (first.mean((1, 2, 3)) - plain.mean((1, 2, 3))).abs().max() < 1.5


class Forked(Exception):
    pass


def test_augmix_leaves_the_generator_of_a_gpu_alone(monkeypatch):
    def fork(devices):
        assert devices == [torch.device("cuda", 0)]
        raise Forked

    with FakeTensorMode():
        images = torch.empty(2, 3, *SIZE, dtype=torch.uint8, device="cuda:0")
    monkeypatch.setattr(torch.random, "fork_rng", fork)
    with pytest.raises(Forked):
        recolour(images, augment=replace(PLAIN, augmix=1.0), generator=generator(0))


def naive_zoom(image, box):
    """Each pixel from where it lies in the box, bilinearly, the border repeated."""
    top, left, height, width = box.tolist()
    _, h, w = image.shape
    out = torch.zeros_like(image)
    for y in range(h):
        for x in range(w):
            down = min(max((top + (y + 0.5) / h * height) * h - 0.5, 0), h - 1)
            right = min(max((left + (x + 0.5) / w * width) * w - 0.5, 0), w - 1)
            a, b = min(int(down), h - 2), min(int(right), w - 2)
            rows = torch.tensor([1 - (down - a), down - a])
            columns = torch.tensor([1 - (right - b), right - b])
            out[:, y, x] = torch.einsum(
                "cyx,y,x->c", image[:, a : a + 2, b : b + 2].float(), rows, columns
            ).round()
    return out


@pytest.mark.parametrize("kind", ["enlarge", "resized"])
def test_zoom_equals_a_naive_loop(kind):
    images = torch.randint(0, 256, (4, 3, *SIZE), generator=generator(0), dtype=torch.uint8)
    found, _ = zoom(images, None, augment=Augment(zoom=kind), generator=generator(7))
    boxes = _boxes(4, kind=kind, generator=generator(7))
    assert ((boxes[:, :2] >= 0) & (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6)).all()
    for image, box, zoomed in zip(images, boxes, found):
        assert (naive_zoom(image, box).int() - zoomed.int()).abs().max() <= 1  # a half may round either way
