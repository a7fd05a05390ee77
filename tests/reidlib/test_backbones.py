"""Backbones: parameter counts of the papers, map sizes, strides, IBN-a, and weight files."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from tolerance import EXACT
from torch import nn

from reidlib.backbones import (
    BACKBONES,
    SMALL,
    InstanceBatchNorm,
    build_backbone,
    download,
    recognised,
    split,
)
from reidlib.checkpoints import Checkpoint


def on_meta(name):
    with torch.device("meta"):
        return build_backbone(name)


def count(module, kind):
    return sum(isinstance(m, kind) for m in module.modules())


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [
        ("resnet18", 11_176_512, 512),
        ("resnet34", 21_284_672, 512),
        ("resnet50", 23_508_032, 2048),
        ("resnet101", 42_500_160, 2048),
        ("resnet50-ibn", 23_508_032, 2048),
        ("hrnet-w32", 30_881_856, 1920),
        ("osnet", 1_905_828, 512),
        ("small", 307_536, 128),
        ("small-ibn", 307_536, 128),
        ("small-thin", 77_352, 64),
        ("small-resnet18", 175_752, 64),
        ("small-resnet101", 675_656, 256),
    ],
)
def test_parameter_counts(name, parameters, channels):
    backbone = on_meta(name)
    assert size(backbone) == parameters
    assert backbone.channels == channels


def test_resnet50_pieces():
    net = on_meta("resnet50")
    pieces = [net.conv1, net.bn1, net.layer1, net.layer2, net.layer3, net.layer4]
    assert [size(p) for p in pieces] == [9_408, 128, 215_808, 1_219_584, 7_098_368, 14_964_736]


def test_hrnet_pieces():
    net = on_meta("hrnet-w32")
    stem = [net.conv1, net.conv2, net.bn1, net.bn2, net.layer1]
    assert [size(p) for p in stem] == [1_728, 36_864, 128, 128, 286_208]
    assert [size(p) for p in (net.transition1, net.transition2, net.transition3)] == [
        221_376,
        73_984,
        295_424,
    ]
    stages = [net.stage2, net.stage3, net.stage4, net.incre_modules]
    assert [size(p) for p in stages] == [390_848, 6_821_632, 21_177_216, 1_576_320]


def test_hrnet_keeps_the_names_and_shapes_of_published_weights():
    ours = on_meta("hrnet-w32").state_dict()
    with torch.device("meta"):
        published = timm.create_model("hrnet_w32", pretrained=False).state_dict()
    extra = {name.split(".")[0] for name in published.keys() - ours.keys()}
    assert extra == {"downsamp_modules", "final_layer", "classifier"}
    assert all(value.shape == published[name].shape for name, value in ours.items())


def test_ibn_sits_in_every_first_norm_of_stages_one_to_three():
    net = on_meta("resnet50-ibn")
    assert count(net, nn.InstanceNorm2d) == 13
    assert count(net, nn.BatchNorm2d) == 53
    assert all(isinstance(b.bn1, InstanceBatchNorm) for s in (net.layer1, net.layer2, net.layer3) for b in s)
    assert not any(isinstance(b.bn1, InstanceBatchNorm) for b in net.layer4)
    assert count(on_meta("small-ibn"), nn.InstanceNorm2d) == 3


@pytest.mark.numeric
def test_instance_batch_norm_normalises_each_half_its_own_way():
    features = 3 + 2 * torch.randn(4, 6, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    first, second = InstanceBatchNorm(6).double()(features).split(3, dim=1)
    assert first.mean((2, 3)).abs().max() < EXACT  # per image and channel
    assert second.mean((2, 3)).abs().max() > 1e-2
    assert second.mean((0, 2, 3)).abs().max() < EXACT  # per channel


@pytest.mark.parametrize("name", BACKBONES)
def test_map_size(name):
    height, width = (64, 32) if name.startswith("small") else (256, 128)
    images = torch.empty(2, 3, height, width, device="meta")
    stride = {
        "small": 4,
        "small-ibn": 4,
        "small-hrnet": 4,
        "small-thin": 4,
        "hrnet-w32": 4,
        "small-osnet": 8,
    }.get(name, 8 if name.startswith("small") else 16)
    backbone = on_meta(name)
    assert backbone(images).shape == (2, backbone.channels, height // stride, width // stride)


@pytest.mark.numeric
@pytest.mark.parametrize(("name", "channels"), [("resnet18", (128, 256)), ("resnet50", (512, 1024)),
                                                ("small", (32, 64)), ("small-osnet", (64, 96))])  # fmt: skip
def test_stages_in_a_row_are_the_backbone(name, channels):
    backbone = build_backbone(name).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    early, third, last = split(backbone)
    with torch.inference_mode():
        maps = [early(images), third(early(images))]
        assert torch.equal(last(maps[1]), backbone(images))
    assert tuple(m.shape[1] for m in maps) == channels


def test_a_backbone_without_stages_in_a_row_cannot_be_split():
    with pytest.raises(ValueError, match="HRNet has no stages in a row"):
        split(on_meta("small-hrnet"))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "small"])
def test_last_stride_of_two_halves_the_map(name):
    with torch.device("meta"):
        maps = [build_backbone(name, last_stride=s)(torch.empty(1, 3, 64, 32)) for s in (1, 2)]
    assert maps[0].shape[-2] == 2 * maps[1].shape[-2]


@pytest.mark.parametrize("name", SMALL)
def test_small_backbones_narrow_and_train(name):
    backbone = build_backbone(name, width=0.5)
    features = backbone(torch.randn(2, 3, 64, 32))
    features.square().mean().backward()
    assert features.shape[-2:] == ((8, 4) if name == "small-osnet" or "resnet" in name else (16, 8))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match="small-hrnet"):
        build_backbone("resnet51")
    with pytest.raises(ValueError, match="width"):
        build_backbone("resnet50", width=0.5)
    with pytest.raises(ValueError, match="last_stride"):
        build_backbone("small-hrnet", last_stride=2)
    with pytest.raises(ValueError, match="none exist for small"):
        build_backbone("small", weights="imagenet")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_load_from_a_file(tmp_path, suffix):
    source = build_backbone("small", width=0.25)
    state = {**source.state_dict(), "fc.weight": torch.zeros(2, 2)}  # a classifier to leave out
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        save_file(state, path)
    loaded = build_backbone("small", width=0.25, weights=str(path))
    assert all(map(torch.equal, source.state_dict().values(), loaded.state_dict().values()))
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="lacks"):
        build_backbone("small", weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("content", [b"text", b"", b"PK\x03\x04", [1, 2], torch.zeros(2), {"conv1": 3}])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_without_weights_is_one_clear_error(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(
        ValueError, match=rf"weights: .*weights\.{suffix} (cannot be read|lacks|holds no tensors)"
    ):
        build_backbone("small", weights=str(path))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build_backbone("resnet34").state_dict(), path)
    with pytest.raises(
        ValueError, match=r"of another network: it has layer1\.2\.conv1\.weight of shape \(64"
    ):
        build_backbone("resnet18", weights=str(path))
    torch.save(build_backbone("small", width=0.5).state_dict(), path)
    with pytest.raises(ValueError, match=r"of another network: it has 0\.0\.weight of shape \(8"):
        build_backbone("small", weights=str(path))


def test_missing_imagenet_file_names_the_file_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with torch.device("meta"), pytest.raises(ValueError, match=r"checkpoints/resnet50-0676ba61\.pth"):
        build_backbone("resnet50", weights="imagenet")


TOOLKITS = {
    "Torchreid": ("osnet", "", {"classifier.weight", "fc.0.weight"}, "osnet"),
    "fast-reid": ("resnet50-ibn", "backbone.", {"heads.bottleneck.0.weight"}, "resnet50-ibn-unpadded"),
    "layumi": ("resnet18", "model.", {"model.fc.weight", "classifier.add_block.0.weight"}, "resnet18"),
    "BPBreID": (
        "hrnet-w32",
        "backbone_appearance_feature_extractor.",
        {"pixel_classifier.bn.bias"},
        "hrnet-w32",
    ),
    "reid-strong-baseline, IBN": ("resnet50-ibn", "base.", {"bottleneck.weight"}, "resnet50-ibn"),
}
"""Network, prefix of its names, what else such files hold, and the network here."""


def held(tmp_path, name, prefix, others=()):
    state = {f"{prefix}{key}": value for key, value in on_meta(name).state_dict().items()}
    return Checkpoint(tmp_path / "a.pth", state | {key: torch.zeros(2) for key in others}, {})


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_the_files_of_known_toolkits_say_which_network_they_hold(tmp_path, toolkit):
    name, prefix, others, ours = TOOLKITS[toolkit]
    assert recognised(held(tmp_path, name, prefix, others)) == (ours, prefix)


@pytest.mark.parametrize(
    ("name", "prefix", "others", "words"),
    [
        ("resnet50", "base.", (), "reid-strong-baseline or TransReID .*no ReLU after its stem"),
        ("resnet50", "net.", (), r"its names begin with net \(318\); expected"),
        ("resnet50", "backbone.", ("backbone.NL_2.0.g.weight",), r"non-local blocks \(NL_\) are not built"),
        ("resnet50", "", ("layer3.6.conv1.weight",), "no network that is known here"),
    ],
)
def test_other_networks_are_refused_by_what_their_names_say(tmp_path, name, prefix, others, words):
    with pytest.raises(ValueError, match=words):
        recognised(held(tmp_path, name, prefix, others))


def test_weights_of_a_toolkit_load_by_their_prefix(tmp_path):
    source = build_backbone("small")
    path = tmp_path / "fastreid.pth"
    torch.save({"model": {f"backbone.{key}": value for key, value in source.state_dict().items()}}, path)
    loaded = build_backbone("small", weights=str(path))
    assert all(map(torch.equal, source.state_dict().values(), loaded.state_dict().values()))
    torch.save({"base.cls_token": torch.zeros(2), "bottleneck.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"its names begin with base \(1\), bottleneck \(1\)"):
        build_backbone("small", weights=str(path))


def test_blocks_that_the_network_lacks_are_not_dropped(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(build_backbone("small").state_dict() | {"NL_2.0.g.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"another network: it has NL_2\.0\.g\.weight"):
        build_backbone("small", weights=str(path))


@pytest.mark.numeric
def test_an_unpadded_stem_is_fast_reid_s():
    padded, unpadded = build_backbone("resnet18"), build_backbone("resnet18-unpadded")
    unpadded.load_state_dict(padded.state_dict())
    maps = torch.randn(1, 64, 128, 64, generator=torch.Generator().manual_seed(0))
    windows = [  # the last one cut off at the border
        maps[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].amax((2, 3)) for y in range(64) for x in range(32)
    ]
    assert torch.equal(unpadded.maxpool(maps), torch.stack(windows, -1).view(1, 64, 64, 32))
    assert not torch.equal(unpadded.maxpool(maps), padded.maxpool(maps))


def test_weights_are_fetched_by_torchvision_with_its_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []

    def fetched(weights, *, progress, check_hash):
        assert check_hash
        asked.append(weights.url)

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", fetched)
    target = download("resnet18-unpadded")
    assert target == tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert [url.rpartition("/")[2] for url in asked] == [target.name]
    target.parent.mkdir(parents=True)
    target.touch()
    assert download("resnet18") == target
    assert len(asked) == 1
    with pytest.raises(ValueError, match="not published by torchvision: fetch it from .*IBN-Net"):
        download("resnet50-ibn")


def test_without_a_network_the_error_says_where_the_file_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(ValueError, match="cannot be fetched .no route to host.; put it in .*checkpoints"):
        download("resnet18")
