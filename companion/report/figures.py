"""The pictures of results/figures and what they show, in the words of the notebooks that draw them."""

import ast
import json
import re
from collections.abc import Mapping, Sequence

from companion import places
from companion.papers import PAPERS
from companion.study import Study

TAG = "figure-"
"""How tags of cells begin whose picture stands in results/figures; the rest is its name."""
LONGEST = 240
"""Signs that two sentences of a caption may have."""


def measured_on(study: Study) -> str:
    """What ours was measured on, for the foot of a figure."""
    return f"{'the same' if study.real else 'synthetic'} data, preset {study.preset_name}"


def pictures(slug: str) -> dict[str, str]:
    """The pictures of a paper, as paths below results/, and a caption each, in the order of its notebook."""
    cells = json.loads((places.ROOT / "notebooks" / f"{slug}.ipynb").read_text())["cells"]
    folder, found = places.RESULTS / "figures" / slug, {}
    for cell, told in zip(cells, captions(slug, cells)):
        for name, caption in zip(names(cell), told):
            if path := next(folder.glob(f"{name}.*"), None):
                found[path.relative_to(places.RESULTS).as_posix()] = caption
    return found


def captions(slug: str, cells: Sequence[Mapping]) -> list[list[str]]:
    """What each picture of each cell shows: the paper or notebook, the section, its title, and the text above it.

    Where a cell has several pictures, the text above it ends in a list, an item for each.
    """
    of = PAPERS[slug].title if slug in PAPERS else slug.capitalize()
    section, text, found = "", "", []
    for cell in cells:
        source, several = "".join(cell["source"]), len(names(cell))
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#{2,} (?:[\d.]+ )?(.+)", source, re.MULTILINE) or [section])[-1]
            text = source
        title = _title(source) if cell["cell_type"] == "code" else ""
        parts = [f"{of}, {section[:1].lower()}{section[1:]}", title, _lead(text)]
        items = re.findall(r"^- (.+)", text, re.MULTILINE)
        items = items if len(items) == several > 1 else [""] * max(several, 1)
        found.append([_sentences(*parts, item) for item in items])
    return found


def names(cell: Mapping) -> list[str]:
    """The names of a cell's pictures."""
    return [tag.removeprefix(TAG) for tag in cell["metadata"].get("tags", ()) if tag.startswith(TAG)]


def _sentences(*parts: str) -> str:
    return re.sub(r"([?!.])\.", r"\1", " ".join(f"{part}." for part in parts if part))


def _title(source: str) -> str:
    """The title that a cell gives its figure, where it is a plain text."""
    for node in ast.walk(ast.parse(source)):
        given = []
        if isinstance(node, ast.keyword):
            given = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            given = [(getattr(key, "value", ""), value) for key, value in zip(node.keys, node.values)]
        for name, value in given:
            if name == "title" and isinstance(value, ast.Constant):
                return value.value
    return ""


def _lead(source: str) -> str:
    """The first sentences of a text cell, without its headings, lists, formulas and marks."""
    words = [block for block in source.split("\n\n") if not re.match(r"#|\$\$|\||- ", block)]
    plain = re.sub(r"\*\*[A-Z][^*]*\.\*\* ?|[*`$\\{}]", "", " ".join(words[:1]).replace("\n", " "))
    sentences = re.findall(r"\S.+?[.?](?= [A-Z]|$)", plain)
    return " ".join(sentences[: 1 + (len(" ".join(sentences[:2])) < LONGEST)]).rstrip(".")
