"""Files that are whole or absent: written under a temporary name, then renamed."""

import os
from pathlib import Path
from typing import IO


class replacing:
    """Open a temporary sibling for writing and rename it over the target on success.

    Args:
        target: the file's final name; its folder is made if need be.

    A process killed in between leaves the old file, or none, and a ``.tmp`` beside it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")

    def __enter__(self) -> IO[bytes]:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.handle = self.temporary.open("wb")
        return self.handle

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.handle.close()  # a full disk may tell only now
            if kind is None:
                self.temporary.replace(self.target)
        finally:
            self.temporary.unlink(missing_ok=True)
