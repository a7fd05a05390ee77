"""Backbones: an image batch in, a feature map ``[N, C, h, w]`` after the last ReLU out.

ResNets and OSNet have a stride of 16 (the last stage does not shrink the map), HRNets and the small
ones of the presets one of 4 (``small-osnet`` and the deep small ones of 8). Parameter names are those of
torchvision, IBN-Net, timm and Torchreid, so that their weight files load. Left out: non-local blocks, which no
row of the papers built so far needs.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

DEPTHS = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet50-ibn": (Bottleneck, [3, 4, 6, 3]),
}
SMALL_DEPTHS = {f"small-{name}": DEPTHS[name] for name in ("resnet18", "resnet34", "resnet50", "resnet101")}
SMALL = ("small", "small-thin", "small-ibn", "small-hrnet", "small-osnet", *SMALL_DEPTHS)
IMAGENET_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet50-ibn": "resnet50_ibn_a-d9d0bb7b.pth",
    "hrnet-w32": "hrnetv2_w32_imagenet_pretrained.pth",
    "osnet": "osnet_x1_0_imagenet.pth",
}
ORIGINS = {
    "resnet50_ibn_a-d9d0bb7b.pth": "the releases of the project XingangPan/IBN-Net",
    "hrnetv2_w32_imagenet_pretrained.pth": "the project HRNet/HRNet-Image-Classification",
    "osnet_x1_0_imagenet.pth": "the model zoo of the project KaiyangZhou/deep-person-reid",
}
"""Who publishes the files that are not torchvision's."""

BACKBONES = (*DEPTHS, "hrnet-w32", "osnet", *SMALL)


def build_backbone(
    name: str, *, width: float = 1.0, last_stride: int = 1, weights: str | None = None
) -> nn.Module:
    """Build a backbone; its ``channels`` attribute is the depth of the map it returns.

    Args:
        name: one of ``BACKBONES``.
        width: multiplier of the channels, for the small backbones only.
        last_stride: stride of the last stage, 1 or 2; HRNets and OSNets have none to change.
        weights: None (random), "imagenet" (a file in torch's checkpoint folder) or a file's path.

    Raises:
        ValueError: an unknown name, an option that the backbone lacks, or weights that do not fit.
    """
    if name not in BACKBONES:
        raise ValueError(f"name = {name!r}; expected one of {', '.join(BACKBONES)}")
    if last_stride not in (1, 2) or (last_stride == 2 and ("hrnet" in name or "osnet" in name)):
        raise ValueError(f"last_stride = {last_stride} with {name}; expected 1, or 2 for a ResNet")
    if width != 1.0 and name not in SMALL:
        raise ValueError(f"width = {width} with {name}; expected 1: only {', '.join(SMALL)} can be narrowed")
    if name in DEPTHS:
        block, depths = DEPTHS[name]
        backbone = ResNet(block, depths, last_stride=last_stride, ibn=name.endswith("ibn"))
    elif "hrnet" in name:
        backbone = _hrnet(name, width=width)
    elif name == "osnet":
        backbone = OSNet((64, 256, 384, 512), pooled_stem=True)
    elif name == "small-osnet":
        backbone = OSNet(tuple(round(channels * width) for channels in (16, 64, 96, 128)), pooled_stem=False)
    else:
        backbone = SmallResNet(name, width=width, last_stride=last_stride)
    if weights is not None:
        load_weights(backbone, _imagenet_file(name) if weights == "imagenet" else Path(weights))
    return backbone


def _hrnet(name: str, *, width: float) -> nn.Module:
    from reidlib.hrnet import HRNet  # importing timm takes long, and only these need it

    if name == "hrnet-w32":
        return HRNet(32, stem=64, blocks=4, modules=(1, 4, 3), head=128)
    narrow = round(16 * width)
    return HRNet(narrow, stem=narrow, blocks=1, modules=(1, 1, 1), head=2 * narrow)


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance norm on the first half of the channels, batch norm on the second."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)  # named as in the published weights
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        first, second = features[:, : self.half], features[:, self.half :]
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], dim=1)


class ResNet(torchvision.models.ResNet):
    """torchvision's ResNet without pooling and classifier, optionally with IBN-a in stages 1 to 3."""

    def __init__(self, block: type[nn.Module], depths: list[int], *, last_stride: int, ibn: bool):
        super().__init__(block, depths)
        self.channels = self.fc.in_features
        del self.fc, self.avgpool
        first = self.layer4[0]
        strided = first.conv2 if block is Bottleneck else first.conv1
        strided.stride = first.downsample[0].stride = (last_stride, last_stride)
        if ibn:
            _use_ibn(self.layer1, self.layer2, self.layer3)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # [N, 64, H/4, W/4]
        return self.layer4(self.layer3(self.layer2(self.layer1(features))))  # [N, C, H/16, W/16]


SMALL_WIDTHS = (16, 32, 64, 128)
"""Channels of the four stages of ``small``, a quarter of a ResNet-18's."""


class SmallResNet(nn.Sequential):
    """The presets' network: four stages of one basic block, 64x32 pixels to a 16x8 map.

    Its map is as fine as that of a ResNet-50 with last stride 1 at 256x128, at a tiny part of its cost. With
    all blocks of a ResNet it is half as wide, an eighth of that ResNet, and its third stage halves the map too:
    a deep network would cost too much. Such a one starts with every block passing its input on (the last batch
    norm at zero; Goyal et al., 2017): from scratch, the deepest would learn nothing else. The thin one is half as
    wide, and no more than that.

    Args:
        name: ``small``, ``small-thin``, ``small-ibn`` or one of ``SMALL_DEPTHS``.
    """

    def __init__(self, name: str, *, width: float, last_stride: int):
        deep = name in SMALL_DEPTHS
        share = 0.5 if deep or name == "small-thin" else 1.0
        widths = [round(channels * width * share) for channels in SMALL_WIDTHS]
        block, depths = SMALL_DEPTHS[name] if deep else (BasicBlock, (1, 1, 1, 1))
        strides = (1, 2, 2 if deep else 1, last_stride)
        stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before, stages = widths[0], []
        for inner, depth, stride in zip(widths, depths, strides):
            after = inner * block.expansion
            following = (_block(block, after, after) for _ in range(depth - 1))
            stages.append(nn.Sequential(_block(block, before, after, stride=stride), *following))
            before = after
        super().__init__(stem, *stages)
        self.channels = before
        if name.endswith("ibn"):
            _use_ibn(*stages[:3])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif deep and isinstance(module, (BasicBlock, Bottleneck)):
                nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)


class OSNet(nn.Module):
    """Omni-scale network: every block adds four streams of growing field of view, each behind one shared gate.

    Args:
        channels: of the stem and of the three stages; the last also of the map.
        pooled_stem: whether the stem shrinks the map twice, as the published network's does.

    Source: Zhou et al., Omni-Scale Feature Learning, ICCV 2019, section 3 and Table 1.
    """

    def __init__(self, channels: tuple[int, int, int, int], *, pooled_stem: bool):
        super().__init__()
        self.channels = channels[-1]
        self.conv1 = _ConvUnit(3, channels[0], size=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pooled_stem else nn.Identity()
        stages = [
            [_OmniScaleBlock(before, after), _OmniScaleBlock(after, after)]
            for before, after in zip(channels, channels[1:])
        ]
        for blocks, width in zip(stages[:2], channels[1:]):
            blocks.append(nn.Sequential(_ConvUnit(width, width), nn.AvgPool2d(2)))
        self.conv2, self.conv3, self.conv4 = (nn.Sequential(*blocks) for blocks in stages)
        self.conv5 = _ConvUnit(channels[-1], channels[-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        features = self.conv2(self.maxpool(self.conv1(images)))
        return self.conv5(self.conv4(self.conv3(features)))  # [N, C, H/16, W/16], H/8 without a pooled stem


class _ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU, named as in Torchreid's weights."""

    def __init__(self, before: int, after: int, *, size: int = 1, stride: int = 1, relu: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D _ _"]:
        return self.relu(self.bn(self.conv(features)))


class _LightUnit(nn.Module):
    """A 3x3 convolution in two parts: across channels, then within each."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn, self.relu = nn.BatchNorm2d(channels), nn.ReLU()

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        return self.relu(self.bn(self.conv2(self.conv1(features))))


class _Gate(nn.Module):
    """How much of each channel a stream lets through, seen from its mean."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 16)
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        mean = features.mean((-2, -1), keepdim=True)  # [N, C, 1, 1]
        return features * self.fc2(self.fc1(mean).relu()).sigmoid()


class _OmniScaleBlock(nn.Module):
    """Four streams of one to four light convolutions, gated and added; the input joins at the end."""

    def __init__(self, before: int, after: int):
        super().__init__()
        inner = after // 4
        self.conv1 = _ConvUnit(before, inner)
        self.conv2a = _LightUnit(inner)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(_LightUnit(inner) for _ in range(depth))) for depth in (2, 3, 4)
        )
        self.gate = _Gate(inner)
        self.conv3 = _ConvUnit(inner, after, relu=False)
        self.downsample = None if before == after else _ConvUnit(before, after, relu=False)

    def forward(self, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D h w"]:
        narrow = self.conv1(features)
        streams = (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        mixed = sum(self.gate(stream(narrow)) for stream in streams)  # [N, D/4, h, w]
        shortcut = features if self.downsample is None else self.downsample(features)
        return (self.conv3(mixed) + shortcut).relu()


def stages(backbone: ResNet | SmallResNet) -> tuple[nn.Sequential, ...]:
    """The four stages of a ResNet, each a row of residual blocks."""
    if isinstance(backbone, SmallResNet):
        return tuple(backbone)[1:]
    return backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4


def split(backbone: nn.Module, *, late: bool = False) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A backbone as three modules in a row: up to its second stage, the third, and what follows.

    Args:
        late: cut an OSNet into all up to its third stage, the fourth, and the last 1x1 convolution.

    Raises:
        ValueError: a backbone whose stages are not in a row.
    """
    match backbone:
        case ResNet():
            stem = (backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
            return (
                nn.Sequential(*stem, backbone.layer1, backbone.layer2),
                backbone.layer3,
                backbone.layer4,
            )
        case SmallResNet():
            *early, third, last = backbone
            return nn.Sequential(*early), third, last
        case OSNet():
            early = nn.Sequential(backbone.conv1, backbone.maxpool, backbone.conv2)
            if late:
                return nn.Sequential(early, backbone.conv3), backbone.conv4, backbone.conv5
            return early, backbone.conv3, nn.Sequential(backbone.conv4, backbone.conv5)
    raise ValueError(f"{type(backbone).__name__} has no stages in a row; use a ResNet or an OSNet")


def load_weights(backbone: nn.Module, path: Path) -> None:
    """Fill a backbone from a file; what the file has beyond it (a classifier, say) is left out.

    Raises:
        ValueError: no such file, or one without all of the backbone's parameters.
    """
    if not path.is_file():
        raise ValueError(
            f"weights: no file {path}; nothing is downloaded: fetch {path.name}{_origin(path.name)} and put it "
            "there, or train from scratch with None"
        )
    state, wanted = _read_weights(path), backbone.state_dict()
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"weights: {path} lacks {len(missing)} entries of the backbone, first {missing[0]}")
    stages = {name.split(".")[0] for name in wanted}
    deeper = [n for n in state if n not in wanted and n.split(".")[0] in stages]
    wrong = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    if deeper or wrong:
        first = (deeper or wrong)[0]
        there = f"{first} of shape {tuple(state[first].shape)}"
        raise ValueError(
            f"weights: {path} is of another network: it has {there}; choose the one it was made for"
        )
    backbone.load_state_dict({name: value for name, value in state.items() if name in wanted}, strict=False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        safe = path.suffix == ".safetensors"
        found = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found)
        return {name.removeprefix("module."): v for name, v in found.items() if isinstance(v, Tensor)}
    except (UnpicklingError, SafetensorError, RuntimeError, LookupError, AttributeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"weights: {path} cannot be read ({reason}); fetch it again") from None


def _origin(file: str) -> str:
    """Where an ImageNet file is published, in words for an error."""
    urls = [
        weights.url for name in torchvision.models.list_models() if name in DEPTHS for weights in _tags(name)
    ]
    address = next((url for url in urls if url.endswith(f"/{file}")), None)
    return f" from {address or ORIGINS[file]}" if address or file in ORIGINS else ""


def _tags(name: str) -> list[torchvision.models.WeightsEnum]:
    return list(torchvision.models.get_model_weights(name))


def _imagenet_file(name: str) -> Path:
    if name not in IMAGENET_FILES:
        raise ValueError(f'weights = "imagenet": none exist for {name}; use None or a file\'s path')
    return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILES[name]


def _use_ibn(*stages: nn.Sequential) -> None:
    for stage in stages:
        for block in stage:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)


def _block(kind: type[nn.Module], before: int, after: int, *, stride: int = 1) -> nn.Module:
    """A residual block; its shortcut is a convolution where it changes the size of the map."""
    if stride == 1 and before == after:
        return kind(before, after // kind.expansion)
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
    return kind(before, after // kind.expansion, stride, shortcut)
