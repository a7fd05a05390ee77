"""QPM, quality-aware part models: learnt part quality, identity-aware attention, pair-adaptive global features.

Wang et al., Quality-aware Part Models for Occluded Person Re-identification, IEEE TMM 2022 (arXiv 2201.00107),
sections III-A to III-D; there is no public code. The attention modules of Table VII stand in ISA's place.
Left out: cutting the top 30 after same-camera images are removed, a scale or ReLU in eq. 6 and 7, eq. 12 over
positive pairs only, separate readings of K and d per branch beyond ``dim`` and ``global_dim``.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, normalize

from reidlib.backbones import build_backbone
from reidlib.distances import CHUNK, full_precision
from reidlib.heads import global_pool, stripe_pool
from reidlib.losses import batch_hard_triplet, identity_loss
from reidlib.options import ModelConfig, ModelScoring
from reidlib.types import Features, ReIDOutput

EPSILON = 1e-12  # under sums of products of two scores
REST = 2.0  # added to the distance of the images outside the top n: no distance inside is larger
REDUCTION = 4  # of ISA
Terms = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """One way to compare two images at test time."""

    distance: Literal["part", "agfe", "gap", "single", "refined"] = "refined"  # refined: section III-D
    quality: bool = True  # False: all scores 1
    gamma: float = 0.6  # share of the part distance among the refined (Eq. 15)
    top: int = 30  # n, how many gallery images are refined

    def __post_init__(self):
        if not 0 <= self.gamma <= 1 or self.top < 1:
            raise ValueError(f"gamma = {self.gamma}, top = {self.top}; expected gamma in [0, 1] and top >= 1")


GAMMAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # Table XI
SCORINGS = {
    "default": Scoring(),
    "part": Scoring("part"),
    "part-without-quality": Scoring("part", quality=False),
    "agfe": Scoring("agfe"),
    "gap": Scoring("gap"),
    "single": Scoring("single"),
    **{f"gamma-{gamma}": Scoring(gamma=gamma) for gamma in GAMMAS if gamma != Scoring.gamma},
}


@dataclass(frozen=True)
class Config(ModelConfig):
    """A QPM network; the default is row QPM, the other values make the rows of Tables V to X."""

    parts: int = 6  # K
    dim: int = 1024  # d, of a part
    global_dim: int = 1024  # d_g, of the global feature
    part_branch: bool = True  # whether parts are embedded and trained
    quality: bool = True  # learnt scores; False: all 1
    triplet: bool = True  # on the part distance
    global_feature: Literal["none", "gap", "single", "agfe"] = "agfe"  # single: Eq. 4
    attention: Literal["none", "isa", "fc", "rga", "ra", "cbam"] = "isa"  # before the global feature
    cells: tuple[int, int] = (24, 8)  # of the feature map; FC-SA and RGA-SA have weights per cell
    margin: float = 0.3  # alpha of both triplets

    def __post_init__(self):
        super().__post_init__()
        if min(self.parts, self.dim, self.global_dim) < 1:
            raise ValueError(
                f"parts = {self.parts}, dim = {self.dim}, global_dim = {self.global_dim}; expected all >= 1"
            )
        if not self.part_branch and self.global_feature == "none":
            raise ValueError("part_branch = False, global_feature = 'none': nothing is left to train")
        if not self.scored and (self.global_feature in ("single", "agfe") or self.attention == "isa"):
            raise ValueError(
                "ISA and weighted global features need scores; use part_branch, quality and triplet = True"
            )

    @property
    def scored(self) -> bool:
        """Whether the model learns scores: the part triplet is what teaches them."""
        return self.part_branch and self.quality and self.triplet

    @property
    def figure_map(self) -> str | None:
        """The map that records keep of the figure queries (Figure 5)."""
        return None if self.global_feature == "none" else "magnitude"

    def scorings(self) -> dict[str, Scoring]:
        """The test-time variants that this network can be scored with, the default first."""
        names = ["part"] * self.part_branch + ["part-without-quality"] * self.scored
        if self.global_feature != "none":
            names += ["gap"] + ["single", "agfe"] * self.scored
        if self.global_feature == "agfe":
            names += [name for name in SCORINGS if name.startswith("gamma")]
            default = SCORINGS["default"]
        else:
            default = SCORINGS["part" if self.global_feature == "none" else self.global_feature]
        return {"default": default} | {name: SCORINGS[name] for name in names}


class QualityPredictor(nn.Module):
    """One score in (0, 1) per part: linear, batch norm over one channel, sigmoid; nothing is shared.

    Source: Wang et al., TMM 2022, section III-A.
    """

    def __init__(self, channels: int, *, parts: int):
        super().__init__()
        self.predict = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, 1), nn.BatchNorm1d(1)) for _ in range(parts)
        )

    def forward(self, stripes: Float[Tensor, "N K C"]) -> Float[Tensor, "N K"]:
        scores = [predict(stripe) for predict, stripe in zip(self.predict, stripes.unbind(1))]
        return torch.cat(scores, dim=1).sigmoid()  # [N, K]


class ISA(nn.Module):
    """Identity-aware spatial attention: cells that agree with the image's own weighted feature.

    Source: Wang et al., TMM 2022, section III-B, Eq. 4 to 8.
    """

    def __init__(self, dim: int, *, identities: int):
        super().__init__()
        self.squeeze, self.expand = nn.Linear(dim, dim // REDUCTION), nn.Linear(dim // REDUCTION, dim)
        nn.init.normal_(self.expand.weight, std=1e-3)  # so that M starts near one half
        nn.init.zeros_(self.expand.bias)
        self.classifier = _classifier(dim // REDUCTION, identities)

    def forward(
        self, features: Float[Tensor, "N D h w"], single: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N D h w"], Float[Tensor, "N h w"], Float[Tensor, "N I"]]:
        """The attended map, the attention M, and identity scores of the reduced feature (Eq. 6)."""
        reduced = self.squeeze(single)  # [N, D/4]
        probe = self.expand(reduced.relu())  # [N, D]
        attention = torch.einsum("ndhw,nd->nhw", features, probe).sigmoid()  # Eq. 7
        return (1 + attention[:, None]) * features, attention, self.classifier(reduced)  # Eq. 8


class FCSA(nn.Module):
    """Fully connected spatial attention: the channels' mean of all cells, through two layers.

    Deviation: the cited paper describes video; this is our reading for an image.
    """

    def __init__(self, cells: tuple[int, int]):
        super().__init__()
        self.cells, n = cells, math.prod(cells)
        self.layers = nn.Sequential(nn.Linear(n, n // 4), nn.ReLU(), nn.Linear(n // 4, n))

    def forward(self, features: Float[Tensor, "N D h w"]) -> Float[Tensor, "N 1 h w"]:
        attention = self.layers(features.mean(1).flatten(1)).sigmoid()  # [N, h*w]
        return attention.view(-1, 1, *self.cells)  # [N, 1, h, w]


class CBAMSA(nn.Module):
    """CBAM's spatial attention: a 7x7 convolution of the channels' maximum and mean.

    Source: Woo et al., CBAM, ECCV 2018, section 3.
    """

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))

    def forward(self, features: Float[Tensor, "N D h w"]) -> Float[Tensor, "N 1 h w"]:
        pooled = [features.amax(1, keepdim=True), features.mean(1, keepdim=True)]
        pooled = torch.cat(pooled, dim=1)  # [N, 2, h, w]
        return self.layers(pooled).sigmoid()  # [N, 1, h, w]


class RGASA(nn.Module):
    """Relation-aware global attention: every cell's affinities with all others, and its own mean.

    Source: Zhang et al., Relation-Aware Global Attention, CVPR 2020, section 3.1.
    """

    def __init__(self, dim: int, *, cells: tuple[int, int]):
        super().__init__()
        n, inner = math.prod(cells), max(1, dim // 8)
        self.theta, self.phi, self.embed = (_unit(dim, inner) for _ in range(3))
        self.relate = _unit(2 * n, n // 8)
        self.attend = nn.Sequential(_unit(1 + n // 8, (1 + n // 8) // 8), *_unit((1 + n // 8) // 8, 1)[:2])

    def forward(self, features: Float[Tensor, "N D h w"]) -> Float[Tensor, "N 1 h w"]:
        h, w = features.shape[-2:]
        affinity = self.theta(features).flatten(2).mT @ self.phi(features).flatten(2)  # [N, h*w, h*w]
        both = torch.cat([affinity.mT, affinity], dim=1)  # [N, 2*h*w, h*w]
        relations = self.relate(rearrange(both, "n r (h w) -> n r h w", h=h, w=w))  # [N, h*w/8, h, w]
        own = self.embed(features).mean(1, keepdim=True)  # [N, 1, h, w]
        return self.attend(torch.cat([own, relations], dim=1)).sigmoid()  # [N, 1, h, w]


class RASA(nn.Module):
    """Residual attention: an hourglass that sees a wider field, back at full size.

    Source: Wang et al., Residual Attention Network, CVPR 2017. Deviation: one step down, one mask channel.
    """

    def __init__(self, dim: int):
        super().__init__()
        inner = max(1, dim // REDUCTION)
        self.down, self.mix = _unit(dim, inner, size=3), _unit(inner, inner)
        self.mask = nn.Conv2d(inner, 1, 1)

    def forward(self, features: Float[Tensor, "N D h w"]) -> Float[Tensor, "N 1 h w"]:
        wide = self.down(max_pool2d(features, 3, stride=2, padding=1))  # [N, D/4, h/2, w/2]
        wide = interpolate(wide, size=features.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask(self.mix(wide)).sigmoid()  # [N, 1, h, w]


def _unit(before: int, after: int, *, size: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _embedding(config: Config, channels: int) -> nn.Sequential:
    """To width d, without batch norm: the text names none."""
    return nn.Sequential(nn.Linear(channels, config.dim))


def _classifier(dim: int, identities: int) -> nn.Linear:
    """Without bias, in PyTorch's own initialisation: from near zero these heads, which have no batch norm, stall."""
    return nn.Linear(dim, identities, bias=False)


def part_distance(
    query: Float[Tensor, "Q K D"],
    gallery: Float[Tensor, "G K D"],
    *,
    query_quality: Float[Tensor, "Q K"],
    gallery_quality: Float[Tensor, "G K"],
) -> Float[Tensor, "Q G"]:
    """Cosine distances of the parts, averaged with the product of both images' scores (Eq. 2).

    One product of the scored, concatenated unit vectors gives the weighted sum of the K cosines, so no
    K x Q x G tensor is needed.

    Source: Wang et al., TMM 2022, Eq. 2.
    """
    with torch.autocast(query.device.type, enabled=False):
        rows, columns = full_precision(query_quality), full_precision(gallery_quality)
        scored = (
            rearrange(normalize(full_precision(x), dim=-1) * q[:, :, None], "n k d -> n (k d)")
            for x, q in ((query, rows), (gallery, columns))
        )
        left, right = scored
        return 1 - (left @ right.mT) / (rows @ columns.mT).clamp_min(EPSILON)  # [Q, G]


def adaptive_distance(
    query: Float[Tensor, "Q K D"],
    gallery: Float[Tensor, "G K D"],
    *,
    query_quality: Float[Tensor, "Q K"],
    gallery_quality: Float[Tensor, "G K"],
) -> Float[Tensor, "Q G"]:
    """One minus the cosine of two images' stripes, both averaged with the weights of the pair.

    With w_k = q_k^p q_k^g and the products B of the stripes of p and g, P of those of p, R of those of g:
    cos = w'Bw / sqrt(w'Pw w'Rw); the denominator of Eq. 11 cancels, and no Q x G x D tensor is needed.

    Source: Wang et al., TMM 2022, Eq. 9 to 12.
    """
    with torch.autocast(query.device.type, enabled=False):
        p, g, rows, columns = map(full_precision, (query, gallery, query_quality, gallery_quality))
        p, g = p * rows[:, :, None], g * columns[:, :, None]  # each score once; the other's follows
        stripes = gallery.shape[1]
        between = rearrange(p, "q k d -> (q k) d") @ rearrange(g, "g l d -> (g l) d").mT
        between = between.view(len(query), stripes, len(gallery), stripes)  # [Q, K, G, K], q_k^p q_l^g B_kl
        cosine = torch.einsum("qkgl,gk,ql->qg", between, columns, rows)
        pair = [torch.einsum("nk,nl->nkl", q, q).flatten(1) for q in (rows, columns)]  # [N, K*K]
        own = [torch.einsum("nkd,nld->nkl", x, x).flatten(1) for x in (p, g)]
        square = (own[0] @ pair[1].mT) * (pair[0] @ own[1].mT)  # [Q, G]
        return 1 - cosine * square.clamp_min(EPSILON**2).rsqrt()


def pair_logits(logits: Float[Tensor, "N K I"], quality: Float[Tensor, "N K"]) -> Float[Tensor, "N N I"]:
    """Identity scores of image p's pair-adaptive feature, for every ordered pair (p, g).

    The classifier is linear, so the stripes are classified first and averaged after: N x N x I instead of
    N x N x D.

    Source: Wang et al., TMM 2022, Eq. 9, 11, 12.
    """
    weights = quality[:, None] * quality[None, :]  # [N, N, K]
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(EPSILON)  # Eq. 11
    return torch.einsum("pgk,pki->pgi", weights, logits)


class QPM(nn.Module):
    """Backbone, part branch with quality scores, and global branch with spatial attention.

    Embeddings: ``parts`` ``[N, K, D]`` (f_k) and, of the global branch, ``stripes`` ``[N, K, D_g]`` (the
    attended g_k) and ``global`` ``[N, D_g]`` (their map's mean); there is no BN-neck. Visibility: ``quality``.
    Logits: ``parts``, ``isa`` (of the reduced feature), ``stripes`` or ``global``. Maps: ``attention``
    ``[N, 1, h, w]`` and ``magnitude``, the channels' mean magnitude of the attended map (Figure 5).
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        channels = self.backbone.channels
        if config.part_branch:
            self.embed = nn.ModuleList(_embedding(config, channels) for _ in range(config.parts))
            self.classify = nn.ModuleList(_classifier(config.dim, identities) for _ in range(config.parts))
        if config.scored:
            self.quality = QualityPredictor(channels, parts=config.parts)
        if config.global_feature != "none":
            self.project = nn.Sequential(nn.Conv2d(channels, config.global_dim, 1))
            self.classify_global = _classifier(config.global_dim, identities)
            self.attend = _attention(config, identities=identities)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        """Embed a batch; ``masks`` are not read."""
        config, embeddings, visibility, logits, maps = self.config, {}, {}, {}, {}
        features = self.backbone(images)  # [N, C, h, w]
        bands = stripe_pool(features, stripes=config.parts)  # [N, K, C]
        if config.part_branch:
            parts = [embed(band) for embed, band in zip(self.embed, bands.unbind(1))]
            embeddings["parts"] = torch.stack(parts, dim=1)  # [N, K, D]
            scores = [classify(part) for classify, part in zip(self.classify, parts)]
            logits["parts"] = torch.stack(scores, dim=1)  # [N, K, I]
        if config.scored:
            visibility["quality"] = self.quality(bands)  # [N, K]
        if config.global_feature != "none":
            whole = self._global(self.project(features), visibility.get("quality"))
            embeddings, logits, maps = embeddings | whole[0], logits | whole[1], whole[2]
        return ReIDOutput(embeddings, visibility, logits, maps)

    def loss(
        self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Float[Tensor, "N M _ _"] | None = None
    ) -> Terms:
        """The terms of Eq. 14 that the config has, each with weight 1."""
        config, terms = self.config, {}
        if config.part_branch:
            mean = identity_loss(output.logits["parts"], labels, smoothing=0.0)
            terms["id_parts"] = config.parts * mean  # Eq. 1
            if config.triplet:
                distances = self._distances(output, "part")
                terms["triplet_parts"] = self._triplet(distances, labels)  # Eq. 3
        if config.global_feature != "none":
            terms |= self._global_terms(output, labels)
        return terms

    def no_weight_decay(self) -> set[str]:
        """The predictor's parameters: decay flattens the scores."""
        return {name for name, _ in self.named_parameters() if name.startswith("quality.")}

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Distance of a block of queries to the gallery; ``refined`` is section III-D.

        Source: Wang et al., TMM 2022, Eq. 2, 9 to 12, 15.
        """
        if scoring.distance == "refined":
            return refined_distance(query, gallery, scoring=scoring)
        chunks = [slice(start, start + CHUNK) for start in range(0, len(gallery), CHUNK)]
        return torch.cat([pairwise(query, gallery[chunk], scoring=scoring) for chunk in chunks], dim=1)

    def _global(
        self, features: Float[Tensor, "N D h w"], quality: Float[Tensor, "N K"] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Attend to the global map and pool it: embeddings, logits, maps."""
        config, logits, maps = self.config, {}, {}
        if config.attention == "isa":
            single = _single(stripe_pool(features, stripes=config.parts), quality)  # [N, D], Eq. 4
            features, attention, logits["isa"] = self.attend(features, single)
            maps["attention"] = attention[:, None]  # [N, 1, h, w]
        elif config.attention != "none":
            maps["attention"] = self.attend(features)  # [N, 1, h, w]
            base = 1 if config.attention == "ra" else 0  # each in its native form
            features = (base + maps["attention"]) * features  # [N, D, h, w]
        maps["magnitude"] = features.detach().abs().mean(1, keepdim=True)  # [N, 1, h, w]
        stripes = stripe_pool(features, stripes=config.parts)  # [N, K, D]
        pooled = global_pool(features)  # [N, D]
        match config.global_feature:
            case "agfe":
                logits["stripes"] = self.classify_global(stripes)  # [N, K, I]
            case "gap":
                logits["global"] = self.classify_global(pooled)  # [N, I]
            case "single":
                logits["global"] = self.classify_global(_single(stripes, quality))  # [N, I]
        return {"stripes": stripes, "global": pooled}, logits, maps

    def _global_terms(self, output: ReIDOutput, labels: Int[Tensor, " N"]) -> Terms:
        config, terms = self.config, {}
        if config.attention == "isa":
            terms["id_isa"] = identity_loss(output.logits["isa"], labels, smoothing=0.0)  # Eq. 6
        if config.global_feature == "agfe":
            scores = pair_logits(output.logits["stripes"], output.visibility["quality"])
            rows = repeat(labels, "p -> (p g)", g=len(labels))
            pairs = rearrange(scores, "p g i -> (p g) i")
            terms["id_global"] = 2 * identity_loss(pairs, rows, smoothing=0.0)  # Eq. 12
        else:
            terms["id_global"] = identity_loss(output.logits["global"], labels, smoothing=0.0)
        distances = self._distances(output, config.global_feature)
        terms["triplet_global"] = self._triplet(distances, labels)  # Eq. 13
        return terms

    def _distances(self, output: ReIDOutput, kind: str) -> Float[Tensor, "N N"]:
        quality = output.visibility
        nothing = torch.zeros(
            len(output.embeddings["parts" if kind == "part" else "stripes"]), dtype=torch.long
        )
        batch = Features(output.embeddings, quality, nothing, nothing)
        return pairwise(batch, batch, scoring=Scoring(kind))

    def _triplet(self, distances: Float[Tensor, "N N"], labels: Int[Tensor, " N"]) -> Float[Tensor, ""]:
        return batch_hard_triplet(distances, labels, margin=self.config.margin, average="violators")


def pairwise(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
    """A distance of two sets of images in one piece, with gradients."""
    rows, columns = _quality(query, scoring), _quality(gallery, scoring)
    if scoring.distance == "part":
        return part_distance(
            query.embeddings["parts"],
            gallery.embeddings["parts"],
            query_quality=rows,
            gallery_quality=columns,
        )
    if scoring.distance == "agfe":
        return adaptive_distance(
            query.embeddings["stripes"],
            gallery.embeddings["stripes"],
            query_quality=rows,
            gallery_quality=columns,
        )
    if scoring.distance == "gap":
        vectors = query.embeddings["global"], gallery.embeddings["global"]
    else:
        vectors = _single(query.embeddings["stripes"], rows), _single(gallery.embeddings["stripes"], columns)
    left, right = (normalize(full_precision(vector), dim=-1) for vector in vectors)
    return 1 - left @ right.mT  # [Q, G]


def refined_distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
    """The part distance, refined by the pair-adaptive one for the top n; the rest keep their order behind.

    Of gallery images at the same part distance, those that come first in the gallery are refined.

    Source: Wang et al., TMM 2022, section III-D, Eq. 15.
    """
    coarse = QPM.distance(query, gallery, scoring=Scoring("part", quality=scoring.quality))  # [Q, G]
    top = min(scoring.top, len(gallery))
    nearest = _among_nearest(coarse, count=top)
    columns = torch.nonzero_static(nearest, size=len(query) * top)[:, 1].view(len(query), top)
    rows, scores = _quality(query, scoring), _quality(gallery, scoring)
    images, stripes = query.embeddings["stripes"], gallery.embeddings["stripes"]
    fine = torch.stack(
        [_against(p, stripes[near], weights=q * scores[near]) for p, q, near in zip(images, rows, columns)]
    )
    near = scoring.gamma * coarse.gather(1, columns) + (1 - scoring.gamma) * fine  # Eq. 15
    return (coarse + REST).scatter_(1, columns, near)


def _against(
    query: Float[Tensor, "K D"], gallery: Float[Tensor, "G K D"], *, weights: Float[Tensor, "G K"]
) -> Float[Tensor, " G"]:
    """Pair-adaptive distances of one query to a few gallery images, by the vectors themselves."""
    left = weights @ full_precision(query)  # [G, D], Eq. 9
    right = torch.einsum("gk,gkd->gd", weights, full_precision(gallery))  # Eq. 10
    return 1 - torch.cosine_similarity(left, right, eps=EPSILON)


def _among_nearest(distances: Float[Tensor, "Q G"], *, count: int) -> Bool[Tensor, "Q G"]:
    """Which gallery images are among a query's nearest; ties by gallery order."""
    farthest = distances.topk(count, largest=False).values.amax(1, keepdim=True)  # [Q, 1]
    nearer, tied = distances < farthest, distances == farthest
    return nearer | (tied & (tied.cumsum(1) <= count - nearer.sum(1, keepdim=True)))


def _single(stripes: Float[Tensor, "N K D"], quality: Float[Tensor, "N K"]) -> Float[Tensor, "N D"]:
    """Stripes averaged with the image's own scores (Eq. 4, 5)."""
    weights = quality / quality.sum(1, keepdim=True).clamp_min(EPSILON)
    return torch.einsum("nk,nkd->nd", weights, stripes)


def _quality(features: Features, scoring: Scoring) -> Float[Tensor, "N K"]:
    if scoring.quality and "quality" in features.visibility:
        return full_precision(features.visibility["quality"])
    some = features.embeddings["parts" if "parts" in features.embeddings else "stripes"]
    return full_precision(some.new_ones(some.shape[:2]))


def _attention(config: Config, *, identities: int) -> nn.Module | None:
    match config.attention:
        case "isa":
            return ISA(config.global_dim, identities=identities)
        case "fc":
            return FCSA(config.cells)
        case "rga":
            return RGASA(config.global_dim, cells=config.cells)
        case "ra":
            return RASA(config.global_dim)
        case "cbam":
            return CBAMSA()
    return None
