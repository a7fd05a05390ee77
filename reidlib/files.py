"""Files that are whole or absent: written under a temporary name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary sibling for writing and rename it over the target on success.

    Args:
        target: the file's final name; its folder is made if need be.

    After an error the old file, or none, is there. A process killed in between leaves a ``.tmp`` beside it.
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as handle:
            yield handle  # closed before it is renamed: a full disk may tell only then
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
