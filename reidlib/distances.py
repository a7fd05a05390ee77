"""Distances between embeddings: smaller is closer.

``euclidean`` is the differentiable one that the losses mine; ``visible_part_distance`` is the test-time
distance of part-based models (Somers et al., WACV 2023, Eq. 9). ``aligned_pairs`` and ``aligned_distance``
match stripes along the shortest path (AlignedReID++), for triplets and for a whole gallery. Left out: cosine
(the same ranking as euclidean on normalised embeddings) and the maximum over parts, which no printed row uses.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 1000  # gallery images at a time, so that a block of distances stays in the processor's cache


def full_precision(tensor: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The tensor in at least 32 bits: distances cancel badly in half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def safe_sqrt(square: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Square root whose value and gradient are zero at zero and below; NaN stays NaN."""
    zero = square <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def euclidean(query: Float[Tensor, "*K Q D"], gallery: Float[Tensor, "*K G D"]) -> Float[Tensor, "*K Q G"]:
    """Euclidean distances |a - b|, not squared, through |a|^2 + |b|^2 - 2ab."""
    with torch.autocast(query.device.type, enabled=False):
        query, gallery = full_precision(query), full_precision(gallery)
        squares = query.square().sum(-1)[..., :, None] + gallery.square().sum(-1)[..., None, :]
        return safe_sqrt(squares - 2 * query @ gallery.mT)  # [K, Q, G]


def apart(
    query: Float[Tensor, "Q D"], gallery: Float[Tensor, "G D"], *, unit: bool
) -> tuple[Float[Tensor, "Q D"], Float[Tensor, "G D"]]:
    """Vectors from anywhere, made ready for ``euclidean``: in double precision, around the gallery's median.

    Distances stay what they are. A large common part, or vectors that are nearly parallel, would leave nothing of
    them in |a|^2 + |b|^2 - 2ab, in single precision soon.

    Args:
        unit: scale every vector to unit length first; zeros stay.

    Raises:
        ValueError: a vector whose square is beyond double precision.
    """
    query, gallery = query.double(), gallery.double()
    lengths = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (query, gallery)]
    for name, vectors, length in zip(("query", "gallery"), (query, gallery), lengths):
        wrong = ~length[:, 0].isfinite() | ((length == 0) & (vectors != 0)).any(-1)
        if wrong.any():
            raise ValueError(
                f"{name}: the square of row {int(wrong.nonzero()[0])} is beyond double precision"
            )
    if unit:
        query, gallery = (x / torch.where(n > 0, n, 1.0) for x, n in zip((query, gallery), lengths))
    centre = gallery.median(0).values
    return query - centre, gallery - centre


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

    Raises:
        ValueError: other slots or other images on one side than on the other, or in the scores.

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
    if query_visibility is not None:
        query_visibility = _checked(query_visibility, query, name="query_visibility")
        gallery_visibility = _checked(gallery_visibility, gallery, name="gallery_visibility")
    query_slots = [_prepare(slot, normalized) for slot in query]
    total = query_slots[0].new_zeros(len(query[0]), len(gallery[0]))  # [Q, G]
    for start in range(0, len(gallery[0]), CHUNK):
        chunk = slice(start, start + CHUNK)
        for s, rows in enumerate(query_slots):
            distances = _block_distance(rows, _prepare(gallery[s][chunk], normalized))  # [Q, chunk]
            if query_visibility is not None:
                distances.mul_(gallery_visibility[chunk, s].sqrt()).mul_(query_visibility[:, s, None].sqrt())
            total[:, chunk].add_(distances)
    if query_visibility is None:
        return total.div_(len(query))
    weights = torch.einsum("qs,gs->qg", query_visibility.sqrt(), gallery_visibility.sqrt())
    return total.div_(weights).masked_fill_(weights == 0, torch.inf)  # Eq. 9


def _checked(
    visibility: Float[Tensor, "N S"], slots: Sequence[Float[Tensor, "N _"]], *, name: str
) -> Float[Tensor, "N S"]:
    """A score for every image and slot: one too many would weigh a slot that is not compared."""
    expected = (len(slots[0]), len(slots))
    if tuple(visibility.shape) != expected:
        raise ValueError(
            f"{name} has shape {tuple(visibility.shape)}; expected one score per image and slot, {expected}"
        )
    return full_precision(visibility)


def _prepare(embedding: Float[Tensor, "N *K D"], normalized: bool) -> Float[Tensor, "N *K D"]:
    embedding = full_precision(embedding)
    return normalize(embedding, dim=-1) if normalized else embedding


def _block_distance(query: Float[Tensor, "Q D"], gallery: Float[Tensor, "G D"]) -> Float[Tensor, "Q G"]:
    """Euclidean distances, in place and without a gradient: ``euclidean`` at half its cost."""
    rows, columns = (torch.linalg.vector_norm(x, dim=-1).square_() for x in (query, gallery))
    with torch.autocast(query.device.type, enabled=False):
        squares = torch.addmm(columns, query, gallery.mT, alpha=-2).add_(rows[:, None])
    return squares.clamp_min_(0).sqrt_()


BLOCK = 128  # queries at a time, and gallery images: a row of the table of paths stays in the cache
ALIGNED_CHUNK = 512


def shortest_path(costs: Float[Tensor, "*pairs m n"]) -> Float[Tensor, "*pairs"]:
    """Length of the cheapest path from the first to the last cell, moving right or down, all cells counted.

    An infinite cell cannot be passed; infinity is the answer where there is no way around.

    S_ij = d_ij + min(S_{i-1,j}, S_{i,j-1}). A row at a time: with c_j the cost of its first j cells, a path
    that comes down in column t costs S_{i-1,t} - c_{t-1} + c_j, so a running minimum over t ends the recursion.

    Source: AlignedReID++ (Luo et al., Pattern Recognition 2019), section 3.2.
    """
    blocked = costs == torch.inf
    dearest = 1 + costs.detach().abs().masked_fill(blocked, 0).sum((-2, -1))  # than any path of finite cells
    first, *rest = torch.where(blocked, dearest[..., None, None], costs).unbind(-2)
    path = first.cumsum(-1)  # [*pairs, n]
    for row in rest:
        along = row.cumsum(-1)
        path = along + (path - (along - row)).cummin(-1).values  # [*pairs, n]
    return path[..., -1].masked_fill(path[..., -1].detach() >= dearest, torch.inf)


def aligned_pairs(first: Float[Tensor, "N m D"], second: Float[Tensor, "N n D"]) -> Float[Tensor, " N"]:
    """Aligned distance of each image of one batch from the image at its place in another, with a gradient.

    Args:
        first, second: stripes of unit length, top to bottom.

    Source: AlignedReID++, Eq. 1 and 2: d_ij = tanh(|a_i - b_j| / 2).
    """
    return shortest_path((euclidean(first, second) / 2).tanh())


@torch.no_grad()
def aligned_distance(
    query: Float[Tensor, "Q m D"], gallery: Float[Tensor, "G n D"], *, aligned: bool = True
) -> Float[Tensor, "Q G"]:
    """Distance of dynamically matched stripes: the shortest path through the table of their distances.

    d_ij = tanh(|a_i - b_j| / 2), summed along the path of ``shortest_path``. The table is never held: a block
    keeps one row of it, and its cells are computed as the path reaches them.

    An image is not at distance zero from itself: every path but that of equal stripes leaves the diagonal, and
    the step beside it costs. It need not be its own nearest neighbour.

    Args:
        query, gallery: stripes, top to bottom; scaled to unit length here.
        aligned: False sums over the diagonal instead, stripe i against stripe i.

    Raises:
        ValueError: unaligned stripes, of which one image has more.

    Source: AlignedReID++, section 3.2; Gautam et al., AaP-ReID, test distance.
    """
    if not aligned and query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query has {query.shape[1]} stripes and gallery {gallery.shape[1]}; unaligned they must be as many"
        )
    rows, columns = (rearrange(_prepare(x, True), "n k d -> k n d").contiguous() for x in (query, gallery))
    # a stripe of zeros has no direction and stays zero
    squares = [x.any(-1).to(x.dtype) for x in (rows, columns)]
    total = rows.new_empty(len(query), len(gallery))  # [Q, G]
    for top in range(0, len(query), BLOCK):
        for left in range(0, len(gallery), ALIGNED_CHUNK):
            block, chunk = slice(top, top + BLOCK), slice(left, left + ALIGNED_CHUNK)
            first, second = (rows[:, block], squares[0][:, block]), (columns[:, chunk], squares[1][:, chunk])
            total[block, chunk] = _path([*zip(*first)], [*zip(*second)], aligned=aligned)
    return total


Stripe = tuple[Float[Tensor, "_ D"], Float[Tensor, " _"]]
"""A stripe of several images, of unit length or zero, and its square, 1 or 0."""


def _path(rows: Sequence[Stripe], columns: Sequence[Stripe], *, aligned: bool) -> Float[Tensor, "q g"]:
    """Aligned distance of a block of stripes; ``path[j]`` ends at column j of the current row.

    Cells are logistic functions, since tanh(x / 2) = 2 sigmoid(x) - 1 and all paths have equally many cells.
    """
    if not aligned:
        return sum(_cell(a, b) for a, b in zip(rows, columns)).mul_(2).sub_(len(rows))
    path: list[Tensor] = []
    for i, stripe in enumerate(rows):
        for j, other in enumerate(columns):
            cell = _cell(stripe, other)  # [q, g]
            if i == 0:
                path.append(cell.add_(path[j - 1]) if j else cell)
            else:
                best = torch.minimum(path[j], path[j - 1], out=path[j]) if j else path[j]
                best.add_(cell)
    return path[-1].mul_(2).sub_(len(rows) + len(columns) - 1)


def _cell(query: Stripe, gallery: Stripe) -> Float[Tensor, "q g"]:
    """sigmoid(|a - b|), from |a|^2 + |b|^2 - 2 ab; half the time of a tanh."""
    (a, square), (b, other) = query, gallery
    return torch.addmm(square[:, None] + other, a, b.mT, alpha=-2).clamp_min_(0).sqrt_().sigmoid_()
