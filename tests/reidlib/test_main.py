"""The command line: what it refuses, and how it ends."""

import os
import subprocess
import sys

import pytest

from reidlib import doctor
from reidlib.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: command"),
        (["train"], "invalid choice: 'train'"),
        (["doctor", "market"], "invalid choice: 'market'"),
        (["rank", "folder", "x", "--weights", "a", "--features", "b", "c"], "not allowed with argument"),
    ],
)
def test_what_is_not_understood_is_explained(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_missing_folder_is_one_line_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "reidlib", "rank", "folder", str(tmp_path / "no")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: folder: ")
    assert "Traceback" not in done.stderr


def test_an_interruption_says_that_the_command_resumes(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert main(["doctor", "market1501"]) == 130
    assert "resumes" in capsys.readouterr().err
