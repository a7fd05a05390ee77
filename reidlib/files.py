"""Files that are whole or absent: written under a temporary name, then renamed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import IO
from uuid import uuid4

_LEFT = 86400.0  # seconds after which nobody is taken to be writing a temporary file any more


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary sibling for writing and rename it over the target on success.

    Args:
        target: the file's final name; its folder is made if need be.

    After an error the old file, or none, is there. A process killed in between leaves a ``.tmp`` beside it, which
    whoever writes the target a day later removes.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; it names a file.
    """
    # no process number: machines that share a folder count theirs alike
    temporary = target.with_name(f"{target.name}.{uuid4().hex[:8]}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(target)
    try:
        with temporary.open("wb") as handle:
            yield handle  # closed before it is renamed: a full disk may tell only then
        temporary.replace(target)
    except OSError as error:
        if error.errno and error.filename is None:  # of a full disk: what was being written
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left(target: Path) -> None:
    """Remove what killed processes left of a target, which may be gigabytes."""
    for path in target.parent.glob(f"{escape(target.name)}.*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > _LEFT:
                path.unlink()
        except OSError:  # another process was faster, or the file is not ours
            continue
