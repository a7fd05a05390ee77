"""The command line: what it refuses, and how it ends."""

import os
import subprocess
import sys

import pytest

from reidlib import doctor
from reidlib.__main__ import main, parser


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: command"),
        (["train"], "invalid choice: 'train'"),
        (["doctor", "market"], "invalid choice: 'market'"),
        (["rank", "folder", "--queries", "0"], "'0' is no whole number from 1 on"),
        (["rank", "folder", "--top", "-1"], "'-1' is no whole number from 1 on"),
        (["doctor", "folder", "a", "--root", "b"], "ROOT a and --root b: name one place"),
        (["rank", "folder", "x", "--backbone", "osnet", "--weights", "a"], "not allowed with argument"),
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


@pytest.mark.parametrize("command", [["doctor", "folder"], ["rank", "folder"]])
def test_every_command_names_a_place_alike(tmp_path, command, capsys):
    """A folder that is not there is told under the name that it was given, in both spellings."""
    for place in (["--root", str(tmp_path / "no")], [str(tmp_path / "no")]):
        assert main([*command, *place]) != 0
        assert f"{tmp_path / 'no'} does not exist" in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", [[], ["rank"]])
def test_help_shows_examples_that_are_understood(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    lines = [line.strip().split("   ")[0] for line in capsys.readouterr().out.splitlines()]
    examples = [line.split()[3:] for line in lines if line.startswith("python -m reidlib ")]
    assert len(examples) == 5
    for arguments in examples:
        parser().parse_args(arguments)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("reidlib 0.")
