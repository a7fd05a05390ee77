"""The doctor on healthy and sick trees, from a dozen files to the full published counts."""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trees import REAL, SMALL, Link, paint, plant, touch

from reidlib.__main__ import main
from reidlib.data.datasets import DATASETS
from reidlib.doctor import examine, published_counts

README = Path(__file__).parents[2] / "data" / "README.md"


def full(name):
    rows = published_counts().loc[[name]].droplevel(0)
    known = {split: (row["images"], row["identities"]) for split, row in rows.iterrows()}
    cameras = rows["cameras"].max()
    counts = {
        split: (int(images), int(people)) for split, (images, people) in known.items() if images == images
    }
    return counts, 2 if np.isnan(cameras) else int(cameras)


def failed(diagnosis):
    return {check.what: check.remedy for check in diagnosis.checks if check.good is False}


FULL = (
    "market1501",
    "occluded-duke",
    "p-dukemtmc",
    "cuhk03",
    "occluded-reid",
    "partial-reid",
    "partial-ilids",
)
"""One of each layout and naming; the others differ in counts only."""


@pytest.mark.parametrize("name", FULL)
def test_full_published_counts_by_name_alone(tmp_path, name):
    counts, cameras = full(name)
    plant(name, tmp_path, counts=counts, cameras=cameras, write=Link(tmp_path))
    diagnosis = examine(name, tmp_path)
    assert failed(diagnosis) == {}
    assert diagnosis.healthy
    judged = {check.what: check.found for check in diagnosis.checks if check.good}
    for split, (images, people) in counts.items():
        assert judged[f"{split} images"] == f"{images:,}"
        assert judged[f"{split} identities"] == f"{people:,}"
    assert judged["queries without a match"].startswith("0 of ")


def test_counts_know_every_real_set():
    assert set(published_counts().index.get_level_values(0)) == set(REAL)


def test_the_readme_states_the_same_counts():
    text = README.read_text().split("<!-- counts -->")[1].split("<!-- /counts -->")[0]
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]
    ]
    told = {
        (row[0], split): cell
        for row in rows
        for split, cell in zip(("train", "query", "gallery"), row[1:])
        if cell != "–"
    }
    table = published_counts()[["images", "identities"]]
    known = {
        key: " / ".join("?" if np.isnan(n) else f"{int(n):,}" for n in counts)
        for key, counts in zip(table.index, table.to_numpy())
    }
    assert told == known


def test_distractors_join_the_gallery(tmp_path):
    home = plant("market1501-500k", tmp_path)
    link = Link(tmp_path)
    for number in range(2000):
        link(home / "images" / f"{number:06d}.jpg", number)
    found = {check.what: check for check in examine("market1501-500k", tmp_path).checks}
    assert found["gallery images"].found == "2,024"
    assert found["gallery images"].good is None


def test_half_an_archive_is_counted(tmp_path):
    home = plant("occluded-reid", tmp_path, counts=full("occluded-reid")[0], write=Link(tmp_path))
    for folder in sorted((home / "whole_body_images").iterdir())[100:]:
        for image in folder.iterdir():
            image.unlink()
        folder.rmdir()
    bad = failed(examine("occluded-reid", tmp_path))
    assert set(bad) == {"gallery images", "gallery identities", "queries without a match"}
    assert bad["gallery images"] == "500 missing: unpack it again"
    assert "0101_" in bad["queries without a match"] or "101_" in bad["queries without a match"]
    assert "and 495 more" in bad["queries without a match"]


def test_truncated_and_unreadable_images_are_named(tmp_path):
    home = plant("occluded-duke", tmp_path)
    train, query = (sorted((home / folder).iterdir()) for folder in ("bounding_box_train", "query"))
    train[3].write_bytes(train[3].read_bytes()[:-40])
    query[0].write_bytes(b"")
    remedy = failed(examine("occluded-duke", tmp_path))["broken images"]
    assert f"bounding_box_train/{train[3].name}, query/{query[0].name};" in remedy
    assert f"of the first: image {train[3]} is unreadable or truncated" in remedy


def test_what_is_left_out_of_one_s_own_images_is_told(tmp_path):
    for person in (1, 2):
        (tmp_path / str(person)).mkdir()
        for shot in (1, 2):
            paint(tmp_path / str(person) / f"{shot}.png", 2 * person + shot)
    (tmp_path / "2" / "3.heic").touch()
    diagnosis = examine("folder", tmp_path)
    assert diagnosis.healthy
    assert "left out: 1 files of another kind (.heic): 2/3.heic" in "\n".join(diagnosis.lines())
    (tmp_path / "2" / "4.png").symlink_to("nowhere.png")
    assert "2/4.png is unreadable" in failed(examine("folder", tmp_path))["broken images"]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncation_is_seen_in_every_format(tmp_path, suffix, keep):
    home = plant("partial-ilids", tmp_path, suffix=suffix)
    path = sorted((home / "Probe").iterdir())[0]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert path.name in failed(examine("partial-ilids", tmp_path))["broken images"]


def test_all_misnamed_files_are_told_and_everything_else_is_checked(tmp_path):
    home = plant("market1501", tmp_path)
    first = min((home / "bounding_box_test").iterdir())
    for number in range(1, 6):
        (home / "bounding_box_test" / f"{first.stem} ({number}).jpg").write_bytes(first.read_bytes())
    diagnosis = examine("market1501", tmp_path)
    remedy = failed(diagnosis)["unfit files"]
    assert all(f"{first.stem} ({number}).jpg" in remedy for number in range(1, 6))
    assert "rename or remove" in remedy
    assert {"broken images", "queries without a match", "index"} <= {check.what for check in diagnosis.checks}


def test_camera_rule_decides_what_matches(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    lines = "path,pid,camid,split\na.jpg,1,{0},query\nb.jpg,1,{0},gallery\nc.jpg,2,{0},gallery\n"
    (tmp_path / "index.csv").write_text(lines.format("3"))
    bad = failed(examine("csv", tmp_path))
    assert list(bad) == ["queries without a match"]
    assert "a.jpg under another camera" in bad["queries without a match"]
    assert "leave the column camid empty" in bad["queries without a match"]
    (tmp_path / "index.csv").write_text(lines.format(""))
    assert examine("csv", tmp_path).healthy


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(("root", "hint"), [("{home}", "folder above it"), ("..", "one level deeper")])
def test_one_level_off(tmp_path, name, root, hint):
    plant(name, tmp_path)
    place = tmp_path / root.format(home=DATASETS[name].homes[0])
    assert hint in failed(examine(name, place))["layout"]


def test_wrong_masks_name_the_file(tmp_path):
    home = plant("occluded-duke", tmp_path)
    place = home / "masks" / "pifpaf_maskrcnn_filtering" / "query"
    place.mkdir(parents=True)
    images = sorted((home / "query").iterdir())
    for image in images:
        np.save(place / f"{image.stem}.npy", np.zeros((36, 4, 2), np.float32))
    diagnosis = examine("occluded-duke", tmp_path)
    assert "query part labels" not in failed(diagnosis)
    for wrong in (np.zeros((17, 4, 2), np.float32), np.zeros((36, 4, 2), np.uint8), np.ones((36, 4, 2)) * 2):
        np.save(place / f"{images[1].stem}.npy", wrong)
        assert f"{images[1].stem}.npy" in failed(examine("occluded-duke", tmp_path))["query part labels"]
    (place / f"{images[1].stem}.npy").unlink()
    assert (
        f"no part labels for {images[1].name}"
        in failed(examine("occluded-duke", tmp_path))["query part labels"]
    )
    told = {check.what: check.found for check in examine("occluded-duke", tmp_path).checks}
    assert told["train part labels"].startswith("none; BPBreID needs them, `masks occluded-duke` makes some")


def test_an_image_listed_twice_is_named(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        paint(tmp_path / name, 0)
    (tmp_path / "index.csv").write_text(
        "path,pid,camid,split\na.jpg,x,,query\na.jpg,x,,gallery\nb.jpg,x,,gallery\n"
    )
    assert "a.jpg; keep one" in failed(examine("csv", tmp_path))["images listed twice"]


def test_a_header_that_claims_too_many_pixels_is_a_broken_image(tmp_path):
    home = plant("partial-reid", tmp_path, suffix=".png")
    image = min((home / "whole_body_images").iterdir())
    data = bytearray(image.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    image.write_bytes(bytes(data))
    assert image.name in failed(examine("partial-reid", tmp_path))["broken images"]


def test_nothing_is_written(tmp_path):
    plant("partial-reid", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for path in [tmp_path, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        examine("partial-reid", tmp_path)
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for path in [tmp_path, *before]:
            path.chmod(0o755)


def test_command_line_and_notebook_tell_the_same(tmp_path, capsys):
    home = plant("partial-reid", tmp_path, counts=full("partial-reid")[0])
    assert main(["doctor", "partial-reid", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ok  query images" in out
    assert "all is well" in out
    frame = examine("partial-reid", tmp_path).frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame["check"].tolist() == [line[4:].split("  ")[0].strip() for line in out.splitlines()[1:-1]]
    next(iter(sorted((home / "partial_body_images").iterdir()))).unlink()
    assert main(["doctor", "partial-reid", "--root", str(tmp_path)]) == 1
    assert "299 (expected 300)" in capsys.readouterr().out
    assert main(["doctor", "csv", "--root", str(tmp_path / "no.csv")]) == 1
    assert "no file" in capsys.readouterr().out


def test_synthetic_sets_are_examined_too(tmp_path):
    plant("synth-market", tmp_path, counts=SMALL)
    assert examine("synth-market", tmp_path).healthy


def test_an_unpacked_archive_reads_like_the_tree(tmp_path):
    home = plant("cuhk03", tmp_path / "there")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in home.rglob("*.png"):
            archive.write(path, path.relative_to(home.parent))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(tmp_path / "here")
    one, two = (examine("cuhk03", tmp_path / place).frame() for place in ("there", "here"))
    assert one["found"].tolist()[1:] == two["found"].tolist()[1:]
    assert json.dumps(one["remedy"].tolist()) == json.dumps(two["remedy"].tolist())
