"""What of one's own images is asked for and searched, what was left out, and what would flatter a score."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reidlib.data.datasets import SUFFIXES, YOURS
from reidlib.data.index import SPLITS, ImageRecord, Split, few
from reidlib.protocol import DISTRACTOR

_some = partial(few, shown=3)
"""Examples that a line gives."""


def lines(split: Split) -> list[str]:
    """Counts of an index of one's own images, then a line for each kind of thing that is not as one may think.

    Every image is read once, to find copies.

    Args:
        split: of ``datasets.load("folder", ...)`` or ``load("csv", ...)``; of any other, the counts alone.
    """
    people = {record.pid for record in split.query}
    said = [
        f"used: {len(split.query):,} queries of {len(people):,} people, searched in {len(split.gallery):,} gallery "
        "images"
    ]
    return said + _repeated(split) + remarks(split) if split.name in YOURS else said


def remarks(split: Split) -> list[str]:
    """What is left out of one's own images, lies where one may not think, or is there in copies."""
    said = _deeper(split) + _alone(split) + _left_out(split) if split.name == "folder" else []
    return said + _copies(split)


def _deeper(split: Split) -> list[str]:
    inside = [record.path.relative_to(split.root) for record in (*split.query, *split.gallery)]
    deeper = [path for path in inside if len(path.parts) > 2]
    line = f"{len(deeper):,} of them lie in folders below a person's: {_some(map(str, deeper))}"
    return [line] if deeper else []


def _alone(split: Split) -> list[str]:
    people = {record.pid for record in split.query}
    alone = [record for record in split.gallery if record.pid not in people]
    names = _some(record.path.relative_to(split.root).parts[0] for record in alone)
    line = (
        f"{len(alone):,} people have one picture, which is in the gallery but asked for by nothing: {names}"
    )
    return [line] if alone else []


def _left_out(split: Split) -> list[str]:
    """Files below a folder of people that the index does not hold, by why."""
    known = {record.path for side in SPLITS for record in getattr(split, side)}
    why: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(split.root.rglob("*"), key=str):
        inside = path.relative_to(split.root)
        if path in known or any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        if path.suffix.lower() not in SUFFIXES:
            why[f"of another kind ({path.suffix.lower() or 'no suffix'})"].append(inside)
        elif len(inside.parts) == 1:
            why["in no person's folder"].append(inside)
        else:
            why["too many folders below a person's"].append(inside)
    return [
        f"left out: {len(files):,} files {reason}: {_some(map(str, files))}" for reason, files in why.items()
    ]


def repeated(split: Split, sides: Sequence[str] = SPLITS) -> tuple[list[str], int]:
    """Files that the index holds more than once in some splits together, and how many different ones there are."""
    counts = Counter((record.path, record.short) for side in sides for record in getattr(split, side))
    return [name for (_, name), count in counts.items() if count > 1], len(counts)


def _repeated(split: Split) -> list[str]:
    twice, _ = repeated(split, ("query", "gallery"))
    line = f"warning: {len(twice):,} pictures are listed more than once; a query in its own gallery is always found: "
    return [line + _some(twice)] if twice else []


def _copies(split: Split) -> list[str]:
    """Different files of the same bytes, between people and between queries and gallery."""
    alike: dict[str, dict[Path, ImageRecord]] = defaultdict(dict)
    by_size: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in (*split.query, *split.gallery):
        if os.access(record.path, os.R_OK):  # of another, who decodes it says what is wrong
            by_size[record.path.stat().st_size].append(record)
    for records in by_size.values():
        for record in records if len(records) > 1 else ():
            alike[hashlib.sha256(record.path.read_bytes()).hexdigest()][record.path] = record
    copies = [[*group.values()] for group in alike.values() if len(group) > 1]
    queries = {record.path for record in split.query}
    asked = [g for g in copies if any(r.path in queries for r in g) and any(r.path not in queries for r in g)]
    confused = [group for group in copies if len({record.pid for record in group} - {DISTRACTOR}) > 1]
    said = []
    if asked:
        names = _some(group[0].short for group in asked)
        said.append(
            f"warning: {len(asked):,} queries lie in the gallery as copies, which are found at once: {names}"
        )
    if confused:
        people = ({r.pid: r.short for r in group if r.pid != DISTRACTOR} for group in confused)
        names = _some(" = ".join([*names.values()][:2]) for names in people)
        said.append(f"warning: {len(confused):,} pictures stand for several people: {names}")
    if others := sum(len(group) - 1 for group in copies) - len(asked):
        said.append(
            f"{others:,} further copies by content among {len(split.gallery) + len(split.query):,} pictures"
        )
    return said
