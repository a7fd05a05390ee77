"""What an index says of a data set."""

from dataclasses import replace
from pathlib import Path

from reidlib.data.index import ImageRecord, Split, few


def record(name, pid, camid):
    return ImageRecord(Path("folder") / name, pid, camid)


TRAIN = (record("a.jpg", 40, 1), record("b.jpg", 7, 2), record("c.jpg", 40, 2))
GALLERY = (record("d.jpg", 0, 1), record("e.jpg", 3, 2), record("f.jpg", 0, 6))
SPLIT = Split("toy", Path("folder"), TRAIN, (record("g.jpg", 3, 1),), GALLERY)


def test_some_names_and_how_many_more():
    assert few(iter("abc"), shown=3) == "a, b, c"
    assert few("abc", shown=1, between="; ") == "a and 2 more"
    assert few(["\udcff"] * 1002, shown=2, between="; ") == "?; ? and 1,000 more"
    assert few([], shown=2) == ""


def test_labels_follow_the_order_of_persons():
    assert SPLIT.labels == {7: 0, 40: 1}


def test_a_distractor_is_an_image_but_no_identity():
    assert SPLIT.counts()["gallery"] == {"images": 3, "identities": 1, "cameras": 3, "distractors": 2}
    assert SPLIT.counts()["train"] == {"images": 3, "identities": 2, "cameras": 2, "distractors": 0}


def test_the_fingerprint_tells_indices_apart_but_not_places_and_orders():
    assert replace(SPLIT, root=Path("elsewhere"), train=TRAIN[::-1]).fingerprint == SPLIT.fingerprint
    moved = tuple(replace(r, path=Path("other") / r.path.name, mask=Path("mask.png")) for r in TRAIN)
    assert replace(SPLIT, train=moved).fingerprint == SPLIT.fingerprint
    others = (
        replace(SPLIT, train=TRAIN[1:]),
        replace(SPLIT, train=(replace(TRAIN[0], pid=41), *TRAIN[1:])),
        replace(SPLIT, train=(replace(TRAIN[0], camid=2), *TRAIN[1:])),
        replace(SPLIT, train=(replace(TRAIN[0], path=Path("x.jpg")), *TRAIN[1:])),
        replace(SPLIT, query=SPLIT.gallery, gallery=SPLIT.query),
    )
    assert len({split.fingerprint for split in (SPLIT, *others)}) == 1 + len(others)
