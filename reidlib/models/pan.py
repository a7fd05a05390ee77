"""PAN, a part-aware network: signed masks without softmax, shared embedding of parts, a buffer stage.

Ye, Zeng, Zhang, Chen, Part-aware network: A simple but efficient method for occluded person
re-identification, sections 3 and 4; there is no public code. Left out: a softmax over positions, one shared
or one concatenated classifier of the parts, a triplet per branch, a network without BN-necks, batch norm or
ReLU behind the embedding, stripes pooled by the maximum, masks without bias, a Euclidean descriptor, a last
block of OSNet alone as buffer.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from reidlib.backbones import build_backbone, split
from reidlib.distances import euclidean, visible_part_distance
from reidlib.heads import IdentityHead, stripe_pool
from reidlib.losses import batch_hard_triplet, identity_loss
from reidlib.options import ModelConfig, ModelScoring
from reidlib.types import Features, ReIDOutput

EPSILON = 1e-6  # under the sum of a mask's magnitudes; large enough for half precision
SOFT_MARGIN = 0.0  # what batch_hard_triplet calls log(1 + exp(d_ap - d_an))


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """One way to compare two images at test time: the cosine of an embedding."""

    embedding: Literal["concat_bn", "global_bn", "parts_bn"] = "concat_bn"


SCORINGS = {"default": Scoring(), "global": Scoring("global_bn"), "parts": Scoring("parts_bn")}


@dataclass(frozen=True)
class Config(ModelConfig):
    """A PAN network; the default is the proposed one, the other values make the rows of Tables 1 to 4."""

    parts: int = 14  # p, how many masks (or stripes)
    dim: int = 256  # n_l, of a part
    global_dim: int = 512  # N_g, of the global feature; follows from gamma = 7
    masks: Literal["signed", "softmax", "stripes"] = "signed"  # softmax: over the masks of each position
    shared: bool = True  # whether all parts are embedded by one layer
    mask_source: Literal["conv40", "conv41", "conv50"] = "conv50"  # F1: what the masks are made from
    local_source: Literal["conv50", "conv51"] = "conv51"  # F2: what they pool; conv51 is the buffer
    smoothing: float = 0.1  # epsilon of both identity losses

    SCORINGS = SCORINGS

    def __post_init__(self):
        super().__post_init__()
        if min(self.parts, self.dim, self.global_dim) < 1:
            raise ValueError(
                f"parts = {self.parts}, dim = {self.dim}, global_dim = {self.global_dim}; expected all >= 1"
            )
        if self.masks == "stripes" and self.mask_source != Config.mask_source:
            raise ValueError(f"mask_source = {self.mask_source!r} with stripes, which are made from no map")

    @classmethod
    def baseline(cls) -> "Config":
        """The paper's PCB baseline: six stripes, each embedded by a layer of its own; the rest is PAN's."""
        return cls(masks="stripes", parts=6, shared=False)

    @property
    def gamma(self) -> float:
        """How wide the parts are together, against the global feature (Eq. 4)."""
        return self.parts * self.dim / self.global_dim

    @property
    def figure_map(self) -> str | None:
        """The map that records keep of the figure queries (Figure 4)."""
        return None if self.masks == "stripes" else "masks"


class Trunk(nn.Module):
    """A backbone whose late stages exist twice, so that masks and parts need not share the global map.

    Conv40 and Conv50 are the third and the last stage, Conv41 and Conv51 their copies: same start, own
    parameters and statistics from then on.

    Source: Ye et al., section 5.4, Table 3. Deviation: with Conv41 the text names no input of Conv51; it
        reads Conv40, so that only the masks' source differs.
    """

    def __init__(self, config: Config):
        super().__init__()
        backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        self.early, self.conv40, self.conv50 = split(backbone)
        third = next(m for m in self.conv50.modules() if isinstance(m, nn.Conv2d)).in_channels
        last = backbone.channels
        self.channels = {"conv40": third, "conv41": third, "conv50": last, "conv51": last}
        self.copied = nn.ModuleDict()  # the copies that a row needs
        if config.mask_source == "conv41":
            self.copied["conv41"] = deepcopy(self.conv40)
        if config.local_source == "conv51":
            self.copied["conv51"] = deepcopy(self.conv50)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N _ h w"]]:
        """All maps by name."""
        early = self.early(images)
        third = self.conv40(early)
        maps = {"conv40": third, "conv50": self.conv50(third)}
        before = {"conv41": early, "conv51": third}
        return maps | {name: stage(before[name]) for name, stage in self.copied.items()}


def signed_pool(
    features: Float[Tensor, "N C h w"], masks: Float[Tensor, "N K h w"]
) -> Float[Tensor, "N K C"]:
    """Sum of the feature map weighted by each mask, over the sum of the mask's magnitudes.

    A mask times a positive number pools the same, its negative pools the negative; a mask of zeros gives
    zeros. No N x K x C x h x w tensor is built.

    Source: Ye et al., Eq. 2 and 3, whose location index is lost in print.
    """
    pooled = torch.einsum("nchw,nkhw->nkc", features, masks)
    return pooled / masks.abs().sum((-2, -1)).clamp_min(EPSILON)[:, :, None]


class PAN(nn.Module):
    """Trunk, masks, weighted pooling, and the embeddings of the whole image and of its parts.

    Embeddings: ``concat`` ``[N, N_g + K*D]`` is the printed f_cat, before the BN-necks (triplet);
    ``global_bn`` ``[N, N_g]``, ``parts_bn`` ``[N, K*D]`` and ``concat_bn``, both together, after them.
    Logits: ``global`` ``[N, I]``, ``parts`` ``[N, K, I]``. Maps: ``masks`` ``[N, K, h, w]``, signed (none for
    stripes).
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = Trunk(config)
        channels, parts = self.backbone.channels[config.local_source], config.parts
        if config.masks != "stripes":
            self.make_masks = nn.Conv2d(self.backbone.channels[config.mask_source], parts, 1)
        self.embed_global = _linear(self.backbone.channels["conv50"], config.global_dim)
        self.embed = nn.ModuleList(
            _linear(channels, config.dim) for _ in range(1 if config.shared else parts)
        )
        self.identify = IdentityHead(config.global_dim, identities)
        self.identify_parts = nn.ModuleList(IdentityHead(config.dim, identities) for _ in range(parts))

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read, PAN makes its own."""
        config, features = self.config, self.backbone(images)
        local, whole = features[config.local_source], features["conv50"]
        if config.masks == "stripes":
            made, pooled = {}, stripe_pool(local, stripes=config.parts)  # [N, K, C]
        else:
            made = {"masks": self.predict_masks(features[config.mask_source])}  # [N, K, h, w]
            pooled = signed_pool(local, made["masks"])  # [N, K, C], Eq. 3
        parts = self.embed_parts(pooled)  # [N, K, D]
        pooled = whole.amax((-2, -1))  # [N, C]
        embedding = self.embed_global(pooled)  # [N, N_g]
        neck, logits = self.identify(embedding)
        found = [head(part) for head, part in zip(self.identify_parts, parts.unbind(1))]
        necks, scores = (torch.stack(tensors, dim=1) for tensors in zip(*found))  # [N, K, D], [N, K, I]
        flat, necks = rearrange(parts, "n k d -> n (k d)"), rearrange(necks, "n k d -> n (k d)")
        return ReIDOutput(
            {
                "concat": torch.cat([embedding, flat], dim=1),
                "global_bn": neck,
                "parts_bn": necks,
                "concat_bn": torch.cat([neck, necks], dim=1),
            },
            logits={"global": logits, "parts": scores},
            maps=made,
        )

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Half the identity losses of whole and parts, and a soft-margin triplet on all features together.

        Source: Ye et al., Eq. 5.
        """
        concat = output.embeddings["concat"]
        identity = {
            f"id_{name}": 0.5 * identity_loss(logits, labels, smoothing=self.config.smoothing)
            for name, logits in output.logits.items()
        }
        return identity | {
            "triplet_concat": batch_hard_triplet(euclidean(concat, concat), labels, margin=SOFT_MARGIN)
        }

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Euclidean distance of the embedding, scaled to unit length as a whole (ranks like the cosine)."""
        name = scoring.embedding
        return visible_part_distance([query.embeddings[name]], [gallery.embeddings[name]])

    def predict_masks(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N K h w"]:
        """Part masks of a feature map: those that a convolution makes, or their softmax over parts.

        Source: Ye et al., Eq. 1.
        """
        masks = self.make_masks(features)  # Eq. 1
        return masks.softmax(1) if self.config.masks == "softmax" else masks

    def embed_parts(self, pooled: Float[Tensor, "N K C"]) -> Float[Tensor, "N K D"]:
        """Pooled parts through one layer for all, or through one for each."""
        if self.config.shared:
            return self.embed[0](pooled)
        return torch.stack([embed(part) for embed, part in zip(self.embed, pooled.unbind(1))], dim=1)


def _linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
