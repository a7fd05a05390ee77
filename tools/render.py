"""Execute the notebooks headless with papermill and render them, to HTML or as light executed notebooks.

Every notebook runs in a process of its own, whose output goes to a log file; the screen shows a line each.
Parameter names are checked first, since papermill only warns about a misspelt one. Pages are the reader's own and
ignored by git. ``--publish`` writes the repository's: executed notebooks, from which the site is built, and figures;
they name no machine: papermill's paths and times are removed. ``--figures`` writes figures to use elsewhere.

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
from dataclasses import dataclass, field
from html import escape
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from companion import inputs, places, runner
from companion.formats import mathml
from companion.papers import PAPERS
from companion.presets import preset
from companion.report.figures import TAG, captions
from reidlib.files import replacing
from reidlib.options import at_least

NOTEBOOKS = places.ROOT / "notebooks"
EXECUTED = places.CACHE / "executed"
RENDERED = places.RESULTS / "rendered"
PAGES = places.RESULTS / "pages"
PAGE_SECONDS = 60.0  # of a notebook whose models are there, on one core
SIZE_LIMIT = 3_000_000  # bytes of a notebook that the repository keeps
FIGURE_LIMIT = 150_000  # of a picture
LONGEST_FIRST = ("aap", "dpti", "qpm", "pan", "bpbreid")  # so that none is left to run alone
QUALITIES = (75, 65, 55, 40)  # of a JPEG, the best that is small enough
WIDGET = "application/vnd.jupyter.widget-view+json"
KILLED = (
    "its kernel was killed, most likely for want of memory; the same command resumes, --jobs 1 takes less"
)
SCRIPTS = (
    "require_js_url",
    "mathjax_url",
    "jquery_url",
    "mermaid_js_url",
    "widget_renderer_url",
    "html_manager_semver_range",
)
"""Of nbconvert, which would ask servers for them; nothing on our pages needs one."""
LOOKS = """<style>
:root { color-scheme: light } img { max-width: 100%; height: auto }
.jp-RenderedHTML pre { font: 13px/1.3 monospace !important }
.table { overflow: auto; max-height: 40em; max-width: 100%; border-bottom: 1px solid #d9dce0 }
.table table { display: table !important; max-width: none !important; overflow: visible !important }
.table thead th { position: sticky; top: 0; background: white }
</style>"""


@dataclass
class Job:
    """A notebook that is executed in a process of its own."""

    name: str
    process: subprocess.Popen
    log: Path
    cells: int
    began: float = field(default_factory=time.time)

    @property
    def seconds(self) -> float:
        return time.time() - self.began

    def stands(self) -> tuple[int, str]:
        """The cell that runs, and the last line of a training's progress in it."""
        text = self.log.read_text(errors="replace")
        head, _, tail = text.rpartition("Executing Cell ")
        bars = re.findall(r"[^\r\n]*\d+%\|[^\r\n]*", tail)
        number = re.match(r"\d+", tail)
        doing = re.sub(r"\|.*\|", "", bars[-1]).strip() if bars else ""
        return (int(number[0]) if head and number else 0), doing


def main() -> int:
    options = _options()
    names = options.notebooks or sorted((path.stem for path in NOTEBOOKS.glob("*.ipynb")), key=_order)
    for name in names:
        check_parameters(name, options.parameters)
    for folder in (EXECUTED, options.output):  # told now, not after minutes
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    print(f"{len(names)} notebooks at preset {options.preset}, {options.jobs} at a time; logs in {EXECUTED}")
    print(foretold(names, options), flush=True)
    if not (data := preset(options.preset).data).real:
        inputs.index(data, workers=options.jobs)
    failed = execute(names, options)
    for name in names:
        if name in PAPERS and name not in failed and options.preset in ("cpu", "gpu"):
            print(f"{name}: {_agreement(name, options.preset)}")
    print(f"pages: {options.output}")
    for name in failed:
        print(f"error: notebook {name} failed; {EXECUTED / name}.log ends:", file=sys.stderr)
        print("  " + "\n  ".join(_reason(EXECUTED / f"{name}.log")), file=sys.stderr)
    return 1 if failed else 0


def foretold(names: list[str], options: argparse.Namespace) -> str:
    """What the notebooks will draw and train, in minutes and bytes: rows without a record, and the shown models."""
    from companion.papers import paper
    from companion.plan import Plan, spell
    from companion.study import Study

    given = dict(options.parameters)
    wanted, seeds = given.get("COMPUTE", "auto"), given.get("SEEDS", "None").replace("None", "1")
    every = wanted in ("missing", "all") or (wanted == "auto" and options.preset == "gpu")
    runs = []
    for name in (name for name in names if name in PAPERS):
        study = Study(paper(name), options.preset, dataset=given.get("DATASET"))
        worlds = range(1, int(seeds) + 1) if every else (1,)
        rows = study.trainings() if every else [study.paper.main]
        asked = [study.run(row, seed=seed) for seed in worlds for row in rows]
        runs += asked if wanted == "all" else Plan.of(asked).runs
        shown = study.run(study.paper.main)
        if shown not in runs and (options.fresh or not runner.weights_path(shown).exists()):
            runs.append(shown)  # its record is there, its weights are not
    todo, pages = Plan(tuple(runs)), PAGE_SECONDS * len(names) / options.jobs
    if not runs:
        return f"nothing to train; about {spell(pages)}"
    return f"{len(runs)} to train, {todo.takes(jobs=options.jobs)}; pages about {spell(pages)} more"


def _agreement(name: str, preset_name: str) -> str:
    """Whether the model that a notebook has just trained, or found trained, agrees with its record."""
    from companion import report
    from companion.fingerprint import one_thread
    from companion.papers import paper
    from companion.study import Study

    study = Study(paper(name), preset_name)
    with one_thread():  # as the notebook trained it
        return report.agreement(
            study, runner.trained(inputs.Inputs.of(study.run(study.paper.main)), progress=False)
        )


def _reason(log: Path) -> list[str]:
    """The last lines of a log that say what went wrong."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    if "DeadKernelError" in plain:
        return [KILLED]
    return [line for line in plain.splitlines() if line.strip()][-3:]


def execute(names: list[str], options: argparse.Namespace) -> list[str]:
    """Execute and render notebooks, some side by side; a line each says how far they are. Returns those that failed."""
    waiting, running, failed = [*names], {}, []
    console = Console()
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(30),
        TextColumn("cell {task.completed:.0f} of {task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as screen:
        try:
            while waiting or running:
                while waiting and len(running) < options.jobs:
                    job = start(waiting.pop(0), options)
                    running[screen.add_task(job.name, total=job.cells, doing="")] = job
                time.sleep(0.5)
                for task, job in [*running.items()]:
                    cell, doing = job.stands()
                    screen.update(task, completed=cell, doing=doing[:60])
                    if job.process.poll() is None:
                        continue
                    del running[task]
                    good = job.process.returncode == 0
                    size = f", page of {render(job.name, options) / 1e6:.1f} MB" if good else ""
                    screen.remove_task(task)
                    console.print(f"{job.name}: {'ok' if good else 'FAILED'} in {job.seconds:.0f} s{size}")
                    failed += [] if good else [job.name]
        finally:
            for job in running.values():
                job.process.terminate()
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", help="names without suffix; default: all")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--jobs", type=at_least(1), default=1)
    parser.add_argument("--fresh", action="store_true", help="train the shown models again")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", type=Path, help="folder of the pages; default: results/pages/PRESET")
    where.add_argument(
        "--publish", action="store_true", help="write the repository's own notebooks and figures instead"
    )
    where.add_argument(
        "--figures",
        choices=("svg", "pdf"),
        help="write the figures in this format to results/pages/figures instead",
    )
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    options = parser.parse_args()
    options.preset = preset(options.preset).name
    if options.output is None:
        options.output = (
            RENDERED if options.publish else PAGES / ("figures" if options.figures else options.preset)
        )
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
    if (seeds := dict(parameters).get("SEEDS", "1")) != "None":
        try:
            at_least(1)(seeds)
        except argparse.ArgumentTypeError as error:
            sys.exit(f"error: SEEDS {error}")


def start(name: str, options: argparse.Namespace) -> Job:
    """Begin to execute a notebook; with one thread when several run side by side."""
    import nbformat

    EXECUTED.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": "ignore"}
    if options.jobs > 1:
        environment["OMP_NUM_THREADS"] = "1"
    source, target = NOTEBOOKS / f"{name}.ipynb", EXECUTED / f"{name}.ipynb"
    log = target.with_suffix(".log")
    command = [sys.executable, "-m", "papermill", "-k", "python3", "--log-output", "--no-progress-bar"]
    command += ["--cwd", str(NOTEBOOKS), str(source), str(target), "-p", "PRESET", options.preset]
    command += ["-p", "FRESH", "True"] if options.fresh and name in PAPERS else []
    if options.figures:  # IPython's own setting, in a profile of its own
        environment["IPYTHONDIR"] = str(EXECUTED / options.figures)
        settings = EXECUTED / options.figures / "profile_default" / "ipython_kernel_config.py"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"get_config().InlineBackend.figure_formats = {{'png', '{options.figures}'}}\n")
    for parameter, value in options.parameters:
        command += ["-p", parameter, value]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return Job(name, process, log, len(nbformat.read(source, as_version=4).cells) + 1)


def render(name: str, options: argparse.Namespace) -> int:
    """Write what is asked for of an executed notebook, without machine paths; returns its size in bytes."""
    import nbformat

    notebook = nbformat.reads(
        (EXECUTED / f"{name}.ipynb").read_text().replace(str(places.ROOT), "."), as_version=4
    )
    if options.figures:
        return export_figures(notebook, options.output / name, kinds=FORMATS[options.figures])
    lighten(notebook, name)
    if options.publish:
        export_figures(notebook, places.RESULTS / "figures" / name, kinds=FORMATS["png"])
        size = written(nbformat.writes(notebook) + "\n", options.output / f"{name}.ipynb")
        if size > SIZE_LIMIT:
            limit = f"the limit of {SIZE_LIMIT / 1e6:.0f} MB"
            sys.exit(
                f"error: {name}.ipynb is {size / 1e6:.1f} MB, over {limit}: draw fewer or smaller pictures"
            )
        return size
    return written(page(notebook), options.output / f"{name}.html")


FORMATS = {
    "png": {"image/png": "png", "image/jpeg": "jpg"},
    "svg": {"image/svg+xml": "svg"},
    "pdf": {"application/pdf": "pdf"},
}
"""Kinds of pictures in a notebook's outputs, and the ends of their files' names."""


def lighten(notebook, name: str) -> None:
    """Leave out what a page cannot show, and make its pictures small; each gets its caption as alternative text."""
    notebook.metadata.pop("papermill", None)
    for cell, told in zip(notebook.cells, captions(name, notebook.cells)):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [out for out in cell.outputs if not _moving(out)]  # nobody is behind a page's widgets
        words = chain(told, repeat(told[-1]))
        for out in cell.outputs:
            data = out.get("data", {})
            data.pop(WIDGET, None)
            shrink(data)
            data.pop("text/latex", None)
            if kind := next((kind for kind in FORMATS["png"] if kind in data), ""):
                data["text/plain"] = next(words)
                out.metadata[kind] = {"alt": data["text/plain"]}


def page(notebook) -> str:
    """A notebook as one HTML page, which asks no server for anything."""
    from nbconvert import HTMLExporter

    titles = re.findall(r"^# (.+)", "\n".join(cell.source for cell in notebook.cells[:1]), re.MULTILINE)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        for out in cell.get("outputs", []):
            embed(out.get("data", {}))
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True)
    for script in SCRIPTS:
        setattr(exporter, script, "")
    text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": "".join(titles[:1])}})
    text = re.sub(r'<script src="">.*?</script>', "", text, flags=re.DOTALL)
    return boxed(text.replace("</head>", f"{LOOKS}</head>", 1).replace("<img ", '<img loading="lazy" '))


def written(text: str, target: Path) -> int:
    """Write a page, whole or not at all, and return its size in bytes."""
    with replacing(target) as handle:
        handle.write(text.encode())
    return target.stat().st_size


def _moving(out: dict) -> bool:
    """Widgets without a picture and progress bars, which a page cannot move, and what is left where one was."""
    data = out.get("data", {})
    bar = out.get("name") == "stderr" and "%|" in out["text"]
    return (WIDGET in data and "text/html" not in data) or bar or not out.get("text", "x").strip()


def with_mathml(text: str) -> str:
    """Markdown whose formulas are MathML, which browsers draw without a script from the network."""

    def formula(match: re.Match) -> str:
        return mathml(match[1] or match[2], display="block" if match[1] else "inline")

    return re.sub(r"\$\$(.+?)\$\$|(?<![`$])\$([^$`\n]+)\$", formula, text, flags=re.DOTALL)


def boxed(page: str) -> str:
    """The page with every table in a box of its own, which scrolls where the table is too wide or too long."""
    return re.sub(r"<table\b.*?</table>", r'<div class="table">\g<0></div>', page, flags=re.DOTALL)


def shrink(data: dict) -> None:
    """Bring an inline PNG under the limit with all its colours: as a JPEG where photographs make it large.

    Colours are kept at full size, or thin frames would fade.
    """
    if "image/png" not in data:
        return
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))).convert("RGB")
    kind, packed = "image/png", _packed(picture, format="PNG", optimize=True)
    for quality in QUALITIES:
        if len(packed) <= FIGURE_LIMIT:
            break
        options = {"quality": quality, "subsampling": 0, "optimize": True, "progressive": True}
        kind, packed = "image/jpeg", _packed(picture, format="JPEG", **options)
    data[kind] = base64.b64encode(packed).decode()


def embed(data: dict) -> None:
    """Show a picture in a page with its alternative text, which nbconvert leaves out."""
    for kind in FORMATS["png"].keys() & data.keys():
        alt = escape(data.get("text/plain", ""))
        data["text/html"] = f'<img alt="{alt}" src="data:{kind};base64,{data.pop(kind)}">'


def _packed(picture, **options: object) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, **options)
    return packed.getvalue()


def export_figures(notebook, folder: Path, *, kinds: dict[str, str]) -> int:
    """Write the pictures of cells tagged ``figure-...`` to a folder, and nothing else there; returns their bytes."""
    for old in (path for suffix in kinds.values() for path in folder.glob(f"*.{suffix}")):
        old.unlink()
    size = 0
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith(TAG)]
        pictures = [
            (suffix, out["data"][kind])
            for out in cell.get("outputs", [])
            for kind, suffix in kinds.items()
            if kind in out.get("data", {})
        ]
        for tag, (suffix, picture) in zip(tags, pictures, strict=False):
            packed = picture.encode() if suffix == "svg" else base64.b64decode(picture)
            with replacing(folder / f"{tag.removeprefix(TAG)}.{suffix}") as handle:
                handle.write(packed)
            size += len(packed)
    return size


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        sys.exit(130)
