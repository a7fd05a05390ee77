"""CUHK03 as it is downloaded: ``cuhk-03.mat`` and its split files, to the images and lists that ``datasets`` reads.

Written are the folders and files of Torchreid, so that a set that it unpacked is the same. The mat file is HDF5 and
needs the package h5py, which nothing else here does: the extra ``reidlib[cuhk03]``. Left out: the 100 single-shot
splits of the older protocol, which no row of the papers uses.

Source: Li et al., DeepReID, CVPR 2014 (five pairs of cameras, up to ten images of a person); Zhong et al., CVPR 2017
(767 and 700 people).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from tqdm.auto import tqdm

from reidlib.data.datasets import MAT, child, downloaded
from reidlib.data.index import SPLITS
from reidlib.files import replacing

KINDS = {"cuhk03": "detected", "cuhk03-labelled": "labeled"}
"""Data set -> which boxes it has."""

FIRST_VIEW = 5  # of a person's ten images


def unpack(name: str, root: Path) -> Path:
    """Write the images of a set as PNG and its split as Torchreid's json, into ``cuhk03/``.

    Args:
        name: ``cuhk03`` or ``cuhk03-labelled``.
        root: folder below which the download lies, and that holds ``cuhk03/`` then.

    Returns:
        The split file, which ``datasets.load`` reads.

    Raises:
        ValueError: a file is absent or broken, or h5py is not installed.
    """
    kind, home = KINDS[name], child(root, "cuhk03") or root / "cuhk03"
    source = downloaded(MAT, root=root)
    if source is None:
        raise ValueError(f"{name}: no {MAT} below {root}; fetch cuhk03_release.zip from the set's authors")
    table = _split(root, kind)
    folder = home / f"images_{kind}"
    written = {file for file, picture in _pictures(source, kind) if _write(folder / file, picture)}
    if lacking := sorted({file for rows in table.values() for file, *_ in rows} - written):
        raise ValueError(
            f"{source} lacks {len(lacking)} images of the split, first {lacking[0]}; fetch it again"
        )
    target = home / f"splits_new_{kind}.json"
    listed = {side: [(f"{folder.name}/{file}", *who) for file, *who in rows] for side, rows in table.items()}
    with replacing(target) as handle:
        handle.write(json.dumps([listed]).encode())
    return target


def _split(root: Path, kind: str) -> dict[str, list[tuple[str, int, int]]]:
    """File, person (from 0) and camera (from 0) of the images of every side."""
    file = f"cuhk03_new_protocol_config_{kind}.mat"
    path = downloaded(file, root=root)
    if path is None:
        raise ValueError(
            f"no {file} below {root}: it comes with the code of Zhong et al. (person-re-ranking)"
        )
    try:
        content = loadmat(path)
        files = [str(entry[0]) for entry in content["filelist"].flatten()]
        people = content["labels"].flatten().astype(int)
        rows = {side: content[f"{side}_idx"].flatten().astype(int) - 1 for side in SPLITS}
        return {
            side: [(files[i], int(people[i]) - 1, int(files[i].split("_")[2]) - 1) for i in places]
            for side, places in rows.items()
        }
    except (MatReadError, ValueError, LookupError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again") from None


def _pictures(source: Path, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every image of the mat file (RGB) under its name: pair of cameras, person, view, number, all from 1."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{source} is an HDF5 file: install the package h5py, then call again") from None
    try:
        with h5py.File(source) as file:
            for pair, found in enumerate(file[kind][0], start=1):
                people = file[found][:].T  # [people, 10] of references
                for person, cells in enumerate(tqdm(people, desc=f"pair {pair}", disable=None), start=1):
                    for number, cell in enumerate(cells, start=1):
                        picture = file[cell][:].T  # [H, W, 3]
                        if picture.ndim == 3 and picture.size:
                            view = 1 if number <= FIRST_VIEW else 2
                            yield f"{pair}_{person:03d}_{view}_{number:02d}.png", picture.astype(np.uint8)
    except (OSError, LookupError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{source} cannot be read ({error}); fetch it again") from None


def _write(path: Path, picture: np.ndarray) -> bool:
    ok, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))
    with replacing(path) as handle:
        handle.write(data.tobytes())
    return ok
