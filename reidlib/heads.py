"""Heads between a feature map and the losses: pooling, reduction, BN-neck with identity classifier."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d


def global_pool(features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C"]:
    """Average over all cells."""
    return features.mean((-2, -1))


def stripe_pool(features: Float[Tensor, "N C h w"], *, stripes: int) -> Float[Tensor, "N K C"]:
    """Average over K horizontal stripes, which overlap by a row where K does not divide h."""
    return adaptive_avg_pool2d(features, (stripes, 1)).squeeze(-1).mT  # [N, K, C]


def stripe_maps(features: Float[Tensor, "N C h w"], *, stripes: int) -> Float[Tensor, "N M h w"]:
    """K horizontal stripes as attention maps, behind an empty background map.

    The rows are those of BPBreID's released code, which cuts an image 16 times as high as the map, keeps every
    fourth row and samples these with aligned corners: 3, 3, 2, 3, 2, 3 of 16 rows for six stripes. A row that
    falls between two stripes belongs to both in part: two do for five stripes of 16 rows, none for six or eight.
    """
    n, _, h, w = features.shape
    numbers = torch.arange(stripes + 1, device=features.device)[:, None]  # [K+1, 1]
    edges = (16 * h * numbers.double() / stripes).round()  # in rows of the image
    rows, steps = torch.arange(4 * h, device=features.device), max(h - 1, 1)
    stripe = (4 * rows >= edges).sum(0).clamp_max(stripes)  # [4h], of every fourth row: 1..K
    fine = (stripe == numbers).double()  # [K+1, 4h]
    place = (4 * h - 1) * rows[:h]
    above, share = place // steps, (place % steps).double() / steps  # [h]
    maps = fine[:, above] * (1 - share) + fine[:, (above + 1).clamp_max(4 * h - 1)] * share  # [K+1, h]
    return maps.to(features.dtype)[None, :, :, None].expand(n, -1, -1, w)


def weighted_pool(
    features: Float[Tensor, "N C h w"],
    maps: Float[Tensor, "N K h w"],
    *,
    average: Literal["gwap", "mean"] = "gwap",
) -> Float[Tensor, "N K C"]:
    """Average of the feature map under each attention map.

    Args:
        features: what is pooled.
        maps: K attention maps with values in [0, 1].
        average: ``gwap`` divides by the sum of the map (global weighted average pooling),
            ``mean`` by the number of cells.

    Source: Somers et al., WACV 2023, Eq. 3; ``mean`` is the released code's foreground.
    """
    pooled = torch.einsum("nchw,nkhw->nkc", features, maps)  # [N, K, C]
    if average == "mean":
        return pooled / (features.shape[-2] * features.shape[-1])
    return pooled / maps.sum((-2, -1)).clamp_min(1e-6)[:, :, None]  # Eq. 3


class Reduction(nn.Sequential):
    """Linear, batch norm, ReLU: pooled channels to the embedding width."""

    def __init__(self, channels: int, dim: int):
        super().__init__(nn.Linear(channels, dim), nn.BatchNorm1d(dim), nn.ReLU())
        nn.init.normal_(self[0].weight, std=0.01)
        nn.init.zeros_(self[0].bias)


class IdentityHead(nn.Module):
    """BN-neck (its bias frozen at zero) and a classifier without bias.

    Source: Luo et al., Bag of Tricks, CVPRW 2019, section 3.5.
    """

    def __init__(self, dim: int, identities: int):
        super().__init__()
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(dim, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, embedding: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N I"]]:
        """The embedding after the neck, and its identity scores."""
        necked = self.neck(embedding)
        return necked, self.classifier(necked)  # [N, I]
