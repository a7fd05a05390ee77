"""Trees of generated images in the layout and naming of every data set, from a dozen files to all."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from reidlib.data.datasets import CUHK, DATASETS, DUKE, MARKET, Layout

SMALL = {"train": (24, 6), "query": (6, 3), "gallery": (24, 4)}
"""Images and identities per split."""

REAL = [name for name in DATASETS if not name.startswith("synth")]
LAYOUTS = [(name, number) for name in REAL for number in range(len(DATASETS[name].layouts))]
"""Every layout of every real set."""

NESTED = ("occluded-reid", "p-dukemtmc")
SUFFIX = {"occluded-reid": ".tif", "cuhk03": ".png", "cuhk03-labelled": ".png"}


def paint(path: Path, number: int, *, size: tuple[int, int] = (32, 16)) -> None:
    """A picture whose colour follows its number."""
    rng = np.random.default_rng(number)
    picture = rng.integers(0, 256, (4, 2, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR))


def touch(folder: Path, *names: str) -> None:
    """Files of these names with one and the same tiny picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / "x.png"), np.zeros((2, 2), np.uint8))
        (folder / "x.png").rename(folder / name)


class Link:
    """Writes one-pixel images as hard links to one file, thousands of times faster than painting."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, path: Path, number: int) -> None:
        source = self.folder / f"pixel-{number // 60_000}{path.suffix}"  # file systems limit the links
        if not source.exists():
            paint(source, 0, size=(1, 1))
        os.link(source, path)


def plant(
    name: str,
    root: Path,
    *,
    layout: Layout | None = None,
    home: str | None = None,
    counts: dict[str, tuple[int, int]] = SMALL,
    write: Callable[[Path, int], None] = paint,
    suffix: str | None = None,
    cameras: int = 2,
) -> Path:
    """Write a data set's folders and files; returns its own folder."""
    source = DATASETS[name]
    layout, home = layout or source.layouts[0], root / (home or source.homes[0])
    for split, folders in layout.folders.items():
        for folder in folders:
            (home / folder).mkdir(parents=True, exist_ok=True)
        folders = [folder for folder in folders if folder != layout.extra]
        images, people = counts.get(split, (0, 0))
        for number in range(images if folders else 0):
            pid, shot = number % people + 1 + (5000 if split == "train" else 0), number // people
            folder = home / folders[shot % len(folders)]
            if name in NESTED and layout is source.layouts[0]:
                folder = folder / f"{pid:04d}"
                folder.mkdir(exist_ok=True)
            label = _name(layout, pid, shot, split, cameras) + (suffix or SUFFIX.get(name, ".jpg"))
            write(folder / label, number)
    return home


def _name(layout: Layout, pid: int, shot: int, split: str, cameras: int) -> str:
    camera = (pid + shot) % cameras + 1
    frame = shot + 10**4 * (split == "query")
    if layout.naming is MARKET:
        return f"{pid:04d}_c{camera}s1_{frame:06d}_00"
    if layout.naming is DUKE:
        return f"{pid:04d}_c{camera}_f{frame:07d}"
    if layout.naming is CUHK:
        return f"{pid:04d}_c{camera}_{frame}"
    return f"{pid:03d}_{frame:02d}"


def plant_fields(home: Path, *, suffix: str = ".npy") -> None:
    """Published confidence fields: the nose fills the upper half of every image, the left ankle the lower one."""
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        place = home / "masks" / "pifpaf_maskrcnn_filtering" / folder
        place.mkdir(parents=True)
        for image in (home / folder).iterdir():
            fields = np.zeros((36, 17, 9), np.float32)
            fields[0, :8], fields[15, 8:] = 0.9, 0.8
            np.save(place / f"{image.stem}{suffix}", fields)
