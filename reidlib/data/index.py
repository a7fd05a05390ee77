"""The index that all data sets share: images with an identity and a camera, in three splits."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reidlib.protocol import Protocol

SPLITS = ("train", "query", "gallery")


def few(names: Iterable[str], *, shown: int, between: str = ", ") -> str:
    """Some names of a list, and how many more there are; signs that no encoding knows are question marks."""
    names = [name.encode(errors="replace").decode() for name in names]
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return between.join(names[:shown]) + more


@dataclass(frozen=True)
class ImageRecord:
    """One image: ``pid`` is the data set's person id (0 = distractor), ``camid`` its camera.

    ``mask`` is the file of part labels (png) or confidence fields (npy) that belongs to the image, if the
    data set has one.
    """

    path: Path
    pid: int
    camid: int
    mask: Path | None = None

    @property
    def short(self) -> str:
        """Folder and file, in messages: where every person has a folder, the file's name alone says little."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Split:
    """A data set: images to train on, queries, and the gallery they are searched in.

    Junk images (pid -1) are dropped on load; distractors (pid 0) stay in the gallery. ``protocol`` says which
    gallery images count for a query. ``junk`` are the places that dropped images had among the gallery's files,
    which features of all files have rows for; ``unfit`` says of files in the folders that are no image of the set.
    """

    name: str
    root: Path
    train: tuple[ImageRecord, ...]
    query: tuple[ImageRecord, ...]
    gallery: tuple[ImageRecord, ...]
    protocol: Protocol = Protocol.MARKET
    junk: tuple[int, ...] = ()
    unfit: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[int, int]:
        """Training label (0..I-1) of every training pid, in increasing order of pid."""
        return {pid: label for label, pid in enumerate(sorted({r.pid for r in self.train}))}

    @property
    def fingerprint(self) -> str:
        """Hash of the index: names, identities and cameras of all images, not their pixels."""
        lines = [
            f"{split} {record.path.name} {record.pid} {record.camid}"
            for split in SPLITS
            for record in sorted(getattr(self, split), key=lambda r: r.path.name)
        ]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]

    def counts(self) -> dict[str, dict[str, int]]:
        """Images, identities and cameras per split (distractors are no identity)."""
        table = {}
        for split in SPLITS:
            records = getattr(self, split)
            pids = Counter(record.pid for record in records)
            table[split] = {
                "images": len(records),
                "identities": len(pids.keys() - {0}),
                "cameras": len({record.camid for record in records}),
                "distractors": pids[0],
            }
        return table
