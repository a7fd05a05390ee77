"""Anatomy of the notebooks: they argue, the library computes."""

import ast
import json
import re
from pathlib import Path

import pytest

from companion.papers import PAPERS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEADINGS = (
    "Parameters", "Setup", "Verdict", "The data", "The model", "The whole model", "Training",
    "Paper versus ours", "Ablations", "What it looks at", "Where it fails", "What we learned", "Provenance",
)  # fmt: skip

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict]:
    found = json.loads(path.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def test_sources_hold_no_outputs(path):
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(path, "code"))


def test_one_parameters_cell_with_literals_only(path):
    tagged = [c for c in cells(path, "code") if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for line in ast.parse(tagged[0]["source"]).body:
        assert isinstance(line, ast.Assign)
        ast.literal_eval(line.value)


def test_headings_in_order(path):
    if path.stem not in PAPERS:
        pytest.skip("only the notebooks of papers share their headings")
    text = "\n".join(cell["source"] for cell in cells(path, "markdown"))
    found = [h.strip() for h in re.findall(r"^## (?:\d+\. )?(.+)$", text, re.MULTILINE)]
    assert [h for h in found if h in HEADINGS] == list(HEADINGS)


def test_code_cells_are_short_and_define_nothing(path):
    for cell in cells(path, "code"):
        source = cell["source"]
        assert len(source.splitlines()) <= 15, source
        assert not re.search(r"^\s*(def|class) |^!|sys\.path|\.backward\(", source, re.MULTILINE), source


def test_a_notebook_runs_from_any_folder(path):
    """It names no place: the library knows where things lie, wherever the kernel was started."""
    for cell in cells(path, "code"):
        assert not re.search(r"\b(open|Path|read_\w+|getcwd|chdir)\(|\.\./|\./", cell["source"]), cell[
            "source"
        ]


def test_text_carries_no_result_numbers(path):
    for cell in cells(path, "markdown"):
        text = re.sub(
            r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\[[^\]]*\]\([^)]*\)", "", cell["source"], flags=re.DOTALL
        )
        text = re.sub(r"^#+ [\d.]+", "", text, flags=re.MULTILINE)
        text = re.sub(r"arXiv \d{4}\.\d{5}|[Ss]ection \d+(\.\d+)*|CC BY \d\.\d", "", text)
        assert not re.search(r"\d+\.\d+", text), text
