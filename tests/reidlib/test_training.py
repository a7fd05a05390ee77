"""The training loop: it learns, repeats itself exactly, resumes exactly, and notices collapse."""

import json
import time
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from tolerance import EXACT
from torch import nn
from torch.nn import functional as F

from reidlib import training
from reidlib.data.loading import ImageStack, Loader
from reidlib.data.masks import groups
from reidlib.data.transforms import Augment
from reidlib.extraction import extract, extract_maps
from reidlib.recipe import TrainConfig
from reidlib.training import CheckpointError, History, Interrupted, fit
from reidlib.types import ReIDOutput

CONFIG = TrainConfig(iterations=7, identities=4, images=2, lr=1e-2)
FROZEN = [2.51472462988, 2.506810581392, 2.151182185782, 2.194318497902, 2.301000485972, 2.052257269323]
FROZEN += [
    2.086078920956,
    0.5832731560699,
    0.5555106512684,
    0.3180481223528,
    0.4369268078818,
    0.1920232347631,
]
FROZEN += [0.2359498375466, 0.1570927714118, 0.1407664056372]
"""Losses of seven steps, then mean embeddings, in double precision: our own, the same with one thread or two, with
and without AVX2."""


class Tiny(nn.Module):
    """Two convolutions with dropout and BatchNorm, so that every kind of state is at stake."""

    def __init__(self, identities=8):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(8, identities)

    def forward(self, images, masks=None):
        maps = self.trunk(images)
        pooled = maps.mean((2, 3))
        share = pooled[:, :2].sigmoid() if masks is None else masks[:, 1:3].amax((2, 3))
        return ReIDOutput(
            {"global": pooled, "spare": pooled * 2}, {"soft": share}, {"id": self.head(pooled)}, {"a": maps}
        )

    def loss(self, output, labels, *, masks=None):
        assert output.logits["id"].dtype == self.head.weight.dtype  # also where the forward pass is halved
        terms = {"identity": F.cross_entropy(output.logits["id"], labels)}
        return terms if masks is None else terms | {"part": 0.1 * output.maps["a"].square().mean()}


def tiny(seed=0):
    torch.manual_seed(seed)
    return Tiny()


@pytest.fixture
def stack():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(8).repeat_interleave(4)
    colour = torch.randint(0, 256, (8, 3, 1, 1), generator=generator)
    images = (colour[label] + torch.randint(0, 9, (32, 3, 16, 8), generator=generator)).clamp(0, 255).byte()
    masks = torch.randint(0, 12, (32, 16, 8), generator=generator, dtype=torch.uint8)
    return ImageStack(
        images, masks, label, label + 1, torch.arange(32) % 4, tuple(f"{i}.jpg" for i in range(32))
    )


@pytest.fixture
def loader(stack):
    return Loader(stack, CONFIG, 0, groups(2))


def train(loader, *, config=CONFIG, seed=0, **rest):
    model = tiny()
    return model, fit(model, loader, config=config, seed=seed, device="cpu", **rest)


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values()))


def losses(history):
    return history.losses, history.lr


def test_overfits_one_batch(stack):
    still = Augment(flip=0.0, pad=0.0, erase=0.0)
    config = TrainConfig(iterations=200, identities=4, images=2, lr=3e-2, augment=still)
    _, history = train(
        Loader(stack[torch.arange(0, 32, 4).repeat_interleave(2)[:8]], config, 0), config=config
    )
    assert history.losses["identity"][0] > 1.5
    assert history.losses["identity"][-1] < 0.1


def test_same_seed_same_history(loader):
    (first, one), (second, two) = train(loader), train(loader)
    assert losses(one) == losses(two)
    assert same(first, second)
    assert losses(train(loader, seed=1)[1]) != losses(one)  # dropout
    assert losses(train(replace(loader, seed=1))[1]) != losses(one)  # order and augmentation


@pytest.fixture
def traced(monkeypatch):
    """What the compiler is asked for; without compiling, which takes minutes."""
    asked, compiler = [], torch.compile

    def trace(module, **options):
        asked.append(options)
        return compiler(module, **{"backend": "eager"} | options)

    monkeypatch.setattr(torch, "compile", trace)
    return asked


def test_a_compiled_step_learns_what_a_plain_one_does(loader, traced):
    (first, plain), (second, compiled) = train(loader), train(loader, compiled=True)
    assert traced[0] == {"mode": None, "fullgraph": False, "dynamic": False}
    assert (plain.compiled, compiled.compiled) == (False, True)
    assert losses(plain) == losses(compiled)
    assert same(first, second)
    with pytest.raises(ValueError, match="compiled with devices = 2"):
        train(loader, devices=2, compiled=True)


def test_outer_random_state_is_untouched(loader):
    torch.manual_seed(5)
    expected = torch.rand(3)
    model = Tiny()
    torch.manual_seed(5)
    fit(model, loader, config=CONFIG, seed=0, device="cpu")
    assert torch.equal(torch.rand(3), expected)


@dataclass(frozen=True, eq=False)
class Killed(Loader):
    """A loader whose process is killed in the middle of an epoch."""

    at: int = 0

    def epoch(self, epoch):
        batches = super().epoch(epoch)
        yield next(batches)
        if epoch == self.at:
            raise KeyboardInterrupt
        yield from batches


@pytest.mark.parametrize("epoch", [0, 1])
def test_killed_run_resumes_exactly(stack, loader, tmp_path, epoch):
    expected, history = train(loader)
    with pytest.raises(KeyboardInterrupt):
        train(Killed(stack, CONFIG, 0, groups(2), at=epoch), checkpoint=tmp_path / "run.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"] * epoch
    model, resumed = train(loader, checkpoint=tmp_path / "run.pt")
    assert losses(resumed) == losses(history)
    assert same(model, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    finished, again = train(loader, checkpoint=tmp_path / "run.pt")
    assert again == resumed
    assert same(finished, expected)


def test_deadline_stops_and_resumes(loader, tmp_path):
    slow = tiny()
    slow.register_forward_hook(lambda *_: time.sleep(0.3))
    with pytest.raises(Interrupted, match="after 4 of 7 steps; run again"):  # at the end of its first epoch
        fit(
            slow, loader, config=CONFIG, seed=0, device="cpu",
            checkpoint=tmp_path / "run.pt", deadline=time.time() + 1,
        )  # fmt: skip
    model, history = train(loader, checkpoint=tmp_path / "run.pt", deadline=time.time() + 1e6)
    expected, whole = train(loader)
    assert losses(history) == losses(whole)
    assert same(model, expected)


def test_foreign_or_broken_checkpoint_is_refused(loader, tmp_path):
    path = tmp_path / "run.pt"
    train(loader, checkpoint=path)
    with pytest.raises(ValueError, match="another recipe or seed"):
        train(loader, checkpoint=path, seed=1)
    state = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "content"}, path)
    with pytest.raises(
        CheckpointError, match=r"run\.pt cannot be read \(KeyError\); delete it"
    ):  # of another version
        train(loader, checkpoint=path)
    for name in ("model", "optimiser"):
        torch.save(state | {name: {"other": torch.zeros(1)}}, path)
        with pytest.raises(CheckpointError, match=r"run\.pt belongs to another model; delete it"):
            train(loader, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"run\.pt cannot be read.*delete it"):
        train(loader, checkpoint=path)


@pytest.mark.parametrize("part", ["images", "masks", "label"])
def test_a_checkpoint_of_other_data_is_refused(stack, loader, tmp_path, part):
    """One number in one image suffices; what is not learned from does not matter."""
    path = tmp_path / "run.pt"
    train(loader, checkpoint=path)
    changed = getattr(stack, part).clone()
    changed[5] = (changed[5] + 1) % 8
    other = replace(stack, **{part: changed})
    with pytest.raises(ValueError, match=r"run\.pt belongs to other images or labels; delete it"):
        train(replace(loader, stack=other), checkpoint=path)
    path.unlink()
    blind = replace(loader, groups=None)
    _, history = train(blind, checkpoint=path)
    if part == "masks":
        assert train(replace(blind, stack=other), checkpoint=path)[1] == history


def test_not_finite_loss_is_an_error(loader, monkeypatch):
    loss = Tiny.loss
    monkeypatch.setattr(Tiny, "loss", lambda *a, **k: loss(*a, **k) | {"part": torch.tensor(torch.nan)})
    with pytest.raises(ValueError, match=r"'part' is nan at step 0"):
        train(loader)


@pytest.mark.parametrize("value", [0.299, 0.6932])  # at its margin, and at log 2 where the margin is soft
def test_triplet_of_equal_distances_raises_an_alarm(loader, monkeypatch, value):
    loss = Tiny.loss
    monkeypatch.setattr(Tiny, "loss", lambda *a, **k: loss(*a, **k) | {"triplet_parts": torch.tensor(value)})
    (alarm,) = train(loader)[1].alarms
    assert "triplet_parts" in alarm
    monkeypatch.setattr(Tiny, "loss", lambda *a, **k: loss(*a, **k) | {"triplet_parts": torch.tensor(0.1)})
    assert train(loader)[1].alarms == []


def test_an_identity_loss_that_stays_where_it_began_raises_an_alarm():
    stuck, falling = [5.0, 4.9] + [4.79] * 200, [5.0 - step / 100 for step in range(200)]
    (alarm,) = training.collapse_alarms({"id_global": stuck, "id_parts": falling, "idle": stuck})
    assert "id_global began at 4.897 and ended at 4.790" in alarm
    assert len(training.collapse_alarms({"id": stuck})) == 1
    assert training.collapse_alarms({"id_global": stuck[:20]}) == []  # too short to tell


def test_bf16_and_channels_last_train_with_float32_losses(loader):
    config = replace(CONFIG, precision="bf16-mixed", channels_last=True)
    _, history = train(loader, config=config)
    assert history.steps == 7


@pytest.mark.numeric
@pytest.mark.usefixtures("double")  # weights too: in float32, processors already draw different ones
@pytest.mark.parametrize("threads", [1, 2])
def test_double_precision_comes_out_alike_on_every_processor(loader, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model, history = train(loader)
        features = extract(model, loader.stack, device="cpu").embeddings["global"]
    finally:
        torch.set_num_threads(before)
    assert features.dtype == torch.float64
    assert [*history.total, *features.mean(0).tolist()] == pytest.approx(FROZEN, rel=EXACT)


def test_a_model_in_double_precision_stays_so(loader):
    model = tiny().double()
    fit(model, loader, config=CONFIG, seed=0, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert extract_maps(model, loader.stack, name="a", device="cpu").dtype == torch.float64


def test_history_is_plain_and_adds_up(loader):
    _, history = train(loader, label="tiny")
    assert History(**json.loads(json.dumps(asdict(history)))) == history
    assert history.steps == 7 == len(history.losses["identity"])
    assert sum(history.epoch_images) == 7 * 8
    assert history.total[0] == pytest.approx(sum(values[0] for values in history.losses.values()))
    assert history.throughput > 0
    assert len(history.thinned(3)["lr"]) == 3


def test_no_weight_decay_for_exempt_parameters():
    model = tiny()
    model.no_weight_decay = lambda: {"head.bias"}
    decayed, free = training._optimiser(model, config=CONFIG, fused=False).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)
    assert free["params"][0] is model.head.bias


def test_epochs_end_training(loader):
    config = replace(CONFIG, iterations=None, epochs=2)
    assert train(loader, config=config)[1].steps == sum(len(loader.order(epoch)) for epoch in (0, 1))
