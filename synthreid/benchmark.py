"""The embedded benchmark: which images exist, how they are named, written and described.

`plan` lists every file of every set; a file shows a `Shot`, and one shot may appear in several sets (rendered
once, hard-linked elsewhere). Every image is a pure function of (seed, shot): random streams are keyed by
purpose, never by the set's name, and pose, occlusion and camera have streams of their own. So an occluded image
has a holistic twin that differs in the occluder alone, and any number of workers writes the same bytes.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd
from filelock import FileLock
from jaxtyping import Float, UInt8
from tqdm import tqdm

from synthreid.figure import SLOTS, Identity, count_labels, draw_pose, draw_slots, identity, stream, wardrobe
from synthreid.scene import (
    DEFAULT_DIFFICULTY,
    Camera,
    Difficulty,
    compose,
    draw_camera,
    expose,
    place,
    window,
)

log = logging.getLogger(__name__)

DEFAULT_SEED = 1
VERSION = 1  # of the pictures: raise it when the same parameters draw something else
SETS = (
    "synth-market", "synth-occluded", "synth-occluded-transfer", "synth-partial", "synth-market-val",
    "synth-occluded-val",
)  # fmt: skip
TRUTH = "ground_truth.csv"
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
CAMERAS = 6
NEW_CAMERAS = (7, 8)  # of the transfer set: query, gallery
_DISTRACTORS, _VAL_DISTRACTORS, _TRANSFER, _POOL = 3000, 5000, 6000, 8000  # first person numbers


@dataclass(frozen=True)
class Profile:
    """How many identities and images, and how large they are drawn and written."""

    name: str
    train: int  # identities
    train_images: int  # per identity
    test: int  # identities
    query: int  # images per test identity
    gallery: int  # images per test identity
    distractors: int
    junk: int
    val_distractors: int
    size: tuple[int, int]  # rows, columns written
    scale: float  # drawn at this multiple of the written size

    @property
    def frame(self) -> tuple[int, int]:
        """Rows and columns at drawing resolution."""
        return int(self.size[0] * self.scale), int(self.size[1] * self.scale)

    @property
    def train_pids(self) -> list[int]:
        return [2 * number for number in range(1, self.train + 1)]

    @property
    def test_pids(self) -> list[int]:
        return [2 * number - 1 for number in range(1, self.test + 1)]

    @property
    def val_pids(self) -> list[int]:
        """The last quarter of the training identities, set aside for every choice; nobody where none is made."""
        return self.train_pids[-(self.train // 4) :] if self.val_distractors else []


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", 16, 8, 12, 2, 4, 12, 4, 4, (128, 64), 1.5),
        Profile("cpu", 160, 16, 120, 6, 12, 240, 40, 60, (128, 64), 2.0),
        Profile("gpu", 400, 16, 250, 6, 12, 800, 100, 60, (256, 128), 1.5),
        # other people, for the start of every network; nobody there is set aside
        Profile("pretrain", 1200, 16, 60, 6, 12, 120, 0, 0, (128, 64), 2.0),
        Profile("pretrain-large", 1200, 16, 60, 6, 12, 120, 0, 0, (256, 128), 1.5),
    )
}


@dataclass(frozen=True)
class Shot:
    """What an image shows; together with the seed it determines every pixel."""

    purpose: str  # train, query, gallery, distractor, junk, val-query, ...
    person: int
    camera: int
    number: int  # counts this person's images of this purpose
    occluded: bool
    crop: str = ""  # "partial" or "junk"


@dataclass(frozen=True)
class Entry:
    """A file of a set."""

    folder: str
    name: str
    pid: int
    shot: Shot
    twin: str = ""  # the image of the holistic set that shows the same but for occluder and crop


# ---------------------------------------------------------------- the plan


class _Planner:
    """Writes the file lists of all sets; holds what they share."""

    def __init__(self, profile: Profile, seed: int, difficulty: Difficulty):
        self.profile, self.seed, self.difficulty = profile, seed, difficulty
        # the sets share shots, so that each of these is asked for several times
        self.level = cache(lambda *key: stream(seed, "occluded", *key).random())
        self.frame = cache(lambda *key: 4 * int(stream(seed, "frame", *key).integers(2**16)))

    def cameras(self, purpose: str, person: int, count: int) -> list[int]:
        order = stream(self.seed, "cameras", purpose, person).permutation(CAMERAS) + 1
        return [int(order[k % CAMERAS]) for k in range(count)]

    def shot(
        self, purpose: str, person: int, camera: int, number: int, *, share: float, crop: str = ""
    ) -> Shot:
        """A shot whose occlusion is nested: what is occluded at a share is so at any larger share."""
        level = self.level(purpose, person, camera, number)
        return Shot(purpose, person, camera, number, bool(level < share), crop)

    def entry(self, folder: str, pid: int, shot: Shot) -> Entry:
        key = (shot.purpose, shot.person, shot.camera, shot.number, shot.crop)
        kind = (TRAIN, QUERY, GALLERY).index(folder)  # with camera and number, this makes every name unique
        frame = self.frame(*key) + kind
        name = f"{pid:04d}" if pid >= 0 else "-1"
        return Entry(folder, f"{name}_c{shot.camera}s1_{frame:06d}_{shot.number:02d}.jpg", pid, shot)

    def people(self, folder: str, purpose: str, pids: list[int], *, count: int, share: float) -> list[Entry]:
        return [
            self.entry(folder, pid, self.shot(purpose, pid, camera, number, share=share))
            for pid in pids
            for number, camera in enumerate(self.cameras(purpose, pid, count))
        ]

    def one_camera(self, folder: str, purpose: str, *, camera: int, share: float) -> list[Entry]:
        pids = [_TRANSFER + number for number in range(self.profile.test)]
        shots = (self.shot(purpose, pid, camera, number, share=share) for pid in pids for number in range(4))
        return [self.entry(folder, shot.person, shot) for shot in shots]

    def distractors(self, purpose: str, *, first: int, count: int, share: float) -> list[Entry]:
        shots = (
            self.shot(purpose, first + number, int(camera), number, share=share)
            for number, camera in enumerate(
                stream(self.seed, "cameras", purpose).integers(1, CAMERAS + 1, count)
            )
        )
        return [self.entry(GALLERY, 0, shot) for shot in shots]

    def junk(self) -> list[Entry]:
        rng, pids = stream(self.seed, "cameras", "junk"), self.profile.test_pids
        shots = (
            Shot("junk", int(rng.choice(pids)), int(rng.integers(1, CAMERAS + 1)), number, False, "junk")
            for number in range(self.profile.junk)
        )
        return [self.entry(GALLERY, -1, shot) for shot in shots]

    def test(self, *, query: float, gallery: float, distractors: float) -> list[Entry]:
        """Query, gallery, distractors and junk of the test identities at the given occluded shares."""
        profile, pids = self.profile, self.profile.test_pids
        return [
            *self.people(QUERY, "query", pids, count=profile.query, share=query),
            *self.people(GALLERY, "gallery", pids, count=profile.gallery, share=gallery),
            *self.distractors("distractor", first=_DISTRACTORS, count=profile.distractors, share=distractors),
            *self.junk(),
        ]

    def validation(self, train: list[Entry], *, query: float, gallery: float) -> list[Entry]:
        profile, pids = self.profile, self.profile.val_pids
        count, share = profile.val_distractors, self.difficulty.distractor_occluded
        return [
            *(entry for entry in train if entry.pid not in set(pids)),
            *self.people(QUERY, "val-query", pids, count=profile.query, share=query),
            *self.people(GALLERY, "val-gallery", pids, count=profile.gallery, share=gallery),
            *self.distractors("val-distractor", first=_VAL_DISTRACTORS, count=count, share=share),
        ]


def _cut(planner: _Planner, entries: list[Entry]) -> list[Entry]:
    """Queries become partial crops."""
    return [
        planner.entry(QUERY, entry.pid, replace(entry.shot, crop="partial"))
        if entry.folder == QUERY
        else entry
        for entry in entries
    ]


def _pair(entries: list[Entry], holistic: list[Entry]) -> list[Entry]:
    """Name each occluded or cropped entry's holistic twin, where the holistic set has one."""
    names = {entry.shot: entry.name for entry in holistic if not entry.shot.occluded}
    return [
        replace(entry, twin=names.get(replace(entry.shot, occluded=False, crop=""), ""))
        if entry.shot.occluded or entry.shot.crop == "partial"
        else entry
        for entry in entries
    ]


def plan(
    profile: Profile, *, seed: int, difficulty: Difficulty = DEFAULT_DIFFICULTY
) -> dict[str, list[Entry]]:
    """All files of all sets; a pure function of its arguments that draws nothing.

    Returns:
        The entries of each set in `SETS`; names are unique within a set and its folder.
    """
    planner, d = _Planner(profile, seed, difficulty), difficulty
    train = planner.people(
        TRAIN, "train", profile.train_pids, count=profile.train_images, share=d.train_occluded
    )
    holistic = planner.test(
        query=d.holistic_occluded, gallery=d.holistic_occluded, distractors=d.distractor_occluded
    )
    occluded = planner.test(query=1.0, gallery=d.gallery_occluded, distractors=d.distractor_occluded)
    clean = planner.test(query=0.0, gallery=0.0, distractors=0.0)
    validation = planner.validation(train, query=d.holistic_occluded, gallery=d.holistic_occluded)
    sets = {
        "synth-market": train + holistic,
        "synth-occluded": train + _pair(occluded, holistic),
        "synth-occluded-transfer": [
            *planner.one_camera(QUERY, "transfer-query", camera=NEW_CAMERAS[0], share=1.0),
            *planner.one_camera(GALLERY, "transfer-gallery", camera=NEW_CAMERAS[1], share=0.0),
        ],
        "synth-partial": _pair(_cut(planner, clean), holistic),
        "synth-market-val": validation,
        "synth-occluded-val": _pair(
            planner.validation(train, query=1.0, gallery=d.gallery_occluded), validation
        ),
    }
    for name, entries in sets.items():
        assert len({entry.name for entry in entries}) == len(entries), f"duplicate file names in {name}"
    return sets


# ---------------------------------------------------------------- the world


@lru_cache(maxsize=2)
def identities(profile: Profile, seed: int) -> dict[int, Identity]:
    """Everybody of a benchmark by person number; any two differ in at least two slots."""
    pool = [_POOL + number for number in range(60)]
    transfer = [_TRANSFER + number for number in range(profile.test)]
    distractors = [_DISTRACTORS + number for number in range(profile.distractors)]
    distractors += [_VAL_DISTRACTORS + number for number in range(profile.val_distractors)]
    people, clothes, taken = {}, wardrobe(seed), set()
    for person in pool + profile.train_pids + profile.test_pids + transfer + distractors:
        rng = stream(seed, "identity", person)
        for _ in range(1000):
            slots = draw_slots(rng)
            # whoever differs in one slot at most shares the other four
            fours = {(number, *slots[:number], *slots[number + 1 :]) for number in range(len(SLOTS))}
            if taken.isdisjoint(fours):
                break
        taken |= fours
        people[person] = identity(seed, person, slots=slots, clothes=clothes)
    return people


@lru_cache(maxsize=16)
def _camera(seed: int, number: int, rows: int, cast: float) -> Camera:
    return draw_camera(stream(seed, "camera", number), rows=rows, cast=cast)


@dataclass(frozen=True)
class Picture:
    """A rendered shot and its ground truth."""

    image: UInt8[np.ndarray, "H W 3"]  # RGB
    parts: UInt8[np.ndarray, "H W"]
    changed: UInt8[np.ndarray, "h w"]  # 1 where the occluder or its shadow is, at drawing resolution
    followed: bool  # the box follows the visible body
    occluder: str
    visible: np.ndarray  # [12] pixels per part label
    full: np.ndarray  # [12]


def render(
    shot: Shot, *, profile: Profile, seed: int, difficulty: Difficulty = DEFAULT_DIFFICULTY
) -> Picture:
    """Render one shot; depends on nothing but the arguments."""
    key = (shot.purpose, shot.person, shot.camera, shot.number)
    people = identities(profile, seed)
    camera = _camera(seed, shot.camera, profile.frame[0], difficulty.cast)
    posing = stream(seed, "pose", *key)
    hiding = stream(seed, "occlusion", *key) if shot.occluded else None
    stand = place(posing, profile.frame, difficulty)
    pose = draw_pose(posing, camera_yaw=camera.yaw)
    walker = _passer_by(people, posing, camera) if posing.random() < 0.15 else None
    scene = compose(
        camera,
        target=(people[shot.person], pose),
        walker=walker,
        passer_by=_passer_by(people, hiding, camera) if shot.occluded else None,
        stand=stand,
        shape=profile.frame,
        setting=stream(seed, "setting", *key),
        hiding=hiding,
        difficulty=difficulty,
    )
    boxing = stream(seed, "box", *key) if shot.crop or scene.followed else None
    if shot.crop == "junk":
        box = _junk_box(boxing, profile.frame)
    else:
        box = window(scene, boxing, difficulty)
    image, parts = _reduce(scene.image, box, profile.size), _shrink_labels(scene.parts, box, profile.size)
    image = expose(image, camera, stream(seed, "exposure", *key))
    if shot.crop == "partial":
        x, y, w, h = _partial_box(boxing, profile.size)
        image, parts = (np.ascontiguousarray(a[y : y + h, x : x + w]) for a in (image, parts))
        box = tuple(int(side * profile.scale) for side in (x, y, w, h))
    x, y, w, h = box
    visible = count_labels(scene.parts[y : y + h, x : x + w])
    occluder = "crop" if shot.crop == "partial" else scene.occluder
    changed = scene.changed.astype(np.uint8)
    return Picture(image, parts, changed, scene.followed, occluder, visible, np.maximum(scene.full, visible))


def _passer_by(people: dict[int, Identity], rng: np.random.Generator, camera: Camera) -> tuple:
    return people[_POOL + int(rng.integers(60))], draw_pose(rng, camera_yaw=camera.yaw)


def _junk_box(rng: np.random.Generator, frame: tuple[int, int]) -> tuple[int, int, int, int]:
    """An off-centre, 1.15 to 1.6 times enlarged cut of the frame."""
    share = 1 / rng.uniform(1.15, 1.6)
    h, w = int(frame[0] * share), int(frame[1] * share)
    x, y = (int(side * rng.choice((0, 1))) for side in (frame[1] - w, frame[0] - h))
    return x, y, w, h


def _partial_box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The top, the bottom or one side of the picture."""
    rows, columns = size
    kind, depth = rng.random(), rng.uniform(0.5, 0.8)
    if kind < 0.65:
        h = int(rows * depth)
        return 0, 0 if kind < 0.40 else rows - h, columns, h
    w, h = int(columns * rng.uniform(0.63, 0.70)), int(rows * rng.uniform(0.6, 1.0))
    return (0 if rng.random() < 0.5 else columns - w), 0, w, h


def _reduce(image: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    x, y, w, h = box
    return cv2.resize(image[y : y + h, x : x + w], size[::-1], interpolation=cv2.INTER_AREA)


def _shrink_labels(parts: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    x, y, w, h = box
    return cv2.resize(parts[y : y + h, x : x + w], size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


# ---------------------------------------------------------------- files


def _mask_path(folder: Path, entry: Entry) -> Path:
    return folder / "masks" / entry.folder / f"{Path(entry.name).stem}.png"


def _row(shot: Shot, picture: Picture, who: Identity) -> dict:
    """The columns of the ground truth that do not depend on the set."""
    visible, full = picture.visible[1:12].tolist(), picture.full[1:12].tolist()
    return {
        "true_pid": shot.person,
        "camid": shot.camera,
        "occluder": picture.occluder,
        "box_follows_visible": picture.followed,
        "visible_share": round(sum(visible) / max(sum(full), 1), 4),
        **{f"visible_{part}": count for part, count in enumerate(visible, start=1)},
        **{f"full_{part}": count for part, count in enumerate(full, start=1)},
        **dict(zip(SLOTS, who.slots)),
    }


def _write_shots(
    jobs: list[tuple[str, Entry]], root: Path, profile: Profile, seed: int, difficulty: Difficulty
) -> list[tuple[Shot, dict, str]]:
    """Render, encode and write a chunk of images; ground truth and digest of each."""
    cv2.setNumThreads(1)
    people, done = identities(profile, seed), []
    for set_name, entry in jobs:
        shot = entry.shot
        picture = render(shot, profile=profile, seed=seed, difficulty=difficulty)
        quality = _camera(seed, shot.camera, profile.frame[0], difficulty.cast).quality
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
        png = cv2.imencode(".png", picture.parts, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()
        folder = root / set_name
        (folder / entry.folder / entry.name).write_bytes(jpeg)
        _mask_path(folder, entry).write_bytes(png)
        done.append((shot, _row(shot, picture, people[shot.person]), hashlib.sha256(jpeg + png).hexdigest()))
    return done


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links; a full disk fails again here
        shutil.copyfile(source, target)


def _chunks(items: list, size: int) -> Iterator[list]:
    iterator = iter(items)
    return iter(lambda: list(itertools.islice(iterator, size)), [])


def _write_all(
    folder: Path,
    sets: dict[str, list[Entry]],
    *,
    profile: Profile,
    seed: int,
    difficulty: Difficulty,
    workers: int,
) -> str:
    """Write all images, labels and tables; returns the content hash."""
    for name in sets:
        for split in (TRAIN, QUERY, GALLERY):
            (folder / name / split).mkdir(parents=True)
            (folder / name / "masks" / split).mkdir(parents=True)
    first: dict[Shot, tuple[str, Entry]] = {}
    for name, entries in sets.items():
        for entry in entries:
            first.setdefault(entry.shot, (name, entry))
    tasks = (
        joblib.delayed(_write_shots)(chunk, folder, profile, seed, difficulty)
        for chunk in _chunks(list(first.values()), 32)
    )
    rows, content = {}, hashlib.sha256()
    with tqdm(
        total=len(first), desc=f"synthetic {profile.name}", unit="image", mininterval=2, ncols=90
    ) as bar:
        for chunk in joblib.Parallel(n_jobs=workers, return_as="generator")(tasks):
            for shot, row, digest in chunk:
                rows[shot] = row
                content.update(digest.encode())
            bar.update(len(chunk))
    for name, entries in sets.items():
        table = _link_and_describe(folder, name, entries, first=first, rows=rows)
        table.to_csv(folder / name / TRUTH, index=False, lineterminator="\n")
        content.update((folder / name / TRUTH).read_bytes())
    return content.hexdigest()


def _link_and_describe(
    folder: Path, name: str, entries: list[Entry], *, first: dict, rows: dict
) -> pd.DataFrame:
    """Link the images that another set wrote, and tabulate the ground truth of one set."""
    records = []
    for entry in entries:
        home, original = first[entry.shot]
        if home != name:
            _link(folder / home / original.folder / original.name, folder / name / entry.folder / entry.name)
            _link(_mask_path(folder / home, original), _mask_path(folder / name, entry))
        row = rows[entry.shot]
        records.append({"file": f"{entry.folder}/{entry.name}", "pid": entry.pid, **row, "twin": entry.twin})
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Cost:
    """What generating takes."""

    images: int  # distinct ones; sets that show the same image share the file
    megabytes: float  # on disk
    minutes: float

    def __str__(self) -> str:
        minutes = f"{max(self.minutes, 0.1):.1f} minutes"
        return f"{self.images} images, about {self.megabytes:.0f} MB, about {minutes} on idle cores"


def cost(profile: Profile, sets: dict[str, list[Entry]], *, workers: int) -> Cost:
    """Estimate what writing a plan takes; the rates are measured and hold roughly.

    Args:
        profile: of the plan.
        sets: the plan.
        workers: processes.
    """
    images = len({entry.shot for entries in sets.values() for entry in entries})
    size = images * (7000 + 0.17 * math.prod(profile.size))  # jpg and png, in whole blocks of 4 kB
    seconds = images * (2.5e-3 + 1e-7 * math.prod(profile.frame)) / workers  # on one core of an AMD EPYC
    return Cost(images, size / 1e6, seconds / 60)


def _parameters(profile: Profile, seed: int, difficulty: Difficulty) -> dict:
    made_of = {"version": VERSION, "seed": seed, "profile": asdict(profile), "difficulty": asdict(difficulty)}
    return json.loads(json.dumps(made_of))  # tuples become lists, as in the file


def _complete(folder: Path, parameters: dict) -> bool:
    """Whether the folder holds this very benchmark; another one there is an error."""
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return False
    try:
        found = json.loads(manifest.read_text())["parameters"]
        found["profile"], found["difficulty"] = dict(found["profile"]), dict(found["difficulty"])
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"root: {manifest} is damaged ({type(error).__name__}); delete that folder, it is made again"
        ) from None
    if found == parameters:
        return True
    changed = [
        f"{group}.{name}: {found.get(group, {}).get(name)} there, {value} asked for"
        for group in ("profile", "difficulty")
        for name, value in parameters[group].items()
        if found.get(group, {}).get(name) != value
    ] + [f"{name}: {found.get(name)} there, {parameters[name]} asked for" for name in ("version", "seed")
         if found.get(name) != parameters[name]]  # fmt: skip
    raise ValueError(
        f"root: {folder} holds a benchmark made with other parameters ({'; '.join(changed)}); "
        "delete that folder, or choose another root"
    )


def _clear(folder: Path) -> None:
    """Remove what a killed run left, and nothing else."""
    if folder.exists():
        foreign = {path.name for path in folder.iterdir()} - {*SETS, "manifest.json"}
        if foreign:
            raise ValueError(
                f"root: {folder} holds files of others ({sorted(foreign)[:3]}); choose another root"
            )
        log.warning("removing the unfinished benchmark in %s", folder)
        shutil.rmtree(folder)


def generate(
    root: Path,
    *,
    profile: str,
    seed: int = DEFAULT_SEED,
    workers: int = 1,
    difficulty: Difficulty = DEFAULT_DIFFICULTY,
) -> Path:
    """Write all sets of a profile below ``root/<profile>-<seed>`` unless they are there already.

    Images are written to a folder beside it that takes its final name when complete, so that a killed run
    leaves nothing that looks whole.

    Args:
        root: folder for all benchmarks.
        profile: a name in `PROFILES`.
        seed: of everything drawn.
        workers: processes; any number writes the same bytes.
        difficulty: calibrated parameters of occlusion and boxes.

    Returns:
        The benchmark's folder, which holds a folder per set and ``manifest.json``.

    Raises:
        ValueError: the profile is unknown, there are no workers, or the folder holds a benchmark made with
            other parameters.
        OSError: the disk is full or not writable; what was written is removed.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}, expected one of {', '.join(PROFILES)}")
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    size, root = PROFILES[profile], Path(root)
    folder, draft = root / f"{profile}-{seed}", root / f".{profile}-{seed}.unfinished"
    parameters = _parameters(size, seed, difficulty)
    if _complete(folder, parameters):  # on a disk that cannot be written, too
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{profile}-{seed}.lock"):
        if _complete(folder, parameters):  # another process made it meanwhile
            return folder
        _clear(draft)
        _clear(folder)
        try:
            sets = plan(size, seed=seed, difficulty=difficulty)
            log.info("%s: %s", folder, cost(size, sets, workers=workers))
            content = _write_all(draft, sets, profile=size, seed=seed, difficulty=difficulty, workers=workers)
            _write_manifest(draft, parameters, content=content)
            draft.rename(folder)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, OSError) and error.errno and error.filename is None:  # of a full disk
                raise OSError(error.errno, error.strerror, str(folder)) from error
            raise
    return folder


def _write_manifest(folder: Path, parameters: dict, *, content: str) -> None:
    made_with = {"numpy": np.__version__, "opencv": cv2.__version__}
    manifest = {"parameters": parameters, "made_with": made_with, "content_sha256": content}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


# ---------------------------------------------------------------- reading


def ground_truth(folder: Path) -> pd.DataFrame:
    """The ground truth of one set, one row per image, in the order of the plan.

    Args:
        folder: the set's folder, for example ``cpu-1/synth-occluded``.

    Raises:
        ValueError: there is no ground truth; only the embedded benchmark has one.
    """
    path = Path(folder) / TRUTH
    if not path.exists():
        raise ValueError(f"folder: {path} is missing; generate the synthetic data (make data)")
    return pd.read_csv(path, keep_default_na=False)


def content_hash(folder: Path) -> str:
    """SHA-256 of everything a benchmark's folder holds, as its manifest states it."""
    return json.loads((Path(folder) / "manifest.json").read_text())["content_sha256"]


def part_visibility(frame: pd.DataFrame, lookup: UInt8[np.ndarray, "12"]) -> Float[np.ndarray, "N K"]:
    """Visible fraction of K grouped parts, in [0, 1]; 0 where the figure does not show the part at all.

    Args:
        frame: rows of a ground truth.
        lookup: group 1..K of every part label, 0 for none; entry 0 (background) is not used.
    """
    k = int(lookup.max())
    member = (np.asarray(lookup)[1:, None] == np.arange(1, k + 1)).astype(float)  # [11, K]
    visible, full = (
        frame[[f"{kind}_{part}" for part in range(1, 12)]].to_numpy(float) @ member
        for kind in ("visible", "full")
    )
    return visible / np.maximum(full, 1)
