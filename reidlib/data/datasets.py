"""Data sets on disk in the Market-1501 layout: ``load(name, root)`` indexes them.

``bounding_box_train/``, ``query/`` and ``bounding_box_test/`` hold images named like
``0002_c1s1_000451_03.jpg`` (person, camera and sequence, frame, detection). The synthetic sets also have
part labels, ``masks/<folder>/<image name>.png``. Junk (pid -1) is dropped; distractors (pid 0) stay in
the gallery.
"""

import re
from pathlib import Path

from reidlib.data.records import ImageRecord, Split

DATASETS = {
    "market1501": ("Market-1501-v15.09.15", "market1501"),
    "synth-market": ("synth-market",),
    "synth-occluded": ("synth-occluded",),
    "synth-occluded-transfer": ("synth-occluded-transfer",),
    "synth-partial": ("synth-partial",),
    "synth-market-val": ("synth-market-val",),
    "synth-occluded-val": ("synth-occluded-val",),
}
"""Folder names under which each data set is looked for."""

TEST_ONLY = ("synth-occluded-transfer", "synth-partial", "synth-market-val")  # may lack training images
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
SUFFIXES = (".jpg", ".jpeg", ".png")
JUNK, DISTRACTOR = -1, 0

_NAME = re.compile(r"(-1|[0-9]{1,9})_c([0-9]{1,4})s[0-9]+_[0-9]+_[0-9]+")


def load(name: str, root: Path) -> Split:
    """Index a data set; no image is opened.

    Queries without a match in the gallery are allowed here; the evaluation leaves them out and counts them.

    Args:
        name: one of ``DATASETS``.
        root: the folder that holds the data set's own folder.

    Raises:
        ValueError: unknown name, badly named image, distractor outside the gallery, empty split.
        FileNotFoundError: a folder or the part labels of an image are missing.
    """
    if name not in DATASETS:
        raise ValueError(f"name {name!r} is unknown; expected one of {', '.join(DATASETS)}")
    home = _locate(name, Path(root))
    return Split(name, home, **{split: _records(home, split, name=name) for split in FOLDERS})


def parse(name: str) -> tuple[int, int]:
    """Person and camera of a Market-1501 file name.

    Raises:
        ValueError: the name does not follow the pattern.
    """
    stem, _, suffix = name.rpartition(".")
    match = _NAME.fullmatch(stem)
    if match is None or f".{suffix.lower()}" not in SUFFIXES:
        raise ValueError(
            f"image name {name!r} is not like 0002_c1s1_000451_03.jpg; rename or remove the file"
        )
    return int(match[1]), int(match[2])


def _locate(name: str, root: Path) -> Path:
    for folder in DATASETS[name]:
        if _is_set(root / folder):
            return root / folder
    tree = ", ".join(f"{folder}/" for folder in FOLDERS.values())
    places = " or ".join(str(root / folder) for folder in DATASETS[name])
    raise FileNotFoundError(f"{name}: expected {places} with {tree} inside; {_hint(name, root)}")


def _hint(name: str, root: Path) -> str:
    if not root.is_dir():
        return f"the folder {root} does not exist"
    if _is_set(root):
        return f"root is the data set itself: pass the folder above it, {root.resolve().parent}"
    for folder in DATASETS[name]:
        if _is_set(root.parent / folder):
            return f"found it one level higher: pass {root.parent}"
        if _is_set(root / folder / folder):
            return f"found it one level deeper: pass {root / folder}"
        for child in sorted(path for path in root.iterdir() if path.is_dir()):
            if _is_set(child / folder):
                return f"found it one level deeper: pass {child}"
        if (root / folder).is_dir():
            return f"{root / folder} lacks {FOLDERS['query']}/ or {FOLDERS['gallery']}/: unpack it again"
    return "unpack or generate the data set there"


def _is_set(folder: Path) -> bool:
    return all((folder / FOLDERS[split]).is_dir() for split in ("query", "gallery"))


def _records(home: Path, split: str, *, name: str) -> tuple[ImageRecord, ...]:
    folder = home / FOLDERS[split]
    if split == "train" and name in TEST_ONLY and not any(folder.glob("*")):
        return ()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{name}: the folder {folder} is missing; unpack or generate the data set again"
        )
    records = tuple(filter(None, (_record(path, split) for path in _images(folder))))
    if not records:
        raise ValueError(
            f"{name}: {folder} holds no image of a person; unpack or generate the data set again"
        )
    return _with_masks(records, home / "masks" / folder.name)


def _images(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _record(path: Path, split: str) -> ImageRecord | None:
    try:
        pid, camid = parse(path.name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if pid == DISTRACTOR and split != "gallery":
        raise ValueError(
            f"{path}: pid 0 marks a distractor, which only the gallery may hold; move or remove it"
        )
    return None if pid == JUNK else ImageRecord(path, pid, camid)


def _with_masks(records: tuple[ImageRecord, ...], folder: Path) -> tuple[ImageRecord, ...]:
    if not folder.is_dir():
        return records
    known = {path.name for path in folder.iterdir()}
    missing = [record.path for record in records if f"{record.path.stem}.png" not in known]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(records)} images have no part labels, the first is "
            f"{missing[0].name}; add {missing[0].stem}.png or remove the folder"
        )
    return tuple(ImageRecord(r.path, r.pid, r.camid, folder / f"{r.path.stem}.png") for r in records)
