"""One file with all that the results rest on: records, tables, figures, printed values, code, and the lock.

``MANIFEST.sha256`` in it has the hash of every file (``sha256sum -c`` reads it); the same tree makes the same bytes.
With ``--check`` an archive is unpacked, its hashes are compared, and its tables are rebuilt from it alone.

    python tools/archive.py                         # results/pages/reidlib-0.1.0.tar.gz
    python tools/archive.py --check FILE
"""

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from companion import places
from reidlib.files import replacing

MANIFEST = "MANIFEST.sha256"
LEFT_OUT = ("tests/", "results/rendered/", "site/", ".")
"""What no number rests on."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="verify an archive instead of writing one")
    options = parser.parse_args()
    if options.check:
        return check(options.check)
    version = tomllib.loads((places.ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = places.RESULTS / "pages" / f"reidlib-{version}.tar.gz"
    with replacing(target) as handle:
        handle.write(packed(places.ROOT, tracked()))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def tracked() -> list[str]:
    """The files that git tracks and numbers rest on, as they are now."""
    found = subprocess.run(
        ["git", "ls-files", "-z"], cwd=places.ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in found.stdout.split("\0") if name and not name.startswith(LEFT_OUT)]
    return sorted(name for name in names if (places.ROOT / name).is_file())


def packed(root: Path, names: Iterable[str]) -> bytes:
    """A compressed archive of some files and their manifest; nothing in it depends on when or by whom it is made."""
    contents = {name: (root / name).read_bytes() for name in names}
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items()]
    file = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in {MANIFEST: "".join(lines).encode(), **contents}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def check(path: Path) -> int:
    """Unpack an archive, compare its hashes and rebuild its tables; returns an exit status."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        if wrong := differing(Path(folder)):
            print(f"error: {path}: not as its manifest says: {', '.join(wrong)}", file=sys.stderr)
            return 1
        print("all files are as the manifest says; rebuilding the tables", flush=True)
        command = [sys.executable, "-m", "companion", "tables", "--check"]
        return subprocess.run(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": folder}, check=False
        ).returncode


def differing(folder: Path) -> list[str]:
    """Files that the manifest names and that are missing or other than it says, and those that it does not name."""
    listed = dict(line.split("  ", 1)[::-1] for line in (folder / MANIFEST).read_text().splitlines())
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    there.pop(MANIFEST)
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
    return sorted(name for name in listed.keys() | hashes.keys() if listed.get(name) != hashes.get(name))


if __name__ == "__main__":
    sys.exit(main())
