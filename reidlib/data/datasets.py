"""Data sets on disk: where each is looked for, how its files are named, who is query.

``load(name, root)`` indexes one without opening an image. A set may come in several layouts (the authors'
archive, a toolkit's rearrangement); folder names are compared without case and punctuation. Junk (pid -1)
is dropped; distractors (pid 0) stay in the gallery. Sources of all facts: ``data/README.md``. Left out: the
100 single-shot splits of CUHK03, which no row of the papers uses.
"""

import csv
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from reidlib.data.index import SPLITS, ImageRecord, Split, few
from reidlib.protocol import DISTRACTOR, Protocol

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
"""Of what is taken for a picture, in any case."""

SHOWN = 5  # culprits that an error names before it only counts them
SIDES = (
    "train",
    "query",
    "gallery",
    "probe",
    "test",
    "val",
    "boundingboxtrain",
    "boundingboxtest",
    "trainall",
)
"""Names of folders, without punctuation, that hold a part of a data set and no person."""

MISSING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat", "#n/a"}
"""How tables write a cell without a value, in small letters."""

MAT = "cuhk-03.mat"
"""CUHK03 as it is downloaded."""

JUNK = -1
QUERY_CAMERA, GALLERY_CAMERA = 0, 1
"""Stand-ins where a set tells no cameras apart, so that no rule can take a query's matches away."""


@dataclass(frozen=True)
class Naming:
    """How a set's file names tell the person and, if they do, the camera."""

    pattern: re.Pattern
    example: str
    nested: bool = False  # whether images may lie in one folder per person


MARKET = Naming(re.compile(r"(-1|[0-9]{1,9})_c([0-9]{1,4})s[0-9]+_[0-9]+_[0-9]+"), "0002_c1s1_000451_03.jpg")
DUKE = Naming(re.compile(r"([0-9]{1,9})_c([0-9]{1,4})_f[0-9]+"), "0001_c2_f0046182.jpg")
CUHK = Naming(re.compile(r"([0-9]{1,9})_c([0-9]{1,4})(?:_.*)?"), "0001_c1_3.png")
NUMBERED = Naming(re.compile(r"([0-9]{1,9})(?:[_.-].*)?"), "001_02.jpg (person first)", nested=True)


@dataclass(frozen=True)
class Layout:
    """Folders of the three splits, and the naming inside; a transfer set has nothing to train on."""

    query: str
    gallery: str
    naming: Naming
    train: tuple[str, ...] = ()
    extra: str | None = None  # a folder of distractors that joins the gallery

    @property
    def folders(self) -> dict[str, tuple[str, ...]]:
        extra = (self.extra,) if self.extra else ()
        return {"train": self.train, "query": (self.query,), "gallery": (self.gallery, *extra)}

    @property
    def tree(self) -> str:
        return ", ".join(f"{name}/" for names in self.folders.values() for name in names)


@dataclass(frozen=True)
class Source:
    """A data set: folder names under which it is looked for, its layouts, and how it is scored."""

    homes: tuple[str, ...]
    layouts: tuple[Layout, ...]
    protocol: Protocol = Protocol.MARKET
    split_file: tuple[str, ...] = ()  # names of a json that lists train, query and gallery
    test_only: bool = False  # its training folder may be absent


def _market(naming: Naming, *, extra: str | None = None, inside: str = "") -> Layout:
    train, query, gallery = (
        f"{inside}{name}" for name in ("bounding_box_train", "query", "bounding_box_test")
    )
    return Layout(query, gallery, naming, (train,), extra)


def _cuhk03(kind: str, *spellings: str) -> Source:
    names = (kind, *spellings)
    layouts = tuple(_market(CUHK, inside=f"{name}/") for name in names)
    files = tuple(f"splits_new_{name}.json" for name in names)
    return Source(("cuhk03-np", "cuhk03"), layouts, split_file=files)


def _synthetic(name: str, *, test_only: bool = False) -> Source:
    return Source((name,), (_market(MARKET),), test_only=test_only)


_MARKET_HOMES = ("Market-1501-v15.09.15", "market1501", "Market-1501")
_PARTIAL, _OCCLUDED, _WHOLE = "partial_body_images", "occluded_body_images", "whole_body_images"
_PLAIN = Layout("query", "gallery", NUMBERED)
_PARTIAL_REID = ("Partial-REID_Dataset", "Partial_REID", "PartialREID")
_P_DUKE = Source(
    ("P-DukeMTMC-reID",),
    (Layout(f"test/{_OCCLUDED}", f"test/{_WHOLE}", NUMBERED, (f"train/{_OCCLUDED}", f"train/{_WHOLE}")),),
    Protocol.NO_CAMERA,
)

DATASETS = {
    "market1501": Source(_MARKET_HOMES, (_market(MARKET),)),
    "market1501-500k": Source(_MARKET_HOMES, (_market(MARKET, extra="images"),)),
    "dukemtmc": Source(("DukeMTMC-reID", "dukemtmc", "DukeMTMCReID"), (_market(DUKE),)),
    "occluded-duke": Source(
        ("Occluded_Duke", "Occluded-DukeMTMC", "Occluded-DukeMTMC-reID"), (_market(DUKE),)
    ),
    "occluded-reid": Source(
        ("Occluded_REID",), (Layout(_OCCLUDED, _WHOLE, NUMBERED), _PLAIN), Protocol.NO_CAMERA
    ),
    "p-dukemtmc": _P_DUKE,
    "partial-reid": Source(_PARTIAL_REID, (Layout(_PARTIAL, _WHOLE, NUMBERED), _PLAIN), Protocol.NO_CAMERA),
    "partial-reid-occluded": Source(
        _PARTIAL_REID, (Layout(_OCCLUDED, _WHOLE, NUMBERED),), Protocol.NO_CAMERA
    ),
    "partial-ilids": Source(
        ("Partial_iLIDS",),
        (Layout("Probe", "Gallery", NUMBERED), Layout(_PARTIAL, _WHOLE, NUMBERED), _PLAIN),
        Protocol.NO_CAMERA,
    ),
    "partial-ilids-occluded": Source(
        ("Partial_iLIDS",), (Layout(_OCCLUDED, _WHOLE, NUMBERED),), Protocol.NO_CAMERA
    ),
    "cuhk03": _cuhk03("detected"),
    "cuhk03-labelled": _cuhk03("labeled", "labelled"),
    "synth-market": _synthetic("synth-market"),
    "synth-occluded": _synthetic("synth-occluded"),
    "synth-occluded-transfer": _synthetic("synth-occluded-transfer", test_only=True),
    "synth-partial": _synthetic("synth-partial", test_only=True),
    "synth-market-val": _synthetic("synth-market-val", test_only=True),
    "synth-occluded-val": _synthetic("synth-occluded-val"),
}
DATASETS["p-dukemtmc-transfer"] = replace(
    _P_DUKE, layouts=tuple(replace(layout, train=()) for layout in _P_DUKE.layouts)
)
DEEP = 8  # levels below a person's folder that are looked through
YOURS = ("csv", "folder")
"""One's own images: a file ``path,pid,camid,split``, or a folder with one folder per person."""


def load(name: str, root: Path, *, sides: Sequence[str] = SPLITS) -> Split:
    """Index a data set; no image is opened.

    Queries without a match in the gallery are allowed here; the evaluation leaves them out and counts them.

    Args:
        name: one of ``DATASETS`` or ``YOURS``.
        root: the folder that holds the data set's own folder; for ``csv`` the file (or the folder with
            ``index.csv``), for ``folder`` the folder of the persons' folders.
        sides: which splits are wanted; the folders of others may be absent.

    Raises:
        ValueError: unknown name, badly named images, distractors outside the gallery, empty split, a csv
            without the expected columns.
        FileNotFoundError: a folder, an image of a list or the part labels of an image are missing.
    """
    split = survey(name, root, sides=sides)
    if split.unfit:
        raise ValueError(f"{few(split.unfit, shown=SHOWN, between='; ')}; rename or remove them")
    return split


def survey(name: str, root: Path, *, sides: Sequence[str] = SPLITS) -> Split:
    """As ``load``, but files that are no image of the set are left out and told in ``unfit``.

    Raises:
        ValueError, FileNotFoundError: as ``load``, but for such files.
    """
    root = Path(root)
    if name == "csv":
        return _from_csv(root)
    if name == "folder":
        return _from_folder(root)
    if name not in DATASETS:
        raise ValueError(f"name {name!r} is unknown; expected one of {', '.join((*DATASETS, *YOURS))}")
    home, form = locate(name, root)
    if isinstance(form, Path):
        return _from_split_file(name, home, form)
    found = {side: _records(name, home, side, layout=form) for side in SPLITS if side in sides}
    splits = {side: found[side].records if side in found else () for side in SPLITS}
    unfit = tuple(why for side in found.values() for why in side.unfit)
    junk = found["gallery"].junk if "gallery" in found else ()
    return Split(name, home, **splits, protocol=DATASETS[name].protocol, junk=junk, unfit=unfit)


def parse(name: str, naming: Naming = MARKET) -> tuple[int, int | None]:
    """Person and camera of a file name; None where the naming has no camera.

    Raises:
        ValueError: the name does not follow the pattern.
    """
    stem, _, suffix = name.rpartition(".")
    match = naming.pattern.fullmatch(stem)
    if match is None or f".{suffix.lower()}" not in SUFFIXES:
        raise ValueError(f"image name {name!r} is not like {naming.example}")
    return int(match[1]), int(match[2]) if naming.pattern.groups > 1 else None


def child(folder: Path, name: str) -> Path | None:
    """The file or folder of a (nested) name, whatever its case and punctuation; None if there is none."""
    for part in name.split("/"):
        if not folder.is_dir():
            return None
        if not (folder / part).exists():
            same = [path.name for path in folder.iterdir() if _plain(path.name) == _plain(part)]
            if not same:
                return None
            part = min(same)
        folder = folder / part
    return folder


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def locate(name: str, root: Path) -> tuple[Path, Layout | Path]:
    """The set's own folder, and the layout (or the split file) found there.

    Raises:
        FileNotFoundError: no such folder; the message says what is near.
    """
    source = DATASETS[name]
    for folder in source.homes:
        home = child(root, folder)
        if home is not None and (form := _form(home, source)) is not None:
            return home, form
    places = " or ".join(str(root / folder) for folder in source.homes)
    expected = f"{name}: expected {places} with {source.layouts[0].tree} inside"
    raise FileNotFoundError(f"{expected}; {_hint(name, root)}")


def layout_of(split: Split) -> Layout:
    """The layout in which a set of folders was found.

    Raises:
        ValueError: the set is a list of files (``YOURS``, or a split file).
    """
    form = _form(split.root, DATASETS[split.name]) if split.name in DATASETS else None
    if not isinstance(form, Layout):
        raise ValueError(
            f"{split.name} in {split.root} is a list of files: its images lie in no known folders"
        )
    return form


def _form(home: Path, source: Source) -> Layout | Path | None:
    for layout in source.layouts:
        if all(_is_folder(child(home, folder)) for folder in (layout.query, layout.gallery)):
            return layout
    return next((path for file in source.split_file if (path := child(home, file))), None)


def _is_folder(path: Path | None) -> bool:
    return path is not None and path.is_dir()


def _hint(name: str, root: Path) -> str:
    source = DATASETS[name]
    if not root.is_dir():
        return f"{root} is a file" if root.exists() else f"the folder {root} does not exist"
    if _form(root, source) is not None:
        return f"root is the data set itself: pass the folder above it, {root.resolve().parent}"
    for folder in source.homes:
        above, home = child(root.resolve().parent, folder), child(root, folder)
        if above is not None and _form(above, source):
            return f"found it one level higher: pass {root.resolve().parent}"
        if home is not None and (inner := child(home, folder)) and _form(inner, source):
            return f"found it one level deeper: pass {home}"
        for below in sorted(path for path in root.iterdir() if path.is_dir()):
            if (inner := child(below, folder)) and _form(inner, source):
                return f"found it one level deeper: pass {below}"
    if source.split_file and (mat := downloaded(MAT, root=root)):
        return (
            f"{mat} lies there as it is downloaded: `python -m reidlib unpack {name} --root {shlex.quote(str(root))}` "
            "writes its images and its split"
        )
    for folder in source.homes:
        if _is_folder(home := child(root, folder)):
            lacking = [
                [f for f in (x.query, x.gallery) if not _is_folder(child(home, f))] for x in source.layouts
            ]
            return f"{home} lacks {'/ and '.join(min(lacking, key=len))}/: unpack it again"
    for below in _below(root):
        if _form(below, source) is not None:
            return f"{below} has these folders: if it is the set, rename it to {source.homes[0]}"
        if all(_is_folder(child(below, side)) for side in ("query", "gallery")):
            return (
                f"{below} is another toolkit's copy, with query/ and gallery/: unpack the authors' archive, "
                "or list its files in a csv"
            )
    for folder in source.homes:
        if archives := sorted(path.name for path in root.glob("*.*") if _is_archive(path, folder)):
            return f"{archives[0]} lies there but is not unpacked"
    return "unpack or generate the data set there"


def downloaded(file: str, *, root: Path) -> Path | None:
    """A file of CUHK03 as it is downloaded: in ``cuhk03/``, or where its archive unpacks; None if there is none."""
    home = child(root, "cuhk03")
    inside = home.rglob(file) if _is_folder(home) else ()
    near = (path for above in ("", "*/", "*/*/") for path in root.glob(f"{above}{file}"))
    return next(chain(inside, near), None)


def _below(root: Path) -> Iterator[Path]:
    """Folders in a folder, and in those."""
    for path in sorted(path for path in root.iterdir() if path.is_dir()):
        yield path
        yield from sorted(inner for inner in path.iterdir() if inner.is_dir())


def _is_archive(path: Path, folder: str) -> bool:
    packed = path.suffix.lower() in (".zip", ".rar", ".tar", ".gz", ".tgz", ".7z")
    return packed and _plain(path.name.partition(".")[0]) in _plain(folder)


class _Side(NamedTuple):
    """The images of a split, the places of junk among its files, and what of them is no image of the set."""

    records: tuple[ImageRecord, ...] = ()
    junk: tuple[int, ...] = ()
    unfit: tuple[str, ...] = ()


def _records(name: str, home: Path, split: str, *, layout: Layout) -> _Side:
    found, junk, unfit, files = [], [], [], 0
    for folder in layout.folders[split]:
        path = child(home, folder)
        if path is None or not path.is_dir() or (split == "train" and not any(path.iterdir())):
            if DATASETS[name].test_only and split == "train":
                return _Side()
            raise FileNotFoundError(
                f"{name}: the folder {home / folder} is missing or empty; unpack or generate the data set again"
            )
        kept = []
        for image in _images(path, nested=layout.naming.nested):
            try:
                record = (
                    _distractor(image) if folder == layout.extra else _record(image, split, layout.naming)
                )
            except ValueError as error:
                unfit.append(str(error))
                continue
            if record is None:
                junk.append(files)
            else:
                kept.append(record)
            files += 1
        if not kept:
            raise ValueError(
                f"{name}: {path} holds no image of a person; unpack or generate the data set again"
            )
        found += with_masks(tuple(kept), home, folder)
    return _Side(tuple(found), tuple(junk), tuple(unfit))


def _images(folder: Path, *, nested: bool = False) -> list[Path]:
    return sorted(_walk(folder, depth=int(nested)), key=str)


def _walk(folder: Path, *, depth: int) -> Iterator[Path]:
    """Pictures in a folder, and in folders so many levels below it."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if depth:
                yield from _walk(path, depth=depth - 1)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _record(path: Path, split: str, naming: Naming) -> ImageRecord | None:
    try:
        pid, camid = parse(path.name, naming)
    except ValueError as error:
        raise ValueError(f"{path.parent}: {error}") from None
    if pid == DISTRACTOR and split != "gallery":
        raise ValueError(f"{path}: pid 0 marks a distractor, which only the gallery may hold")
    if camid is None:
        camid = GALLERY_CAMERA if split == "gallery" else QUERY_CAMERA
    return None if pid == JUNK else ImageRecord(path, pid, camid)


def _distractor(path: Path) -> ImageRecord:
    """An image of the 500k, whatever its number: a person that no query asks for."""
    camera = re.search(r"_c([0-9]{1,4})", path.name)
    return ImageRecord(path, DISTRACTOR, int(camera[1]) if camera else GALLERY_CAMERA)


@dataclass(frozen=True)
class MaskFolder:
    """Where part labels lie beside a set's images."""

    folder: str  # in the data set's own folder
    suffixes: tuple[str, ...]  # that replace the image's


MASKS = (
    MaskFolder("masks", (".png",)),  # part labels per pixel
    MaskFolder("masks/pifpaf_maskrcnn_filtering", (".npy", ".jpg.confidence_fields.npy")),
    MaskFolder("masks/pifpaf", (".jpg.confidence_fields.npy", ".tif.confidence_fields.npy")),
    MaskFolder("masks/keypoint_rcnn", (".npy",)),
)
"""In order of preference; all but the first hold 36 confidence fields (``masks.FIELDS``)."""


def with_masks(records: tuple[ImageRecord, ...], home: Path, folder: str) -> tuple[ImageRecord, ...]:
    """The same records with their part labels, where the set has them.

    An image may lack one: that is an error only for a model that reads them (``loading.load_stack``).
    """
    for kind in MASKS:
        place = child(home, f"{kind.folder}/{folder}")
        if not _is_folder(place):
            continue
        known = {path.name for path in place.iterdir()}
        chosen = [next((n for s in kind.suffixes if (n := r.path.stem + s) in known), None) for r in records]
        return tuple(replace(r, mask=mask and place / mask) for r, mask in zip(records, chosen))
    return records


def _from_split_file(name: str, home: Path, file: Path) -> Split:
    """CUHK03 as toolkits keep it: images in one folder, and a json of (path, person, camera) triples.

    Paths in the file are another machine's: only their last two parts are used. Persons are counted from 0
    there and from 1 here, where 0 is a distractor.
    """
    try:
        table = json.loads(file.read_text())[0]
        triples = {
            split: [(PureWindowsPath(p).parts[-2:], int(i) + 1, int(c)) for p, i, c in table[split]]
            for split in SPLITS
        }
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{file}: expected a list of one object with train, query and gallery as [path, pid, camid] "
            f"({type(error).__name__}: {error}); write it again"
        ) from None
    numbers = [number for rows in triples.values() for _, pid, camid in rows for number in (pid - 1, camid)]
    if wrong := [number for number in numbers if not 0 <= number < 2**31 - 1]:
        raise ValueError(f"{file}: {wrong[0]} is no number of a person or camera; expected 0 or more")
    splits = {
        split: tuple(ImageRecord(home.joinpath(*parts), pid, camid) for parts, pid, camid in rows)
        for split, rows in triples.items()
    }
    _require(splits, source=file)
    return Split(name, home, **splits)


COLUMNS = ("path", "pid", "camid", "split")


def _from_csv(path: Path) -> Split:
    """One's own images: persons may be any text, cameras numbers or left empty throughout."""
    path = path / "index.csv" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"csv: no file {path}; write one with the columns {','.join(COLUMNS)}")
    rows = [_row(row, f"{path}, line {number}") for number, row in _lines(path)]
    with_camera = {bool(row["camid"]) for row in rows}
    if with_camera == {True, False}:
        raise ValueError(f"{path}: some lines have a camid and some none; fill or clear the whole column")
    people = _numbers({row["pid"] for row in rows} - {str(JUNK), str(DISTRACTOR)})
    cameras = _numbers({row["camid"] for row in rows})
    splits, junk = {split: [] for split in SPLITS}, []
    for row in rows:
        if row["pid"] == str(JUNK):
            if row["split"] == "gallery":
                junk.append(len(splits["gallery"]) + len(junk))
            continue
        pid = people.get(row["pid"], DISTRACTOR)
        if pid == DISTRACTOR and row["split"] != "gallery":
            raise ValueError(
                f"{path}: pid 0 marks a distractor, which only the gallery may hold: {row['path']}"
            )
        stand_in = GALLERY_CAMERA if row["split"] == "gallery" else QUERY_CAMERA
        camid = cameras[row["camid"]] if row["camid"] else stand_in
        file = path.parent / PureWindowsPath(row["path"]).as_posix()  # with either kind of slash
        splits[row["split"]].append(ImageRecord(file, pid, camid))
    splits = {split: tuple(records) for split, records in splits.items()}
    _require(splits, source=path)
    return Split("csv", path.parent, **splits, protocol=_protocol(True in with_camera), junk=tuple(junk))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a csv, with the lines that they start on.

    Raises:
        ValueError: another encoding, a column missing, a quote that is not closed on its line.
    """
    number = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = tuple(reader.fieldnames or ())
            if not set(COLUMNS) <= set(header):
                missing = ", ".join(name for name in COLUMNS if name not in header)
                raise ValueError(f"{path}: lacks the column {missing}; it has {', '.join(header) or 'none'}")
            number = reader.line_num + 1
            for row in reader:
                if any("\n" in (row[name] or "") for name in COLUMNS):
                    raise csv.Error("a value goes on over several lines")
                yield number, row
                number = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 ({error.reason}); save it in that encoding") from None
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {number}: a quote is not closed ({error}); close or remove it"
        ) from None


def _row(row: dict[str, str], place: str) -> dict[str, str]:
    """The values of a row as they are meant: whole numbers of a column of floats, gaps as pandas writes them."""
    values = {name: (row[name] or "").strip() for name in COLUMNS}
    values = {name: "" if value.lower() in MISSING else value for name, value in values.items()}
    for name in ("pid", "camid"):
        if whole := re.fullmatch(r"(-?[0-9]+)\.0*", values[name]):
            values[name] = whole[1]
    for name in ("path", "pid", "split"):
        if not values[name]:
            raise ValueError(f"{place}: {name} is empty")
    if values["split"] not in SPLITS:
        raise ValueError(f"{place}: split {values['split']!r}; expected one of {', '.join(SPLITS)}")
    return values


def _numbers(words: set[str]) -> dict[str, int]:
    """Numbers for names, kept as they are where all are positive numbers."""
    if all(word.isascii() and word.isdecimal() and 0 < int(word) < 2**31 for word in words) and (
        len({int(word) for word in words}) == len(words)
    ):
        return {word: int(word) for word in words}
    return {word: number for number, word in enumerate(sorted(words), start=1)}


def _from_folder(root: Path) -> Split:
    """A folder per person: the first image of each is the query, the others are the gallery."""
    if not root.is_dir():
        why = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"folder: {root} {why}; pass a folder with one folder per person")
    people = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    images = {person: sorted(_walk(person, depth=DEEP), key=str) for person in people}
    images = {person: found for person, found in images.items() if found}
    if not images:
        raise ValueError(
            f"folder: {root} has no folder with images ({', '.join(SUFFIXES)}); make one folder per person"
        )
    if parts := sorted(person.name for person in images if _plain(person.name) in SIDES):
        raise ValueError(
            f"folder: {root} holds {', '.join(parts)}, which are parts of a data set and no persons; pass one of "
            "them, or list the files in a csv"
        )
    if len(images) == 1:
        raise ValueError(
            f"folder: {root} has pictures of one person only, {next(iter(images)).name}: nothing to tell apart; "
            "pass the folder that holds one folder per person"
        )
    numbers = _numbers({person.name for person in images})
    query, gallery = [], []
    for person, found in images.items():
        pid = numbers[person.name]
        query += [ImageRecord(path, pid, QUERY_CAMERA) for path in found[:1] if len(found) > 1]
        gallery += [ImageRecord(path, pid, GALLERY_CAMERA) for path in found[1:] or found]
    if not query:
        raise ValueError(f"folder: no person in {root} has a second image, so there is nothing to find")
    return Split("folder", root, (), tuple(query), tuple(gallery), protocol=Protocol.NO_CAMERA)


def _protocol(cameras: bool) -> Protocol:
    return Protocol.MARKET if cameras else Protocol.NO_CAMERA


def _require(splits: dict[str, tuple[ImageRecord, ...]], *, source: Path) -> None:
    for split in ("query", "gallery"):
        if not splits[split]:
            raise ValueError(f"{source}: lists no {split} image; expected at least one")
    paths = [record.path for records in splits.values() for record in records]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{source}: {len(missing)} of {len(paths)} listed images are missing, the first is {missing[0]}"
        )
