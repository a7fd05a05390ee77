"""One contract for all models, and the parameter counts of the baselines."""

import math
from dataclasses import fields, replace

import pytest
import torch
from tolerance import EXACT, rounding
from torch.utils._python_dispatch import TorchDispatchMode

from reidlib.models import MODELS
from reidlib.training import objective
from reidlib.types import Features, ReIDOutput

pytestmark = pytest.mark.numeric

IDS, K = 5, 3
SMALLEST = {"dim": 8, "global_dim": 8, "local_dim": 8, "parts": K, "heads": 2, "cells": (16, 8)}
TINY = {  # of the fields that a model has
    slug: {"backbone": "small", "width": 0.25}
    | {option.name: SMALLEST[option.name] for option in fields(model.Config) if option.name in SMALLEST}
    for slug, model in MODELS.items()
}


def build(slug, **changes):
    model = MODELS[slug]
    torch.manual_seed(0)
    return model(replace(model.Config(**TINY[slug]), **changes), identities=IDS)


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 64, 32, generator=generator)
    masks = torch.rand(8, K + 1, 16, 8, generator=generator)
    return images, masks, torch.arange(8) // 2


def tensors(output):
    groups = {"embeddings": output.embeddings, "visibility": output.visibility}
    groups |= {"logits": output.logits, "maps": output.maps}
    return {f"{group}.{name}": value for group, named in groups.items() for name, value in named.items()}


@pytest.mark.parametrize("slug", MODELS)
def test_output_is_the_same_type_in_training_and_evaluation(slug):
    images, masks, _ = batch()
    model = build(slug)
    trained = model(images, masks)
    with torch.no_grad():
        first, second = model.eval()(images), model(images)
    assert isinstance(trained, ReIDOutput)
    shapes = [{name: value.shape for name, value in tensors(output).items()} for output in (trained, first)]
    assert shapes[0] == shapes[1]
    assert all(value.isfinite().all() for output in (trained, first) for value in tensors(output).values())
    assert all(map(torch.equal, tensors(first).values(), tensors(second).values()))  # deterministic
    assert all(v.min() >= 0 and v.max() <= 1 for v in first.visibility.values())


@pytest.mark.parametrize("slug", MODELS)
def test_every_parameter_gets_a_finite_gradient(slug):
    images, masks, labels = batch()
    model = build(slug)
    terms = model.loss(model(images, masks), labels, masks=masks)
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("slug", MODELS)
def test_double_precision_is_nowhere_narrowed(slug):
    """Under float32 as default: a tensor made without a precision would halve the digits."""
    images, masks, labels = batch()
    images, masks, model = images.double(), masks.double(), build(slug).double()
    model(images, masks)  # moves the running statistics, and with them cells off the kink of a ReLU
    output = model.eval()(images, masks)
    terms = model.loss(output, labels, masks=masks)
    assert {value.dtype for value in (*tensors(output).values(), *terms.values())} == {torch.float64}
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    slopes = torch.autograd.grad(sum(terms.values()), weights)
    square, step, ends = sum(slope.square().sum() for slope in slopes).item(), 1e-7, []
    for shift in (
        step,
        -2 * step,
    ):  # along the gradient, losses change by its square: narrowed, they would not
        with torch.no_grad():
            for weight, slope in zip(weights, slopes):
                weight += shift * slope
            ends.append(sum(model.loss(model(images, masks), labels, masks=masks).values()).item())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(square, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slug", MODELS)
def test_no_image_is_closer_to_a_query_than_itself(slug, dtype):
    images, masks, labels = batch()
    images, masks, model = images.to(dtype), masks.to(dtype), build(slug).to(dtype)
    zero = math.sqrt(rounding(dtype, steps=8 + 4, size=4))  # the root of a rounded |a|^2 + |b|^2 - 2ab
    for _ in range(3):  # settle the running statistics
        model(images, masks)
    with torch.no_grad():
        output = model.eval()(images, masks)
    visibility = output.visibility
    if "soft" in visibility:
        visibility = {**visibility, "truth": torch.ones_like(visibility["soft"])}
    features = Features(output.embeddings, visibility, labels, torch.zeros_like(labels))
    for name, scoring in model.config.scorings().items():
        if getattr(scoring, "local", "none") == "aligned":
            continue  # a path along the stripes leaves the diagonal, where an image differs from itself
        distances = model.distance(features, features[:6], scoring=scoring)
        assert distances.shape == (8, 6)
        assert distances.dtype == dtype
        own = distances.diagonal()
        seen = own.isfinite()  # a part that the query does not show is infinitely far from anything
        assert (own[seen] < zero).all(), name
        assert (distances[:6][seen].amin(1) >= own[seen] - zero).all(), name


@pytest.mark.parametrize("slug", MODELS)
def test_default_scoring_is_named_and_model_level(slug):
    model = MODELS[slug]
    assert model.SCORINGS["default"] == model.Config().scorings()["default"]


class NoReading(TorchDispatchMode):
    """Refuses whatever waits for values on the device: scalars read, shapes that depend on data."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2"), name
        if name == "index":
            assert not any(i is not None and i.dtype == torch.bool for i in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("slug", MODELS)
def test_forward_and_loss_never_wait_for_the_device(slug):
    images, masks, labels = batch()
    model = build(slug)
    with NoReading():
        sum(model.loss(model(images, masks), labels, masks=masks).values()).backward()


@pytest.mark.parametrize(
    ("slug", "identities", "total"),
    [("bot", 751, 25_050_176), ("bot", 702, 24_949_824), ("pcb", 751, 25_190_874), ("pcb", 702, 25_115_316)],
)
@pytest.mark.sizes
def test_parameter_counts_of_the_baselines(slug, identities, total):
    with torch.device("meta"):
        model = MODELS[slug](MODELS[slug].Config(), identities=identities)
    assert sum(p.numel() for p in model.parameters()) == total


def test_pcb_sums_over_its_stripes():
    images, _, labels = batch()
    model, images = build("pcb").double(), images.double()
    output = model(images)
    logits = output.logits["parts"]
    expected = sum(torch.nn.functional.cross_entropy(logits[:, k], labels) for k in range(6))
    torch.testing.assert_close(model.loss(output, labels)["id_parts"], expected, atol=EXACT, rtol=0)


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["identical images", "black images", "one identity", "huge", "zero weights"])
def test_losses_and_gradients_are_numbers_where_embeddings_are_extreme(slug, dtype, case):
    """With the forward pass in half precision, as ``fit`` has it."""
    images, masks, labels = batch()
    model = build(slug)
    if case == "identical images":
        images, masks = images[:1].expand_as(images).clone(), masks[:1].expand_as(masks).clone()
    elif case == "black images":
        images, masks = torch.zeros_like(images), torch.zeros_like(masks)
    elif case == "one identity":
        labels = torch.zeros_like(labels)
    elif case == "huge":
        images = images * 100
    else:  # all embeddings are zero vectors
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    with torch.autocast("cpu", dtype=dtype):
        terms = objective(model)(images, labels, masks)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values()), terms
    sum(terms.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
