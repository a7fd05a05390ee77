"""Several devices learn what one does: two processes on the CPU, over gloo."""

import time
from dataclasses import replace

import pytest
import torch
from test_training import Killed, stack, traced  # noqa: F401 fixtures
from torch import nn

from reidlib import devices
from reidlib.data.loading import Loader
from reidlib.data.masks import groups
from reidlib.models import bpbreid, pan
from reidlib.recipe import TrainConfig
from reidlib.training import Interrupted, fit

CONFIG = TrainConfig(iterations=6, identities=4, images=2, lr=1e-2)
SMALL = {"backbone": "small", "width": 0.25, "dim": 4}


@pytest.fixture
def loader(stack):  # noqa: F811
    return Loader(stack, CONFIG, 0, groups(2))


def bpb():
    torch.manual_seed(
        0
    )  # its identity losses leave the parts out, its triplet the whole; batch norm of 2 and 4 axes
    return bpbreid.BPBreID(bpbreid.Config(parts=2, **SMALL), identities=8).double()


def parts():
    torch.manual_seed(0)
    return pan.PAN(pan.Config(parts=2, global_dim=4, **SMALL), identities=8).double()


def train(model, loader, **options):
    return fit(model, loader, config=CONFIG, seed=0, device="cpu", **options)


def test_two_devices_learn_what_one_does(loader):
    one, two = train(bpb(), loader), train(bpb(), loader, devices=2)
    assert two.lr == one.lr
    assert two.epoch_images == one.epoch_images
    for name, losses in one.losses.items():
        assert two.losses[name] == pytest.approx(losses, rel=1e-9), name


def test_two_devices_resume_what_one_began(stack, tmp_path):  # noqa: F811
    """By SGD, whose steps tell how large gradients are; Adam also makes steps of the noise about a zero."""
    config, path = replace(CONFIG, optimiser="sgd"), tmp_path / "run.pt"
    whole, resumed = parts(), parts()
    expected = fit(whole, Loader(stack, config, 0), config=config, seed=0, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        fit(
            parts(), Killed(stack, config, 0, at=1), config=config, seed=0, device="cpu", checkpoint=path
        )  # fmt: skip
    late = {"devices": 2, "checkpoint": path}
    loader = Loader(stack, config, 0)
    with pytest.raises(Interrupted, match="after 4 of 6 steps; run again"):
        fit(parts(), loader, config=config, seed=0, device="cpu", deadline=time.time(), **late)
    found = fit(resumed, loader, config=config, seed=0, device="cpu", **late)
    assert found.total == pytest.approx(expected.total, rel=1e-9)
    for (name, here), there in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-7, atol=1e-9, msg=name)


def test_shares_are_the_batch(loader):
    whole = list(loader.epoch(1))
    shares = [list(replace(loader, share=(rank, 2)).epoch(1)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        for together, *apart in zip(batch, first, second, strict=True):
            assert torch.equal(torch.cat(apart), together)
        assert not set(first.labels.tolist()) & set(second.labels.tolist())


def test_what_cannot_be_shared_is_refused(loader, monkeypatch):
    with pytest.raises(ValueError, match="4 identities cannot be shared by 3 devices"):
        train(bpb(), loader, devices=3)
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"devices is {count}; expected a whole number"):
            train(bpb(), loader, devices=count)
    with pytest.raises(ValueError, match="devices = 0"):
        devices.check_devices(torch.device("cpu"), 0, loader=loader)
    with pytest.raises(ValueError, match="devices = 2, but this machine has 0"):
        devices.check_devices(torch.device("cuda"), 2, loader=loader)
    monkeypatch.setattr(devices.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with pytest.raises(ValueError, match="share the images through /dev/shm"):
        devices.check_devices(torch.device("cpu"), 2, loader=loader)


def test_a_gpu_replays_the_whole_step(traced):  # noqa: F811
    devices.compiled_module(nn.Linear(2, 2), torch.device("cuda"))
    assert traced == [{"mode": "reduce-overhead", "fullgraph": True, "dynamic": False}]


def test_every_network_is_compiled_however_many_came_before():
    """The compiler itself gives up, without an error, after eight networks of one class."""
    batch = torch.randn(4, 3)
    for width in range(1, 12):
        counter = torch._dynamo.testing.CompileCounter()
        whole = nn.Sequential(nn.Linear(3, width))
        with pytest.MonkeyPatch.context() as patch:
            compiler = torch.compile
            patch.setattr(torch, "compile", lambda module, **_: compiler(module, backend=counter))  # noqa: B023
            devices.compiled_module(whole, torch.device("cpu"))(batch)
        assert counter.frame_count == 1, width
