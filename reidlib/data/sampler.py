"""Identity-balanced batches: P identities with M images each.

Source: BPBreID, released recipe (``RandomIdentitySampler`` of its framework): 16 x 4; every identity once an
epoch is the sampler of AaP's released code.
"""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Generator, Tensor


def identity_batches(
    labels: Int[Tensor, " N"],
    *,
    identities: int = 16,
    images: int = 4,
    epoch: Literal["images", "identities"] = "images",
    generator: Generator,
) -> Int[Tensor, "batches {identities*images}"]:
    """The batches of one epoch, as rows of image numbers.

    Every identity's images are shuffled and cut into groups of M; identities with fewer than M images give
    one group drawn with replacement, remainders are dropped. Batches take one group each of P random
    identities until fewer than P have groups left.

    Args:
        labels: identity of every image.
        identities: P, distinct identities per batch.
        images: M, images of each.
        epoch: what it shows once, all images or each identity with one group.

    Raises:
        ValueError: fewer than P identities.
    """
    remaining = _groups(labels, images=images, generator=generator)
    if epoch == "identities":
        remaining = [groups[:1] for groups in remaining]
    if len(remaining) < identities:
        raise ValueError(
            f"labels hold {len(remaining)} identities but a batch needs {identities}; lower `identities`"
        )
    batches = []
    while len(remaining) >= identities:
        chosen = torch.randperm(len(remaining), generator=generator)[:identities].tolist()
        batches.append(torch.cat([remaining[i].pop() for i in chosen]))
        remaining = [groups for groups in remaining if groups]
    return torch.stack(batches)


def _groups(labels: Tensor, *, images: int, generator: Generator) -> list[list[Tensor]]:
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    owned = order.split(labels.unique(return_counts=True)[1].tolist())
    return [_cut(rows, images, generator) for rows in owned]


def _cut(rows: Tensor, images: int, generator: Generator) -> list[Tensor]:
    if len(rows) < images:
        return [rows[torch.randint(len(rows), (images,), generator=generator)]]
    return list(rows[: len(rows) // images * images].split(images))
