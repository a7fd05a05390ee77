"""The pictures of results/figures and what they show, in the words of the notebooks that draw them."""

import ast
import json
import re
from collections import Counter
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
        names = _names(cell["metadata"].get("tags", ()))
        for name in names:
            if path := next(folder.glob(f"{name}.*"), None):
                told = f"{caption} {_in_words(name)}." if len(names) > 1 else caption
                found[path.relative_to(places.RESULTS).as_posix()] = told
    return found


def captions(slug: str, cells: Sequence[Mapping]) -> list[str]:
    """What a picture of each cell shows: the paper or notebook, the section, its title, and the text above it."""
    of = PAPERS[slug].title if slug in PAPERS else slug.capitalize()
    section, lead, found = "", "", []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#{2,} (?:[\d.]+ )?(.+)", source, re.MULTILINE) or [section])[-1]
            lead = _lead(source)
        title = _title(source) if cell["cell_type"] == "code" else ""
        parts = [f"{of}, {section[:1].lower()}{section[1:]}", title, lead]
        found.append(". ".join(part for part in parts if part))
    names = [_names(cell["metadata"].get("tags", ())) for cell in cells]
    alike = Counter(caption for caption, known in zip(found, names) if known)
    told = [
        f"{text}. {_in_words(known[0])}" if alike[text] > 1 and known else text
        for text, known in zip(found, names)
    ]
    return [re.sub(r"([?!.])\.", r"\1", f"{caption}.") for caption in told]


def _title(source: str) -> str:
    """The title that a cell gives its figure, where it is a plain text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "title" and isinstance(node.value, ast.Constant):
            return node.value.value
    return ""


def _names(tags: Sequence[str]) -> list[str]:
    """The names of a cell's pictures."""
    return [tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG)]


def _in_words(name: str) -> str:
    """A picture's name without its number."""
    return re.sub(r"^\d+-", "", name).replace("-", " ").capitalize()


def _lead(source: str) -> str:
    """The first sentences of a text cell, without its headings, formulas and marks."""
    words = [block for block in source.split("\n\n") if not re.match(r"#|\$\$|\||- ", block)]
    plain = re.sub(r"\*\*[A-Z][^*]*\.\*\* ?|[*`$\\{}]", "", " ".join(words[:1]).replace("\n", " "))
    sentences = re.findall(r"\S.+?[.?](?= [A-Z]|$)", plain)
    return " ".join(sentences[: 1 + (len(" ".join(sentences[:2])) < LONGEST)]).rstrip(".")
