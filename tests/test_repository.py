"""Promises that concern the tree as a whole."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, version
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


TOGETHER = {"bot": "models", "pcb": "models", "hrnet": "backbones"}
"""Modules whose tests stand in another's file."""


def test_every_module_of_the_library_has_its_tests():
    for path in LIBRARY:
        name = TOGETHER.get(path.stem, path.stem.strip("_"))
        assert name == "init" or (ROOT / "tests" / "reidlib" / f"test_{name}.py").is_file(), path


def test_there_is_one_training_loop():
    assert LIBRARY
    holders = [path.name for path in LIBRARY for _ in re.findall(r"\.backward\(", path.read_text())]
    assert holders == ["training.py"]


def test_the_library_swallows_no_keyword_and_prints_nothing():
    for path in LIBRARY:
        text = path.read_text()
        assert "**kwargs" not in text, path
        if path.name != "__main__.py":
            assert not re.search(r"^\s*print\(", text, re.MULTILINE), path


def test_the_layers_that_are_told_are_those_that_are_kept():
    told = (ROOT / "docs" / "architecture.md").read_text()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        for package in contract.get("containers", []):
            layers = [", ".join(f"`{m}`" for m in layer.split(" | ")) for layer in contract["layers"]]
            assert f"\n`{package}`: {' > '.join(layers)}.\n" in told


def test_conda_and_pip_install_the_same_lock():
    environment = (ROOT / "environment.yml").read_text()
    assert "\n      - -r requirements.lock" in environment
    assert "pip install --no-deps -e ." in environment  # in a step of its own: pip would ask for its hash
    assert "- -e ." not in environment


LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-site.lock"]
"""What `make setup` installs, and what `make site` adds to it."""


def pins(file: Path) -> list[str]:
    """The lines of a lock that name a version, without its hashes."""
    return re.findall(r"^(\S+==[^\\\n]*?) *\\?$", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.name)
def test_every_locked_version_has_hashes_of_its_files(file):
    """So that no registry can give another file for it: pip and uv check them where they are."""
    blocks = re.split(r"\n(?! )", file.read_text().strip())
    assert len(blocks) == len(pins(file)) > 20
    for block in blocks:
        first, *hashes = block.split(" \\\n")
        assert "==" in first
        assert hashes
        assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}", line) for line in hashes), first


def test_the_site_changes_no_version_that_the_study_uses():
    study, site = ({line.split("==")[0] for line in pins(file)} for file in LOCKS)
    assert not study & site


def test_a_root_with_a_space_is_one_argument_of_make():
    command = ["make", "--dry-run", "--no-print-directory", "data", "DATASET=market1501", "DATA_ROOT=my data"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shlex.split(done.stdout.splitlines()[-1])[-2:] == ["--root", "my data"]


def test_the_version_is_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> tuple[dict[str, str], dict[str, str]]:
    """Names and lowest versions of what the packages need or may use, and of what only tests and checks do."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [line for lines in settings["project"]["optional-dependencies"].values() for line in lines]
    listed = [*settings["project"]["dependencies"], *extras], settings["dependency-groups"]["dev"]
    return tuple({plain(name): low for name, low in (line.split(">=") for line in lines)} for lines in listed)


NOT_LOCKED = {"distributed", "faiss-cpu"}
"""For clusters and a benchmark, which those install who have use for them; their tests are skipped without."""


def test_the_lock_satisfies_the_declared_dependencies():
    lines = [line for file in LOCKS for line in pins(file)]
    locked: dict[str, list[str]] = {}
    for name, pinned in (line.split(" ;")[0].split("==") for line in lines):
        locked.setdefault(plain(name), []).append(pinned)

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"[0-9]+", version))

    needed, dev = declared()
    assert not NOT_LOCKED & locked.keys()
    for name, lowest in (needed | dev).items():
        if name in NOT_LOCKED:
            continue
        assert locked.get(name), name
        assert all(numbers(version) >= numbers(lowest) for version in locked[name]), name


def code(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        yield path.read_text()
    for path in sorted(folder.rglob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        yield "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def imported(*folders: str) -> set[str]:
    """Top-level names of all that is imported below some folders and does not come from there or from Python."""
    found = set()
    for node in (n for f in folders for text in code(ROOT / f) for n in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    ours = {*PACKAGES, *(path.stem for f in (*PACKAGES, *OTHERS) for path in (ROOT / f).rglob("*.py"))}
    return found - sys.stdlib_module_names - ours


PACKAGES = ("reidlib", "synthreid", "companion", "tools", "notebooks")
OTHERS = ("tests", "benchmarks")
RUN = {
    "jupyterlab",
    "pytest-xdist",
    "beartype",
    "ruff",
    "import-linter",
    "nbstripout",
    "myst-nb",
    "sphinx-book-theme",
}
"""Programs and plugins, which the Makefile or a setting names and nothing imports."""


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    needed, dev = declared()
    providers = {"faiss": ["faiss-cpu"]} | packages_distributions()
    used, tested = (
        {name: {plain(p) for p in providers.get(name, [name])} for name in imported(*folders)}
        for folders in (PACKAGES, OTHERS)
    )
    assert [name for name, those in used.items() if not those & needed.keys()] == []
    assert [name for name, those in tested.items() if not those & (needed | dev).keys()] == []
    known = RUN.union(*used.values(), *tested.values())
    assert sorted((needed | dev).keys() - known) == []


def test_the_locks_name_no_address():
    for file in LOCKS:
        assert "://" not in file.read_text()


def test_tracked_files_are_small_and_name_no_machine_path():
    files = [path for path in tracked() if path.exists()]
    assert files
    for path in files:
        assert path.stat().st_size < 3_000_000, path
        if path.suffix in (".py", ".md", ".ipynb", ".csv", ".json", ".html", ".yml", ".toml"):
            assert not re.search(r"(^|[^\w.])/(home|root|work)/", path.read_text()), path


def test_no_two_tracked_names_differ_in_case_or_form_alone():
    """On a Mac they would be one file; and no part of a name is one that Windows keeps for itself."""
    seen: dict[str, Path] = {}
    for path in tracked():
        for part in (path, *path.parents):
            key = unicodedata.normalize("NFC", str(part)).casefold()
            assert seen.setdefault(key, part) == part
        assert not re.search(r'[<>:"|?*\\]|[. ]$', path.name), path


def test_figures_are_small():
    figures = tracked("results/figures")
    assert figures
    for path in figures:
        assert path.stat().st_size < 150_000, path


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_importing_the_library_sets_no_seed_and_no_threads():
    run(
        "import torch; state = torch.random.get_rng_state(); threads = torch.get_num_threads();"
        "import reidlib.__main__, companion.report;"
        "assert torch.equal(state, torch.random.get_rng_state()); assert threads == torch.get_num_threads()"
    )


def test_models_and_metrics_import_little_beyond_torch():
    slow = ("timm", "cv2", "pandas", "scipy", "sklearn", "matplotlib", "lightning_fabric")
    run(f"import sys, reidlib.models, reidlib.evaluation; assert not sys.modules.keys() & {set(slow)}")


PERMISSIVE = (
    "Apache", "MIT", "BSD", "0BSD", "ISC", "ISCL", "PSF", "Python Software Foundation", "MPL", "Mozilla", "BSL", "Zlib",
    "CC0", "LLVM-exception",
)  # fmt: skip
"""Beginnings of the names of licences that ask nothing of code that only uses theirs."""
UNNAMED = {"cuda-toolkit"}
"""Packages that name no licence: the first has no content of its own."""
NVIDIA = re.compile(r"(LicenseRef-NVIDIA-Proprietary|NVIDIA Proprietary Software)")
"""Of the CUDA libraries that torch needs on Linux: free to use, not free software."""


def licence(name: str) -> str:
    """As a package's metadata name it: by an expression, else by classifiers, else in words."""
    known = metadata(name)
    groups = [c.split(" :: ")[-1] for c in known.get_all("Classifier") or [] if c.startswith("License ::")]
    words = (known.get("License") or "").strip().splitlines()
    return known.get("License-Expression") or " AND ".join(groups) or (words[0] if words else "")


def test_no_dependency_has_a_licence_that_reaches_our_code():
    """All that the lock names and this machine has installed; a new licence is to be looked at here first."""
    found, other = {}, []
    for line in pins(LOCKS[0]):
        name, locked = re.split("==|;", line)[:2]
        try:
            if version(name) == locked.strip():
                found[name] = licence(name)
            else:
                other.append(name)
        except PackageNotFoundError:  # of another system
            continue
    if len(other) > 10:  # versions for another Python, or the project's own: a few
        pytest.skip(f"{len(other)} packages are not as the lock has them: {', '.join(other[:3])}, ...")
    assert len(found) > 100
    assert {name for name, words in found.items() if not words} <= UNNAMED
    for name, words in found.items():
        parts = re.split(r" AND | OR | WITH ", words)
        assert all(
            part.strip("() ").startswith(PERMISSIVE) or NVIDIA.fullmatch(part) for part in parts if part
        ), name
        assert not re.search(r"\bA?GPL|General Public", words), name


def test_pickles_are_read_by_the_reader_of_tensors_alone():
    calls = [
        (path.name, call)
        for folder in ("reidlib", "synthreid", "companion", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in re.findall(r"(?:torch\.load|pickle\.loads?|joblib\.load)\([^\n]*", path.read_text())
    ]
    assert calls
    assert [name for name, call in calls if "weights_only=True" not in call] == ["checkpoints.py"]
    everything = "\n".join(path.read_text() for path in LIBRARY)
    assert "allow_pickle=True" not in everything


def test_the_lab_listens_on_this_machine_alone_and_asks_for_its_token():
    (line,) = re.findall(r".*jupyterlab.*", (ROOT / "Makefile").read_text())
    assert "--ServerApp.ip=localhost" in line
    assert not re.search(r"token|password|allow", line)  # Jupyter's own default: a new token every time


def test_a_test_that_asks_the_network_fails():
    import socket

    with pytest.raises(AssertionError, match="without a network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
