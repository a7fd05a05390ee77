"""The pictures of results/figures and what they show, in the words of the notebooks that draw them."""

import ast
import json
import re
from collections.abc import Mapping, Sequence

from companion import places
from companion.papers import PAPERS

TAG = "figure-"
"""How tags of cells begin whose picture stands in results/figures; the rest is its name."""
LONGEST = 240
"""Signs that two sentences of a caption may have."""


def pictures(slug: str) -> dict[str, str]:
    """The pictures of a paper, as paths below results/, and a caption each, in the order of its notebook."""
    cells = json.loads((places.ROOT / "notebooks" / f"{slug}.ipynb").read_text())["cells"]
    folder, found = places.RESULTS / "figures" / slug, {}
    for cell, caption in zip(cells, captions(slug, cells)):
        for tag in cell["metadata"].get("tags", []):
            path = next(folder.glob(f"{tag.removeprefix(TAG)}.*"), None) if tag.startswith(TAG) else None
            if path:
                found[path.relative_to(places.RESULTS).as_posix()] = caption
    return found


def captions(slug: str, cells: Sequence[Mapping]) -> list[str]:
    """What a picture of each cell shows: the paper, the section, its title, and the sentence that leads to it."""
    section, lead, found = "", "", []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#{2,} (?:[\d.]+ )?(.+)", source, re.MULTILINE) or [section])[-1]
            lead = _lead(source)
        title = _title(source, cell["metadata"].get("tags", ())) if cell["cell_type"] == "code" else ""
        parts = [f"{PAPERS[slug].title}, {section[:1].lower()}{section[1:]}", title, lead]
        found.append(re.sub(r"([?!.])\.", r"\1", ". ".join(part for part in parts if part) + "."))
    return found


def _title(source: str, tags: Sequence[str]) -> str:
    """The title that a cell gives its figure, where it is a plain text; else the name of the picture in words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "title" and isinstance(node.value, ast.Constant):
            return node.value.value
    names = [tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG)]
    return re.sub(r"^\d+-", "", names[0]).replace("-", " ") if names else ""


def _lead(source: str) -> str:
    """The first sentences of a text cell, without its headings, formulas and marks."""
    words = [block for block in source.split("\n\n") if not re.match(r"#|\$\$|\||- ", block)]
    plain = re.sub(r"\*\*[A-Z][^*]*\.\*\* ?|[*`$\\{}]", "", " ".join(words[:1]).replace("\n", " "))
    sentences = re.findall(r"\S.+?[.?](?= [A-Z]|$)", plain)
    return " ".join(sentences[: 1 + (len(" ".join(sentences[:2])) < LONGEST)]).rstrip(".")
