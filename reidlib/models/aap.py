"""AaP-ReID: channel-wise attention in the bottlenecks of AlignedReID++.

Gautam, Prasad, Sinha, AaP-ReID: Improved Attention-Aware Person Re-identification, sections 3 and 4, and the
authors' release; the baseline is AlignedReID++ (Luo et al., Pattern Recognition 2019). Left out: attention
behind the last batch norm or the addition, a triplet that sees no dropout, the product of BAM's two gates, ECA
with average pooling alone or an adaptive kernel, coordinate attention (a later version), the trained projection
as local feature at test time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from reidlib.backbones import build_backbone, stages
from reidlib.distances import aligned_distance, aligned_pairs, euclidean, visible_part_distance
from reidlib.heads import global_pool
from reidlib.losses import batch_hard_triplet, hardest, identity_loss
from reidlib.options import ModelConfig, ModelScoring
from reidlib.types import Features, ReIDOutput

REDUCTION = 16  # r, of all gates
DROPOUT = 0.5  # p, of BaND
SHORTEST = 1e-4  # a stripe that is no longer stays shorter than one: half precision has no 1e-12
MARGIN = 0.3  # of both triplets


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """One way to compare two images at test time: a global and a local distance, added."""

    embedding: Literal["pooled", "global"] = "pooled"  # of the raw map, or behind BaND at test time too
    local: Literal["aligned", "unaligned", "none"] = "aligned"
    rerank: bool = False  # k-reciprocal, over queries and gallery together


SCORINGS = {
    "default": Scoring(),
    "reranked": Scoring(rerank=True),
    "global": Scoring(local="none"),
    "unaligned": Scoring(local="unaligned"),
    "band-at-test": Scoring("global"),
}


@dataclass(frozen=True)
class Config(ModelConfig):
    """An AaP-ReID network; the default is the proposed one, the other values make the rows of Tables 1 to 3."""

    last_stride: Literal[1, 2] = 1  # of the last stage
    reset_shortcut: bool = False  # whether its shortcut starts afresh with that stride (released code)
    band: bool = True  # batch norm and ReLU before the global pooling, dropout behind it
    attention: Literal["none", "bam", "sp", "eca", "cwa-add", "cwa-mul"] = "cwa-mul"
    everywhere: bool = False  # attention in all four stages, not in the last two
    local_dim: int = 128  # of a projected stripe while training
    smoothing: float = 0.1  # epsilon of the identity loss

    SCORINGS = SCORINGS

    def __post_init__(self):
        super().__post_init__()
        if self.local_dim < 1:
            raise ValueError(f"local_dim = {self.local_dim}; expected >= 1")

    @classmethod
    def released(cls) -> "Config":
        """The reading of the authors' code."""
        return cls(reset_shortcut=True)

    @classmethod
    def paper(cls) -> "Config":
        """The reading of the text, which has no label smoothing; it passes BaND at test time (a scoring here)."""
        return cls(smoothing=0.0)

    def baseline(self) -> "Config":
        """AlignedReID++ with the same backbone."""
        return replace(self, last_stride=2, band=False, attention="none")

    @property
    def figure_map(self) -> str:
        """The map that records keep of the figure queries (Figure 5, as released)."""
        return "saliency"


class ChannelGate(nn.Sequential):
    """Logits of one gate per channel, seen from the channels' means: W2 ReLU(BN(W1 G(x) + b1)) + b2.

    Source: Gautam et al., Eq. 1 and 2 (whose first layer is lost in print); the channel gate of BAM.
    """

    def __init__(self, channels: int):
        inner = max(1, channels // REDUCTION)
        super().__init__(
            nn.Linear(channels, inner), nn.BatchNorm1d(inner), nn.ReLU(), nn.Linear(inner, channels)
        )

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C 1 1"]:
        return super().forward(global_pool(features))[:, :, None, None]  # Eq. 1, 2


class SpatialGate(nn.Sequential):
    """Logits of one gate per cell, seen from a wide field: the spatial gate of BAM."""

    def __init__(self, channels: int):
        inner = max(1, channels // REDUCTION)

        def unit(before: int, *, size: int) -> list[nn.Module]:
            wide = 4 if size == 3 else 1  # dilation
            layer = nn.Conv2d(before, inner, size, padding=wide * (size // 2), dilation=wide)
            return [layer, nn.BatchNorm2d(inner), nn.ReLU()]

        super().__init__(
            *unit(channels, size=1), *unit(inner, size=3), *unit(inner, size=3), nn.Conv2d(inner, 1, 1)
        )


class CWA(nn.Module):
    """Channel-wise attention: x sigmoid(c(x)), or x + sigmoid(c(x)).

    Source: Gautam et al., Eq. 3 and, for the sum, Table 3.
    """

    def __init__(self, channels: int, *, fusion: Literal["mul", "add"]):
        super().__init__()
        self.fusion, self.channel = fusion, ChannelGate(channels)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        gate = self.channel(features).sigmoid()  # [N, C, 1, 1]
        return features * gate if self.fusion == "mul" else features + gate  # Eq. 3


class SP(nn.Module):
    """Spatial attention alone: x sigmoid(s(x))."""

    def __init__(self, channels: int):
        super().__init__()
        self.spatial = SpatialGate(channels)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        return features * self.spatial(features).sigmoid()


class BAM(nn.Module):
    """Both gates at once: x (1 + sigmoid(c(x) + s(x))).

    Source: Park et al., BAM, BMVC 2018, Eq. 1 and 2.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channel, self.spatial = ChannelGate(channels), SpatialGate(channels)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        return features * (1 + (self.channel(features) + self.spatial(features)).sigmoid())


class ECA(nn.Module):
    """Efficient channel attention as AaP-ReID's release has it: x sigmoid(k1 * mean(x) + k2 * max(x)).

    k1 and k2 are convolutions of three channels in a row. The original (Wang et al., CVPR 2020) has k1 alone.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mean, self.max = (nn.Conv1d(1, 1, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        mean, largest = (x[:, None] for x in (global_pool(features), features.amax((-2, -1))))  # [N, 1, C]
        gate = rearrange(self.mean(mean) + self.max(largest), "n 1 c -> n c 1 1")
        return features * gate.sigmoid()


ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {
    "bam": BAM,
    "sp": SP,
    "eca": ECA,
    "cwa-add": partial(CWA, fusion="add"),
    "cwa-mul": partial(CWA, fusion="mul"),
}


def attend(backbone: nn.Module, attention: str, *, everywhere: bool) -> None:
    """Put attention between the last convolution of every residual block and its batch norm.

    Args:
        attention: key of ``ATTENTIONS``.
        everywhere: in all four stages, not in the last two.

    Source: the released code; the text has it behind the block's convolutions.
    """
    for stage in stages(backbone)[0 if everywhere else 2 :]:
        for block in stage:
            name = "conv3" if hasattr(block, "conv3") else "conv2"
            last = getattr(block, name)
            setattr(block, name, nn.Sequential(last, ATTENTIONS[attention](last.out_channels)))


def stripe_maxima(features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N h C"]:
    """Maximum of every row of a map: as many stripes as the map has rows."""
    return features.amax(-1).mT  # [N, h, C]


class AaP(nn.Module):
    """AlignedReID++ with its stride, BaND and attention as the config says.

    Embeddings: ``pooled`` ``[N, C]`` and ``stripes`` ``[N, m, C]``, average and row maxima of the raw map (test);
    ``global`` ``[N, C]``, what the triplet sees, behind BaND and its dropout;
    ``local`` ``[N, m, D]``, the projected stripes of unit length (local triplet). Logits: ``global`` ``[N, I]``.
    Maps: ``saliency`` ``[N, 1, h, w]``, the maximum over the channels of the raw map.
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(
            config.backbone, width=config.width, last_stride=config.last_stride, weights=config.weights
        )
        channels = self.backbone.channels
        if config.reset_shortcut and config.last_stride == 1:
            for layer in stages(self.backbone)[-1][0].downsample:
                layer.reset_parameters()
        if config.attention != "none":
            attend(self.backbone, config.attention, everywhere=config.everywhere)
        self.band = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()) if config.band else nn.Identity()
        self.dropout = nn.Dropout(DROPOUT if config.band else 0.0)
        self.normalise_local = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.project = nn.Linear(channels, config.local_dim)  # a 1x1 convolution of the pooled stripes
        self.classifier = nn.Linear(channels, identities)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read."""
        features = self.backbone(images)
        stripes = self.project(stripe_maxima(self.normalise_local(features)))  # [N, m, D]
        embedding = self.dropout(global_pool(self.band(features)))  # [N, C], Eq. 4
        return ReIDOutput(
            {
                "pooled": global_pool(features),
                "stripes": stripe_maxima(features),
                "global": embedding,
                "local": normalize(stripes, dim=-1, eps=SHORTEST),
            },
            logits={"global": self.classifier(embedding)},
            maps={"saliency": features.amax(1, keepdim=True)},
        )

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Identity loss, batch-hard triplet on global distances, and on the aligned ones of the same pairs.

        Source: AlignedReID++, section 3.3: the local branch does not mine for itself.
        """
        embedding, local = output.embeddings["global"], output.embeddings["local"]
        distances = euclidean(embedding, embedding)  # [N, N]
        positive, negative = hardest(distances, labels)
        gap = aligned_pairs(local, local[positive]) - aligned_pairs(local, local[negative])  # [N]
        return {
            "id_global": identity_loss(output.logits["global"], labels, smoothing=self.config.smoothing),
            "triplet_global": batch_hard_triplet(distances, labels, margin=MARGIN),
            "triplet_local": (gap + MARGIN).relu().mean(),
        }

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Squared distance of the unit-length global features, plus the aligned one of the raw stripes.

        At most 4, and tanh(1) for each of the 2m - 1 cells of a path: the more stripes, the more they weigh.
        ``rerank`` concerns whole sets and is left to those who have them.
        """
        name = scoring.embedding
        total = visible_part_distance([query.embeddings[name]], [gallery.embeddings[name]]).square_()
        if scoring.local == "none":
            return total
        stripes = query.embeddings["stripes"], gallery.embeddings["stripes"]
        return total.add_(aligned_distance(*stripes, aligned=scoring.local == "aligned"))
