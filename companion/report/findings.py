"""results/findings.md: what only a benchmark with known truth can say, and what printed numbers say of themselves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from companion import forensics, published
from companion.claims import Verdict
from companion.contrasts import in_words
from companion.formats import markdown, metric_in_words, percent
from companion.headlines import headlines
from companion.paper import LITERAL
from companion.papers import PAPERS
from companion.report.figures import pictures
from companion.report.sentences import spread_answer, start_answer
from companion.report.tables import data_label, verdict_line
from companion.study import Study
from companion.views import convergence, starts

ASKED = {
    "visibility": (
        "bpbreid",
        "bpbreid/10-visibility.png",
        "Visible is a part of which more than a fixed share shows. The oracle knows that of queries and gallery; the "
        "network's embeddings are the same on both sides.",
    ),
    "parser": (
        "bpbreid",
        "bpbreid/9-parser.png",
        "A parser that errs misses parts, swaps left and right and moves borders, in training and at test time; its "
        "middle level is half of the worst, whose result an early study had shown, and was fixed before its own was "
        "seen. Real parsers err in other ways too.",
    ),
    "quality": (
        "qpm",
        "qpm/10-quality-truth.png",
        "Scores are relative to their image, and stripes of unknown truth are left out. The paper shows pictures.",
    ),
    "templates": (
        "dpti",
        "dpti/10-alike.png",
        "Templates of a narrow network, on as many cells as the paper's; the figure is of the shorter training.",
    ),
    "masks": (
        "pan",
        "pan/10-mask-truth.png",
        "Two halves of one descriptor are compared, not two trainings.",
    ),
    "length": (
        "pan bpbreid qpm dpti aap",
        "compare/4-length.png",
        "The same worlds, start and schedule, four times as long; what still more would change is not known.",
    ),
}
"""Question of ``headlines`` -> papers, picture (notebook and name), and what the answer is limited by."""


def findings_page(studies: Mapping[str, Study], verdicts: Mapping[str, list[Verdict]], *, luck: str) -> str:
    """The page as markdown.

    Args:
        luck: what the comparison of rows with themselves found, a sentence.
    """
    label = data_label(*studies.values())
    lines = [
        "# Findings",
        "",
        "What the five papers cannot say, since it takes true parts, true visibility or several worlds; and what their "
        f"printed numbers say of themselves. Ours: {label}, with 95 % intervals over worlds; in the first two sections "
        "effects are points of mAP on occluded queries, those of claims are averages of what each is about. Whether "
        "the papers' claims hold stands in the [overview](README.md).",
        "",
        "## What only known truth can tell",
        "",
    ]
    for question, sentence in headlines(studies).items():
        slugs, picture, caveat = ASKED[question]
        links = ", ".join(f"[{PAPERS[slug].title}](tables/{slug}.md)" for slug in slugs.split())
        lines += [*_told(sentence), *_picture(picture)]
        lines += [f"{caveat} Records and tables: {links}.", ""]
    lines += ["## What several worlds can tell", "", *_told(luck.removeprefix("- "))]
    lines += [*_seeds(studies), *_starts(studies)]
    lines += [*_unnumbered(verdicts), *_unsupported(studies), *_numbers(), *_sizes(), *_words()]
    return "\n".join(lines).rstrip() + "\n"


def _told(sentence: str) -> list[str]:
    """A sentence that begins with its topic in bold, as a section of its own."""
    topic, _, rest = sentence.removeprefix("**").partition("**: ")
    return [f"### {topic}", "", rest[:1].upper() + rest[1:], ""]


def _picture(name: str) -> list[str]:
    """A picture, by its notebook and name, and its caption; nothing where it is not rendered."""
    path = f"figures/{name}"
    caption = pictures(name.split("/")[0]).get(path)
    return [f"![{caption}]({path})", "", f"*{caption}*", ""] if caption else []


def _seeds(studies: Mapping[str, Study]) -> list[str]:
    """How far worlds differ, over the rows of all papers."""
    found = pd.concat([convergence(study) for study in studies.values()])
    text = f"{spread_answer(found)} A paper prints one run a row."
    return ["### Worlds and convergence", "", text, "", *_picture("bpbreid/7-spread.png")]


def _starts(studies: Mapping[str, Study]) -> list[str]:
    lines = ["### What the start changes", ""]
    lines += [
        "Main rows trained from noise, with as many steps, beside those that start from weights pretrained on other "
        "generated people.",
        "",
    ]
    lines += [f"- {study.paper.title}: {start_answer(starts(study))}" for study in studies.values()]
    return [*lines, "", *_picture("bpbreid/8-start.png")]


def _unnumbered(verdicts: Mapping[str, list[Verdict]]) -> list[str]:
    """Claims that a paper makes in words or leaves to the reader."""
    kept = ["claim", "the paper says", "where", "verdict", "ours"]
    found = [
        {"paper": PAPERS[slug].title}
        | {name: value for name, value in verdict_line(v).items() if name in kept}
        for slug, known in verdicts.items()
        for v in known
        if np.isnan(v.printed) and v.kind not in ("exact", "untestable")
    ]
    head = "## Claims without a number in print"
    return [head, "", "Said in words, shown by a picture, or illegible in our copy; measured here.", ""] + [
        markdown(pd.DataFrame(found)),
        "",
    ]


def _unsupported(studies: Mapping[str, Study]) -> list[str]:
    lines = ["## Claims that a printed number of their own speaks against", ""]
    for study in studies.values():
        lines += [
            f"- {study.paper.title}, C{contrast.claim}: {in_words(study, contrast)}, "
            f"{metric_in_words(contrast.metric)}: printed {percent(contrast.printed, signed=True)}."
            for contrast in forensics.unsupported(study.paper)
        ]
    return [*lines, ""]


def _numbers() -> list[str]:
    """Printed numbers that cannot be, that stand twice, and that are cited in two ways."""
    every = [*PAPERS.values()]
    cited, shared = forensics.cited_differently(every)
    return [
        "## Numbers that cannot be, or stand twice",
        "",
        "Accuracy that falls as more ranks count:",
        "",
        markdown(forensics.impossible(every)),
        "",
        "One model, one data set, two numbers in one paper:",
        "",
        markdown(forensics.printed_twice(every)),
        "",
        f"Of {shared} numbers that several of the papers cite, {len(cited)} differ:",
        "",
        markdown(cited),
        "",
    ]


def _sizes() -> list[str]:
    """Printed sizes beside exact counts."""
    lines = [
        "## Printed sizes, counted",
        "",
        "Networks are built without memory and counted to the unit.",
        "",
    ]
    rows = []
    for paper in PAPERS.values():
        known = forensics.sizes(paper)
        if known.empty:
            lines.append(f"- {paper.title} prints none.")
            continue
        literal = known[known["reading"] == LITERAL]["rule"]
        told = {"truncated": "the exact count truncated", "rounded": "rounded", "another": "unlike the count"}
        tally = ", ".join(
            f"{(literal == rule).sum()} {words}" for rule, words in told.items() if rule in set(literal)
        )
        lines.append(f"- {paper.title} prints {len(literal)}: {tally}.")
        rows += [{"paper": paper.title} | _size(line) for line in known.to_dict("records")]
    return [*lines, "", markdown(pd.DataFrame(rows)), ""]


def _size(line: Mapping) -> dict[str, str]:
    unit = {"params_m": "M parameters", "gflops": "G multiply-adds"}[line["metric"]]
    where = f", {line['dataset']}" if line["dataset"] else ""
    return {
        "row": f"{line['variant']}{where}",
        "reading": line["reading"],
        "printed": f"{line['printed']} {unit}",
        "counted": f"{line['exact']:,}",
        "printed digits": {"another": "✘ differ"}.get(line["rule"], f"✔ {line['rule']}"),
    }


def _words() -> list[str]:
    """Contradictions in the texts, and what is done about them."""
    known = published.contradictions()
    lines = [
        "## Contradictions in the texts",
        "",
        "Found in reading, as data in `data/published/contradictions.csv`.",
        "",
    ]
    for slug, found in known.groupby("paper", sort=False):
        lines += [f"### {PAPERS[slug].title}", ""]
        lines += [f"- {line.place}: {line.contradiction} *{line.here}*" for line in found.itertuples()]
        lines.append("")
    return lines
