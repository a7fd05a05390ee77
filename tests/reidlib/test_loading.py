"""Decoding, its cache, and the batches made from it."""

import logging
import os
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from reidlib.data import loading
from reidlib.data.index import ImageRecord
from reidlib.data.loading import (
    BatchConfig,
    ImageStack,
    Loader,
    batches,
    load_stack,
    read_image,
    read_mask,
    resized,
)
from reidlib.data.masks import groups, part_targets
from reidlib.data.transforms import Augment, normalise

SIZE = (16, 8)


@pytest.fixture
def records(tmp_path):
    """Eight persons of four images: plain colours, and part maps whose upper half is the head."""
    made = []
    for number in range(32):
        path, mask = tmp_path / f"{number:04d}.jpg", tmp_path / f"{number:04d}.png"
        cv2.imwrite(str(path), np.full((32, 16, 3), (number, 100, 200), np.uint8))
        labels = np.zeros((32, 16), np.uint8)
        labels[:16] = 1
        cv2.imwrite(str(mask), labels)
        made.append(ImageRecord(path, 10 + number // 4, number % 4, mask))
    return made


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def labels_of(records):
    return {pid: i for i, pid in enumerate(sorted({record.pid for record in records}))}


@pytest.fixture
def stack(records, cache):
    return load_stack(records, size=SIZE, cache=cache, labels=labels_of(records))


def test_bank_holds_what_the_files_show(stack, records):
    assert stack.size == SIZE
    assert len(stack) == 32
    assert stack.names[5] == "0005.jpg"
    assert stack.label.tolist() == [i // 4 for i in range(32)]
    assert stack.camid.tolist() == [i % 4 for i in range(32)]
    blue_last = stack.images.float().mean((2, 3))
    expected = torch.tensor([[200.0, 100.0, float(i)] for i in range(32)])
    assert (blue_last - expected).abs().max() < 4
    assert stack.masks[:, :8].eq(1).all()
    assert stack.masks[:, 8:].eq(0).all()
    part = stack[torch.tensor([3, 1])]
    assert part.names == ("0003.jpg", "0001.jpg")
    assert torch.equal(part.images[0], stack.images[3])


def naive_decode(path, size):
    """What OpenCV makes of a file, with the channels turned at the very end."""
    image = cv2.imread(str(path))
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return torch.from_numpy(small[:, :, ::-1].copy()).permute(2, 0, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@pytest.mark.parametrize(
    ("stored", "size"), [((37, 21), (16, 8)), ((37, 21), (64, 32)), ((37, 21), (37, 21))]
)
def test_decoded_pixels_are_those_of_opencv(tmp_path, cache, suffix, stored, size):
    rng, records = np.random.default_rng(0), []
    for number, shape in enumerate([(*stored, 3), (*stored, 3), stored]):  # the last is grey
        path = tmp_path / f"{number}{suffix}"
        cv2.imwrite(str(path), rng.integers(0, 256, shape, np.uint8))
        records.append(ImageRecord(path, 1, 1))
    found = load_stack(records, size=size, cache=cache).images
    assert torch.equal(found, torch.stack([naive_decode(record.path, size) for record in records]))
    for record in records:
        for picture, wanted in ((read_image(record.path), stored), (resized(record, size=(16, 8)), (16, 8))):
            assert torch.equal(torch.from_numpy(picture).permute(2, 0, 1), naive_decode(record.path, wanted))


def test_second_call_reads_the_cache(stack, records, cache, monkeypatch):
    monkeypatch.setattr(loading, "decode", None)  # nothing is decoded
    again = load_stack(records, size=SIZE, cache=cache)
    assert torch.equal(again.images, stack.images)
    assert again.label.eq(-1).all()
    assert not list(cache.glob("*.tmp"))


def test_sets_that_differ_in_pixels_alone_share_no_cache(tmp_path, cache):
    """Another copy of a set: the same names, sizes and times."""
    found = []
    for number, folder in enumerate((tmp_path / "one" / "query", tmp_path / "two" / "query")):
        folder.mkdir(parents=True)
        path = folder / "0001.bmp"
        cv2.imwrite(str(path), np.full((8, 8, 3), 100 * number, np.uint8))
        os.utime(path, ns=(10**18, 10**18))
        found.append(
            load_stack([ImageRecord(path, 1, 1)], size=(8, 8), cache=cache).images[0, 0, 0, 0].item()
        )
    path.write_bytes((tmp_path / "one" / "query" / "0001.bmp").read_bytes())  # in place, and as old
    os.utime(path, ns=(10**18, 10**18))
    found.append(load_stack([ImageRecord(path, 1, 1)], size=(8, 8), cache=cache).images[0, 0, 0, 0].item())
    assert found == [0, 100, 0]


NOISE = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)


def test_bytes_behind_a_whole_jpeg_are_no_damage(tmp_path):
    path = tmp_path / "phone.jpg"
    cv2.imwrite(str(path), NOISE)
    expected = read_image(path)
    thumbnail = b"\xff\xd8 a second picture \xff\xda without an end"
    for trailer in (b"MotionPhoto_Data" + b"\x00\xff\xda\x12" * 3 + bytes(50), thumbnail, b"\xff\xd9" * 40):
        path.write_bytes(path.read_bytes() + trailer)
        assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp", "gif"])
def test_damage_is_seen_in_every_format(tmp_path, suffix):
    """In the middle and at the end, where a decoder would fill in grey, and with an end marker put behind."""
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(NOISE).save(path)
    whole = path.read_bytes()
    assert read_image(path).shape == NOISE.shape
    for keep in (0, 20, len(whole) // 3, len(whole) * 9 // 10):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=rf"image .*picture\.{suffix} is unreadable or truncated"):
            read_image(path)


def test_what_is_transparent_is_black(tmp_path):
    alpha = np.zeros((40, 24, 1), np.uint8)
    alpha[:20], alpha[20:30] = 255, 51
    Image.fromarray(np.concatenate([NOISE, alpha], 2)).save(tmp_path / "cut.png")
    found = read_image(tmp_path / "cut.png")
    assert np.array_equal(found[:20], NOISE[:20])
    assert np.array_equal(found[20:30], (NOISE[20:30] / 5).round())
    assert not found[30:].any()
    drawn = Image.fromarray(NOISE).quantize(16)
    drawn.save(tmp_path / "palette.png", transparency=3)
    assert not read_image(tmp_path / "palette.png")[np.asarray(drawn) == 3].any()


def test_numbers_that_are_no_bytes_are_refused(tmp_path):
    for name, kind in (("float.tif", np.float32), ("long.tif", np.int32)):
        Image.fromarray((NOISE[..., 0] / 255).astype(kind)).save(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} holds numbers of 32 bits"):
            read_image(tmp_path / name)
    cv2.imwrite(str(tmp_path / "deep.png"), NOISE.astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., ::-1], NOISE)


def test_part_labels_in_a_palette_are_its_numbers(tmp_path):
    labels = np.arange(12, dtype=np.uint8).repeat(2).reshape(6, 4)
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette([255 - 20 * (value // 3) for value in range(36)])
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_mask(tmp_path / "palette.png", size=(6, 4)), labels)


def test_changed_file_or_size_is_decoded_again(stack, records, cache):
    cv2.imwrite(str(records[0].path), np.full((32, 16, 3), 255, np.uint8))
    assert load_stack(records, size=SIZE, cache=cache).images[0].float().mean() > 250
    assert load_stack(records, size=(32, 16), cache=cache).size == (32, 16)


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_damaged_cache_is_rebuilt(stack, records, cache, damage, caplog):
    images, path = stack.images.clone(), next(cache.glob("*-images.npy"))
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(load_stack(records, size=SIZE, cache=cache).images, images)
    assert "decoding again" in caplog.text


def test_full_disk_is_an_error_that_leaves_nothing(records, cache):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # bytes that a file may have
    try:
        with pytest.raises(OSError, match="free disk space"):
            load_stack(records, size=SIZE, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("keep", [0, 10, 200, -2])
@pytest.mark.parametrize("kind", ["image", "part map"])
def test_truncated_files_are_named(records, cache, keep, kind):
    path = records[7].path if kind == "image" else records[7].mask
    if kind == "image":
        noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    data = path.read_bytes()
    path.write_bytes(data[: min(keep, len(data) - 20) if keep >= 0 else -20])
    with pytest.raises(ValueError, match=path.name):
        load_stack(records, size=SIZE, cache=cache)


def test_vanished_file_is_named(records, cache):
    records[3].path.unlink()
    with pytest.raises(ValueError, match=r"0003\.jpg cannot be read"):
        load_stack(records, size=SIZE, cache=cache)


def test_part_map_of_another_size_is_named(records, cache):
    cv2.imwrite(str(records[2].mask), np.zeros((16, 16), np.uint8))
    with pytest.raises(ValueError, match=r"0002\.png.*\(16, 16\).*\(32, 16\)"):
        load_stack(records, size=SIZE, cache=cache)


def test_refuses_what_it_cannot_use(records, cache):
    with pytest.raises(ValueError, match="empty"):
        load_stack([], size=SIZE, cache=cache)
    with pytest.raises(ValueError, match="no part map"):
        load_stack([*records, ImageRecord(records[0].path, 1, 1)], size=SIZE, cache=cache)
    with pytest.raises(ValueError, match="lacks 7 pids"):
        load_stack(records, size=SIZE, cache=cache, labels={10: 0})


CONFIG = BatchConfig(identities=4, images=2, augment=Augment(pad=0.25))


def test_epochs_are_a_function_of_seed_and_number(stack):
    def epoch(seed, number):
        return [batch.images for batch in Loader(stack, CONFIG, seed, groups(5)).epoch(number)]

    first = epoch(0, 3)
    assert len(first) == len(Loader(stack, CONFIG, 0).order(3)) >= 2
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(0, 3)))
    assert not torch.equal(first[0], epoch(0, 4)[0])
    assert not torch.equal(first[0], epoch(1, 3)[0])


def test_batches_carry_labels_and_part_targets(stack):
    loader = Loader(stack, CONFIG, 0, groups(8))
    for batch in loader.epoch(0):
        assert batch.images.shape == (8, 3, *SIZE)
        assert batch.labels.view(4, 2).unique(dim=1).shape == (4, 1)
        assert batch.masks.shape == (8, 9, 4, 2)
        covered = batch.masks.sum(1)
        torch.testing.assert_close(covered, torch.ones_like(covered))
    assert next(Loader(stack, CONFIG, 0).epoch(0)).masks is None


def test_unaugmented_batches_are_the_images_themselves(stack):
    still = BatchConfig(identities=4, images=2, augment=Augment(flip=0.0, pad=0.0, erase=0.0))
    loader = Loader(stack, still, 0, groups(8))
    for rows, batch in zip(loader.order(0), loader.epoch(0)):
        assert torch.equal(batch.images, normalise(stack.images[rows]))
        assert torch.equal(batch.labels, stack.label[rows])
        assert torch.equal(batch.masks, part_targets(stack.masks[rows], groups(8)))


def test_extraction_batches_cover_all_images_in_order(stack):
    found = list(batches(stack, size=10, groups=groups(8)))
    assert [len(images) for images, _ in found] == [10, 10, 10, 2]
    assert torch.equal(torch.cat([images for images, _ in found]), normalise(stack.images))
    assert found[0][1].shape == (10, 9, 4, 2)
    assert next(batches(stack))[1] is None


def test_loader_refuses_a_bank_that_does_not_fit(stack):
    bare = ImageStack(stack.images, None, stack.label, stack.pid, stack.camid, stack.names)
    with pytest.raises(ValueError, match="have no part labels"):
        Loader(bare, CONFIG, 0, groups(8))
    unlabelled = ImageStack(stack.images, None, stack.label - 1, stack.pid, stack.camid, stack.names)
    with pytest.raises(ValueError, match="without training label"):
        Loader(unlabelled, CONFIG, 0)
    with pytest.raises(ValueError, match="identities is 0; expected"):
        BatchConfig(identities=0)


def bomb(kind):
    """A few bytes that say that they are an image of ten billion pixels."""
    side = 100_000
    if kind == "png":
        head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + head
            + struct.pack(">I", zlib.crc32(head))
            + bytes(12)
        )
    if kind == "bmp":
        return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + b"," + struct.pack(
        "<HHHHB", 0, 0, 65_535, 65_535, 0
    ) + b"\x02\x02\x4c\x01\0;"  # fmt: skip


@pytest.mark.parametrize("kind", ["png", "bmp", "gif"])
def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, kind):
    path, before = tmp_path / f"bomb.{kind}", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path.write_bytes(bomb(kind))
    with pytest.raises(
        ValueError, match=rf"bomb\.{kind} is unreadable or truncated .*; restore or remove it"
    ):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_fields_that_claim_more_than_they_hold_or_hold_objects_are_refused(tmp_path):
    path = tmp_path / "fields.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (36, 10**5, 10**5)}
        )
        file.write(bytes(100))
    with pytest.raises(ValueError, match=r"fields\.npy cannot be read"):
        read_mask(path, size=SIZE)
    np.save(path, np.array([path], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"fields\.npy cannot be read"):
        read_mask(path, size=SIZE)
