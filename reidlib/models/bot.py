"""BoT, the bag-of-tricks baseline: one global embedding with a BN-neck.

Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, CVPRW 2019. Left out:
the center loss (its 0.4 points need an optimiser of their own) and the released stem without its ReLU.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from reidlib.backbones import build_backbone
from reidlib.distances import euclidean, visible_part_distance
from reidlib.heads import IdentityHead, global_pool
from reidlib.losses import batch_hard_triplet, identity_loss
from reidlib.options import ModelConfig, ModelScoring
from reidlib.types import Features, ReIDOutput


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """BoT has a single test-time distance."""


SCORINGS = {"default": Scoring()}


@dataclass(frozen=True)
class Config(ModelConfig):
    """The BoT network and its losses."""

    margin: float = 0.3  # of the triplet
    smoothing: float = 0.1  # epsilon of the identity loss

    SCORINGS = SCORINGS


class BoT(nn.Module):
    """Backbone, global average pooling, BN-neck.

    Embeddings: ``global`` ``[N, C]`` before the BN-neck (triplet), ``global_bn`` after it (identity, test).
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        self.identify = IdentityHead(self.backbone.channels, identities)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read."""
        embedding = global_pool(self.backbone(images))  # [N, C]
        necked, logits = self.identify(embedding)  # [N, C], [N, I]
        return ReIDOutput({"global": embedding, "global_bn": necked}, logits={"global": logits})

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Smoothed identity loss after the neck and batch-hard triplet before it."""
        embedding = output.embeddings["global"]
        distances = euclidean(embedding, embedding)  # [N, N]
        return {
            "id_global": identity_loss(output.logits["global"], labels, smoothing=self.config.smoothing),
            "triplet_global": batch_hard_triplet(distances, labels, margin=self.config.margin),
        }

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Euclidean distance of the unit-length embeddings after the neck (ranks like the cosine)."""
        return visible_part_distance([query.embeddings["global_bn"]], [gallery.embeddings["global_bn"]])
