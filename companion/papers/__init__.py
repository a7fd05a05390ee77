"""The papers under study, in reading order; a sixth is one more wing beside this file and one line here."""

from companion.paper import Paper
from companion.papers import aap, bpbreid, dpti, pan, qpm

PAPERS: dict[str, Paper] = {wing.PAPER.slug: wing.PAPER for wing in (bpbreid, qpm, pan, dpti, aap)}


def paper(slug: str) -> Paper:
    """The paper of a slug.

    Raises:
        ValueError: it is none of them.
    """
    if slug not in PAPERS:
        raise ValueError(f"paper {slug!r} is unknown; expected one of {', '.join(PAPERS)}")
    return PAPERS[slug]
