"""Weight files of any toolkit: what is read of them, and what is not run."""

import os

import pytest
import torch
from safetensors.torch import save_file

from reidlib.checkpoints import read

WEIGHTS = {"conv1.weight": torch.arange(4.0), "fc.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"state_dict": w}, lambda w: {"model": w, "epoch": 3}]
)
def test_weights_are_found_plain_or_in_a_wrapper(tmp_path, wrap):
    path = tmp_path / "a.pth"
    torch.save(wrap({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}), path)
    found = read(path)
    assert found.tensors.keys() == WEIGHTS.keys()
    assert torch.equal(found.tensors["conv1.weight"], WEIGHTS["conv1.weight"])
    assert found.below("fc.").keys() == {"bias"}
    assert found.prefixes == "conv1 (1), fc (1)"


def test_safetensors_and_files_of_old_versions(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    torch.save(WEIGHTS, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pth"):
        found = read(tmp_path / name)
        assert torch.equal(found.tensors["conv1.weight"], WEIGHTS["conv1.weight"])


def test_a_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": WEIGHTS, "config": Evil()}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth").rest["config"] == {}
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", [1], {"a": 1}, {"state_dict": {}}])
def test_what_holds_no_weights_is_one_clear_error(tmp_path, content):
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"weights: .*a\.pth (cannot be read|holds no tensors)") as error:
        read(path)
    assert "weights_only" not in str(error.value)
    with pytest.raises(ValueError, match="no file"):
        read(tmp_path / "b.pth")


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)]])
def test_tensors_without_names_are_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no tensors by name; expected a network's state dict"):
        read(tmp_path / "a.pth")


def test_half_a_file_is_said_in_one_sentence(tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"cannot be read \([^.]*\); fetch it again"):
        read(tmp_path / "a.pth")
