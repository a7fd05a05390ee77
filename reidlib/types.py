"""The types that every layer shares.

Shape letters, everywhere: ``N`` images, ``Q`` queries, ``G`` gallery images, ``I`` identities, ``K``
parts, ``D`` embedding width, ``C h w`` a feature map, ``H W`` an image (height first).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ReIDOutput:
    """What every model returns, in training and in evaluation mode alike.

    Args:
        embeddings: named embeddings; the model's docstring says which name is before and which after
            the BN-neck. ``[N, D]`` or, for parts, ``[N, K, D]``.
        visibility: named visibility (or quality) scores in [0, 1], one per part. A model that knows
            several rules (argmax, threshold, soft) returns them all, so that test-time variants need
            no second forward pass.
        logits: identity classifiers ``[N, I]`` or ``[N, K, I]``, the pixel classifier ``[N, K+1, h, w]``.
        maps: attention maps for losses and figures.
    """

    embeddings: dict[str, Float[Tensor, "N *parts D"]]
    visibility: dict[str, Float[Tensor, "N K"]] = field(default_factory=dict)
    logits: dict[str, Float[Tensor, "N *any"]] = field(default_factory=dict)
    maps: dict[str, Float[Tensor, "N M h w"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """What is kept of a set of images after extraction: all that a distance needs."""

    embeddings: dict[str, Float[Tensor, "N *parts D"]]
    visibility: dict[str, Float[Tensor, "N K"]]
    pid: Int[Tensor, " N"]
    camid: Int[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.pid)

    def __getitem__(self, index: slice | Int[Tensor, " n"]) -> "Features":
        return Features(
            {name: tensor[index] for name, tensor in self.embeddings.items()},
            {name: tensor[index] for name, tensor in self.visibility.items()},
            self.pid[index],
            self.camid[index],
        )

    def to(self, device: torch.device | str) -> "Features":
        """The same on another device; people and cameras stay where they are."""
        embeddings, visibility = (
            {name: tensor.to(device) for name, tensor in part.items()}
            for part in (self.embeddings, self.visibility)
        )
        return Features(embeddings, visibility, self.pid, self.camid)


Distance = Callable[[Features, Features], Float[Tensor, "Q G"]]
"""A distance between a block of queries and a gallery; smaller is closer."""


@dataclass(frozen=True)
class Metrics:
    """Retrieval metrics, per query; the properties average over the queries that have a match.

    Args:
        rank: 1-based rank of the first correct gallery image, 0 where the query has no match.
        ap: average precision (mean precision at each hit), NaN where the query has no match.
        inp: inverse negative penalty, hits / rank of the last hit, NaN where the query has no match.
    """

    rank: Int[np.ndarray, " Q"]
    ap: Float[np.ndarray, " Q"]
    inp: Float[np.ndarray, " Q"]

    @property
    def valid(self) -> np.ndarray:
        """Which queries have at least one match in the gallery."""
        return self.rank > 0

    @property
    def skipped(self) -> int:
        """How many queries were left out because the gallery holds no match."""
        return int((~self.valid).sum())

    def cmc(self, k: int) -> float:
        """Fraction of valid queries whose first match is among the k nearest."""
        return float((self.rank[self.valid] <= k).mean())

    @property
    def mAP(self) -> float:  # the field writes it so
        return float(self.ap[self.valid].mean())

    @property
    def mINP(self) -> float:
        return float(self.inp[self.valid].mean())

    def summary(self) -> dict[str, float]:
        """All printed metrics as fractions, and the counts of queries used and skipped."""
        ranks = {f"rank{k}": self.cmc(k) for k in (1, 3, 5, 10)}
        counts = {"queries": int(self.valid.sum()), "skipped": self.skipped}
        return ranks | {"mAP": self.mAP, "mINP": self.mINP} | counts
