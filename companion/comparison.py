"""Eight models of five papers side by side: the same worlds, recipe and backbone.

Everything is paired: only worlds that all models have count, and every difference is taken within a world.
"""

import itertools
import timeit
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from companion.intervals import LEVEL, Interval, holm, moderated
from companion.papers import paper
from companion.records import RunRecord
from companion.run import RunConfig
from companion.study import Study, Value
from companion.trained import initial
from companion.truth import SHARES
from reidlib.complexity import complexity
from reidlib.models import MODELS
from reidlib.types import Features

ENTRANTS = {
    "BoT": ("bpbreid", "bot"),
    "PCB": ("bpbreid", "pcb"),
    "AlignedReID++": ("aap", "baseline-short"),
    "AaP-ReID": ("aap", "aap-short"),
    "PAN": ("pan", "pan"),
    "QPM": ("qpm", "qpm"),
    "DPTI": ("dpti", "gd"),
    "BPBreID": ("bpbreid", "k8"),
}
"""Title -> paper and row; each by the distance that its paper proposes."""

GALLERY = 15913
"""Images of Market-1501's gallery without its junk, 19,732 less 3,819."""

_TIMED = 16  # queries at a time


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is recorded of all entrants at a preset.

    Args:
        preset_name: smoke, cpu or gpu.
        seeds: at most this many worlds are used; None takes all that every entrant has.
    """

    preset_name: str
    seeds: int | None = None

    @cached_property
    def runs(self) -> dict[str, RunConfig]:
        """Title -> the training in world 1."""
        return {title: self.studies[slug].run(row) for title, (slug, row) in ENTRANTS.items()}

    @cached_property
    def studies(self) -> dict[str, Study]:
        """Slug of a paper -> its records."""
        slugs = dict.fromkeys(slug for slug, _ in ENTRANTS.values())
        return {slug: Study(paper(slug), self.preset_name, self.seeds) for slug in slugs}

    @cached_property
    def records(self) -> dict[str, dict[int, RunRecord]]:
        """Title -> world -> record, in the worlds that every entrant has."""
        known = {
            title: {record.seed: record for record in self.studies[slug].records(row)}
            for title, (slug, row) in ENTRANTS.items()
        }
        shared = sorted(set.intersection(*(set(found) for found in known.values())))
        return {title: {world: found[world] for world in shared} for title, found in known.items()}

    @property
    def worlds(self) -> list[int]:
        return list(next(iter(self.records.values())))

    @property
    def unrecorded(self) -> list[str]:
        """Entrants without any record, for which nothing can be compared."""
        return [t for t, (slug, row) in ENTRANTS.items() if not self.studies[slug].records(row)]

    def unconverged(self, title: str) -> list[str]:
        """Why an entrant cannot be compared (the convergence gate of its paper); empty where it can."""
        slug, row = ENTRANTS[title]
        return self.studies[slug].unconverged(row)

    @property
    def shortened(self) -> dict[str, float]:
        """Entrants whose paper's notebook trains its main row longer, and the share of those steps that they have."""
        steps = {
            title: [self.studies[slug].run(name).train.iterations for name in (row, paper(slug).main)]
            for title, (slug, row) in ENTRANTS.items()
        }
        return {title: own / main for title, (own, main) in steps.items() if own < main}

    def _values(self, title: str, test_set: str, metric: str) -> Float[np.ndarray, " W"]:
        found = self.records[title].values()
        return np.array([record.value(test_set, "default", metric) for record in found])

    @property
    def test_sets(self) -> tuple[str, ...]:
        return next(iter(self.runs.values())).data.test_sets

    @property
    def occluded(self) -> str:
        return next(iter(self.runs.values())).data.occluded

    # -- accuracy ---------------------------------------------------------------------------------------

    def accuracy(self, metric: str = "mAP") -> pd.DataFrame:
        """A metric of every entrant on every test set: columns panel, row, series, mean, half, worlds, state."""
        lines = []
        for test_set, title in itertools.product(self.test_sets, ENTRANTS):
            value = Value.of(self._values(title, test_set, metric))
            state = "not comparable" if self.unconverged(title) else ""
            lines.append((test_set, title, metric, value.mean, value.half, value.seeds, state))
        return pd.DataFrame(lines, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])

    def differences(self, test_set: str, metric: str = "mAP") -> dict[tuple[str, str], Interval]:
        """Every entrant less every other, within worlds; variances moderated over all pairs."""
        pairs = list(itertools.combinations(ENTRANTS, 2))
        family = [self._values(a, test_set, metric) - self._values(b, test_set, metric) for a, b in pairs]
        found = dict(zip(pairs, moderated(family)))
        return found | {(b, a): replace(one, estimate=-one.estimate) for (a, b), one in found.items()}

    def apart(self, test_set: str, metric: str = "mAP") -> dict[tuple[str, str], bool]:
        """Which entrants can be told from which: Holm's correction over all pairs; none with one world."""
        found = self.differences(test_set, metric)
        pairs = list(itertools.combinations(ENTRANTS, 2))
        known = holm([found[pair].p for pair in pairs]) if len(self.worlds) > 1 else [1.0] * len(pairs)
        sure = {pair: p < 1 - LEVEL for pair, p in zip(pairs, known)}
        return sure | {(b, a): told for (a, b), told in sure.items()}

    def order(self, test_set: str, metric: str = "mAP") -> pd.DataFrame:
        """Entrants from best to worst, each less the next, with Holm's correction over neighbours."""
        names = sorted(ENTRANTS, key=lambda title: -np.mean(self._values(title, test_set, metric)))
        found = self.differences(test_set, metric)
        steps = [found[pair] for pair in itertools.pairwise(names)]
        known = holm([step.p for step in steps]) if len(self.worlds) > 1 else [np.nan] * len(steps)
        lines = []
        for place, title in enumerate(names):
            value = Value.of(self._values(title, test_set, metric))
            step, p = (steps[place], known[place]) if place < len(steps) else (Interval(np.nan), np.nan)
            lines.append((title, value.mean, value.half, step.estimate, step.half, p, value.seeds))
        return pd.DataFrame(lines, columns=["model", "mean", "half", "ahead", "ahead_half", "p", "worlds"])

    def by_occlusion(self, *, by: str) -> pd.DataFrame:
        """Rank-1 for groups of occluded queries.

        Args:
            by: ``occluder`` or ``visible_share``.

        Returns:
            Columns panel, row, series, mean, half, worlds, state; a panel per group: occluders by
            their number of queries, visible shares in order.
        """
        sizes: dict[str, list[int]] = {}
        for record in next(iter(self.records.values())).values():
            for group, found in record.slices.get(self.occluded, {}).items():
                if (group in SHARES) == (by == "visible_share"):
                    sizes.setdefault(group, []).append(found["queries"])
        groups = sorted(sizes, key=SHARES.index if by == "visible_share" else lambda g: -np.mean(sizes[g]))
        lines = []
        for group, title in itertools.product(groups, ENTRANTS):
            found = [record.slices[self.occluded].get(group, {}) for record in self.records[title].values()]
            value = Value.of([slice_.get("default/rank1", np.nan) for slice_ in found])
            panel = f"{group} ({np.mean(sizes[group]):.0f})"
            lines.append((panel, title, "rank1", value.mean, value.half, value.seeds, ""))
        return pd.DataFrame(lines, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])

    def by_length(self, metric: str = "mAP") -> pd.DataFrame:
        """Entrants that are trained for two lengths, in the worlds that have all of both.

        Returns:
            Columns panel (test set), row, series (steps), mean, half, worlds, state.
        """
        known = {}
        for title, (slug, row) in ENTRANTS.items():
            study, longer = self.studies[slug], row.removesuffix("-short")
            longer = longer if longer != row else f"{row}-long"
            if longer in {other.slug for other in study.paper.rows}:
                for name in (row, longer):
                    steps = f"{study.run(name).train.iterations:,} steps"
                    known[title, steps] = {record.seed: record for record in study.records(name)}
        worlds = sorted(set.intersection(*map(set, known.values())))
        lines = []
        shown = next(iter(self.runs.values())).data.shown
        for test_set, ((title, steps), found) in itertools.product(shown, known.items()):
            value = Value.of(found[world].value(test_set, "default", metric) for world in worlds)
            state = "" if worlds else "not recorded"
            lines.append((test_set, title, steps, value.mean, value.half, value.seeds, state))
        return pd.DataFrame(lines, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])

    # -- queries ----------------------------------------------------------------------------------------

    def hits(self, test_set: str) -> Bool[np.ndarray, "M Q"]:
        """Which queries of world 1 each entrant gets right at rank 1; records of other worlds keep none."""
        return np.stack(
            [found[1].per_query(test_set, "default", "rank1") == 1 for found in self.records.values()]
        )

    def agreement(self, test_set: str) -> tuple[Float[np.ndarray, "M M"], Float[np.ndarray, "M M"]]:
        """Of every two entrants: correlation of their hits, and what the better of the two at each query would add.

        Returns:
            Phi coefficients, and rank-1 of whichever is right less that of the better one.
        """
        hits = self.hits(test_set)
        share = hits.mean(1)
        either = (hits[:, None] | hits[None]).mean(2)
        return np.corrcoef(hits), either - np.maximum(share[:, None], share[None])

    def alone(self, test_set: str) -> pd.DataFrame:
        """How many queries each entrant alone gets right, and alone gets wrong; how many all or none."""
        hits = self.hits(test_set)
        count = hits.sum(0)
        lines = [
            (title, int((row & (count == 1)).sum()), int((~row & (count == len(hits) - 1)).sum()))
            for title, row in zip(ENTRANTS, hits)
        ]
        frame = pd.DataFrame(lines, columns=["model", "right alone", "wrong alone"])
        frame.attrs |= {
            "queries": hits.shape[1],
            "all": int((count == len(hits)).sum()),
            "none": int((count == 0).sum()),
        }
        return frame

    # -- cost -------------------------------------------------------------------------------------------

    def cost(self) -> pd.DataFrame:
        """What each entrant costs here: counted, but for the milliseconds of a query, which are measured now.

        Returns:
            Columns model, image, parameters (at test time), operations (multiply-adds an image), bytes (of a gallery
            image, as the distance reads it, in 32 bits), milliseconds (of one core for a query's distances to
            ``GALLERY`` images, the least of three).
        """
        lines = []
        for title, run in self.runs.items():
            size = (run.data.height, run.data.width)
            bare = replace(run.model_config, weights=None)
            counted = complexity(partial(MODELS[run.model], bare), size=size)
            memory, seconds = _distance_cost(run)
            image = f"{size[0]}x{size[1]}"
            lines.append((title, image, counted.parameters, counted.operations, memory, 1e3 * seconds))
        names = ["model", "image", "parameters", "operations", "bytes", "milliseconds"]
        return pd.DataFrame(lines, columns=names)

    def best_buys(self, cost: pd.DataFrame, test_set: str, metric: str = "mAP") -> pd.DataFrame:
        """The entrants that no other beats in accuracy, bytes and time at once.

        Args:
            cost: from ``cost``.
        """
        frame = cost.assign(
            accuracy=[float(np.mean(self._values(t, test_set, metric))) for t in cost["model"]]
        )
        losses = frame[["bytes", "milliseconds"]].assign(lost=-frame["accuracy"]).to_numpy()
        beaten = [any((other <= own).all() and (other < own).any() for other in losses) for own in losses]
        return frame[~np.array(beaten)].sort_values("bytes")


def _distance_cost(run: RunConfig) -> tuple[int, float]:
    """Bytes that a run's distance reads of a gallery image, and seconds that a query takes against ``GALLERY``."""
    distance, scoring = MODELS[run.model].distance, run.scoring("default")
    bare = replace(run, model_config=replace(run.model_config, weights=None))
    model = initial(bare, identities=4).eval()
    with torch.inference_mode():
        output = model(torch.rand(2, 3, run.data.height, run.data.width))
    generator = torch.Generator().manual_seed(0)

    def features(count: int) -> Features:
        embeddings, visibility = (
            {name: torch.rand(count, *x.shape[1:], generator=generator) for name, x in part.items()}
            for part in (output.embeddings, output.visibility)
        )
        nobody = torch.zeros(count, dtype=torch.long)
        return Features(embeddings, visibility, nobody, nobody)

    few, memory = features(2), 0
    for kind in ("embeddings", "visibility"):
        for name, tensor in getattr(few, kind).items():
            other = replace(few, **{kind: getattr(few, kind) | {name: tensor.flip(0)}})
            if not torch.equal(*(distance(few, gallery, scoring=scoring) for gallery in (few, other))):
                memory += 4 * tensor[0].numel()  # what the distance reads of an image
    query, gallery = features(_TIMED), features(GALLERY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            asked = partial(distance, query, gallery, scoring=scoring)
            seconds = min(timeit.repeat(asked, number=1, repeat=3))
    finally:
        torch.set_num_threads(threads)
    return memory, seconds / _TIMED
