"""Backbones: an image batch in, a feature map ``[N, C, h, w]`` after the last ReLU out.

ResNets and OSNet have a stride of 16 (the last stage does not shrink the map), HRNets and the small
ones of the presets one of 4 (``small-osnet`` and the deep small ones of 8). Parameter names are those of
torchvision, IBN-Net, timm and Torchreid, so that their weight files load, and those of toolkits that put a prefix
before them (``PREFIXES``). An ``-unpadded`` ResNet is fast-reid's, whose stem pools without padding. Left out:
non-local blocks, which no row of the papers built so far needs; the ResNet of reid-strong-baseline and TransReID,
whose stem lacks its ReLU.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from reidlib.checkpoints import Checkpoint, read

DEPTHS = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet50-ibn": (Bottleneck, [3, 4, 6, 3]),
}
UNPADDED = tuple(f"{name}-unpadded" for name in DEPTHS)
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

BACKBONES = (*DEPTHS, *UNPADDED, "hrnet-w32", "osnet", *SMALL)

PREFIXES = {
    "": "torchvision, IBN-Net, timm or Torchreid",
    "backbone.": "fast-reid, or a model of this library",
    "backbone_appearance_feature_extractor.": "BPBreID",
    "model.": "layumi's Person_reID_baseline_pytorch",
    "base.": "reid-strong-baseline or TransReID",
}
"""What stands before a backbone's names, and in whose files."""

HEADS = ("fc", "classifier", "downsamp_modules", "final_layer", "cls_head")
"""First parts of names that belong to an image classifier behind a backbone, in the files of ``PREFIXES``."""


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
    if _padded(name) in DEPTHS:
        block, depths = DEPTHS[_padded(name)]
        padded, ibn = name not in UNPADDED, "ibn" in name
        backbone = ResNet(block, depths, last_stride=last_stride, ibn=ibn, padded=padded)
    elif "hrnet" in name:
        backbone = _hrnet(name, width=width)
    elif name == "osnet":
        backbone = OSNet((64, 256, 384, 512), pooled_stem=True)
    elif name == "small-osnet":
        backbone = OSNet(tuple(round(channels * width) for channels in (16, 64, 96, 128)), pooled_stem=False)
    else:
        backbone = SmallResNet(name, width=width, last_stride=last_stride)
    if weights is not None:
        load_weights(backbone, imagenet_file(name) if weights == "imagenet" else Path(weights))
    return backbone


def _padded(name: str) -> str:
    """The name of the same network with a padded stem, which has the same parameters."""
    return name.removesuffix("-unpadded")


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
    """torchvision's ResNet without pooling and classifier, optionally with IBN-a in stages 1 to 3.

    Args:
        padded: False pools in the stem as fast-reid does, and with it BPBreID's released IBN network: without
            padding, the last window cut off at the border. Maps are as large, and shifted by a pixel.
    """

    def __init__(
        self, block: type[nn.Module], depths: list[int], *, last_stride: int, ibn: bool, padded: bool
    ):
        super().__init__(block, depths)
        self.channels = self.fc.in_features
        del self.fc, self.avgpool
        if not padded:
            self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
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
    """Fill a backbone from a file of any toolkit in ``PREFIXES``; a classifier behind it is left out.

    Raises:
        ValueError: no such file, or one of another network: without all of the backbone's parameters, or with more.
    """
    if not path.is_file():
        raise ValueError(f"{_absent(path)}, or train from scratch with None")
    checkpoint, wanted = read(path), backbone.state_dict()
    state = checkpoint.below(_prefix(checkpoint, wanted))
    if extra := _extra(state, wanted):
        raise ValueError(
            f"weights: {path} is of another network: it has {extra} of shape {tuple(state[extra].shape)}; choose "
            "the one it was made for"
        )
    backbone.load_state_dict({name: value for name, value in state.items() if name in wanted}, strict=False)


def recognised(checkpoint: Checkpoint) -> tuple[str, str]:
    """The backbone that a file holds, by names and shapes, and the prefix of its names there.

    Of two with the same parameters, fast-reid's files mean the one that it has, all others the padded one. What no
    file tells is the stride of the last stage.

    Raises:
        ValueError: none of ``BACKBONES``; the message says what the names begin with.
    """
    for name in BACKBONES:
        wanted = _skeleton(name)
        for prefix in PREFIXES:
            state = checkpoint.below(prefix)
            if not _lacking(state, wanted) and not _extra(state, wanted):
                _refuse_base(checkpoint, prefix, name)
                foreign = prefix == "backbone." and f"{name}-unpadded" in UNPADDED
                return (f"{name}-unpadded" if foreign else name), prefix
    known = ", ".join(repr(prefix) for prefix in PREFIXES if prefix)
    networks = ", ".join(name for name in BACKBONES if name not in (*UNPADDED, *SMALL))
    found = f"its names begin with {checkpoint.prefixes}"
    if any(part.startswith("NL_") for name in checkpoint.tensors for part in name.split(".")):
        found += "; its non-local blocks (NL_) are not built here"
    raise ValueError(
        f"weights: {checkpoint.path} holds no network that is known here: {found}; expected the parameters of one of "
        f"{networks}, with nothing or {known} before them"
    )


def _prefix(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> str:
    """Before the names of a backbone's parameters in a file, which must all be there."""
    prefix = next((p for p in PREFIXES if not _lacking(checkpoint.below(p), wanted, shapes=False)), None)
    if prefix is None:
        lacking = _lacking(checkpoint.tensors, wanted, shapes=False)
        raise ValueError(
            f"weights: {checkpoint.path} lacks {len(lacking)} entries of the backbone, first {lacking[0]}; its names "
            f"begin with {checkpoint.prefixes}"
        )
    return prefix


def _lacking(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, shapes: bool = True) -> list[str]:
    """Parameters of a backbone that are not there, or not in its shape; counters of batches do not matter."""
    return [
        name
        for name, value in wanted.items()
        if not name.endswith("num_batches_tracked")
        and (name not in state or (shapes and state[name].shape != value.shape))
    ]


def _extra(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The first entry that the backbone has not, or not in that shape, and that belongs to no classifier behind it."""
    wrong = [name for name, value in wanted.items() if name in state and state[name].shape != value.shape]
    stages = {name.split(".")[0] for name in wanted}
    more = [
        name
        for name in state
        if name not in wanted and (name.split(".")[0] in stages or name.split(".")[0] not in HEADS)
    ]
    return next(iter(more + wrong), None)


def _refuse_base(checkpoint: Checkpoint, prefix: str, name: str) -> None:
    if prefix == "base." and "ibn" not in name:
        raise ValueError(
            f"weights: {checkpoint.path} is of {PREFIXES[prefix]} (its names begin with {checkpoint.prefixes}), whose "
            f"{name} has no ReLU after its stem: here it would compute something else"
        )


@cache
def _skeleton(name: str) -> dict[str, Tensor]:
    """Names and shapes of a backbone's parameters."""
    with torch.device("meta"):
        return build_backbone(name).state_dict()


def imagenet_file(name: str) -> Path:
    """Where a backbone's ImageNet weights are looked for: torch's checkpoint folder.

    Raises:
        ValueError: there are none for it.
    """
    name = _padded(name)
    if name not in IMAGENET_FILES:
        raise ValueError(f'weights = "imagenet": none exist for {name}; use None or a file\'s path')
    return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILES[name]


def require_imagenet(names: Iterable[str]) -> None:
    """Check that the ImageNet weights of some backbones are there.

    Raises:
        ValueError: naming every file that is not, and where it comes from.
    """
    files = {imagenet_file(name) for name in names}
    if absent := [_absent(file) for file in sorted(files) if not file.is_file()]:
        raise ValueError("\n".join(absent))


def _absent(path: Path) -> str:
    return f"weights: no file {path}; nothing is downloaded: fetch {path.name}{_origin(path.name)} and put it there"


def download(name: str) -> Path:
    """Fetch a backbone's ImageNet weights by torchvision's own loader, which checks their hash; one fetched is kept.

    Returns:
        Where the file lies.

    Raises:
        ValueError: the weights are not torchvision's, or cannot be fetched.
    """
    target = imagenet_file(name)
    if target.is_file():
        return target
    published = _published(target.name)
    if published is None:
        raise ValueError(
            f"weights: {target.name} is not published by torchvision: fetch it{_origin(target.name)} and put it in "
            f"{target.parent}"
        )
    try:
        published.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a hash that differs
        raise ValueError(
            f"weights: {published.url} cannot be fetched ({error}); put it in {target.parent} by other means"
        ) from None
    return target


def _origin(file: str) -> str:
    """Where an ImageNet file is published, in words for an error."""
    published = _published(file)
    if published:
        return f" from {published.url}"
    return f" from {ORIGINS[file]}" if file in ORIGINS else ""


def _published(file: str) -> torchvision.models.WeightsEnum | None:
    """torchvision's weights of a file's name."""
    tags = (tag for name in DEPTHS if "ibn" not in name for tag in torchvision.models.get_model_weights(name))
    return next((tag for tag in tags if tag.url.endswith(f"/{file}")), None)


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
