"""Files written from the records: the README's findings, results/tables, and the strip of all claims."""

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import pandas as pd

from companion import claims, places
from companion.again import again
from companion.claims import Status, Verdict
from companion.formats import markdown, percent
from companion.headlines import headlines
from companion.papers import PAPERS
from companion.plots.charts import VERDICTS
from companion.report.tables import (
    CAPTION,
    MARKS,
    contrast_table,
    data_label,
    footnotes,
    points,
    tally,
    verdict_line,
    wide,
)
from companion.study import METRICS, Study
from reidlib.files import replacing

BEGIN, END = "<!-- findings: written by `make tables` from the records -->", "<!-- /findings -->"


def write_tables(*, check: bool = False) -> list[Path]:
    """Write the pages and the README's findings; return the files that changed (or would)."""
    studies = {slug: reference_study(slug) for slug in PAPERS}
    verdicts = {slug: claims.verdicts(study) for slug, study in studies.items()}
    readme = places.ROOT / "README.md"
    wanted = {
        readme: front_page(readme.read_text(), studies, verdicts),
        places.RESULTS / "figures" / "claims.svg": claim_strip(verdicts),
    }
    for slug, study in studies.items():
        wanted[places.RESULTS / "tables" / f"{slug}.md"] = paper_page(study, verdicts[slug])
    wanted[places.RESULTS / "tables" / "gpu.md"] = gpu_page()
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in () if check else changed:
        with replacing(path) as handle:
            handle.write(wanted[path].encode())
    return changed


def reference_study(slug: str) -> Study:
    """The records that pages show: gpu where every row is recorded, else cpu."""
    full = Study(PAPERS[slug], "gpu")
    return Study(PAPERS[slug], "cpu") if full.coverage()["missing"] else full


# -- a page per paper ---------------------------------------------------------------------------------


def paper_page(study: Study, verdicts: list[Verdict]) -> str:
    """All verdicts, the main models' accuracy, and all tables of a paper with their footnotes, as markdown."""
    lines = [f"# {study.paper.title}: printed and ours", ""]
    lines += [
        f"Ours: {data_label(study)}; means over worlds ± half of their 95 % interval. Printed: the papers' real "
        "datasets. Percent.",
        "",
        *_claims(study, verdicts),
        *_contrasts(study, verdicts),
        *_orders(study),
        *_headline(study),
        "",
    ]
    for table in dict.fromkeys(cell.table for cell in study.paper.cells):
        lines += [f"## {table.capitalize()}", "", markdown(wide(study, table)), ""]
        lines += [f"- {note}" for note in footnotes(study, table)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _claims(study: Study, verdicts: list[Verdict]) -> list[str]:
    """All verdicts of a paper, those that a computation decides apart, and what limits a claim."""
    measured = [verdict_line(verdict) for verdict in verdicts if verdict.kind != "exact"]
    lines = ["## Claims", "", f"{CAPTION} Measured on {data_label(study)}.", ""]
    lines += [markdown(pd.DataFrame(measured)), "", "Checked by computation:", ""]
    lines += [
        f"- C{v.claim} {MARKS[v.status]} {v.status}: {v.statement}. {v.found}."
        for v in verdicts
        if v.kind == "exact"
    ]
    notes = [f"- C{v.claim}: {v.note}" for v in verdicts if v.note]
    return [*lines, "", "What limits a claim in the paper, or in our test of it:", "", *notes, ""]


def _contrasts(study: Study, verdicts: list[Verdict]) -> list[str]:
    head = f"{tally(verdicts)} Measured on {data_label(study)}; intervals of 95 %, in points."
    return ["## Single contrasts", "", head, "", markdown(contrast_table(study, verdicts)), ""]


def _orders(study: Study) -> list[str]:
    """How printed columns and ours order their rows."""
    found = claims.rank_correlations(study)
    head = (
        f"Spearman's correlation between printed values and ours ({data_label(study)}) over the rows of a column that "
        "can be compared, of columns with three or more."
    )
    if found.empty:
        return ["## Order of rows", "", f"{head} None is recorded yet.", ""]
    shown = found.assign(rho=found["rho"].map("{:+.2f}".format))
    return ["## Order of rows", "", head, "", markdown(shown), ""]


def _headline(study: Study) -> list[str]:
    """Accuracy of the main models on the holistic and on the occluded counterpart."""
    data, rows = study.run(study.paper.main).data, []
    for run, scoring in study.paper.headline:
        row = {"model": study.paper.title_of(run, scoring)}
        for test_set in data.shown:
            for metric in METRICS:
                value = study.scored(run, test_set=test_set, scoring=scoring, metric=metric)
                row[f"{test_set} {metric}"] = percent(value.mean, half=value.half) if value else "–"
        rows.append(row | {"worlds": len(study.records(run))})
    steps = {study.run(run).train.iterations for run, _ in study.paper.headline}
    label = f"{data_label(study)}, {' or '.join(map(str, sorted(steps)))} training steps"
    return ["## Main models", "", f"Accuracy in percent ({label}):", "", markdown(pd.DataFrame(rows))]


def gpu_page() -> str:
    """What is recorded at preset gpu: the papers' own networks at their image sizes."""
    lines = []
    for paper in PAPERS.values():
        study = Study(paper, "gpu")
        for name in study.trainings():
            if found := study.records(name):
                lines.append(_gpu_line(study, name, seconds=[r.provenance["seconds"] for r in found]))
    head = (
        "# Preset gpu\n\n"
        "The papers' own networks (ResNet-50, 2,048 channels) at their image sizes, **synthetic data**; "
        "percent, means over worlds ± half of their 95 % interval, none with one world. Every network starts from "
        "weights pretrained on other generated people. No claim is decided from these records before every row of a "
        "paper has one."
    )
    rest = f"{len(lines)} rows are recorded; `python -m companion run --paper all --preset gpu` goes on."
    return f"{head}\n\n{rest}\n" + (f"\n{markdown(pd.DataFrame(lines))}\n" if lines else "")


def _gpu_line(study: Study, name: str, *, seconds: list[float]) -> dict[str, str | int]:
    line = {"paper": study.paper.title, "row": study.paper.title_of(name)}
    for test_set in study.run(name).data.shown:
        for metric in METRICS:
            value = study.scored(name, test_set=test_set, metric=metric)
            line[f"{test_set} {metric}"] = percent(value.mean, half=value.half) if value else "–"
    line |= {"worlds": len(seconds), "seconds of training": f"{sum(seconds) / len(seconds):.0f}"}
    return line | {"not comparable": "; ".join(study.unconverged(name))}


# -- the front page -----------------------------------------------------------------------------------


def front_page(readme: str, studies: Mapping[str, Study], verdicts: Mapping[str, list[Verdict]]) -> str:
    """The README with its findings written anew.

    Raises:
        ValueError: the README has lost the markers between which findings stand.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no section between {BEGIN!r} and {END!r}; put the markers back")
    head, tail = readme.split(BEGIN)[0], readme.split(END)[1]
    found = [finding(study, verdicts[slug]) for slug, study in studies.items()]
    found.append(network_luck(studies.values()))
    found += [f"- {sentence}" for sentence in headlines(studies)]
    return "\n".join([head + BEGIN, "", *found, "", END + tail])


def finding(study: Study, verdicts: list[Verdict]) -> str:
    """A sentence on a paper: how many claims hold, and the clearest one on either side."""
    title = f"- **[{study.paper.title}](results/tables/{study.paper.slug}.md)**"
    if not any(study.records(row.slug) for row in study.paper.rows):
        return f"{title}: {len(verdicts)} claims, nothing recorded yet."
    measured = [verdict for verdict in verdicts if verdict.kind != "exact"]
    open_still = (Status.UNMEASURED, Status.UNDECIDED, Status.NOT_COMPARABLE)
    decided = [
        verdict.status == Status.HOLDS
        for verdict in verdicts
        if verdict.kind == "exact" and verdict.status not in open_still
    ]
    counts = Counter(verdict.status for verdict in measured)
    told = ", ".join(f"{counts[status]} *{status}*" for status in Status if counts[status])
    sentence = f"{title} ({data_label(study)}): of {len(measured)} claims {told}; "
    sentence += f"checked by computation, {sum(decided)} of {len(decided)} that are decided hold."
    sides = (
        ((Status.HOLDS, Status.SMALLER), "Clearest"),
        ((Status.NONE, Status.OPPOSITE), "Clearest against"),
    )
    for statuses, lead in sides:
        if clear := _clearest(measured, statuses):
            printed = percent(clear.printed, signed=True)
            sentence += f" {lead}: *{clear.statement}* ({points(clear.endpoint)}, printed {printed})."
    return sentence


def _clearest(verdicts: list[Verdict], statuses: tuple[Status, ...]) -> Verdict | None:
    """The verdict of some words whose effect is farthest from zero, in standard errors, of those that claim a side."""
    found = [v for v in verdicts if v.status in statuses and v.kind == "contrast" and v.points]
    return max(found, key=lambda v: abs(v.endpoint.estimate) / max(v.endpoint.error, 1e-9), default=None)


def network_luck(studies: Iterable[Study]) -> str:
    """What the A-A test found, and what a bootstrap over the queries of one training would have said, in a sentence."""
    found = again(studies)
    if not found.pairs:
        return "- **Luck of the network**: no row is recorded twice in several worlds yet."
    sentence = (
        "- **Luck of the network**: two networks of one row in the same worlds come out different in "
        f"{100 * found.different / found.pairs:.0f} % of {found.pairs} comparisons (5 % are due)"
    )
    if found.queries:
        share = 100 * found.queries_different / found.queries
        sentence += (
            f"; by the queries of one world alone, all that one run has, in {share:.0f} % of {found.queries}"
        )
    return f"{sentence}."


TILE, GAP, LEFT = 34, 3, 92
"""Of the strip: side of a tile, distance of two, and room for the papers' names, in pixels."""


def claim_strip(verdicts: Mapping[str, list[Verdict]]) -> str:
    """All claims of all papers, a line per paper and a tile per claim, coloured by its verdict, as SVG.

    A tile tells its claim and verdict when pointed at.
    """
    wide, pitch = max(map(len, verdicts.values())), TILE + GAP
    width, height = LEFT + wide * pitch, len(verdicts) * pitch + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for row, (slug, found) in enumerate(verdicts.items()):
        y = row * pitch
        lines.append(
            f'<text x="0" y="{y + 22}" font-weight="bold" fill="#26292e">{PAPERS[slug].title}</text>'
        )
        for column, verdict in enumerate(found):
            lines += _tile(verdict, x=LEFT + column * pitch, y=y)
    x, y = 0, len(verdicts) * pitch + 18
    counts = Counter(v.status for found in verdicts.values() for v in found)
    for status in Status:
        text = f"{MARKS[status]} {status} {counts[status]}"
        lines.append(f'<text x="{x}" y="{y}" fill="{VERDICTS[status]}" font-weight="bold">{text}</text>')
        x += 9 * len(text) + 14
    return "\n".join([*lines, "</svg>"]) + "\n"


def _tile(verdict: Verdict, *, x: int, y: int) -> list[str]:
    text = f"C{verdict.claim}. {verdict.statement}: {verdict.status}"
    return [
        f"<g><title>{escape(text)}</title>",
        f'<rect x="{x}" y="{y}" width="{TILE}" height="{TILE}" rx="4" fill="{VERDICTS[verdict.status]}"/>',
        f'<text x="{x + TILE / 2:g}" y="{y + 22}" text-anchor="middle" fill="white">{verdict.claim}</text></g>',
    ]
