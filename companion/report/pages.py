"""Files written from the records: the README's findings, results/tables, and the strip of all claims."""

from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from companion import claims, places
from companion.claims import Outcome, Status, Verdict
from companion.formats import markdown, percent
from companion.papers import PAPERS
from companion.plots.charts import VERDICTS
from companion.report.tables import MARKS, data_label, deciding, footnotes, points, weakest, wide
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
    seeds = {len(study.records(row.slug)) for row in study.paper.rows}
    lines = [f"# {study.paper.title}: printed and ours", ""]
    lines += [
        f"Ours: {data_label(study)}, {min(seeds)} to {max(seeds)} seeds. Printed: the papers' real datasets. Percent.",
        "",
        *_claims(study, verdicts),
        *_headline(study),
        "",
    ]
    for table in dict.fromkeys(cell.table for cell in study.paper.cells):
        lines += [f"## {table.capitalize()}", "", markdown(wide(study, table)), ""]
        lines += [f"- {note}" for note in footnotes(study, table)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _claims(study: Study, verdicts: list[Verdict]) -> list[str]:
    """All verdicts of a paper, and what speaks against its claims in the paper itself."""
    rows = [
        {"": MARKS[v.status], "claim": f"C{v.claim}. {v.statement}", "verdict": str(v.status),
         "deciding contrast": deciding(v), "seeds": v.seeds or ""}
        for v in verdicts
    ]  # fmt: skip
    head = f"Measured on {data_label(study)}; numbers in percentage points with 95 % intervals."
    lines = ["## Claims", "", head, "", markdown(pd.DataFrame(rows)), ""]
    notes = [f"- C{v.claim}: {v.note}" for v in verdicts if v.note and (v.outcomes or v.found)]
    if notes:
        lines += ["What limits a claim in the paper, or in our test of it:", "", *notes, ""]
    return lines


def _headline(study: Study) -> list[str]:
    """Accuracy of the main models on the holistic and on the occluded counterpart."""
    data, rows = study.run(study.paper.main).data, []
    for run, scoring in study.paper.headline:
        row = {"model": study.paper.title_of(run, scoring)}
        for test_set in data.shown:
            for metric in METRICS:
                value = study.scored(run, test_set=test_set, scoring=scoring, metric=metric)
                row[f"{test_set} {metric}"] = percent(value.mean, std=value.std) if value else "–"
        rows.append(row | {"seeds": len(study.records(run))})
    steps = {study.run(run).train.iterations for run, _ in study.paper.headline}
    label = f"{data_label(study)}, {' or '.join(map(str, sorted(steps)))} training steps"
    return [f"Accuracy in percent ({label}):", "", markdown(pd.DataFrame(rows))]


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
    return "\n".join([head + BEGIN, "", *found, "", END + tail])


def finding(study: Study, verdicts: list[Verdict]) -> str:
    """One sentence on a paper: how many claims hold, and the clearest one on either side."""
    slug, counts = study.paper.slug, Counter(v.status for v in verdicts)
    if not any(study.records(row.slug) for row in study.paper.rows):
        return f"- **[{study.paper.title}](results/tables/{slug}.md)**: {len(verdicts)} claims, nothing recorded yet."
    tally = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    sentence = f"- **[{study.paper.title}](results/tables/{slug}.md)**: of {len(verdicts)} claims {tally}."
    for status, lead in ((Status.REPRODUCED, "Clearest"), (Status.CONTRADICTED, "Clearest against")):
        if clear := _clearest(verdicts, status):
            verdict, outcome = clear
            sentence += f" {lead}: *{verdict.statement}* ({outcome.contrast.metric} {points(outcome)})."
    return sentence


def _clearest(verdicts: list[Verdict], status: Status) -> tuple[Verdict, Outcome] | None:
    """The verdict of a kind whose deciding contrast lies farthest beyond its margin, in widths of its interval."""
    found = [(v, weakest(v)) for v in verdicts if v.status == status and v.outcomes]
    return max(found, key=lambda pair: _distance(pair[1]), default=None)


def _distance(outcome: Outcome) -> float:
    return abs(outcome.estimate - outcome.contrast.margin) / np.maximum(outcome.high - outcome.low, 1e-9)


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
