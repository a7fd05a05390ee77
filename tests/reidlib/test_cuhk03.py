"""CUHK03 from its mat files: images and split as the loader reads them."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from reidlib.__main__ import main
from reidlib.data import cuhk03
from reidlib.data.datasets import load
from reidlib.data.loading import read_image
from reidlib.protocol import Protocol

PEOPLE, EMPTY = (3, 2), (1, 2, 7)
"""Persons in each pair of cameras; the image (pair, person, number) that the set lacks."""


def colour(pair, person, number):
    return np.full((6, 4, 3), (40 * pair, 50 * person, 20 * number), np.uint8)


def plant_mat(home, *, h5py):
    """The two files as they are downloaded, in MATLAB's order of axes."""
    release = home / "cuhk03_release"
    release.mkdir(parents=True)
    names, labels = [], []
    with h5py.File(release / "cuhk-03.mat", "w") as file:
        pairs = []
        for pair, count in enumerate(PEOPLE, start=1):
            cells = np.empty((10, count), h5py.ref_dtype)
            for person in range(1, count + 1):
                for number in range(1, 11):
                    there = (pair, person, number) != EMPTY
                    data = colour(pair, person, number).T if there else np.zeros(2, np.uint64)
                    cells[number - 1, person - 1] = file.create_dataset(
                        f"x/{pair}-{person}-{number}", data=data
                    ).ref
                    if there:
                        names.append(f"{pair}_{person:03d}_{1 + (number > 5)}_{number:02d}.png")
                        labels.append(person + 3 * (pair - 1))
            pairs.append(file.create_dataset(f"y/{pair}", data=cells, dtype=h5py.ref_dtype).ref)
        file.create_dataset("detected", data=np.array([pairs], h5py.ref_dtype), dtype=h5py.ref_dtype)
    place = {name: number for number, name in enumerate(names, start=1)}
    sides = {"train": [place[n] for n in names if n.startswith("1")]}
    sides["query"] = [place["2_001_1_01.png"], place["2_002_2_06.png"]]
    sides["gallery"] = [place[n] for n in names if n.startswith("2") and place[n] not in sides["query"]]
    content = {f"{side}_idx": np.array(places)[:, None] for side, places in sides.items()}
    content |= {"labels": np.array(labels)[:, None], "filelist": np.array(names, object)[:, None]}
    savemat(home / "cuhk03_new_protocol_config_detected.mat", content)


def test_the_mat_files_become_images_and_a_split(tmp_path, capsys):
    plant_mat(tmp_path / "cuhk03", h5py=pytest.importorskip("h5py", reason="the optional package of CUHK03"))
    with pytest.raises(FileNotFoundError, match=r"python -m reidlib unpack cuhk03 --root"):
        load("cuhk03", tmp_path)
    assert main(["unpack", "cuhk03", "--root", str(tmp_path)]) == 0
    assert "splits_new_detected.json" in capsys.readouterr().out
    split = load("cuhk03", tmp_path)
    assert (len(split.train), len(split.query), len(split.gallery)) == (29, 2, 18)
    assert split.protocol is Protocol.MARKET
    assert [(record.path.name, record.pid, record.camid) for record in split.query] == [
        ("2_001_1_01.png", 4, 0),
        ("2_002_2_06.png", 5, 1),
    ]
    for record in (*split.train, *split.gallery):
        pair, person, _, number = map(int, record.path.stem.split("_"))
        assert (read_image(record.path) == colour(pair, person, number)).all()
    assert not (tmp_path / "cuhk03" / "images_detected" / "1_002_2_07.png").exists()


@pytest.mark.parametrize("folder", ["CUHK03", "."])
def test_the_download_may_lie_in_any_folder_of_the_root(tmp_path, folder):
    """As its archive unpacks, ``cuhk03_release/``, or in a folder of the set's name, however it is written."""
    root = tmp_path / "my data"
    plant_mat(root / folder, h5py=pytest.importorskip("h5py", reason="the optional package of CUHK03"))
    with pytest.raises(FileNotFoundError, match="unpack cuhk03 --root '.*/my data'`"):
        load("cuhk03", root)
    cuhk03.unpack("cuhk03", root)
    assert len(load("cuhk03", root).train) == 29


def test_what_is_absent_or_broken_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"no cuhk-03\.mat below"):
        cuhk03.unpack("cuhk03", tmp_path)
    release = tmp_path / "cuhk03" / "cuhk03_release"
    release.mkdir(parents=True)
    (release / "cuhk-03.mat").write_bytes(b"MATLAB 7.3 MAT-file")
    with pytest.raises(ValueError, match=r"no cuhk03_new_protocol_config_labeled\.mat"):
        cuhk03.unpack("cuhk03-labelled", tmp_path)
    (release.parent / "cuhk03_new_protocol_config_detected.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    assert main(["unpack", "cuhk03", "--root", str(tmp_path)]) == 2
    assert "cuhk03_new_protocol_config_detected.mat cannot be read" in capsys.readouterr().err
    assert main(["doctor", "cuhk03", "--root", str(tmp_path)]) == 1
    assert "cuhk-03.mat lies there as it is downloaded" in capsys.readouterr().out


def test_pictures_keep_their_colours(tmp_path):
    cuhk03._write(tmp_path / "a.png", colour(1, 2, 3))
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [60, 100, 40]
