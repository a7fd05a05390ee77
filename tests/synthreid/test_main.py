"""The command line: what it says before, after, and when it cannot."""

import subprocess
import sys

import pytest

from synthreid.__main__ import main
from synthreid.benchmark import PROFILES, Profile, content_hash

TINY = Profile("tiny", 4, 2, 3, 2, 3, 2, 1, 1, (64, 32), 1.5)


@pytest.fixture(autouse=True)
def _profiles(monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", TINY)


def test_it_says_what_it_costs_and_what_was_drawn(tmp_path, caplog, capsys):
    command = ["tiny", "--root", str(tmp_path), "--seed", "3", "--workers", "1"]
    with caplog.at_level("INFO"):
        assert main(command) == 0
    assert "70 images, about 1 MB, about 0.1 minutes" in caplog.text
    first = capsys.readouterr().out
    folder, *sets, last = first.splitlines()
    assert folder == str(tmp_path / "tiny-3")
    assert sets[0].split(maxsplit=1) == [
        "synth-market", "bounding_box_train 8, query 6, bounding_box_test 12"
    ]  # fmt: skip
    assert len(sets) == 6
    assert last == f"content {content_hash(tmp_path / 'tiny-3')}"
    caplog.clear()
    assert main(command) == 0
    assert "images" not in caplog.text  # it was there already
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["huge"], "smoke, cpu, gpu"), (["tiny", "--workers", "0"], "workers is 0")],
)
def test_a_wrong_argument_is_one_error(tmp_path, capsys, arguments, said):
    assert main([*arguments, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_place_that_cannot_be_written_is_one_error(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["tiny", "--root", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_package_needs_no_other_of_ours_and_no_torch():
    code = "import sys, synthreid.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "synthreid" in done.stdout.split()
    assert not {"torch", "reidlib", "companion"} & set(done.stdout.split())
