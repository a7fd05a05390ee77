"""The archive: the same tree makes the same bytes, and a change of any file is noticed."""

import importlib.util
import subprocess
import tarfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "tools" / "archive.py"


@pytest.fixture(scope="module")
def archive():
    spec = importlib.util.spec_from_file_location("archive", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def unpacked(archive, tmp_path):
    """A small tree that was packed and unpacked."""
    tree, names = tmp_path / "tree", ["a.csv", "runs/b.json"]
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tmp_path / "x.tar.gz").write_bytes(archive.packed(tree, names))
    assert archive.packed(tree, names) == archive.packed(tree, names)
    with tarfile.open(tmp_path / "x.tar.gz") as file:
        file.extractall(tmp_path / "out", filter="data")
    return tmp_path / "out"


def test_what_comes_out_is_what_went_in_and_sha256sum_reads_the_manifest(archive, unpacked):
    assert archive.differing(unpacked) == []
    subprocess.run(["sha256sum", "--check", "--strict", archive.MANIFEST], cwd=unpacked, check=True)


def test_a_changed_a_missing_and_a_foreign_file_are_named(archive, unpacked):
    (unpacked / "a.csv").write_text("other")
    (unpacked / "runs" / "b.json").unlink()
    (unpacked / "c").write_text("")
    assert archive.differing(unpacked) == ["a.csv", "c", "runs/b.json"]


def test_records_tables_figures_and_the_lock_are_in_it(archive):
    names = archive.tracked()
    for wanted in (
        "requirements.lock",
        "results/tables/pan.md",
        "results/figures/forest.svg",
        "data/published/pan.csv",
    ):
        assert wanted in names
    assert sum(name.startswith("results/runs/") for name in names) > 100
    assert not any(name.startswith("tests/") for name in names)
