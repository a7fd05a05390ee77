"""PCB, the part-based convolutional baseline: horizontal stripes, one classifier each.

Sun et al., Beyond Part Models: Person Retrieval with Refined Part Pooling, ECCV 2018, section 3. Left
out: refined part pooling. This is the original network; "PCB" in the loss grid of Somers et al. is
``bpbreid.Config(attention="stripes")``.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from reidlib.backbones import build_backbone
from reidlib.distances import visible_part_distance
from reidlib.heads import stripe_pool
from reidlib.losses import identity_loss
from reidlib.options import ModelConfig, ModelScoring
from reidlib.types import Features, ReIDOutput


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """PCB has a single test-time distance."""


SCORINGS = {"default": Scoring()}


@dataclass(frozen=True)
class Config(ModelConfig):
    """The PCB network."""

    stripes: int = 6  # K
    dim: int = 256  # width of a stripe before its classifier
    dropout: float = 0.5  # of the pooled stripes while training

    SCORINGS = SCORINGS

    def __post_init__(self):
        super().__post_init__()
        if self.stripes < 1 or self.dim < 1:
            raise ValueError(f"stripes = {self.stripes}, dim = {self.dim}; expected both >= 1")


class PCB(nn.Module):
    """Backbone, stripe pooling, a reduction shared by all stripes, one classifier per stripe.

    Embeddings: ``parts`` ``[N, K, C]``, the pooled stripes g (test), ``reduced`` ``[N, K, D]``, the h
    that the classifiers see. There is no BN-neck.
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        self.dropout = nn.Dropout(config.dropout)
        linear = nn.Linear(self.backbone.channels, config.dim, bias=False)  # a 1x1 convolution
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
        self.reduce = nn.Sequential(linear, nn.BatchNorm1d(config.dim), nn.ReLU())
        self.classifiers = nn.ModuleList(nn.Linear(config.dim, identities) for _ in range(config.stripes))
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.001)
            nn.init.zeros_(classifier.bias)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read."""
        parts = stripe_pool(self.backbone(images), stripes=self.config.stripes)  # [N, K, C]
        reduced = self.reduce(self.dropout(rearrange(parts, "n k c -> (n k) c")))  # [N*K, D]
        reduced = rearrange(reduced, "(n k) d -> n k d", n=len(images))  # [N, K, D]
        scores = [classify(stripe) for classify, stripe in zip(self.classifiers, reduced.unbind(1))]
        return ReIDOutput({"parts": parts, "reduced": reduced}, logits={"parts": torch.stack(scores, dim=1)})

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Sum of the stripes' cross-entropies, without smoothing.

        Deviation: none from the paper; Torchreid's PCB takes the mean instead of the sum.
        """
        return {
            "id_parts": self.config.stripes * identity_loss(output.logits["parts"], labels, smoothing=0.0)
        }

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Euclidean distance of the unit-length stripes, concatenated."""
        return visible_part_distance([_concatenated(query)], [_concatenated(gallery)], normalized=False)


def _concatenated(features: Features) -> Float[Tensor, "N _"]:
    return rearrange(normalize(features.embeddings["parts"], dim=-1), "n k c -> n (k c)")
