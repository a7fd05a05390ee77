"""What is there of a data set, what is wrong with it and how to mend it; nothing is written.

The expected counts are those that the sets' papers and loaders state: ``reidlib/data/datasets.csv``.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from reidlib import inventory
from reidlib.data.datasets import YOURS, survey
from reidlib.data.index import SPLITS, ImageRecord, Split, few
from reidlib.data.loading import read_image, read_mask
from reidlib.protocol import Protocol

NAMED = 5  # culprits that a line names before it only counts them
_named = partial(few, shown=NAMED)
PIECE = 256  # images that a thread decodes in a row


@dataclass(frozen=True)
class Check:
    """One line of a diagnosis; ``good`` is None where nothing is known to compare with."""

    what: str
    found: str
    expected: str = ""
    good: bool | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All checks of a data set."""

    name: str
    root: Path
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """No check failed."""
        return all(check.good is not False for check in self.checks)

    def frame(self) -> pd.DataFrame:
        """One row per check, for a notebook."""
        marks = {True: "✔", False: "✘", None: "·"}
        rows = [
            (marks[c.good], c.what, c.found, c.expected, c.remedy if c.good is False else "")
            for c in self.checks
        ]
        return pd.DataFrame(rows, columns=["", "check", "found", "expected", "remedy"])

    def lines(self, *, colour: bool = False) -> list[str]:
        """The same for a terminal: failed checks are followed by their remedy."""
        paint = {True: "\033[32m{}\033[0m", False: "\033[31m{}\033[0m", None: "{}"}
        marks = {True: "ok ", False: "BAD", None: " - "}
        lines = [f"{self.name} in {self.root}"]
        for check in self.checks:
            wanted = f" (expected {check.expected})" if check.expected and not check.good else ""
            mark = paint[check.good].format(marks[check.good]) if colour else marks[check.good]
            lines.append(f"{mark} {check.what:24} {check.found}{wanted}")
            if check.good is False and check.remedy:
                lines.append(f"    -> {check.remedy}")
        bad = sum(check.good is False for check in self.checks)
        return [*lines, "all is well" if not bad else f"{bad} of {len(self.checks)} checks failed"]


def examine(name: str, root: Path) -> Diagnosis:
    """Check a data set: layout, counts, matches, every image and every file of part labels.

    Args:
        name: as in ``datasets.load``.
        root: likewise.

    Raises:
        ValueError: unknown name.
    """
    root = Path(root)
    try:
        split = survey(name, root)
    except FileNotFoundError as error:
        return Diagnosis(name, root, (Check("layout", "not found", good=False, remedy=str(error)),))
    except ValueError as error:
        if str(error).startswith("name "):
            raise
        return Diagnosis(name, root, (Check("index", "cannot be made", good=False, remedy=str(error)),))
    checks = [Check("layout", str(split.root), good=True), *index_checks(split)]
    checks += [*_pixels(split), *_labels(split), *_remarks(split), Check("index", split.fingerprint)]
    return Diagnosis(name, root, tuple(checks))


def index_checks(split: Split) -> list[Check]:
    """What can be said without opening an image: counts, queries without a match, images listed twice."""
    return [*_unfit(split), *_counts(split), _matches(split), _repeated(split)]


def warnings(split: Split) -> list[str]:
    """A line for each of those that failed, to be said before hours of training."""
    return [
        f"warning: {split.name}: {check.what} {check.found}, expected {check.expected}: {check.remedy}"
        for check in index_checks(split)
        if check.good is False
    ]


@cache
def published_counts() -> pd.DataFrame:
    """Images, identities and cameras that each split of each set should have; NaN where none is known."""
    with files("reidlib.data").joinpath("datasets.csv").open() as file:
        return pd.read_csv(file).set_index(["dataset", "split"])


def _counts(split: Split) -> Iterable[Check]:
    known, table = published_counts(), split.counts()
    for side in SPLITS:
        wanted = known.loc[(split.name, side)] if (split.name, side) in known.index else None
        if not table[side]["images"]:  # a set to test on, or a side that nobody asked for
            continue
        for kind in ("images", "identities", "cameras"):
            found, expected = table[side][kind], np.nan if wanted is None else wanted[kind]
            if kind == "cameras" and split.protocol is Protocol.NO_CAMERA:
                continue
            if np.isnan(expected):
                yield Check(f"{side} {kind}", f"{found:,}")
                continue
            cure = (
                "missing: unpack it again" if found < expected else "too many: remove what is not of the set"
            )
            remedy = f"{abs(found - expected):,.0f} {cure}"
            yield Check(f"{side} {kind}", f"{found:,}", f"{expected:,.0f}", bool(found == expected), remedy)


def _unfit(split: Split) -> Iterable[Check]:
    """Files in the folders that are no image of the set: any other program refuses the whole."""
    if split.unfit:
        yield Check(
            "unfit files", f"{len(split.unfit):,}", "0", False, f"{_named(split.unfit)}; rename or remove"
        )


def _matches(split: Split) -> Check:
    """Queries that no gallery image can answer: the evaluation would leave them out."""
    cameras: dict[int, set[int]] = {}
    for record in split.gallery:
        cameras.setdefault(record.pid, set()).add(record.camid)
    lost = [r for r in split.query if not _answered(r, cameras.get(r.pid, set()), split.protocol)]
    rule = "under another camera " if split.protocol is Protocol.MARKET else ""
    cure = "; leave the column camid empty if cameras do not matter" if rule and split.name == "csv" else ""
    return Check(
        "queries without a match",
        f"{len(lost):,} of {len(split.query):,}",
        "0",
        not lost,
        f"no gallery image shows the person of {_named(r.short for r in lost)} {rule}".rstrip()
        + f"; add some or remove the queries{cure}",
    )


def _repeated(split: Split) -> Check:
    """Files that the index holds twice: a query in its own gallery is always found."""
    twice, count = inventory.repeated(split)
    remedy = f"listed more than once: {_named(twice)}; keep one line of each"
    return Check("images listed twice", f"{len(twice):,} of {count:,}", "0", not twice, remedy)


def _answered(query: ImageRecord, cameras: set[int], protocol: Protocol) -> bool:
    return bool(cameras - {query.camid} if protocol is Protocol.MARKET else cameras)


def _remarks(split: Split) -> Iterable[Check]:
    """Of one's own images: what an index of them leaves out, or holds in copies."""
    for line in inventory.remarks(split) if split.name in YOURS else ():
        yield Check("to be known", line)


def _pixels(split: Split) -> Iterable[Check]:
    records = [record for side in SPLITS for record in getattr(split, side)]
    sizes = _each(_size, records, label="images")
    broken = {record.short: size for record, size in zip(records, sizes) if isinstance(size, str)}
    remedy = f"{_named(broken)}; of the first: {next(iter(broken.values()), '')}"
    yield Check("broken images", f"{len(broken):,} of {len(records):,}", "0", not broken, remedy)
    whole = sorted(size for size in sizes if not isinstance(size, str))
    if whole:
        (low, *_), (*_, high) = whole, whole
        yield Check("height x width", f"{low[0]}x{low[1]} to {high[0]}x{high[1]}")


def _size(record: ImageRecord) -> tuple[int, int] | str:
    """Height and width, or why the image cannot be read."""
    try:
        return read_image(record.path).shape[:2]
    except ValueError as error:
        return str(error)


def _labels(split: Split) -> Iterable[Check]:
    for side in SPLITS:
        images = getattr(split, side)
        records = [record for record in images if record.mask]
        if records:
            errors = [error for error in _each(_mask_error, records, label=f"{side} labels") if error]
            if absent := [record.path.name for record in images if not record.mask]:
                errors.insert(
                    0, f"no part labels for {_named(absent)}: add them or remove the folder of labels"
                )
            good = len(records) - len(errors) + bool(absent)
            found = f"{good:,} of {len(images):,} fit"
            yield Check(f"{side} part labels", found, "all", not errors, "; ".join(errors[:NAMED]))
        elif side == "train" and images:
            yield Check("train part labels", f"none; BPBreID needs them, `masks {split.name}` makes some")


def _mask_error(record: ImageRecord) -> str | None:
    size = _size(record)
    if isinstance(size, str):
        return None  # told as a broken image
    try:
        read_mask(record.mask, size=size)
    except ValueError as error:
        return str(error)
    return None


def _each(task, records: Sequence[ImageRecord], *, label: str) -> list:
    """The task's results in order, several at a time: decoding leaves the interpreter free."""
    pieces = [records[start : start + PIECE] for start in range(0, len(records), PIECE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda piece: [task(record) for record in piece], pieces)
        bar = tqdm(found, total=len(pieces), desc=label, unit_scale=PIECE, unit="img", disable=None)
        return [result for piece in bar for result in piece]
