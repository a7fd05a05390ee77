"""The index of a data set on disk, and what is said when the disk is wrong."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidlib.data.datasets import load, parse


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / "x.png"), np.zeros((2, 2), np.uint8))
        (folder / "x.png").rename(folder / name)


@pytest.fixture
def tree(tmp_path):
    home = tmp_path / "market1501"
    touch(home / "bounding_box_train", "0002_c1s1_000451_03.jpg", "0007_c3s3_077419_03.jpg")
    touch(home / "query", "0001_c1s1_001051_00.jpg")
    test = ("0001_c2s1_001051_00.jpg", "-1_c1s1_000401_03.jpg", "0000_c6s1_000151_01.jpg", "Thumbs.db")
    touch(home / "bounding_box_test", *test)
    return tmp_path


def test_reads_all_splits_without_junk(tree):
    split = load("market1501", tree)
    assert [(r.pid, r.camid) for r in split.train] == [(2, 1), (7, 3)]
    assert [(r.pid, r.camid) for r in split.gallery] == [(0, 6), (1, 2)]
    assert split.labels == {2: 0, 7: 1}
    assert split.counts()["gallery"]["distractors"] == 1
    assert all(record.mask is None for record in split.gallery)


def test_official_folder_name_and_case_of_suffix(tree):
    (tree / "market1501").rename(tree / "Market-1501-v15.09.15")
    touch(tree / "Market-1501-v15.09.15" / "query", "0009_c1s1_001051_00.JPG")
    assert [record.pid for record in load("market1501", tree).query] == [1, 9]


def test_masks_are_attached(tree):
    touch(tree / "market1501" / "masks" / "query", "0001_c1s1_001051_00.png")
    split = load("market1501", tree)
    assert split.query[0].mask.name == "0001_c1s1_001051_00.png"
    assert split.train[0].mask is None


def test_missing_mask_is_named(tree):
    touch(tree / "market1501" / "masks" / "bounding_box_train", "0002_c1s1_000451_03.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images.*0007_c3s3_077419_03\.jpg"):
        load("market1501", tree)


def test_transfer_sets_need_no_training_images(tree):
    home = tree / "synth-partial"
    (tree / "market1501").rename(home)
    for image in (home / "bounding_box_train").iterdir():
        image.unlink()
    (home / "bounding_box_train").rmdir()
    assert load("synth-partial", tree).train == ()
    home.rename(tree / "synth-market")
    with pytest.raises(FileNotFoundError, match="bounding_box_train"):
        load("synth-market", tree)


def test_unknown_name_lists_known(tree):
    with pytest.raises(ValueError, match=r"'market'.*market1501.*synth-partial"):
        load("market", tree)


@pytest.mark.parametrize(
    ("root", "hint"),
    [
        ("market1501", "folder above it"),
        ("..", "one level deeper"),
        ("other", "one level higher"),
        ("no", "not exist"),
    ],
)
def test_wrong_level_gives_a_hint(tree, root, hint):
    (tree / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=hint):
        load("market1501", tree / root)


def test_incomplete_tree_says_what_is_expected(tree):
    (tree / "market1501" / "query").rename(tree / "market1501" / "queries")
    with pytest.raises(FileNotFoundError, match="lacks query/"):
        load("market1501", tree)


@pytest.mark.parametrize("name", ["me.jpg", "0002_c1_000451_03.jpg", "٣_c1s1_000451_03.jpg"])
def test_bad_name_is_named(tree, name):
    touch(tree / "market1501" / "query", name)
    with pytest.raises(ValueError, match=name):
        load("market1501", tree)


def test_distractor_only_in_the_gallery(tree):
    touch(tree / "market1501" / "query", "0000_c1s1_000451_03.jpg")
    with pytest.raises(ValueError, match="distractor"):
        load("market1501", tree)


def test_empty_split(tree):
    (tree / "market1501" / "query" / "0001_c1s1_001051_00.jpg").unlink()
    with pytest.raises(ValueError, match="no image of a person"):
        load("market1501", tree)


@given(
    st.integers(-1, 10**9 - 1), st.integers(0, 9999), st.integers(0), st.sampled_from(["jpg", "PNG", "jpeg"])
)
def test_parse_reads_back(pid, camid, frame, suffix):
    assert parse(f"{pid:04d}_c{camid}s1_{frame}_00.{suffix}".replace("-001", "-1")) == (pid, camid)


@given(st.text() | st.from_regex(r"-?\d+_c\d+s\d+_\d+_\d+\.jpg") | st.from_regex(r"[-0-9_cs.jpg]+"))
def test_parse_reads_or_refuses(name):
    try:
        pid, camid = parse(name)
    except ValueError as error:
        assert repr(name) in str(error)  # noqa: PT017
    else:
        assert -1 <= pid < 10**9
        assert 0 <= camid < 10**4
        assert name.isascii()
