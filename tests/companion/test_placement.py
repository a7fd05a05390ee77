"""Every row at `gpu` and `real` on a GPU that is not there: all tensors where they belong, and no step waits for it.

Augmentation, forward pass, losses, extraction and distances run on fake CUDA tensors, which know shape, type and
device, but hold no numbers: whatever asks for one (``item``, a shape that depends on values) fails by itself.
"""

import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from companion import places
from companion.papers import PAPERS
from reidlib.data import masks, transforms
from reidlib.data.loading import ImageStack, Loader, batches
from reidlib.data.masks import groups
from reidlib.data.transforms import draw
from reidlib.distances import CHUNK
from reidlib.footprint import fake
from reidlib.models import MODELS
from reidlib.training import objective
from reidlib.types import Features

QUERIES, GALLERY, IDENTITIES = 3, CHUNK + 1, 20  # more than one chunk of the gallery


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: a copy that is not asynchronous, or numbers from the host."""

    def __torch_dispatch__(self, kernel, types, arguments=(), options=None):
        result = kernel(*arguments, **(options or {}))
        read = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        sizeable = {t.device.type for t in (*read, *made) if t.ndim}  # single numbers travel with the call
        if sizeable == {"cpu", "cuda"}:
            to_gpu = {t.device.type for t in made} == {"cuda"}
            copies = kernel._overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
            asynchronous = (options or {}).get("non_blocking") or (len(arguments) > 2 and arguments[2])
            if not (copies and to_gpu and asynchronous):
                raise AssertionError(f"{kernel} makes the host wait: {[(t.device, t.shape) for t in read]}")
        return result


def gpu(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device="cuda")


def rows():
    """Runs whose network, batch, size or precision differ; the notebooks' own first."""
    found = {}
    for first, (slug, paper), preset in product((True, False), PAPERS.items(), ("gpu", "real")):
        for row in paper.rows:
            if (row.slug == paper.main) == first:
                run = paper.run(row.slug, preset_name=preset)
                run = replace(run, model_config=replace(run.model_config, weights=None))
                batch = run.train.identities * run.train.images
                key = (run.model, run.model_config, batch, run.data.height, run.train.precision)
                marks = () if first else pytest.mark.every_row
                found.setdefault(key, pytest.param(run, id=f"{preset}-{slug}-{row.slug}", marks=marks))
    return list(found.values())


def augments():
    """Runs that differ in how images or part labels are varied, on every data set of their papers."""
    found = {}
    for slug, paper in PAPERS.items():
        scales = [("gpu", None), *(("real", dataset) for dataset in paper.recipe.datasets)]
        for row, (preset, dataset) in product(paper.rows, scales):
            run = paper.run(row.slug, preset_name=preset, dataset=dataset)
            learns = run.model_config.mask_parts is not None
            key = (run.train.augment, run.data.height, learns, run.data.real)
            mixes = run.train.augment.augmix > 0
            waits = pytest.mark.xfail(strict=True, reason="torchvision's AugMix draws image by image")
            name = f"{preset}-{slug}-{row.slug}-{dataset}"
            found.setdefault(key, pytest.param(run, id=name, marks=waits if mixes else ()))
    return list(found.values())


@pytest.fixture
def mode():
    """Fake tensors; what the library keeps for a device is made anew, and forgotten."""
    caches = (transforms._channels, masks._index, masks.groups)
    for cache in caches:
        cache.cache_clear()
    torch.set_autocast_dtype("cuda", torch.bfloat16)  # without a driver, torch.autocast switches itself off
    with FakeTensorMode() as fakes:
        yield fakes
    torch.set_autocast_enabled("cuda", False)
    torch.clear_autocast_cache()
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("run", rows())
@pytest.mark.usefixtures("mode")
def test_training_and_extraction_stay_on_the_gpu(run):
    config, size = run.model_config, (run.data.height, run.data.width)
    count, k = run.train.identities * run.train.images, config.mask_parts
    model = fake(lambda: MODELS[run.model](config, identities=IDENTITIES), device="cuda")
    images = gpu(count, 3, *size).contiguous(memory_format=torch.channels_last)
    targets = None if k is None else gpu(count, k + 1, size[0] // 4, size[1] // 4)
    with NoWaiting():
        torch.set_autocast_enabled("cuda", run.train.precision != "32-true")
        terms = objective(model)(images, gpu(count, dtype=torch.long), targets)
        torch.set_autocast_enabled("cuda", False)
        with torch.no_grad():
            output = model.eval()(images, targets if config.given_masks else None)
    assert {(term.device.type, term.dtype) for term in terms.values()} == {("cuda", torch.float32)}
    query, gallery = (features(output, run, count=count) for count in (QUERIES, GALLERY))
    for scoring in run.scorings:
        with NoWaiting():
            distances = MODELS[run.model].distance(query, gallery, scoring=run.scoring(scoring))
        assert (distances.device.type, distances.shape) == ("cuda", (QUERIES, GALLERY))


def features(output, run, *, count):
    """As many as asked for, of the shapes of a model's output."""
    embeddings, visibility = (
        {name: gpu(count, *tensor.shape[1:]) for name, tensor in tensors.items()}
        for tensors in (output.embeddings, output.visibility)
    )
    if "truth" in run.scorings:
        visibility["truth"] = gpu(count, run.model_config.mask_parts)
    return Features(embeddings, visibility, gpu(count, dtype=torch.long), gpu(count, dtype=torch.long))


@pytest.mark.parametrize("run", augments())
@pytest.mark.usefixtures("mode")
def test_augmentation_stays_on_the_gpu(run):
    height, width, k = run.data.height, run.data.width, run.model_config.mask_parts
    planes = (36, height // 4, width // 4) if run.data.real else (height, width)
    images, labels = (gpu(8, *shape, dtype=torch.uint8) for shape in ((3, height, width), planes))
    parts = None if k is None else groups(k).to("cuda")
    with unset_fake_temporarily():
        label = torch.arange(8)
        known = ImageStack(images, labels, label, label, label, tuple(map(str, range(8))))
        loader = Loader(known, config=run.train, seed=0, groups=parts, device=torch.device("cuda"))
    generator = torch.Generator().manual_seed(0)
    draws = draw(8, size=(height, width), augment=run.train.augment, generator=generator).to("cuda")

    def batch():
        return loader._batch(gpu(8, dtype=torch.long), gpu(8, dtype=torch.long), draws, generator)

    batch()  # after which constants are there
    with NoWaiting():
        found = batch()
        next(batches(known, size=8, groups=parts, device="cuda"))
    assert {tensor.device.type for tensor in found if tensor is not None} == {"cuda"}


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x + torch.zeros(4, 3),
        lambda x: x[:, [0, 2]],
        lambda x: torch.zeros(4, 3).to("cuda") + x,
        lambda x: x.copy_(torch.zeros(4, 3)),
    ],
    ids=[
        "item",
        "data-dependent shape",
        "copy back",
        "wrong device",
        "list as index",
        "copy",
        "copy in place",
    ],
)
def test_what_waits_is_noticed(wrong):
    x = gpu(4, 3)
    with NoWaiting():
        x.copy_(torch.zeros(4, 3), non_blocking=True)
        _ = x * torch.tensor(2.0)  # a number
        with pytest.raises(Exception):  # noqa: B017, PT011 fake tensors raise what they will
            wrong(x)


WHOLE = """
import torch
from companion.papers import PAPERS
from reidlib.models import MODELS
from reidlib.training import objective

for slug, paper in PAPERS.items():
    run = paper.run(paper.main, preset_name="smoke")
    if slug == "dpti":  # whose dropout of attention is another on a CPU
        run = run.vary(attention_dropout=0.0)
    model, k = MODELS[run.model](run.model_config, identities=4), run.model_config.mask_parts
    images = torch.randn(8, 3, run.data.height, run.data.width)
    batch = images, torch.arange(8) // 2, None if k is None else torch.rand(8, k + 1, 16, 8)
    found = []
    for step in (objective(model), torch.compile(objective(model), backend="eager", fullgraph=True)):
        torch.manual_seed(0)  # dropout
        found.append(step(*batch))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0] | found[1])
    print(slug)
"""


def test_forward_pass_and_losses_are_one_graph():
    """Else a compiled step stops at every break, and CUDA graphs with it. (The compiler cannot see through the checks
    of types that tests have, so this runs by itself.)"""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE], cwd=places.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["bpbreid", "qpm", "pan", "dpti", "aap"]
