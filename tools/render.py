"""Execute the notebooks headless with papermill and render them to HTML.

Every notebook runs in a process of its own; parameter names are checked first, since papermill only
warns about a misspelt one. What is committed names no machine: papermill's paths and times are removed.

    python tools/render.py --preset cpu --jobs 2
    python tools/render.py --preset smoke bpbreid -p SEEDS 1
"""

import argparse
import base64
import io
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from companion import places
from reidlib.files import replacing

NOTEBOOKS = places.ROOT / "notebooks"
EXECUTED = places.CACHE / "executed"
RENDERED = places.RESULTS / "rendered"
SIZE_LIMIT = 3_000_000  # bytes of a page
FIGURE_LIMIT = 150_000  # of a picture
LONGEST_FIRST = ("dpti", "qpm", "pan", "aap", "bpbreid")  # so that none is left to run alone
QUALITIES = (92, 85, 75, 60, 40)  # of a WebP, the best that is small enough
WIDGET = "application/vnd.jupyter.widget-view+json"
LOOKS = """<style>
.jp-RenderedHTML pre { font: 13px/1.3 monospace !important }
.table { overflow: auto; max-height: 40em; max-width: 100%; border-bottom: 1px solid #d9dce0 }
.table thead th { position: sticky; top: 0; background: white }
</style>"""


def main() -> int:
    options = _options()
    names = options.notebooks or sorted((path.stem for path in NOTEBOOKS.glob("*.ipynb")), key=_order)
    for name in names:
        check_parameters(name, options.parameters)
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [
            name for name, good in zip(names, pool.map(partial(run, options=options), names)) if not good
        ]
    for name in failed:
        print(f"error: notebook {name} failed", file=sys.stderr)
    return 1 if failed else 0


def run(name: str, *, options: argparse.Namespace) -> bool:
    """Execute and render one notebook; says how long it took and whether it went well."""
    print(f"{name}: started", flush=True)
    began = time.time()
    good = start(name, options).wait() == 0
    print(f"{name}: {'ok' if good else 'FAILED'} in {time.time() - began:.0f} s", flush=True)
    if good:
        render(name, options.output)
    return good


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", help="names without suffix; default: all")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="train the shown models again")
    parser.add_argument("--output", type=Path, help="folder of the pages; default: results/rendered")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    options = parser.parse_args()
    if options.output is None:  # pages about real data are yours, those of the repository stay
        options.output = places.CACHE / "real" if options.preset == "real" else RENDERED
    return options


def _order(name: str) -> int:
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else -1


def check_parameters(name: str, parameters: list[list[str]]) -> None:
    """Refuse a notebook or a parameter that does not exist, before anything runs."""
    import papermill

    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.exists():
        known = ", ".join(sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
        sys.exit(f"error: no notebook {name!r}; there are {known}")
    known = papermill.inspect_notebook(str(source))
    for parameter, _ in parameters:
        if parameter not in known:
            sys.exit(f"error: notebook {name} has no parameter {parameter!r}; it has {', '.join(known)}")


def start(name: str, options: argparse.Namespace) -> subprocess.Popen:
    """Run one notebook in a process of its own; one thread each when several run side by side."""
    EXECUTED.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": "ignore"}
    if options.jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"
    target = EXECUTED / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", "-k", "python3", "--log-output", "--no-progress-bar"]
    command += [
        "--cwd",
        str(NOTEBOOKS),
        str(NOTEBOOKS / f"{name}.ipynb"),
        str(target),
        "-p",
        "PRESET",
        options.preset,
    ]
    command += ["-p", "FRESH", "True"] if options.fresh else []
    for parameter, value in options.parameters:
        command += ["-p", parameter, value]
    return subprocess.Popen(command, env=environment)


def render(name: str, output: Path) -> None:
    """Write the executed notebook as one HTML page without machine paths."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(EXECUTED / f"{name}.ipynb", as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        if cell.cell_type == "code":  # a page has nobody behind its widgets
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
            for out in cell.outputs:
                shrink(out.get("data", {}))
    if output == RENDERED:
        export_figures(notebook, name)
    for cell in notebook.cells:
        for out in cell.get("outputs", []):
            embed(out.get("data", {}))
    page, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(notebook)
    page = re.sub(re.escape(str(places.ROOT)), ".", page).replace("</head>", f"{LOOKS}</head>", 1)
    page = boxed(page)
    target = output / f"{name}.html"
    with replacing(target) as handle:
        handle.write(page.encode())
    size = target.stat().st_size
    print(f"{name}: rendered {size / 1e6:.1f} MB")
    if size > SIZE_LIMIT:
        sys.exit(f"error: {target.name} is {size / 1e6:.1f} MB, over the limit of {SIZE_LIMIT / 1e6:.0f} MB")


def with_mathml(text: str) -> str:
    """Markdown whose formulas are MathML, which browsers draw without a script from the network."""
    from latex2mathml.converter import convert

    def formula(match: re.Match) -> str:
        tex, display = match[1] or match[2], "block" if match[1] else "inline"
        tex = re.sub(r"\\tag\{(.+?)\}", r"\\qquad (\1)", tex)
        return convert(tex.replace("\n", " "), display=display).replace("|", "&#x7C;")  # bars end table cells

    return re.sub(r"\$\$(.+?)\$\$|(?<![`$])\$([^$`\n]+)\$", formula, text, flags=re.DOTALL)


def boxed(page: str) -> str:
    """The page with every table in a box of its own, which scrolls where the table is too wide or too long."""
    return re.sub(r"<table\b.*?</table>", r'<div class="table">\g<0></div>', page, flags=re.DOTALL)


def shrink(data: dict) -> None:
    """Bring an inline PNG under the limit with all its colours: as a WebP where photographs make it large."""
    if "image/png" not in data:
        return
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))).convert("RGB")
    kind, packed = "image/png", _packed(picture, format="PNG", optimize=True)
    for quality in QUALITIES:
        if len(packed) <= FIGURE_LIMIT:
            break
        kind, packed = "image/webp", _packed(picture, format="WEBP", quality=quality, method=6)
    data[kind] = base64.b64encode(packed).decode()


def embed(data: dict) -> None:
    """Show a WebP in a page; nbconvert knows no such pictures."""
    if "image/webp" in data:
        data["text/html"] = f'<img alt="" src="data:image/webp;base64,{data.pop("image/webp")}">'


def _packed(picture, **options: object) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, **options)
    return packed.getvalue()


def export_figures(notebook, name: str) -> None:
    """Write the pictures of cells tagged ``figure-...`` to results/figures, and nothing else there."""
    folder = places.RESULTS / "figures" / name
    for old in (*folder.glob("*.png"), *folder.glob("*.webp")):
        old.unlink()
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("figure-")]
        pictures = [
            (suffix, out["data"][kind])
            for out in cell.get("outputs", [])
            for kind, suffix in (("image/png", "png"), ("image/webp", "webp"))
            if kind in out.get("data", {})
        ]
        for tag, (suffix, picture) in zip(tags, pictures, strict=False):
            with replacing(folder / f"{tag.removeprefix('figure-')}.{suffix}") as handle:
                handle.write(base64.b64decode(picture))


if __name__ == "__main__":
    sys.exit(main())
