"""Would today's code still compute this record? Three training steps and a distance tell, in double precision."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from companion.records import RunRecord
from companion.run import RunConfig
from companion.trained import initial
from reidlib.data.loading import ImageStack, Loader
from reidlib.data.masks import groups
from reidlib.extraction import extract
from reidlib.models import MODELS
from reidlib.training import fit

TOLERANCE = 1e-5
"""Relative. Between processors the values differed by 1.5e-7 at most (AVX2 against none, fifteen rows)."""

_LARGE, _SHRUNK = 128, 4  # rows of an image from which on a quarter must do: one core has to compute it


@lru_cache(maxsize=256)
def behaviour(run: RunConfig) -> list[float]:
    """Behavioural fingerprint: three training steps and a test distance on a fixed tiny batch.

    It changes when code changes what the run would compute, and stays when code is only rearranged or runs on
    another processor: hence double precision.
    """
    with one_thread():
        images, k = _toy(run), run.model_config.mask_parts
        parts = None if k is None else groups(k)
        train = replace(
            run.train, iterations=3, identities=4, images=4, precision="32-true", channels_last=False
        )
        model = _initial(run)
        loader = Loader(images, config=train, seed=run.draw, groups=parts)
        history = fit(model, loader, config=train, seed=0, label=None, device="cpu")
        found = extract(model, images, groups=parts, device="cpu")
        if k:
            found = replace(
                found, visibility=found.visibility | {"truth": torch.ones(len(found), k, dtype=torch.double)}
            )
        matrix = MODELS[run.model].distance(found[:4], found[4:], scoring=run.scoring("default"))
        losses = np.concatenate([np.ravel(v) for v in history.losses.values()])
    return [float(f"{value:.10g}") for value in (*losses, *matrix.flatten().tolist()[:8])]


def _initial(run: RunConfig) -> nn.Module:
    """The run's model, drawn in double precision: single-precision draws differ between vector units."""
    torch.set_default_dtype(torch.float64)
    try:
        return initial(run, identities=4)
    finally:
        torch.set_default_dtype(torch.float32)


def _toy(run: RunConfig) -> ImageStack:
    generator = torch.Generator().manual_seed(0)
    shrunk = _SHRUNK if run.data.height > _LARGE else 1
    height, width = run.data.height // shrunk, run.data.width // shrunk
    blocks = torch.randint(0, 12, (16, 1, height // 8, width // 8), generator=generator, dtype=torch.uint8)
    label = torch.arange(4).repeat_interleave(4)
    return ImageStack(
        images=torch.randint(0, 256, (16, 3, height, width), generator=generator, dtype=torch.uint8),
        masks=blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, 0],
        label=label,
        pid=label + 1,
        camid=torch.arange(16) % 4,
        names=tuple(f"toy-{i}" for i in range(16)),
    )


def stale(record: RunRecord, run: RunConfig) -> bool:
    """Whether today's code would compute something else than the record's."""
    return not same(behaviour(run), record.behaviour)


def same(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether two behavioural fingerprints agree."""
    return len(old) == len(new) and np.allclose(old, new, rtol=TOLERANCE, atol=1e-9)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread within: several processes side by side are faster so, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
