"""Released BPBreID checkpoints: names, what else the files hold, and files of other networks."""

import os
import re
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from reidlib.models.bpbreid import BPBreID, Config
from reidlib.models.released import BACKBONE, open_released, translate

CONFIG = replace(Config(), backbone="small", parts=3, dim=8)


def model(identities=5, seed=0, config=CONFIG):
    torch.manual_seed(seed)
    return BPBreID(config, identities=identities)


def released_name(ours):
    """The other direction, written apart from the library's map."""
    parts = ours.split(".")
    if parts[0] == "backbone":
        return "backbone_appearance_feature_extractor." + ".".join(parts[1:])
    kind = {"neck": "bn", "0": "bn", "1": "classifier"}
    if parts[1] == "reduce":
        return f"{parts[2]}_after_pooling_dim_reduce.layers." + ".".join(parts[3:])
    if parts[1] == "classify_pixels":
        return f"pixel_classifier.{kind[parts[2]]}.{parts[3]}"
    whole = {"concat": "concat_parts"}.get(parts[2], parts[2])
    return f"{whole}_identity_classifier.{kind.get(parts[3], parts[3])}.{parts[4]}"


def checkpoint(path, source, extra=None):
    state = {f"module.{released_name(name)}": value for name, value in source.state_dict().items()}
    state["module.background_identity_classifier.bn.weight"] = torch.ones(8)
    state["module.parts_identity_classifier.0.bn.weight"] = torch.ones(8)
    state["module.background_after_pooling_dim_reduce.layers.0.weight"] = torch.ones(8, 4)
    torch.save({"state_dict": state, "epoch": 120, "rank1": 0.95} | (extra or {}), path)
    return path


def test_map_covers_every_parameter():
    for name in model().state_dict():
        assert translate(released_name(name)) == name
        assert translate("module." + released_name(name)) == name
    for left_out in ("background_identity_classifier.bn.weight", "parts_identity_classifier.0.bn.weight"):
        assert translate(left_out) is None
    assert (
        translate("backbone_appearance_feature_extractor.layer4.0.conv2.weight")
        == "backbone.layer4.0.conv2.weight"
    )


def test_loads_weights_and_gives_the_same_output(tmp_path):
    source = model(seed=1)
    found = open_released(checkpoint(tmp_path / "a.pth", source)).model
    assert found.config == CONFIG
    for name, tensor in source.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    images = torch.rand(2, 3, 64, 32)
    a, b = (m.eval()(images).embeddings for m in (source, found))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_options_object_of_a_file_becomes_nothing(tmp_path, monkeypatch):
    module = ModuleType("yacs_config_stub")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs_config_stub", "__qualname__": "CfgNode"})
    monkeypatch.setitem(sys.modules, "yacs_config_stub", module)
    node = module.CfgNode({"lr": 3.5e-4})
    node.frozen = True
    path = checkpoint(tmp_path / "a.pth", model(seed=1), {"config": node})
    monkeypatch.delitem(sys.modules, "yacs_config_stub")
    found = open_released(path).model
    assert torch.equal(found.head.reduce["parts"][0].weight, model(seed=1).head.reduce["parts"][0].weight)


def test_a_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    open_released(checkpoint(tmp_path / "a.pth", model(), {"config": Evil()}))
    assert not (tmp_path / "made").exists()


def test_other_networks_and_broken_files_are_refused(tmp_path):
    path = checkpoint(tmp_path / "a.pth", model())
    content = torch.load(path, weights_only=True)
    reduced = "module.global_after_pooling_dim_reduce.layers.0.weight"
    for value, words in ((torch.ones(9, 4), r"is \(9, 4\), expected \(8, "), (None, "is nothing, expected")):
        state = {name: tensor for name, tensor in content["state_dict"].items() if name != reduced}
        torch.save({"state_dict": state | ({} if value is None else {reduced: value})}, tmp_path / "d.pth")
        with pytest.raises(ValueError, match=rf"another network: head\.reduce\.global\.0\.weight {words}"):
            open_released(tmp_path / "d.pth")
    with pytest.raises(ValueError, match="no network that is known"):
        open_released(checkpoint(tmp_path / "e.pth", model(config=replace(CONFIG, width=2.0))))
    with pytest.raises(ValueError, match=re.escape("b.pth")):
        open_released(tmp_path / "b.pth")
    for damaged in (b"", b"text", path.read_bytes()[:500]):
        (tmp_path / "c.pth").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"c\.pth cannot be read"):
            open_released(tmp_path / "c.pth")


OPENED = replace(Config(), backbone="small", parts=5, dim=16)


def options(**changes):
    """As a yacs node keeps them: dicts in dicts."""
    masks = {"preprocess": "five", "parts_num": 5}
    model = {"backbone": "resnet50", "last_stride": 1, "pooling": "gwap", "masks": masks} | changes
    return {"config": {"model": {"bpbreid": model}, "data": {"height": 128, "width": 64}}}


def test_a_file_says_which_network_it_holds(tmp_path):
    source = model(config=OPENED, seed=1)
    found = open_released(checkpoint(tmp_path / "a.pth", source, options()))
    assert found.model.config == OPENED
    assert not found.model.training
    assert found.size == (128, 64)
    assert found.parts == ("head", "arms", "torso", "legs", "feet")
    assert "a.pth: small, K = 5, 5 identities, 128x64; epoch 120, rank1 0.95" in found.source
    images = torch.rand(2, 3, 64, 32)
    with torch.inference_mode():
        a, b = (m.eval()(images).embeddings for m in (source, found.model))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_options_the_shapes_say_it(tmp_path):
    found = open_released(checkpoint(tmp_path / "a.pth", model(config=OPENED)))
    assert found.size == (256, 128)
    assert found.parts[1] == "shoulders and upper arms"  # five_v, which the release has for five parts


@pytest.mark.parametrize(
    ("classifier", "named", "expected"),
    [
        (True, None, "resnet18"),
        (False, None, "resnet18-unpadded"),
        (True, "fastreid_resnet", "resnet18-unpadded"),
        (False, "resnet50", "resnet18"),
    ],
)
def test_the_toolkit_of_a_resnet_decides_how_its_stem_pools(tmp_path, classifier, named, expected):
    source = model(config=replace(Config(), backbone="resnet18", parts=2, dim=4))
    path = checkpoint(tmp_path / "a.pth", source, options(backbone=named, masks={}) if named else None)
    if classifier:
        content = torch.load(path, weights_only=True)
        content["state_dict"]["module.backbone_appearance_feature_extractor.classifier.weight"] = torch.ones(
            2
        )
        torch.save(content, path)
    assert open_released(path).model.config.backbone == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{BACKBONE}1.1.conv1.weight", "no network that is known"),
        (f"{BACKBONE}NL_2.0.g.weight", "non-local blocks"),
        ("attention.weight", "1 entries that this one lacks, first attention.weight; .* not built here"),
    ],
)
def test_leftover_names_are_refused(tmp_path, name, words):
    path = checkpoint(tmp_path / "a.pth", model(config=OPENED))
    content = torch.load(path, weights_only=True)
    torch.save({"state_dict": content["state_dict"] | {f"module.{name}": torch.ones(2)}}, path)
    with pytest.raises(ValueError, match=words):
        open_released(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"last_stride": 2}, "last_stride = 2; built here is 1 only"),
        ({"dim_reduce": "before_pooling"}, "dim_reduce = 'before_pooling'"),
        ({"learnable_attention_enabled": False}, "learnable_attention_enabled = False"),
    ],
)
def test_what_is_not_built_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        open_released(checkpoint(tmp_path / "a.pth", model(config=OPENED), options(**changes)))


def test_files_of_others_are_refused_by_their_names(tmp_path):
    torch.save({"model": {"backbone.conv1.weight": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"none of BPBreID's release: its names begin with backbone \(1\)"):
        open_released(tmp_path / "a.pth")
