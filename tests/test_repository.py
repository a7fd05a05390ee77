"""Promises that concern the tree as a whole."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "reidlib").rglob("*.py"))


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout: cannot list tracked files")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_there_is_one_training_loop():
    holders = [path.name for path in LIBRARY for _ in re.findall(r"\.backward\(", path.read_text())]
    assert holders == ["training.py"]


def test_the_library_swallows_no_keyword_and_prints_nothing():
    for path in LIBRARY:
        text = path.read_text()
        assert "**kwargs" not in text, path
        if path.name not in ("__main__.py", "report.py"):
            assert not re.search(r"^\s*print\(", text, re.MULTILINE), path


def test_conda_and_pip_install_the_same_lock():
    environment = (ROOT / "environment.yml").read_text()
    assert "-r requirements.lock" in environment
    assert "-e ." in environment


def test_the_lock_satisfies_the_declared_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    locked = {
        re.split(r"[=; ]", line)[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    missing = [name for name in wanted if re.split(r"[><=~ ]", name)[0].lower() not in locked]
    assert missing == []


def test_the_lock_names_no_address():
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_tracked_files_are_small_and_name_no_machine_path():
    for path in tracked():
        if not path.exists():
            continue
        assert path.stat().st_size < 3_000_000, path
        if path.suffix in (".py", ".md", ".ipynb", ".csv", ".json", ".html", ".yml", ".toml"):
            assert not re.search(r"(^|[^\w.])/(home|root|work)/", path.read_text()), path


def test_figures_are_small():
    for path in tracked("results/figures"):
        assert path.stat().st_size < 150_000, path


def test_importing_the_library_sets_no_seed_and_no_threads():
    code = (
        "import torch; state = torch.random.get_rng_state(); threads = torch.get_num_threads();"
        "import reidlib.__main__, companion.report;"
        "assert torch.equal(state, torch.random.get_rng_state()); assert threads == torch.get_num_threads()"
    )
    subprocess.run(
        [ROOT / ".venv/bin/python" if (ROOT / ".venv").exists() else "python3", "-c", code],
        cwd=ROOT,
        check=True,
    )
