"""Distances between embeddings: smaller is closer.

``euclidean`` is the differentiable one that the losses mine; ``visible_part_distance`` is the test-time
distance of part-based models (Somers et al., WACV 2023, Eq. 9). Left out: cosine (the same ranking as
euclidean on normalised embeddings) and the maximum over parts, which no printed row uses.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def full_precision(tensor: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The tensor in at least 32 bits: distances cancel badly in half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def safe_sqrt(square: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Square root whose value and gradient are zero, never NaN, at zero and below."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def euclidean(query: Float[Tensor, "*K Q D"], gallery: Float[Tensor, "*K G D"]) -> Float[Tensor, "*K Q G"]:
    """Euclidean distances |a - b|, not squared, through |a|^2 + |b|^2 - 2ab."""
    with torch.autocast(query.device.type, enabled=False):
        query, gallery = full_precision(query), full_precision(gallery)
        squares = query.square().sum(-1)[..., :, None] + gallery.square().sum(-1)[..., None, :]
        return safe_sqrt(squares - 2 * query @ gallery.mT)  # [K, Q, G]


def part_euclidean(query: Float[Tensor, "Q K D"], gallery: Float[Tensor, "G K D"]) -> Float[Tensor, "K Q G"]:
    """Euclidean distance of every part on its own; it holds K matrices, so for batches only."""
    return euclidean(rearrange(query, "q k d -> k q d"), rearrange(gallery, "g k d -> k g d"))


@torch.no_grad()
def visible_part_distance(
    query: Sequence[Float[Tensor, "Q _"]],
    gallery: Sequence[Float[Tensor, "G _"]],
    *,
    query_visibility: Float[Tensor, "Q S"] | None = None,
    gallery_visibility: Float[Tensor, "G S"] | None = None,
    normalized: bool = True,
) -> Float[Tensor, "Q G"]:
    """Average distance of the slots (parts, foreground, ...) that two images both show.

    dist = sum_s w_s d_s / sum_s w_s, with w_s = sqrt(v_s^q v_s^g) and d_s euclidean (Eq. 9).

    Args:
        query: one tensor per slot; ``parts.unbind(1)`` makes them without a copy.
        gallery: likewise, in the same order.
        query_visibility: scores in [0, 1]; None compares every slot. Give both or neither.
        gallery_visibility: likewise.
        normalized: whether every slot is first scaled to unit length.

    Returns:
        Distances; infinity where no slot is visible in both images.

    Source: Somers et al., WACV 2023, section 3.3, Eq. 9.
    Deviation: Eq. 9 has w = v^q v^g; the square root (released code) differs for soft scores only. The
        released code replaces infinity by one plus the largest distance, which ranks alike.
    """
    if (query_visibility is None) != (gallery_visibility is None):
        raise ValueError("query_visibility, gallery_visibility: one is None; give both or neither")
    if len(query) != len(gallery) or not query:
        raise ValueError(
            f"query and gallery have {len(query)} and {len(gallery)} slots; expected equal, >= 1"
        )
    total = 0.0
    for slot, (a, b) in enumerate(zip(query, gallery)):
        rows = _lift(a, None if query_visibility is None else query_visibility[:, slot], normalized)
        columns = _lift(b, None if gallery_visibility is None else gallery_visibility[:, slot], normalized)
        columns = torch.cat([columns[:, 1:2], columns[:, :1], -2 * columns[:, 2:]], dim=1)  # [G, D+2]
        total = _product(rows, columns).clamp_min_(0).sqrt_().add_(total)  # [Q, G], plus w_s d_s
    if query_visibility is None:
        return total.div_(len(query))
    weights = _product(full_precision(query_visibility).sqrt(), full_precision(gallery_visibility).sqrt())
    return total.div_(weights).masked_fill_(weights == 0, torch.inf)  # Eq. 9


def _lift(
    embedding: Float[Tensor, "N D"], visibility: Float[Tensor, " N"] | None, normalized: bool
) -> Float[Tensor, "N D+2"]:
    """v (|x|^2, 1, x): its product with v (1, |y|^2, -2y) is the squared distance, already weighted."""
    embedding = full_precision(embedding)
    if normalized:
        embedding = normalize(embedding, dim=-1)
    square = embedding.square().sum(-1, keepdim=True)
    lifted = torch.cat([square, torch.ones_like(square), embedding], dim=1)  # [N, D+2]
    return lifted if visibility is None else lifted.mul_(full_precision(visibility)[:, None])


def _product(rows: Float[Tensor, "Q D"], columns: Float[Tensor, "G D"]) -> Float[Tensor, "Q G"]:
    """Inner products, whatever precision autocast would choose."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.mT
