"""BPBreID: body part-based representation learning for occluded re-identification.

Somers, De Vleeschouwer, Alahi, WACV 2023 (arXiv 2211.03679), sections 3.1 to 3.4 and 4.4. A pixel-wise
part classifier attends to K body parts; images are compared part by part where both show the part.

Two readings differ, the printed text and the released code. ``Config()`` follows the code, on which the
authors' weights depend, with the paper's objective (GiLt). Built are the differences that a checkpoint or
row tells apart: foreground pooling and the visibility rule. Named only: embeddings as wide as the
backbone, a part classifier without batch norm and bias, Eq. 2 as a sum, an un-necked foreground at test.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from reidlib.backbones import build_backbone
from reidlib.distances import euclidean, full_precision, part_euclidean, visible_part_distance
from reidlib.heads import IdentityHead, Reduction, global_pool, stripe_maps, weighted_pool
from reidlib.losses import (
    attention_loss,
    batch_hard_triplet,
    identity_loss,
    pair_weights,
    part_average,
    pixel_targets,
)
from reidlib.options import check_choices
from reidlib.types import Features, ReIDOutput

G, F, C, P = "global", "foreground", "concat", "parts"
THRESHOLD = 0.4  # of the printed visibility rule, Eq. 4
Masks = Float[Tensor, "N M _ _"] | None  # soft part maps of any size, background first
Terms = dict[str, Float[Tensor, ""]]
SHARPNESS = 15.0  # of the softmax that turns given masks into attention (released code)


@dataclass(frozen=True)
class Objective:
    """Which embeddings an identity and a triplet loss act on; all weights are 1."""

    identity: tuple[str, ...] = ()  # among global, foreground, concat, parts
    triplet: tuple[str, ...] = ()  # likewise

    def __post_init__(self):
        unknown = sorted({*self.identity, *self.triplet} - {G, F, C, P})
        if unknown:
            raise ValueError(f"identity, triplet: unknown embeddings {unknown}; expected {[G, F, C, P]}")


GILT_GRID = {  # Table 4
    "gilt": Objective((G, F, C), (P,)),
    "pcb": Objective((P,), ()),
    "idx1": Objective((P,), (G, F, C)),
    "idx2": Objective((G, F, C, P), (G, F, C, P)),
    "idx3": Objective((G, F, C, P), ()),
    "idx4": Objective((), (G, F, C, P)),
    "idx5": Objective((G, F, C, P), (P,)),
    "idx6": Objective((G, F), (P,)),
    "idx7": Objective((G, C), (P,)),
    "idx8": Objective((F, C), (P,)),
    "idx9": Objective((G, F, C), (C, P)),
    "idx10": Objective((G, F, C), (F, P)),
    "idx11": Objective((G, F, C), (G, P)),
    "idx12": Objective((G, F, C), (C,)),
}


@dataclass(frozen=True)
class Scoring:
    """One way to compare two images at test time; its slots enter Eq. 9."""

    holistic: str | None = "foreground_bn"  # a whole-image embedding, always visible; None leaves it out
    parts: Literal["all"] | tuple[int, ...] = "all"  # numbers 1..K as printed; () leaves them out
    visibility: Literal["argmax", "threshold", "soft", "truth"] | None = "argmax"  # None compares all parts

    def __post_init__(self):
        if self.holistic is None and self.parts == ():
            raise ValueError("holistic = None, parts = (): nothing to compare; give at least one")

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The names that must be kept of every image."""
        return tuple(name for name in (self.holistic, self.parts and "parts") if name)


SCORINGS = {
    "default": Scoring(),
    "no-visibility": Scoring(visibility=None),
    "parts": Scoring(None),
    "parts-no-visibility": Scoring(None, visibility=None),
    "threshold": Scoring(visibility="threshold"),
    "soft": Scoring(visibility="soft"),
    "truth": Scoring(visibility="truth"),
    "global": Scoring("global_bn", ()),
    "foreground": Scoring("foreground_bn", ()),
    "concat": Scoring("concat_bn", ()),
    **{f"part-{k}": Scoring(None, (k,)) for k in range(1, 12)},
}


@dataclass(frozen=True)
class Config:
    """A BPBreID network and its objective; the default is the released code on Occluded-Duke."""

    backbone: str = "resnet50"  # name in backbones.py
    width: float = 1.0  # channel multiplier of the small backbones
    weights: str | None = None  # None, "imagenet" or a file
    parts: int = 8  # K
    dim: int = 512  # D, width of every embedding but the concatenated one (K * D)
    attention: Literal["learned", "fixed", "stripes"] = "learned"  # fixed: the masks; stripes: PCB
    foreground_pooling: Literal["mean", "gwap"] = "mean"  # gwap: as printed (Eq. 3)
    visibility: Literal["argmax", "threshold"] = "argmax"  # of the default scoring; threshold: Eq. 4
    objective: Objective = GILT_GRID["gilt"]  # GiLt
    triplet: Literal["averaged", "per-part"] = "averaged"  # part distances mined together or apart
    visible_triplet: bool = False  # whether the part triplet skips parts that a pair does not share
    attention_weight: float = 0.35  # lambda_pa
    margin: float = 0.3  # alpha of the triplet
    smoothing: float = 0.1  # epsilon of both cross-entropies

    def __post_init__(self):
        check_choices(self)
        if self.parts < 1 or self.dim < 1:
            raise ValueError(f"parts = {self.parts}, dim = {self.dim}; expected both >= 1")
        if self.attention == "stripes" and self.visible_triplet:
            raise ValueError("visible_triplet = True with stripes, which have no visibility; use False")

    @classmethod
    def released(cls) -> "Config":
        """The released code on Occluded-Duke; on Market it adds a foreground triplet (row idx10)."""
        return cls()

    @classmethod
    def paper(cls) -> "Config":
        """The printed text: foreground pooled by Eq. 3, visibility by Eq. 4."""
        return cls(foreground_pooling="gwap", visibility="threshold")

    @property
    def holistic(self) -> tuple[str, ...]:
        """The whole-image embeddings; PCB has no foreground."""
        return (G, C) if self.attention == "stripes" else (G, F, C)

    @property
    def mask_parts(self) -> int | None:
        """Into how many parts the masks that it reads are grouped; stripes need none."""
        return None if self.attention == "stripes" else self.parts

    @property
    def figure_map(self) -> str | None:
        """The map that records keep of the figure queries."""
        return None if self.attention == "stripes" else P

    def scorings(self) -> dict[str, Scoring]:
        """The test-time variants that this network can be scored with, the default first."""
        if self.attention == "stripes":
            default, names = Scoring("concat", ()), ["parts-no-visibility", G, C]
        else:
            default = Scoring(visibility=self.visibility)
            missing = {f"part-{k}" for k in range(self.parts + 1, 12)}
            names = [name for name in SCORINGS if name not in {"default", *missing}]
        return {"default": default} | {name: SCORINGS[name] for name in names}


class PartHead(nn.Module):
    """Everything behind the backbone: attention, pooling, reduction, necks and losses.

    Source: Somers et al., WACV 2023, sections 3.1 (attention), 3.2 (embeddings, GiLt) and Figure 2.
    """

    def __init__(self, config: Config, *, channels: int, identities: int):
        super().__init__()
        self.config = config
        dim, pooled = config.dim, [name for name in (*config.holistic, P) if name != C]
        self.reduce = nn.ModuleDict({name: Reduction(channels, dim) for name in pooled})  # one for all parts
        widths = {G: dim, F: dim, C: config.parts * dim}
        self.identify = nn.ModuleDict({n: IdentityHead(widths[n], identities) for n in config.holistic})
        if P in config.objective.identity:
            self.identify_parts = nn.ModuleList(IdentityHead(dim, identities) for _ in range(config.parts))
        if config.attention == "learned":
            convolution = nn.Conv2d(channels, config.parts + 1, 1)
            nn.init.normal_(convolution.weight, std=0.001)
            nn.init.zeros_(convolution.bias)
            self.classify_pixels = nn.Sequential(nn.BatchNorm2d(channels), convolution)

    def forward(self, features: Float[Tensor, "N C h w"], masks: Masks = None) -> ReIDOutput:
        """Attend, pool and embed; the output is described at ``BPBreID``."""
        logits, maps = self._attend(features, masks)  # [N, K+1, h, w]
        parts = weighted_pool(features, maps[:, 1:])  # [N, K, C], Eq. 3
        parts = self.reduce[P](rearrange(parts, "n k c -> (n k) c"))  # [N*K, D]
        parts = rearrange(parts, "(n k) d -> n k d", n=len(features))  # [N, K, D]
        embeddings = {G: self.reduce[G](global_pool(features))}  # [N, D]
        if F in self.config.holistic:
            foreground = maps[:, 1:].amax(1, keepdim=True)  # [N, 1, h, w]
            pooled = weighted_pool(features, foreground, average=self.config.foreground_pooling)  # [N, 1, C]
            embeddings[F] = self.reduce[F](pooled[:, 0])  # [N, D]
        embeddings[C] = rearrange(parts, "n k d -> n (k d)")  # [N, K*D]
        necked = {}
        for name in self.config.holistic:
            necked[f"{name}_bn"], logits[name] = self.identify[name](embeddings[name])
        if P in self.config.objective.identity:
            scores = [head(part)[1] for head, part in zip(self.identify_parts, parts.unbind(1))]
            logits[P] = torch.stack(scores, dim=1)  # [N, K, I]
        return ReIDOutput(embeddings | necked | {P: parts}, self._visibility(maps), logits, {P: maps})

    def loss(self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Masks = None) -> Terms:
        """Weighted loss terms of the objective (Eq. 5); their sum is the total."""
        config, terms, absent = self.config, {}, {F} - {*self.config.holistic}
        for name in config.objective.identity:
            if name not in absent:
                terms[f"id_{name}"] = identity_loss(output.logits[name], labels, smoothing=config.smoothing)
        for name in config.objective.triplet:
            if name not in absent:
                terms[f"triplet_{name}"] = self._triplet(output, labels, name=name)
        if config.attention == "learned":
            targets = pixel_targets(self._checked(masks), output.logits["pixel"].shape[-2:])
            pixels = attention_loss(output.logits["pixel"], targets, smoothing=config.smoothing)  # Eq. 2
            terms["attention"] = config.attention_weight * pixels
        return terms

    def _attend(
        self, features: Float[Tensor, "N C h w"], masks: Masks
    ) -> tuple[dict[str, Tensor], Float[Tensor, "N M h w"]]:
        """Pixel logits, if learned, and the K+1 attention maps."""
        if self.config.attention == "learned":
            logits = self.classify_pixels(features)  # [N, K+1, h, w]
            return {"pixel": logits}, logits.softmax(1)  # Eq. 1
        if self.config.attention == "stripes":
            return {}, stripe_maps(features, stripes=self.config.parts)
        sharp = (SHARPNESS * self._checked(masks)).softmax(1)
        return {}, interpolate(sharp, size=features.shape[-2:], mode="bilinear", align_corners=True)

    def _visibility(self, maps: Float[Tensor, "N M h w"]) -> dict[str, Float[Tensor, "N K"]]:
        if self.config.attention == "stripes":
            return {}
        maps = maps.detach()
        numbers = torch.arange(1, maps.shape[1], device=maps.device)[:, None, None]
        winners = (maps.argmax(1, keepdim=True) == numbers).flatten(2).any(-1)  # [N, K]
        return {
            "argmax": winners.to(maps.dtype),
            "soft": maps[:, 1:].flatten(2).amax(-1),
        }  # Eq. 4 thresholds soft

    def _triplet(self, output: ReIDOutput, labels: Int[Tensor, " N"], *, name: str) -> Float[Tensor, ""]:
        embedding, valid = output.embeddings[name], None
        if name != P:
            distances = euclidean(embedding, embedding)  # [N, N]
        else:
            distances = part_euclidean(embedding, embedding)  # [K, N, N]
            visibility = output.visibility["argmax"] if self.config.visible_triplet else None
            if self.config.triplet == "averaged":
                distances, valid = part_average(distances, visibility)  # [N, N], Eq. 7
            elif visibility is not None:
                valid = pair_weights(visibility) > 0
        return batch_hard_triplet(distances, labels, margin=self.config.margin, valid=valid)  # Eq. 8

    def _checked(self, masks: Tensor | None) -> Tensor:
        expected = self.config.parts + 1
        if masks is None or masks.shape[1] != expected:
            found = "None" if masks is None else f"{masks.shape[1]} channels"
            raise ValueError(
                f"masks: {found}; expected {expected}, background first; group labels into K parts"
            )
        return masks


class BPBreID(nn.Module):
    """Backbone and part head.

    Embeddings: ``global``, ``foreground``, ``concat`` ``[N, K*D]`` and ``parts`` ``[N, K, D]`` are before
    the BN-neck (triplet losses), ``global_bn``, ``foreground_bn`` and ``concat_bn`` after it (identity
    losses). Visibility of part k: ``argmax`` (1 where some cell's likeliest class is k) and ``soft`` (the
    largest probability). Logits: one entry per embedding name, and ``pixel``. Maps: ``parts``
    ``[N, K+1, h, w]``, background first. Masks are read by the loss and by fixed attention only.
    """

    Config = Config
    SCORINGS = SCORINGS

    def __init__(self, config: Config, *, identities: int):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, width=config.width, weights=config.weights)
        self.head = PartHead(config, channels=self.backbone.channels, identities=identities)

    def forward(self, images: Float[Tensor, "N 3 H W"], masks: Masks = None) -> ReIDOutput:
        return self.head(self.backbone(images), masks)

    def loss(self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Masks = None) -> Terms:
        """Weighted loss terms; their sum is the total."""
        return self.head.loss(output, labels, masks=masks)

    @staticmethod
    def distance(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "Q G"]:
        """Visibility-weighted average distance of unit-length embeddings (Eq. 9)."""
        return visible_part_distance(
            _slots(query, scoring),
            _slots(gallery, scoring),
            query_visibility=_slot_visibility(query, scoring),
            gallery_visibility=_slot_visibility(gallery, scoring),
        )


def part_distances(query: Features, gallery: Features, *, scoring: Scoring) -> Float[Tensor, "S Q G"]:
    """Distance of every slot of a scoring on its own, infinite where it is not visible in both images."""
    pairs = zip(_slots(query, scoring), _slots(gallery, scoring))
    distances = torch.stack([euclidean(normalize(a), normalize(b)) for a, b in pairs])  # [S, Q, G]
    rows, columns = _slot_visibility(query, scoring), _slot_visibility(gallery, scoring)
    if rows is None or columns is None:
        return distances
    shared = rows.mT[:, :, None] * columns.mT[:, None, :] > 0  # [S, Q, G]
    return distances.masked_fill(~shared, torch.inf)


def _slots(features: Features, scoring: Scoring) -> tuple[Float[Tensor, "N _"], ...]:
    whole = () if scoring.holistic is None else (features.embeddings[scoring.holistic],)
    if scoring.parts == ():
        return whole
    parts = features.embeddings[P].unbind(1)
    return whole + (parts if scoring.parts == "all" else tuple(parts[k - 1] for k in scoring.parts))


def _slot_visibility(features: Features, scoring: Scoring) -> Float[Tensor, "N S"] | None:
    """Scores of the slots; a whole-image embedding is always visible."""
    if scoring.visibility is None or scoring.parts == ():
        return None
    name = "soft" if scoring.visibility == "threshold" else scoring.visibility
    if name not in features.visibility:
        have = sorted(features.visibility)
        raise ValueError(f"scoring.visibility = {name!r}, but features hold {have}; add it or score without")
    scores = full_precision(features.visibility[name])
    if scoring.visibility == "threshold":
        scores = (scores > THRESHOLD).to(scores.dtype)  # Eq. 4
    if scoring.parts != "all":
        scores = scores[:, [k - 1 for k in scoring.parts]]
    return scores if scoring.holistic is None else torch.cat([torch.ones_like(scores[:, :1]), scores], dim=1)
