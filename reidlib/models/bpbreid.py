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
from reidlib.options import ModelConfig, ModelScoring, check_count
from reidlib.types import Features, ReIDOutput

GLOBAL, FOREGROUND, CONCAT, PARTS = "global", "foreground", "concat", "parts"
WHOLE = tuple(f"{name}{neck}" for name in (GLOBAL, FOREGROUND, CONCAT) for neck in ("", "_bn"))
RULES = ("argmax", "threshold", "soft", "truth")  # of visibility at test time
THRESHOLD = 0.4  # of the printed visibility rule, Eq. 4
Masks = Float[Tensor, "N M _ _"] | None  # part probabilities, of any size, background first
Terms = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Objective:
    """Which embeddings an identity and a triplet loss act on; all weights are 1."""

    identity: tuple[str, ...] = ()  # among global, foreground, concat, parts
    triplet: tuple[str, ...] = ()  # likewise

    def __post_init__(self):
        known = (GLOBAL, FOREGROUND, CONCAT, PARTS)
        if unknown := sorted({*self.identity, *self.triplet} - {*known}):
            raise ValueError(f"identity, triplet: unknown embeddings {unknown}; expected {[*known]}")


GILT_GRID = {  # Table 4
    "gilt": Objective((GLOBAL, FOREGROUND, CONCAT), (PARTS,)),
    "pcb": Objective((PARTS,), ()),
    "idx1": Objective((PARTS,), (GLOBAL, FOREGROUND, CONCAT)),
    "idx2": Objective((GLOBAL, FOREGROUND, CONCAT, PARTS), (GLOBAL, FOREGROUND, CONCAT, PARTS)),
    "idx3": Objective((GLOBAL, FOREGROUND, CONCAT, PARTS), ()),
    "idx4": Objective((), (GLOBAL, FOREGROUND, CONCAT, PARTS)),
    "idx5": Objective((GLOBAL, FOREGROUND, CONCAT, PARTS), (PARTS,)),
    "idx6": Objective((GLOBAL, FOREGROUND), (PARTS,)),
    "idx7": Objective((GLOBAL, CONCAT), (PARTS,)),
    "idx8": Objective((FOREGROUND, CONCAT), (PARTS,)),
    "idx9": Objective((GLOBAL, FOREGROUND, CONCAT), (CONCAT, PARTS)),
    "idx10": Objective((GLOBAL, FOREGROUND, CONCAT), (FOREGROUND, PARTS)),
    "idx11": Objective((GLOBAL, FOREGROUND, CONCAT), (GLOBAL, PARTS)),
    "idx12": Objective((GLOBAL, FOREGROUND, CONCAT), (CONCAT,)),
}


@dataclass(frozen=True)
class Scoring(ModelScoring):
    """One way to compare two images at test time; its slots enter Eq. 9."""

    holistic: str | None = "foreground_bn"  # a whole-image embedding, always visible; None leaves it out
    parts: Literal["all"] | tuple[int, ...] = "all"  # numbers 1..K as printed; () leaves them out
    visibility: Literal["argmax", "threshold", "soft", "truth"] | None = "argmax"  # None compares all parts

    def __post_init__(self):
        if self.holistic is None and self.parts == ():
            raise ValueError("holistic = None, parts = (): nothing to compare; give at least one")
        for name, known in (("holistic", WHOLE), ("visibility", RULES)):
            if (value := getattr(self, name)) is not None and value not in known:
                raise ValueError(f"{name} = {value!r}; expected None or one of {', '.join(known)}")
        if isinstance(self.parts, str) and self.parts != "all":
            raise ValueError(f"parts = {self.parts!r}; expected 'all' or numbers from 1 on")
        for number in () if self.parts == "all" else self.parts:
            check_count("a number in parts", number)


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
class Config(ModelConfig):
    """A BPBreID network and its objective; the default is the released code on Occluded-Duke."""

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
        super().__post_init__()
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
        return (GLOBAL, CONCAT) if self.attention == "stripes" else (GLOBAL, FOREGROUND, CONCAT)

    @property
    def mask_parts(self) -> int | None:
        """Into how many parts the masks that it reads are grouped; stripes need none."""
        return None if self.attention == "stripes" else self.parts

    @property
    def given_masks(self) -> bool:
        """Whether it is given masks at test time, too: as its attention, if that is fixed."""
        return self.attention == "fixed"

    @property
    def figure_map(self) -> str | None:
        """The map that records keep of the figure queries."""
        return None if self.attention == "stripes" else PARTS

    def scorings(self) -> dict[str, Scoring]:
        """The test-time variants that this network can be scored with, the default first."""
        if self.attention == "stripes":
            default, names = Scoring("concat", ()), ["parts-no-visibility", GLOBAL, CONCAT]
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
        dim, pooled = config.dim, [name for name in (*config.holistic, PARTS) if name != CONCAT]
        self.reduce = nn.ModuleDict({name: Reduction(channels, dim) for name in pooled})  # one for all parts
        widths = {GLOBAL: dim, FOREGROUND: dim, CONCAT: config.parts * dim}
        self.identify = nn.ModuleDict({n: IdentityHead(widths[n], identities) for n in config.holistic})
        if PARTS in config.objective.identity:
            self.identify_parts = nn.ModuleList(IdentityHead(dim, identities) for _ in range(config.parts))
        if config.attention == "learned":
            convolution = nn.Conv2d(channels, config.parts + 1, 1)
            nn.init.normal_(convolution.weight, std=0.001)
            nn.init.zeros_(convolution.bias)
            self.classify_pixels = nn.Sequential(nn.BatchNorm2d(channels), convolution)

    def forward(self, features: Float[Tensor, "N C h w"], masks: Masks = None) -> ReIDOutput:
        """Attend, pool and embed; the output is described at ``BPBreID``."""
        logits, maps = self.attend(features, masks)  # [N, K+1, h, w]
        parts = weighted_pool(features, maps[:, 1:])  # [N, K, C], Eq. 3
        parts = self.reduce[PARTS](rearrange(parts, "n k c -> (n k) c"))  # [N*K, D]
        parts = rearrange(parts, "(n k) d -> n k d", n=len(features))  # [N, K, D]
        embeddings = {GLOBAL: self.reduce[GLOBAL](global_pool(features))}  # [N, D]
        if FOREGROUND in self.config.holistic:
            foreground = maps[:, 1:].amax(1, keepdim=True)  # [N, 1, h, w]
            pooled = weighted_pool(features, foreground, average=self.config.foreground_pooling)  # [N, 1, C]
            embeddings[FOREGROUND] = self.reduce[FOREGROUND](pooled[:, 0])  # [N, D]
        embeddings[CONCAT] = rearrange(parts, "n k d -> n (k d)")  # [N, K*D]
        necked = {}
        for name in self.config.holistic:
            necked[f"{name}_bn"], logits[name] = self.identify[name](embeddings[name])
        if PARTS in self.config.objective.identity:
            scores = [head(part)[1] for head, part in zip(self.identify_parts, parts.unbind(1))]
            logits[PARTS] = torch.stack(scores, dim=1)  # [N, K, I]
        return ReIDOutput(embeddings | necked | {PARTS: parts}, self.visibility(maps), logits, {PARTS: maps})

    def loss(self, output: ReIDOutput, labels: Int[Tensor, " N"], *, masks: Masks = None) -> Terms:
        """Weighted loss terms of the objective (Eq. 5); their sum is the total."""
        config, terms, absent = self.config, {}, {FOREGROUND} - {*self.config.holistic}
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

    def attend(
        self, features: Float[Tensor, "N C h w"], masks: Masks
    ) -> tuple[dict[str, Tensor], Float[Tensor, "N M h w"]]:
        """Pixel logits, if learned, and the K+1 attention maps."""
        if self.config.attention == "learned":
            logits = self.classify_pixels(features)  # [N, K+1, h, w]
            return {"pixel": logits}, logits.softmax(1)  # Eq. 1
        if self.config.attention == "stripes":
            return {}, stripe_maps(features, stripes=self.config.parts)
        given = self._checked(masks).to(features.dtype)
        return {}, interpolate(given, size=features.shape[-2:], mode="bilinear", align_corners=True)

    def visibility(self, maps: Float[Tensor, "N M h w"]) -> dict[str, Float[Tensor, "N K"]]:
        """Which parts some cell is likeliest to show, and how likely the likeliest cell is; none for stripes."""
        if self.config.attention == "stripes":
            return {}
        maps = maps.detach()
        numbers = torch.arange(1, maps.shape[1], device=maps.device)[:, None, None]
        winners = (maps.argmax(1, keepdim=True) == numbers).flatten(2).any(-1)  # [N, K]
        soft = maps[:, 1:].flatten(2).amax(-1)  # [N, K], what Eq. 4 compares with its threshold
        return {"argmax": winners.to(maps.dtype), "soft": soft}

    def _triplet(self, output: ReIDOutput, labels: Int[Tensor, " N"], *, name: str) -> Float[Tensor, ""]:
        embedding, valid = output.embeddings[name], None
        if name != PARTS:
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
    parts = features.embeddings[PARTS].unbind(1)
    return whole + tuple(parts[k - 1] for k in _numbers(scoring, len(parts)))


def _slot_visibility(features: Features, scoring: Scoring) -> Float[Tensor, "N S"] | None:
    """Scores of the slots; a whole-image embedding is always visible.

    Deviation: with soft scores, the released code gives the foreground the probability of the likeliest class
        of any cell, background included, which is just under one.
    """
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
        scores = torch.stack([scores[:, k - 1] for k in _numbers(scoring, scores.shape[1])], dim=1)
    return scores if scoring.holistic is None else torch.cat([torch.ones_like(scores[:, :1]), scores], dim=1)


def _numbers(scoring: Scoring, parts: int) -> tuple[int, ...]:
    """Of the parts that a scoring compares, among so many."""
    if scoring.parts == "all":
        return tuple(range(1, parts + 1))
    if (highest := max(scoring.parts)) > parts:
        raise ValueError(f"scoring.parts = {scoring.parts}, but there are {parts}: no part {highest}")
    return scoring.parts
