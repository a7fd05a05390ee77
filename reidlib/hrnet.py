"""HRNet as a backbone, on timm's."""

import torch
from jaxtyping import Float
from timm.models.hrnet import HighResolutionNet
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.resnet import Bottleneck


class HRNet(HighResolutionNet):
    """timm's HRNet: four branches, each widened by its head block, brought to stride 4 and concatenated.

    Source: Wang et al., Deep High-Resolution Representation Learning, TPAMI 2020 (HRNetV2).
    """

    def __init__(self, width: int, *, stem: int, blocks: int, modules: tuple[int, int, int], head: int):
        config = {"stem_width": stem, "stage1": _stage(1, "BOTTLENECK", [stem], blocks)}
        for branches, count in enumerate(modules, start=2):
            widths = [width * 2**branch for branch in range(branches)]
            config[f"stage{branches}"] = _stage(count, "BASIC", widths, blocks)
        super().__init__(config, head="incre")
        self.downsamp_modules = None  # timm before 1.0.31 leaves it out and fails
        heads = [head * 2**branch for branch in range(4)]  # timm's own are always as wide as 128 to 1024
        self.incre_modules = nn.ModuleList(
            nn.Sequential(_bottleneck(before, after)) for before, after in zip(widths, heads)
        )
        self.init_weights()
        self.channels = sum(heads)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        branches = [widen(branch) for widen, branch in zip(self.incre_modules, self.forward_features(images))]
        size = branches[0].shape[-2:]
        upsampled = [interpolate(b, size=size, mode="bilinear", align_corners=True) for b in branches[1:]]
        return torch.cat([branches[0], *upsampled], dim=1)  # [N, C, H/4, W/4]


def _bottleneck(before: int, after: int) -> nn.Module:
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
    return Bottleneck(before, after // 4, downsample=shortcut)


def _stage(modules: int, block: str, widths: list[int], blocks: int) -> dict:
    return {
        "num_modules": modules,
        "num_branches": len(widths),
        "block_type": block,
        "num_blocks": [blocks] * len(widths),
        "num_channels": widths,
        "fuse_method": "SUM",
    }
