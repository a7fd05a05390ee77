"""DPTI, dynamic part template initialization: part queries that each image makes from its own mid-level map.

University of Moratuwa, Dynamic Template Initialization for Part-Aware Person Re-ID, arXiv 2208.11440,
section 3; there is no public code, fast-reid supplies what the paper leaves to it. Left out: eight heads or
a scale in eq. 5, a residual of g + f with layer norms, positional encodings, feed-forward networks of other
widths, attention without an output layer, weights at test time only; in row P, stripes of 8x1, and cells of
the last map, of which the paper also speaks. Classifiers start as in the other models here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize, scaled_dot_product_attention

from reidlib.backbones import build_backbone, split
from reidlib.distances import euclidean, full_precision, visible_part_distance
from reidlib.heads import IdentityHead
from reidlib.losses import batch_hard_triplet, identity_loss
from reidlib.options import ModelConfig, ModelScoring, check_choices
from reidlib.types import Features, ReIDOutput

GRID = (4, 2)  # rows and columns of row G+P
SPREAD = 0.02  # standard deviation of the templates' start
WIDER = 4  # of the hidden layer of a feed-forward network
NEAR = 4  # images whose attention weights stay in a processor's cache
Terms = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """One way to compare two images at test time: the cosine of a descriptor."""

    descriptor: Literal["after", "before"] = "after"  # the BN-neck
    templates: int | None = None  # blocks of so many templates beside the whole image's; None: all

    def __post_init__(self):
        check_choices(self)
        if self.templates is not None and self.templates < 0:
            raise ValueError(f"templates = {self.templates}; expected None or a number from 0 on")


SCORINGS = {
    "default": Scoring(),
    "before": Scoring("before"),
    "global": Scoring(templates=0),
    "one-template": Scoring(templates=1),
}


@dataclass(frozen=True)
class Config(ModelConfig):
    """A DPTI network; the default is row G+D of Table 4, the other values make its other rows."""

    parts: int = 8  # N, how many templates
    dim: int = 256  # d, of every vector
    heads: int = 8  # of every attention but that of eq. 5
    templates: Literal["none", "grid", "static", "dynamic"] = "dynamic"  # rows G, G+P, G+T, G+D
    weighted: bool = False  # row W: parts weighed by their templates' logits (Eq. 8)
    joint: bool = True  # losses on the whole descriptor; False: on each block apart
    attention_dropout: float = 0.2  # of attention weights
    dropout: float = 0.1  # inside feed-forward networks
    diversity: float = 1.0  # weight of the diversity loss
    margin: float = 0.3  # of the triplet
    smoothing: float = 0.1  # of the identity loss, in fast-reid's form

    def __post_init__(self):
        super().__post_init__()
        if self.parts < 2 or min(self.dim, self.heads) < 1 or self.dim % self.heads:
            raise ValueError(
                f"parts = {self.parts}, dim = {self.dim}, heads = {self.heads}; "
                "expected parts >= 2, heads >= 1 and dim a multiple of heads"
            )
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1):
            raise ValueError(
                f"dropout = {self.dropout}, attention_dropout = {self.attention_dropout}; expected both in [0, 1)"
            )
        if self.weighted and self.templates != "dynamic":
            raise ValueError(
                f"weighted = True with templates = {self.templates!r}; only dynamic ones have logits"
            )
        if self.templates == "grid" and self.parts != GRID[0] * GRID[1]:
            raise ValueError(f"parts = {self.parts} with templates = 'grid'; expected {GRID[0] * GRID[1]}")

    @property
    def figure_map(self) -> str | None:
        """The map that records keep of the figure queries (Figure 3)."""
        return None if self.templates == "none" else "templates" if self.templates == "dynamic" else "parts"

    def scorings(self) -> dict[str, Scoring]:
        """The test-time variants that this network can be scored with, the default first."""
        return {name: s for name, s in SCORINGS.items() if s.templates is None or self.templates != "none"}


class Encoder(nn.Module):
    """Multi-head attention of queries to a context, and a feed-forward network: FFN(g + f) + g.

    Source: Eq. 1 to 4 and 7. The outer residual adds the attended vector g, not g + f, as printed; there is
    no layer norm and no positional encoding.
    """

    def __init__(self, dim: int, *, heads: int, attention_dropout: float, dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, WIDER * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(WIDER * dim, dim)
        )

    def forward(
        self, queries: Float[Tensor, "N Q D"], context: Float[Tensor, "N L D"]
    ) -> Float[Tensor, "N Q D"]:
        return self._answer(queries, *self._split(queries, context))

    def explained(
        self, queries: Float[Tensor, "N Q D"], context: Float[Tensor, "N L D"]
    ) -> tuple[Float[Tensor, "N Q D"], Float[Tensor, "N Q L"]]:
        """The same, and the attention weights averaged over heads, for drawing: a fused kernel returns none."""
        q, k, v = self._split(queries, context)
        weights = (q.detach() @ k.detach().mT / q.shape[-1] ** 0.5).softmax(-1).mean(1)  # Eq. 2
        return self._answer(queries, q, k, v), weights

    def _split(self, queries: Tensor, context: Tensor) -> list[Float[Tensor, "N heads _ _"]]:
        projected = self.query(queries), self.key(context), self.value(context)  # Eq. 1
        return [rearrange(x, "n l (h d) -> n h l d", h=self.heads) for x in projected]

    def _answer(self, queries: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "N Q D"]:
        dropped = self.attention_dropout if self.training else 0.0
        attended = dropout_attention(q, k, v, dropped=dropped)  # [N, heads, Q, D/heads], Eq. 2, 3
        attended = self.out(rearrange(attended, "n h q d -> n q (h d)"))
        return self.feed_forward(attended + queries) + attended  # Eq. 4


def dropout_attention(
    q: Float[Tensor, "N heads Q d"],
    k: Float[Tensor, "N heads L d"],
    v: Float[Tensor, "N heads L E"],
    *,
    dropped: float,
) -> Float[Tensor, "N heads Q E"]:
    """Scaled dot-product attention; on a CPU, where the fused kernel has no dropout, written out."""
    if not dropped or q.is_cuda:
        return scaled_dot_product_attention(q, k, v, dropout_p=dropped)
    pieces = zip(*(x.split(NEAR) for x in (q, k, v)))
    return torch.cat([_dropout_attention(*piece, dropped=dropped) for piece in pieces])


def _dropout_attention(q: Tensor, k: Tensor, v: Tensor, *, dropped: float) -> Tensor:
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    # four weights share a random number: drawing one each takes as long as the products
    words = torch.empty(-(-weights.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: weights.numel()].view_as(weights) >= round(dropped * 2**16) - 2**15
    return (weights * kept) @ v / (1 - dropped)


class DynamicTemplates(nn.Module):
    """Templates that an image makes itself: learnt queries attend to its mid-level map.

    Source: Eq. 5 and 6. Keys are not projected, logits not scaled, and there is one head: one map per
    template, as in Figure 3.
    """

    def __init__(self, parts: int, dim: int):
        super().__init__()
        self.queries = nn.Parameter(SPREAD * torch.randn(parts, dim))
        self.value = nn.Linear(dim, dim, bias=False)

    def forward(
        self, context: Float[Tensor, "N L D"]
    ) -> tuple[Float[Tensor, "N K D"], Float[Tensor, "N K L"]]:
        """The templates, and the logits that they were made with."""
        logits = self.queries @ context.mT  # [N, K, L], Eq. 5
        return self.value(logits.softmax(-1) @ context), logits  # Eq. 6


def part_weights(logits: Float[Tensor, "N K L"]) -> Float[Tensor, "N K"]:
    """Adaptive weights of the parts, one on average: a softmax over templates of their mean *logits*.

    The mean of the softmaxed maps is 1 / L for every part, and would make all weights one.

    Source: Eq. 8.
    """
    return logits.shape[1] * logits.mean(-1).softmax(-1)


def diversity_loss(parts: Float[Tensor, "N K D"], *, power: Literal[1, 2] = 2) -> Float[Tensor, ""]:
    """Mean squared cosine of every two different parts of an image: least where they are orthogonal.

    Args:
        parts: vectors of any length.
        power: 1 leaves out the square, as the loss that it is taken from (PAT's); opposite vectors then cost least.

    Source: Eq. 10.
    """
    unit = normalize(full_precision(parts), dim=-1)
    cosine = unit @ unit.mT  # [N, K, K]
    count = parts.shape[1]
    apart = cosine.pow(power).sum((1, 2)) - count  # the diagonal is one
    return (apart / (count * (count - 1))).mean()


class DPTI(nn.Module):
    """Backbone, two attention encoders on its last two maps, templates, part attention, one descriptor.

    Embeddings: ``descriptor`` ``[N, (K + 1) * D]`` before the BN-neck (triplet), the global block first;
    ``descriptor_bn`` after it (identity, test); ``templates`` ``[N, K, D]``, what the part attention was
    asked with, and ``parts`` ``[N, K, D]``, what it answered, before any weighting. Visibility: ``rho`` in
    row W, a part's weight over K. Maps: ``templates``
    ``[N, K, h, w]``, where dynamic templates come from, and ``parts``, what the part attention looks at; each
    sums to one. Row G has none but the descriptors.
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = Stages(config)
        middle, last = self.backbone.channels
        encoder = {
            "heads": config.heads, "attention_dropout": config.attention_dropout, "dropout": config.dropout
        }  # fmt: skip
        self.reduce = nn.Conv2d(last, config.dim, 1)
        self.encode = Encoder(config.dim, **encoder)
        if config.templates in ("grid", "dynamic"):
            self.reduce_middle = nn.Conv2d(middle, config.dim, 1)
            self.encode_middle = Encoder(config.dim, **encoder)
        if config.templates == "dynamic":
            self.make_templates = DynamicTemplates(config.parts, config.dim)
        if config.templates == "static":
            self.templates = nn.Parameter(SPREAD * torch.randn(config.parts, config.dim))
        blocks = 1
        if config.templates != "none":
            self.attend = Encoder(config.dim, **encoder)
            blocks = config.parts + 1
        if config.joint:
            self.identify = IdentityHead(blocks * config.dim, identities)
        else:
            self.identify_blocks = nn.ModuleList(IdentityHead(config.dim, identities) for _ in range(blocks))

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read."""
        middle, last = self.backbone(images)
        reduced = _tokens(self.reduce(last))  # [N, L, D]
        attended = self.encode(reduced, reduced)
        blocks, embeddings, maps, visibility = attended.mean(1, keepdim=True), {}, {}, {}  # [N, 1, D]
        if self.config.templates != "none":
            templates, logits = self._templates(middle)  # [N, K, D]
            parts, weights = self.attend.explained(templates, attended)  # [N, K, D], Eq. 7
            maps["parts"] = rearrange(weights, "n k (h w) -> n k h w", w=last.shape[-1])
            if logits is not None:
                maps["templates"] = rearrange(logits.softmax(-1), "n k (h w) -> n k h w", w=middle.shape[-1])
            embeddings |= {"templates": templates, "parts": parts}
            if self.config.weighted:
                weights = part_weights(logits)  # [N, K]
                parts = weights[:, :, None] * parts  # Eq. 8
                visibility["rho"] = weights / self.config.parts
            blocks = torch.cat([blocks, parts], dim=1)  # [N, K + 1, D]
        embeddings["descriptor"] = rearrange(blocks, "n b d -> n (b d)")
        embeddings["descriptor_bn"], logits = self._identify(blocks)
        return ReIDOutput(embeddings, visibility, logits, maps)

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> Terms:
        """Identity, triplet and diversity (Eq. 9).

        Raises:
            ValueError: the classifier knows one identity, which leaves smoothing no other to share.
        """
        config, (logits,) = self.config, output.logits.values()
        identities = logits.shape[-1]
        if identities < 2:
            raise ValueError(f"identities = {identities}: nothing to tell apart; expected at least 2")
        # in fast-reid's form, where the true class keeps 1 - epsilon
        smoothing = config.smoothing * identities / (identities - 1)
        terms = {"id": identity_loss(logits, labels, smoothing=smoothing)}
        descriptor = output.embeddings["descriptor"]
        if not config.joint:  # every block mined apart
            descriptor = rearrange(descriptor, "n (b d) -> b n d", d=config.dim)
        distances = euclidean(descriptor, descriptor)
        terms["triplet"] = batch_hard_triplet(distances, labels, margin=config.margin)
        if config.templates != "none":
            terms["diversity"] = config.diversity * diversity_loss(output.embeddings["parts"])  # Eq. 10
        return terms

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Euclidean distance of the descriptor, scaled to unit length as a whole (ranks like the cosine)."""
        return visible_part_distance([_chosen(query, scoring)], [_chosen(gallery, scoring)])

    def _templates(
        self, middle: Float[Tensor, "N C h w"]
    ) -> tuple[Float[Tensor, "N K D"], Float[Tensor, "N K L"] | None]:
        if self.config.templates == "static":
            return self.templates.expand(len(middle), -1, -1), None
        reduced = self.reduce_middle(middle)
        tokens = _tokens(reduced)
        tokens = self.encode_middle(tokens, tokens)  # [N, L, D]
        if self.config.templates == "dynamic":
            return self.make_templates(tokens)
        attended = rearrange(tokens, "n (h w) d -> n d h w", w=reduced.shape[-1])
        return _tokens(adaptive_avg_pool2d(attended, GRID)), None

    def _identify(self, blocks: Float[Tensor, "N B D"]) -> tuple[Float[Tensor, "N E"], dict[str, Tensor]]:
        if self.config.joint:
            necked, logits = self.identify(rearrange(blocks, "n b d -> n (b d)"))
            return necked, {"descriptor": logits}
        found = [head(block) for head, block in zip(self.identify_blocks, blocks.unbind(1))]
        necked, logits = (torch.stack(tensors, dim=1) for tensors in zip(*found))
        return rearrange(necked, "n b d -> n (b d)"), {"blocks": logits}


class Stages(nn.Module):
    """A backbone that returns its last two maps."""

    def __init__(self, config: Config):
        super().__init__()
        backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        self.early, self.middle, self.last = split(backbone, late=True)
        middle = next(m for m in self.last.modules() if isinstance(m, nn.Conv2d)).in_channels
        self.channels = middle, backbone.channels

    def forward(
        self, images: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N B h w"], Float[Tensor, "N C _ _"]]:
        middle = self.middle(self.early(images))
        return middle, self.last(middle)


def _tokens(features: Float[Tensor, "N D h w"]) -> Float[Tensor, "N L D"]:
    return rearrange(features, "n d h w -> n (h w) d")


def _chosen(features: Features, scoring: Scoring) -> Float[Tensor, "N E"]:
    found = features.embeddings["descriptor" if scoring.descriptor == "before" else "descriptor_bn"]
    if scoring.templates is None:
        return found
    parts = features.embeddings["parts"]  # [N, K, D]
    if scoring.templates > parts.shape[1]:
        raise ValueError(f"scoring.templates = {scoring.templates}, but there are {parts.shape[1]}")
    return found[:, : (1 + scoring.templates) * parts.shape[-1]]
