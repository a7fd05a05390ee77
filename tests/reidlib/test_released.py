"""Released BPBreID checkpoints: names, what else the files hold, and files of other networks."""

import os
import re
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from reidlib.models.bpbreid import GILT_GRID, BPBreID, Config
from reidlib.models.released import load_released, translate

CONFIG = replace(Config(), backbone="small", parts=3, dim=8, objective=GILT_GRID["idx5"])


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
    if parts[1] == "identify_parts":
        return f"parts_identity_classifier.{parts[2]}.{kind.get(parts[3], parts[3])}.{parts[4]}"
    whole = {"concat": "concat_parts"}.get(parts[2], parts[2])
    return f"{whole}_identity_classifier.{kind.get(parts[3], parts[3])}.{parts[4]}"


def checkpoint(path, source, extra=None):
    state = {f"module.{released_name(name)}": value for name, value in source.state_dict().items()}
    state["module.background_identity_classifier.bn.weight"] = torch.ones(8)
    state["module.background_after_pooling_dim_reduce.layers.0.weight"] = torch.ones(8, 4)
    torch.save({"state_dict": state, "epoch": 120, "rank1": 0.95} | (extra or {}), path)
    return path


def test_map_covers_every_parameter():
    for name in model().state_dict():
        assert translate(released_name(name)) == name
        assert translate("module." + released_name(name)) == name
    assert translate("background_identity_classifier.bn.weight") is None
    assert (
        translate("backbone_appearance_feature_extractor.layer4.0.conv2.weight")
        == "backbone.layer4.0.conv2.weight"
    )


def test_loads_weights_and_gives_the_same_output(tmp_path):
    source, target = model(seed=1), model(seed=2)
    load_released(target, checkpoint(tmp_path / "a.pth", source))
    images = torch.rand(2, 3, 64, 32)
    a, b = (m.eval()(images).embeddings for m in (source, target))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_classifiers_of_other_identities_stay(tmp_path):
    target = model(identities=9, seed=2)
    before = target.head.identify["global"].classifier.weight.clone()
    load_released(target, checkpoint(tmp_path / "a.pth", model()))
    assert torch.equal(target.head.identify["global"].classifier.weight, before)
    assert torch.equal(target.head.classify_pixels[1].weight, model().head.classify_pixels[1].weight)


def test_the_options_object_of_a_file_becomes_nothing(tmp_path, monkeypatch):
    module = ModuleType("yacs_config_stub")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs_config_stub", "__qualname__": "CfgNode"})
    monkeypatch.setitem(sys.modules, "yacs_config_stub", module)
    node = module.CfgNode({"lr": 3.5e-4})
    node.frozen = True
    path = checkpoint(tmp_path / "a.pth", model(seed=1), {"config": node})
    monkeypatch.delitem(sys.modules, "yacs_config_stub")
    target = model(seed=2)
    load_released(target, path)
    assert torch.equal(target.head.reduce["parts"][0].weight, model(seed=1).head.reduce["parts"][0].weight)


def test_a_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    load_released(model(), checkpoint(tmp_path / "a.pth", model(), {"config": Evil()}))
    assert not (tmp_path / "made").exists()


def test_other_networks_and_broken_files_are_refused(tmp_path):
    path = checkpoint(tmp_path / "a.pth", model())
    with pytest.raises(ValueError, match=r"another network: .*classify_pixels.*\(4,.*expected \(6,"):
        load_released(model(config=replace(CONFIG, parts=5)), path)
    with pytest.raises(ValueError, match="another network"):
        load_released(model(config=replace(CONFIG, width=2.0)), path)
    with pytest.raises(ValueError, match=re.escape("b.pth")):
        load_released(model(), tmp_path / "b.pth")
    for content in (b"", b"text", path.read_bytes()[:500]):
        (tmp_path / "c.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"c\.pth holds no weights"):
            load_released(model(), tmp_path / "c.pth")
