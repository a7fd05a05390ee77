"""What is said of one's own images: what is used, what is left out, what is there twice."""

import shutil

import pytest
from trees import paint

from reidlib import inventory
from reidlib.data.datasets import load


@pytest.fixture
def crops(tmp_path):
    for person in range(3):
        folder = tmp_path / "crops" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(3):
            paint(folder / f"{number}.jpg", 10 * person + number)
    return tmp_path / "crops"


def said(crops):
    return inventory.lines(load("folder", crops))


def test_a_plain_folder_is_one_line(crops):
    assert said(crops) == ["used: 3 queries of 3 people, searched in 6 gallery images"]


def test_what_is_left_out_is_counted_and_named(crops):
    (crops / "p0" / "notes.txt").write_text("hello")
    (crops / ".hidden").write_text("")
    paint(crops / "loose.jpg", 99)
    (crops / "p3").mkdir()
    paint(crops / "p3" / "0.jpg", 77)
    lines = said(crops)
    assert lines[0] == "used: 3 queries of 3 people, searched in 7 gallery images"
    assert "1 people have one picture, which is in the gallery but asked for by nothing: p3" in lines
    assert "left out: 1 files in no person's folder: loose.jpg" in lines
    assert "left out: 1 files of another kind (.txt): p0/notes.txt" in lines
    assert len(lines) == 4


def test_pictures_in_deeper_folders_are_used_and_told(crops):
    (crops / "p3" / "cam1").mkdir(parents=True)
    paint(crops / "p3" / "cam1" / "0.jpg", 77)
    lines = said(crops)
    assert lines[0] == "used: 3 queries of 3 people, searched in 7 gallery images"
    assert lines[1] == "1 of them lie in folders below a person's: p3/cam1/0.jpg"
    assert lines[2].endswith("asked for by nothing: p3")
    assert len(lines) == 3


def test_copies_are_found_by_content(crops):
    shutil.copy(crops / "p0" / "0.jpg", crops / "p0" / "9.jpg")  # a query in the gallery
    shutil.copy(crops / "p1" / "1.jpg", crops / "p2" / "8.jpg")  # one picture, two people
    shutil.copy(crops / "p1" / "2.jpg", crops / "p1" / "7.jpg")
    lines = said(crops)
    assert "warning: 1 queries lie in the gallery as copies, which are found at once: p0/0.jpg" in lines
    assert "warning: 1 pictures stand for several people: p1/1.jpg = p2/8.jpg" in lines
    assert "2 further copies by content among 12 pictures" in lines


def test_a_picture_that_a_csv_lists_twice_is_told(crops):
    rows = ["path,pid,camid,split", "p0/0.jpg,a,,query", "p0/0.jpg,a,,gallery", "p1/1.jpg,b,,gallery"]
    (crops / "index.csv").write_text("\n".join(rows))
    lines = inventory.lines(load("csv", crops))
    assert lines[0] == "used: 1 queries of 1 people, searched in 2 gallery images"
    assert lines[1].startswith("warning: 1 pictures are listed more than once;")
    assert lines[1].endswith(": p0/0.jpg")
    assert len(lines) == 2


def test_a_picture_of_several_people_is_named_once_for_each(crops):
    for person in (0, 1):
        shutil.copy(crops / "p0" / "1.jpg", crops / f"p{person}" / "9.jpg")
    lines = said(crops)
    assert "warning: 1 pictures stand for several people: p0/9.jpg = p1/9.jpg" in lines
