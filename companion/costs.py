"""What a run takes on a GPU before any has run: `results/costs.csv`, counted without memory, and minutes of it.

The table has a line for every training of every paper at `gpu` and `real`. Minutes are an estimate
(``reidlib.footprint``) of training and extraction; decoding, distances and metrics are left out.
"""

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields, replace
from functools import cache, partial

import torch

from companion import places
from companion.paper import Paper
from companion.run import RunConfig
from reidlib.doctor import published_counts
from reidlib.files import replacing
from reidlib.footprint import CARDS, Card, Footprint, footprint
from reidlib.models import MODELS
from synthreid.benchmark import PROFILES

PRESETS = ("gpu", "real")

_IDENTITIES = 702  # that classifiers are counted for, Occluded-Duke's: others change a step by a thousandth
_KEY = ("preset", "paper", "row")


def trainings(papers: Collection[Paper]) -> Iterator[RunConfig]:
    """Every training at the presets of GPUs; at ``real``, on the data set of a paper's ablations."""
    for preset in PRESETS:
        for paper in papers:
            for slug in paper.trainings(preset_name=preset):
                yield paper.run(slug, preset_name=preset)


def count(run: RunConfig) -> Footprint:
    """What a run's training step and extraction take."""
    config, height, width = replace(run.model_config, weights=None), run.data.height, run.data.width
    k = config.mask_parts
    return footprint(
        partial(MODELS[run.model], config),
        config=run.train,
        size=(height, width),
        identities=_IDENTITIES,
        masks=None if k is None else (k + 1, height // 4, width // 4),
        given=config.given_masks,
    )


def write(papers: Collection[Paper], *, fresh: bool = False) -> None:
    """Count every training that the table lacks, and add it at once: seconds each.

    Args:
        fresh: count again what is there.
    """
    kept = {} if fresh else dict(_table())
    for run in trainings(papers):
        if _place(run) not in kept:
            kept[_place(run)] = count(run)
            _keep(kept)
    _table.cache_clear()


def _keep(counted: dict[tuple[str, ...], Footprint]) -> None:
    lines = [",".join((*_KEY, *(option.name for option in fields(Footprint))))]
    for place, cost in sorted(counted.items()):
        lines.append(",".join((*place, *(f"{value:.6g}" for value in asdict(cost).values()))))
    with replacing(places.RESULTS / "costs.csv") as handle:
        handle.write(("\n".join(lines) + "\n").encode())


def known(run: RunConfig) -> Footprint | None:
    """The table's line for a run; None where it has none."""
    return _table().get(_place(run))


@cache
def _table() -> dict[tuple[str, ...], Footprint]:
    path = places.RESULTS / "costs.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        tuple(row[name] for name in _KEY): Footprint(
            **{option.name: option.type(float(row[option.name])) for option in fields(Footprint)}
        )
        for row in rows
    }


def _place(run: RunConfig) -> tuple[str, str, str]:
    name = run.name.removesuffix(f"-{run.data.holistic}") if run.data.real else run.name
    return run.preset, run.paper, name


def here() -> Card | None:
    """This machine's GPU, None without one; one that ``CARDS`` lacks is taken for an RTX 3090 of its own memory."""
    if not torch.cuda.is_available():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory
    return replace(card(torch.cuda.get_device_name()) or CARDS["rtx3090"], memory=float(memory))


def card(name: str) -> Card | None:
    """The card that a device's own name tells of, as in ``NVIDIA H100 80GB HBM3``."""
    words = {key: re.sub("(?<=[a-z])(?=[0-9])", " ?", key) for key in CARDS}  # as in "RTX 3090"
    found = (key for key, word in words.items() if re.search(rf"\b{word}\b", name.lower()))
    return next((CARDS[key] for key in found), None)


def minutes(run: RunConfig, card: Card) -> float | None:
    """Minutes of training and extraction on a card; None for a run that the table lacks."""
    cost = known(run)
    if cost is None:
        return None
    training = steps(run) * card.step(cost, precision=run.train.precision)
    return (training + _embedded(run) * card.embed(cost)) / 60


def fits(run: RunConfig, card: Card) -> bool | None:
    """Whether a run's batch and its training images fit on a card; None for a run that the table lacks."""
    cost, pixels = known(run), run.data.height * run.data.width
    planes = 3 + (run.model_config.mask_parts is not None) * (36 / 16 if run.data.real else 1)
    return None if cost is None else card.fits(cost, images=float(_trained(run)[0] * pixels * planes))


def steps(run: RunConfig) -> int:
    """How many steps a run trains for, but for what the sampler leaves over in an epoch."""
    train, (images, identities) = run.train, _trained(run)
    each = 1 if train.epoch == "identities" else images / identities / train.images
    epochs = train.epochs and round(train.epochs * each * identities / train.identities)
    return min(limit for limit in (train.iterations, epochs) if limit is not None)


def _trained(run: RunConfig) -> tuple[int, int]:
    """Training images and identities."""
    if run.data.real:
        row = published_counts().loc[(run.data.train_set, "train")]
        return int(row["images"]), int(row["identities"])
    profile = PROFILES[run.data.profile]
    return profile.train * profile.train_images, profile.train


def _embedded(run: RunConfig) -> int:
    """Queries and gallery images of all test sets, each as large as the holistic one."""
    if run.data.real:
        counts = published_counts().loc[run.data.test_sets[0]]["images"]
        return int(counts["query"] + counts["gallery"])
    profile = PROFILES[run.data.profile]
    each = profile.test * (profile.query + profile.gallery) + profile.distractors + profile.junk
    return each * len(run.data.test_sets)
