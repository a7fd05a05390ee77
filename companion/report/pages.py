"""Files written from the records: the README's findings, the pages of results, and the figures of all claims."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from companion import claims, places
from companion.again import again
from companion.claims import Verdict
from companion.formats import markdown, percent
from companion.headlines import headlines
from companion.papers import PAPERS
from companion.plots.charts import MARKS, SVG, VERDICTS, forest
from companion.published import SIDED
from companion.report.figures import pictures
from companion.report.findings import findings_page
from companion.report.sentences import learned_answer, spread_answer, starts_answer
from companion.report.tables import (
    BEST,
    BOLD,
    CAPTION,
    DIM,
    beside,
    beside_it,
    contrast_table,
    data_label,
    footnotes,
    looks,
    points,
    tally,
    verdict_line,
    wide,
)
from companion.study import METRICS, Study, Value
from companion.views import convergence, starts
from companion.words import Status
from reidlib.files import replacing
from reidlib.palette import INK, ink_on

BEGIN, END = "<!-- findings: written by `make tables` from the records -->", "<!-- /findings -->"


def write_tables(*, check: bool = False) -> list[Path]:
    """Write the pages and the README's findings; return the files that changed (or would)."""
    studies = {slug: reference_study(slug) for slug in PAPERS}
    verdicts = {slug: claims.verdicts(study) for slug, study in studies.items()}
    luck = network_luck(studies.values())
    readme = places.ROOT / "README.md"
    wanted = {
        readme: front_page(readme.read_text(), studies, verdicts, luck=luck),
        places.RESULTS / "figures" / "claims.svg": claim_strip(verdicts),
        places.RESULTS / "figures" / "forest.svg": forest_of(studies, verdicts),
        places.RESULTS / "README.md": overview(studies, verdicts, luck=luck),
        places.RESULTS / "findings.md": findings_page(studies, verdicts, luck=luck),
        places.RESULTS / "tables" / "verdicts.csv": spreadsheet(verdicts),
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
    """The records that pages show: gpu where every row is recorded in worlds enough for an interval, else cpu."""
    full = Study(PAPERS[slug], "gpu")
    enough = all(len(full.records(row.slug)) > 1 for row in full.paper.rows)
    return full if enough and not full.coverage()["missing"] else Study(PAPERS[slug], "cpu")


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
        *_trainings(study),
    ]
    for table in dict.fromkeys(cell.table for cell in study.paper.cells):
        lines += [f"## {study.paper.table_title(table)}", "", *_sets(wide(study, table))]
        lines += [f"- {note}" for note in footnotes(study, table)] + [""]
    lines += ["## Pictures", ""]
    for path, caption in pictures(study.paper.slug).items():
        lines += [f"![{caption}](../{path})", "", f"*{caption}*", ""]
    return "\n".join(lines).rstrip() + "\n"


def _sets(frame: pd.DataFrame) -> list[str]:
    """A table as markdown, a part for each printed data set: best in bold, rows that count less in italics."""
    css, lines = looks(frame), []
    for name, rows in frame.groupby("printed on", sort=False):
        shown = rows.copy().astype(str)
        for style, mark in ((BEST, "**"), (DIM, "*")):
            shown = shown.mask((css.loc[rows.index] == style) & ~rows.isin(["", "–"]), mark + shown + mark)
        lines += [f"{beside(name, rows)}:", "", markdown(shown.drop(columns=["printed on", "ours on"])), ""]
    return [
        *lines,
        f"{BOLD} **bold**; *in italics* what is cited only, failed (†), lacks something (‡) or has fewer worlds.",
        "",
    ]


def _claims(study: Study, verdicts: list[Verdict]) -> list[str]:
    """All verdicts of a paper, those that a computation decides apart, and what limits a claim."""
    measured = [verdict_line(verdict) for verdict in verdicts if verdict.kind != "exact"]
    lines = ["## Claims", "", f"{CAPTION} Measured on {data_label(study)}.", ""]
    lines += [
        markdown(pd.DataFrame(measured)),
        "",
        "Decided by a computation rather than by an interval of accuracies:",
        "",
    ]
    lines += [
        f"- C{v.claim} {MARKS[v.status]} {v.status}: {v.statement}. {v.found}."
        for v in verdicts
        if v.kind == "exact"
    ]
    notes = [f"- C{v.claim}: {text}" for v in verdicts if (text := f"{v.note} {beside_it(v)}".strip())]
    head = "What limits a claim in the paper, or in our test of it, and what other readings of it would say:"
    return [*lines, "", head, "", *notes, ""]


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
    """Accuracy of the main models on the holistic and on the occluded counterpart, in the worlds that all have."""
    data, headline = study.run(study.paper.main).data, study.paper.headline
    known = {run: {record.seed: record for record in study.records(run)} for run, _ in headline}
    worlds = sorted(set.intersection(*map(set, filter(None, known.values())))) if any(known.values()) else []
    rows = []
    for run, scoring in headline:
        row, found = (
            {"model": study.paper.title_of(run, scoring)},
            [known[run][w] for w in worlds if known[run]],
        )
        for test_set in data.shown:
            for metric in METRICS:
                value = Value.of(record.value(test_set, scoring, metric) for record in found)
                row[f"{test_set} {metric}"] = percent(value.mean, half=value.half)
        rows.append(row | {"worlds": len(found)})
    steps = {study.run(run).train.iterations for run, _ in headline}
    label = f"{data_label(study)}, {' or '.join(map(str, sorted(steps)))} training steps"
    told = f"Accuracy in percent ({label}; the worlds that all of these rows have):"
    return ["## Main models", "", told, "", markdown(pd.DataFrame(rows))]


def _trainings(study: Study) -> list[str]:
    """How far every row's training came, since a mechanism that hardly learned says little of itself."""
    rows = []
    for name in study.trainings():
        if found := study.records(name):
            learned = Value.of(record.learned for record in found)
            holistic = study.scored(name, test_set=study.run(name).data.holistic)
            rows.append(
                {
                    "row": study.paper.title_of(name),
                    "identity losses fell by": percent(learned.mean),
                    "holistic rank-1, default distance": percent(holistic.mean, half=holistic.half),
                    "worlds": len(found),
                    "gate": "; ".join(study.unconverged(name)) or "passed",
                }
            )
    head = (
        f"How far each training came ({data_label(study)}): by how many percent the identity losses fell from the "
        "first twentieth of the steps to the last, averaged over the losses, and what the convergence gate says. "
        f"{learned_answer(study)}"
    )
    return ["## Training", "", head, "", *([markdown(pd.DataFrame(rows)), ""] if rows else [])]


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
        "percent, means over worlds ± half of their 95 % interval, none with fewer than three worlds. Every network "
        "starts from weights pretrained on other generated people. No claim is decided from these records before every "
        "row of a paper has one."
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


def front_page(
    readme: str, studies: Mapping[str, Study], verdicts: Mapping[str, list[Verdict]], *, luck: str
) -> str:
    """The README with its findings written anew.

    Raises:
        ValueError: the README has lost the markers between which findings stand.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no section between {BEGIN!r} and {END!r}; put the markers back")
    head, tail = readme.split(BEGIN)[0], readme.split(END)[1]
    every = [verdict for known in verdicts.values() for verdict in known]
    pairs = at_full_scale(verdicts)
    found = [finding(study, verdicts[slug], every, pairs) for slug, study in studies.items()]
    found += [luck, many(every), *full_scale(pairs)]
    found += [f"- {sentence}" for sentence in headlines(studies).values()]
    spread = spread_answer(pd.concat([convergence(study) for study in studies.values()]))
    found.append(f"- **Worlds and convergence**: {spread[:1].lower()}{spread[1:]}")
    if start := starts_answer([starts(study) for study in studies.values()]):
        found.append(f"- **What the start changes**: {start}")
    return "\n".join([head + BEGIN, "", *found, "", END + tail])


Pair = tuple[Verdict, Verdict]
"""The verdict on one claim, and that with the papers' own networks and image sizes."""


def finding(
    study: Study, verdicts: list[Verdict], every: Sequence[Verdict], pairs: Sequence[Pair] = ()
) -> str:
    """A sentence on a paper: how many claims hold, and the clearest one on either side.

    Args:
        every: the verdicts of all papers, among which an effect may have come out by chance.
        pairs: from ``at_full_scale``.
    """
    title = f"- **[{study.paper.title}](results/tables/{study.paper.slug}.md)**"
    if not _recorded(study.paper.slug, study.preset_name):
        return f"{title}: {len(verdicts)} claims, nothing recorded yet."
    measured = [verdict for verdict in verdicts if verdict.kind != "exact"]
    open_still = (*NOWHERE, Status.UNDECIDED)
    decided = [
        verdict.status == Status.HOLDS
        for verdict in verdicts
        if verdict.kind == "exact" and verdict.status not in open_still
    ]
    counts = Counter(verdict.status for verdict in measured)
    told = ", ".join(f"{counts[status]} *{status}*" for status in Status if counts[status])
    sentence = f"{title} ({data_label(study)}): of {len(measured)} claims {told}; "
    sentence += f"of those that a computation decides {sum(decided)} of {len(decided)} hold."
    sides = (
        ((Status.HOLDS, Status.SMALLER), "Clearest"),
        ((Status.NONE, Status.OPPOSITE), "Clearest against"),
    )
    surest, *_ = claims.discoveries(every)
    standing = [v for v in measured if v.status not in claims.SIDES or v in surest]
    for statuses, lead in sides:
        if clear := _clearest(standing, statuses):
            printed = "" if np.isnan(clear.printed) else f", printed {percent(clear.printed, signed=True)}"
            full = [f"; at full scale {points(there.endpoint)}" for here, there in pairs if here is clear]
            sentence += f" {lead}: *{clear.statement}* ({points(clear.endpoint)}{printed}{''.join(full)})."
    return sentence


def _clearest(verdicts: list[Verdict], statuses: tuple[Status, ...]) -> Verdict | None:
    """The verdict of some words that is surest, in standard errors, of those that the paper itself claims a side in.

    Of those alone whose single contrasts and other readings show no effect on the other side.
    """

    def sure(v: Verdict) -> tuple[bool, float]:
        edge = v.printed if v.status == Status.NONE else 0.0
        return v.status != Status.NONE, abs(v.endpoint.estimate - edge) / max(v.endpoint.error, 1e-9)

    found = [
        v for v in verdicts if v.status in statuses and v.kind in SIDED and v.points and v.said and v.clear
    ]
    return max(found, key=sure, default=None)


def many(every: Sequence[Verdict]) -> str:
    """How many effects stay when it counts that many claims were looked at, in a sentence."""
    found, alone, tested = claims.discoveries(every)
    return (
        f"- **Many claims at once**: of {tested} claims that name a side and have an interval, {alone} show an effect, "
        f"as claimed or opposite; {len(found)} of them do so with the rate of false discoveries over all {tested} held "
        "at 5 %. Of effects only these, and only where no single contrast and no other reading shows one on the other "
        "side, are named as clearest above."
    )


NOWHERE = (Status.UNMEASURED, Status.NOT_COMPARABLE)


def at_full_scale(verdicts: Mapping[str, list[Verdict]]) -> list[Pair]:
    """Effects of preset cpu whose rows are recorded with the papers' own networks too, where they are trained."""
    pairs = []
    for slug, known in verdicts.items():
        if not _recorded(slug, "gpu"):
            continue
        there = {v.claim: v for v in claims.verdicts(Study(PAPERS[slug], "gpu"))}
        for v in known:
            other = there.get(v.claim)
            asked = v.preset == "cpu" and v.status in claims.SIDES and v.points and v.kind in SIDED
            if asked and other and other.worlds and other.status not in NOWHERE:
                pairs.append((v, other))
    return pairs


def full_scale(pairs: Sequence[Pair]) -> list[str]:
    """Whether effects keep their sign with the papers' own networks, as far as those are recorded; a line or none."""
    if not pairs:
        return []
    worlds = min(other.worlds for _, other in pairs)
    turned = [
        f"{PAPERS[v.paper].title} C{v.claim} ({points(v.endpoint)} here, {points(other.endpoint)} there)"
        for v, other in pairs
        if v.endpoint.estimate * other.endpoint.estimate <= 0
    ]
    kept = len(pairs) - len(turned)
    told = "1 keeps its sign" if kept == 1 else f"{kept or 'none'} keep their sign"
    told += f"; turned are {', '.join(turned)}" if turned else ""
    many_worlds = "one world, so without an interval" if worlds == 1 else f"{worlds} worlds or more"
    return [
        f"- **At full scale**: of the {len(pairs)} effects whose rows are recorded with the papers' own networks "
        f"and image sizes ([preset gpu](results/tables/gpu.md), synthetic data, a recipe chosen without a GPU, "
        f"{many_worlds}), {told}."
    ]


def _recorded(slug: str, preset_name: str) -> bool:
    study = Study(PAPERS[slug], preset_name)
    return any(study.records(row.slug) for row in study.paper.rows)


def network_luck(studies: Iterable[Study]) -> str:
    """What the A-A test found, and what a bootstrap over the queries of one training would have said, in a sentence."""
    found = again(studies)
    if not found.pairs:
        return "- **Luck of the network**: no row is recorded twice in several worlds yet."
    share, low, high = (f"{100 * s:.0f}" for s in (found.different / found.pairs, *found.chance))
    sentence = (
        "- **Luck of the network**: two networks of one row in the same worlds come out different in "
        f"{share} % of {found.pairs} comparisons (5 % are expected; comparisons of one row are correlated, so that "
        f"chance alone gives {low} to {high} %)"
    )
    if found.queries:
        share = 100 * found.queries_different / found.queries
        sentence += (
            f"; by the queries of one world alone, all that one run has, in {share:.0f} % of {found.queries}"
        )
    return f"{sentence}."


TILE, GAP, LEFT = 34, 3, 92
"""Of the strip: side of a tile, distance of two, and room for the papers' names, in pixels."""
DARK = "<style>@media (prefers-color-scheme:dark){.word{fill:#e3e6ea}}</style>"


def claim_strip(verdicts: Mapping[str, list[Verdict]]) -> str:
    """All claims of all papers, a line per paper and a tile per claim with its verdict's colour and sign, as SVG.

    A tile tells its claim and verdict when pointed at.
    """
    wide, pitch = max(map(len, verdicts.values())), TILE + GAP
    width, height = LEFT + wide * pitch, len(verdicts) * pitch + 52
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="sans-serif" font-size="13">{DARK}',
    ]
    for row, (slug, found) in enumerate(verdicts.items()):
        lines.append(_word(0, row * pitch + 22, PAPERS[slug].title, weight="bold"))
        for column, verdict in enumerate(found):
            lines += _tile(verdict, x=LEFT + column * pitch, y=row * pitch)
    counts = Counter(v.status for found in verdicts.values() for v in found)
    for number, status in enumerate(Status):
        x, y = LEFT + number % 5 * 155, len(verdicts) * pitch + 10 + number // 5 * 22
        lines.append(f'<rect x="{x}" y="{y}" width="14" height="14" rx="3" fill="{VERDICTS[status]}"/>')
        lines.append(_word(x + 20, y + 12, f"{MARKS[status]} {status} {counts[status]}"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _word(x: int, y: int, text: str, *, weight: str = "normal") -> str:
    return f'<text class="word" x="{x}" y="{y}" fill="{INK}" font-weight="{weight}">{text}</text>'


def _tile(verdict: Verdict, *, x: int, y: int) -> list[str]:
    fill = VERDICTS[verdict.status]
    centre = f'x="{x + TILE / 2:g}" text-anchor="middle" fill="{ink_on(fill)}"'
    return [
        f"<g><title>{escape(told(verdict))}</title>",
        f'<rect x="{x}" y="{y}" width="{TILE}" height="{TILE}" rx="4" fill="{fill}"/>',
        f'<text y="{y + 15}" {centre}>{verdict.claim}</text>',
        f'<text y="{y + 29}" font-size="11" {centre}>{MARKS[verdict.status]}</text></g>',
    ]


def told(verdict: Verdict) -> str:
    """A claim and its verdict, in a line."""
    return f"C{verdict.claim}. {verdict.statement}: {verdict.status}"


SHOWN = (Status.HOLDS, Status.SMALLER, Status.NONE, Status.OPPOSITE, Status.UNDECIDED)


def forest_of(studies: Mapping[str, Study], verdicts: Mapping[str, list[Verdict]]) -> str:
    """All claims that have an effect in points and an interval, as SVG; the same numbers make the same file."""
    lines = [
        (studies[slug].paper.title, f"C{v.claim}", _with_margin(v), v.status)
        + tuple(round(x, 4) for x in (v.printed, v.endpoint.estimate, v.endpoint.low, v.endpoint.high))
        + (v.worlds,)
        for slug, found in verdicts.items()
        for v in found
        if v.status in SHOWN and v.points and v.endpoint and v.endpoint.freedom
    ]
    names = ["paper", "claim", "statement", "status", "printed", "estimate", "low", "high", "worlds"]
    label = data_label(*studies.values())
    note = f"Dots: ours, with 95 % intervals over worlds ({label}). Diamonds: printed, on the papers' data."
    title = "What held of five papers on person re-identification"
    figure, file = forest(pd.DataFrame(lines, columns=names), title=title, note=note), io.StringIO()
    with mpl.rc_context(SVG):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _with_margin(verdict: Verdict) -> str:
    """What is claimed; of what should change little, within what."""
    margin = f" (within {100 * verdict.margin:g})" if verdict.kind == "equivalence" else ""
    return verdict.statement + margin


def spreadsheet(verdicts: Mapping[str, list[Verdict]]) -> str:
    """All verdicts as csv; effects are fractions."""
    lines = [
        (v.paper, v.claim, v.statement, v.source, v.kind, v.status, v.preset, v.worlds)
        + (v.unit, v.printed)
        + ((e.estimate, e.low, e.high) if (e := v.endpoint) and e.worlds else (np.nan,) * 3)
        for found in verdicts.values()
        for v in found
    ]
    names = [
        "paper",
        "claim",
        "statement",
        "source",
        "kind",
        "verdict",
        "preset",
        "worlds",
        "unit",
        "printed",
        "ours",
        "low",
        "high",
    ]
    return pd.DataFrame(lines, columns=names).to_csv(index=False, float_format="%.4f", lineterminator="\n")


# -- results/README.md --------------------------------------------------------------------------------


def overview(studies: Mapping[str, Study], verdicts: Mapping[str, list[Verdict]], *, luck: str) -> str:
    """What was found, in two figures, a table of verdicts per paper, and its main pictures."""
    lines = [
        "# Results",
        "",
        "![All claims of the five papers, a tile each, by verdict](figures/claims.svg)",
        "",
    ]
    lines += [
        "![Effects of all claims in points with their intervals, beside the printed ones](figures/forest.svg)",
        "",
    ]
    lines += [f"Effects in points. {luck.removeprefix('- ')}", ""]
    lines += [
        "What only this benchmark can say, and what printed numbers say of themselves: [findings](findings.md). All "
        "models on the same people: [comparison](rendered/compare.ipynb).",
        "",
    ]
    for slug, study in studies.items():
        title, kept = (
            study.paper.title,
            ["claim", "the paper says", "verdict", "printed", "ours", "remark"],
        )
        frame = pd.DataFrame([verdict_line(v) for v in verdicts[slug]])
        lines += [f"## {title}", "", f"Measured on {data_label(study)}.", "", markdown(frame[kept]), ""]
        lines += [f"All tables and pictures: [{title}](tables/{slug}.md); all cells with their output: "]
        lines[-1] += f"[notebook](rendered/{slug}.ipynb)."
        lines.append("")
        for path, caption in pictures(slug).items():
            if path.endswith(HEADS):
                lines += [f"![{caption}]({path})", "", f"*{caption}*", ""]
    return "\n".join(lines).rstrip() + "\n"


HEADS = (
    "8-gains.png",
    "8-gains-occluded.png",
    "10-visibility.png",
    "10-quality-truth.png",
    "10-alike.png",
    "10-shares.png",
)
"""Pictures that stand on the overview already."""
