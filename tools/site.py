"""Build the site from what is committed: executed notebooks, tables, figures, docs, and the library's docstrings.

Nothing is trained, executed or fetched, and the pages ask no server for anything.

    python tools/site.py                      # into results/pages/site
    python tools/site.py --repository URL     # files that are no pages become links to it
"""

import argparse
import base64
import os
import re
import shutil
import sys
from html import escape
from pathlib import Path

import nbformat
import pandas as pd

from companion import places
from companion.papers import PAPERS
from companion.plots.charts import MARKS, VERDICTS
from companion.report.pages import BEGIN, END
from reidlib.palette import ink_on

SOURCE, OUTPUT = places.CACHE / "site", places.RESULTS / "pages" / "site"
GUIDES = {
    "results/README.md": "overview",
    "results/findings.md": "findings",
    "docs/verdicts.md": "verdicts",
    "docs/calibration.md": "calibration",
    "docs/architecture.md": "architecture",
    "data/README.md": "data",
    "docs/commands.md": "commands",
    "CHANGELOG.md": "changelog",
}
"""Committed text -> its page."""
SUFFIXES = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg"}


def pages() -> dict[str, str]:
    """Every committed file that becomes a page, and which; a notebook's source means its executed self."""
    executed = sorted(path.stem for path in (places.RESULTS / "rendered").glob("*.ipynb"))
    books = {f"results/rendered/{name}.ipynb": f"papers/{name}" for name in executed}
    books |= {f"notebooks/{name}.ipynb": f"papers/{name}" for name in executed}
    return (
        {"README.md": "index"}
        | GUIDES
        | {f"results/tables/{slug}.md": f"claims/{slug}" for slug in PAPERS}
        | books
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument(
        "--repository", default="", help="address of the tree, for links to files that are no pages"
    )
    options = parser.parse_args()
    from sphinx.cmd.build import build_main

    shutil.rmtree(SOURCE, ignore_errors=True)
    lay_out(options.repository)
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    shutil.copy(places.RESULTS / "figures" / "forest.svg", options.output)  # to be opened by itself
    config = ["-c", str(places.ROOT / "site"), "-d", str(SOURCE / ".doctrees")]
    return build_main(["-q", "-W", "--keep-going", "-j", "1", *config, str(SOURCE), str(options.output)])


def lay_out(repository: str) -> None:
    """Write what Sphinx reads."""
    for origin, name in pages().items():
        if name == "index":
            write(name, linked(front_page(), origin, repository))
        elif origin.endswith(".md"):
            text = linked((places.ROOT / origin).read_text(), origin, repository)
            write(name, anchored(text, name.split("/")[1]) if name.startswith("claims/") else text)
        elif origin.startswith("results/"):
            notebook = nbformat.read(places.ROOT / origin, as_version=4)
            folded(notebook, name, repository)
            write(name, nbformat.writes(notebook), suffix="ipynb")
    library()


def write(name: str, text: str, *, suffix: str = "md") -> None:
    path = SOURCE / f"{name}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def linked(text: str, origin: str, repository: str) -> str:
    """Markdown whose links lead to the site's pages and pictures, else to the repository, else nowhere."""
    known, here = pages(), (places.ROOT / origin).parent

    def link(match: re.Match) -> str:
        bang, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = Path(os.path.normpath(here / target)).relative_to(places.ROOT).as_posix()
        if bang:
            copied = SOURCE / path
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(places.ROOT / path, copied)
            return f"![{words}](/{path})"
        if path in known:
            kind = "ipynb" if known[path].startswith("papers/") else "md"
            return f"[{words}](/{known[path]}.{kind}{anchor})"
        return f"[{words}]({repository}/{path}{anchor})" if repository else words

    return re.sub(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#]+)(#[^()\s]*)?\)", link, text)


def anchored(text: str, slug: str) -> str:
    """A page of claims whose every claim can be linked to, with the notebook that argues it."""
    for claim in claims()[slug]["claim"]:
        text = re.sub(
            rf"^(\| |- )(C{claim}) ", rf'\1<span id="c{claim}"></span>\2 ', text, count=1, flags=re.MULTILINE
        )
    return text


def claims() -> dict[str, pd.DataFrame]:
    frame = pd.read_csv(places.RESULTS / "tables" / "verdicts.csv", dtype={"claim": str})
    return dict([*frame.groupby("paper", sort=False)])


def front_page() -> str:
    """What the README says, behind the strip of claims and before the tree of pages."""
    readme = (places.ROOT / "README.md").read_text()
    title, lead = readme.split("\n\n")[:2]
    found = readme.split(BEGIN)[1].split(END)[0].strip()
    alt = "Effects of all claims with 95 % intervals, beside the printed ones"
    forest = f'<a href="forest.svg"><img alt="{alt}" src="forest.svg" loading="lazy" width="1056"></a>'
    people = next(line for line in readme.splitlines() if line.startswith("![") and "contact-sheet" in line)
    tail = readme.split(END)[1].split("\n## Map")[0].strip()
    return "\n\n".join([title, lead, strip(), forest, "## Found", found, people, tail, tree()])


def strip() -> str:
    """A tile for every claim, which links to it, in its verdict's colour and with its sign; pointed at, it tells it."""
    rows, counts = [], pd.concat(claims().values())["verdict"].value_counts()
    for slug, frame in claims().items():
        tiles = "".join(
            f'<a class="tile" href="claims/{slug}.html#c{line.claim}" title="{escape(line.statement)}: {line.verdict}" '
            f'aria-label="claim {line.claim}: {line.verdict}" style="{shade(line.verdict)}">{line.claim}'
            f"<i>{MARKS[line.verdict]}</i></a>"
            for line in frame.itertuples()
        )
        rows.append(f'<a href="papers/{slug}.html">{PAPERS[slug].title}</a><div class="tiles">{tiles}</div>')
    key = "".join(
        f'<span><b style="{shade(word)}">{MARKS[word]}</b>{word} {counts.get(word, 0)}</span>'
        for word in VERDICTS
    )
    return f'<div class="strip">{"".join(rows)}</div>\n<div class="key">{key}</div>'


def shade(word: str) -> str:
    return f"background:{VERDICTS[word]};color:{ink_on(VERDICTS[word])}"


def tree() -> str:
    """The table of contents."""
    books = [name for origin, name in pages().items() if origin.startswith("results/rendered/")]
    papers = {f"papers/{slug}": paper.title for slug, paper in PAPERS.items()}
    parts = {
        "Results": ["Overview <overview>", "findings", *(name for name in books if name not in papers)],
        "Papers": [f"{title} <{name}>" for name, title in papers.items() if name in books],
        "Claims and tables": [f"{paper.title} <claims/{slug}>" for slug, paper in PAPERS.items()],
        "How": [name for name in GUIDES.values() if name not in ("overview", "findings")],
        "Library": ["api/index"],
    }
    return "\n\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```"])
        for caption, names in parts.items()
    )


def folded(notebook, name: str, repository: str) -> None:
    """An executed notebook with its code folded and its pictures as files with alternative text."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, f"notebooks/{name.split('/')[1]}.ipynb", repository)
            continue
        cell.metadata["tags"] = ["hide-input"]
        outputs = cell.get("outputs", [])
        if cell.source.startswith("report.show(") and outputs:  # the library's own source
            cell.source, cell.outputs = outputs[0].data["text/plain"], []
        for place, out in enumerate(outputs):
            data = out.get("data", {})
            for kind in SUFFIXES.keys() & data.keys():
                file = f"{name}-{number}-{place}.{SUFFIXES[kind]}"
                (SOURCE / file).parent.mkdir(parents=True, exist_ok=True)
                (SOURCE / file).write_bytes(base64.b64decode(data[kind]))
                alt = re.sub(r"[\[\]]", "", out.metadata.get(kind, {}).get("alt", ""))
                out["data"], out["metadata"] = {"text/markdown": f"![{alt}](/{file})"}, {}


def library() -> None:
    """A page for each module of the library, from its docstrings."""
    names = []
    for path in sorted((places.ROOT / "reidlib").rglob("*.py")):
        parts = path.relative_to(places.ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if parts[-1] != "__main__":
            names.append(name)
            write(f"api/{name}", f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    listed = "\n".join(names)
    head = "# Library\n\nWhat `reidlib` offers, module by module, with the shapes of its tensors.\n\n"
    write("api/index", f"{head}```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n")


if __name__ == "__main__":
    sys.exit(main())
