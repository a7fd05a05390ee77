"""PAN against its equations: worked examples, properties of signed pooling, sizes and operations to the digit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tolerance import EXACT, PRINTED
from torch.nn.functional import cross_entropy, normalize, softplus

from reidlib.complexity import complexity
from reidlib.distances import euclidean
from reidlib.losses import batch_hard_triplet, hardest, identity_loss
from reidlib.models.pan import PAN, Config, Scoring, signed_pool
from reidlib.types import Features

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

FEATURES = torch.tensor([[[[1, 2], [3, 4]], [[0, 1], [0, -1]]]]).double()
MASKS = torch.tensor([[[[2, -2], [4, -4]], [[1, 1], [0, 2]], [[0, 0], [0, 0]]]]).double() / 2
TINY = Config(backbone="small", width=0.5, dim=8, global_dim=16, parts=4)
SOURCES = [(masks, local) for masks in ("conv40", "conv41", "conv50") for local in ("conv50", "conv51")]


def near(value: torch.Tensor, *expected: float) -> bool:
    return torch.allclose(value.flatten(), torch.tensor(expected), atol=PRINTED, rtol=0)


def build(config: Config, *, identities: int = 5) -> PAN:
    torch.manual_seed(0)
    return PAN(config, identities=identities)


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def counted(config: Config) -> tuple[int, int]:
    """Parameters without BN-necks and classifiers, and multiply-adds."""
    found = complexity(partial(PAN, config))
    return found.parameters - 2 * (config.global_dim + config.parts * config.dim), found.operations


def test_signed_pooling_example() -> None:
    """Eq. 3: a mask that sums to zero pools well, one of zeros gives zeros."""
    assert near(MASKS.abs().sum((2, 3)), 6.0, 2.0, 0.0)
    assert near(MASKS.sum((2, 3))[:, :1], 0.0)
    first, second, third = signed_pool(FEATURES, MASKS)[0]
    assert near(first, -0.5, 1 / 6)
    assert near(second, 2.75, -0.25)
    assert near(third, 0.0, 0.0)


def test_signed_pooling_gradient() -> None:
    """d f[c] / d m[j] = (F2[c, j] - f[c] sign(m[j])) / sum |m|."""
    expected = [(0.25, 0.25, 0.58333333, 0.58333333), (-0.02777778, 0.19444444, -0.02777778, -0.13888889)]
    for channel, values in enumerate(expected):
        mask = MASKS[:, :1].clone().requires_grad_()
        signed_pool(FEATURES, mask)[0, 0, channel].backward()
        assert near(mask.grad, *values)


def test_signed_pooling_properties() -> None:
    pooled = signed_pool(FEATURES, MASKS)
    assert torch.allclose(signed_pool(FEATURES, 2 * MASKS), pooled)
    assert torch.allclose(signed_pool(FEATURES, -MASKS), -pooled)
    assert near(signed_pool(FEATURES, torch.full((1, 1, 2, 2), 1 / 14)), 2.5, 0.0)
    assert near(signed_pool(FEATURES, 2 * MASKS)[0, 0], -0.5, 0.16666667)
    assert near(signed_pool(FEATURES, -MASKS)[0, 0], 0.5, -0.16666667)
    assert near(FEATURES.amax((2, 3)), 4.0, 1.0)  # global max pooling
    masks = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    features = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(1))
    product = features[:, None] * masks[:, :, None]  # Eq. 2, built in full
    naive = product.sum((3, 4)) / masks.abs().sum((2, 3))[..., None]
    assert torch.allclose(signed_pool(features, masks), naive, atol=EXACT)


def test_softmax_over_masks_and_over_positions() -> None:
    pair = MASKS[:, :2].softmax(1)
    assert near(pair[0, 0], 0.62245933, 0.18242552, 0.88079708, 0.04742587)
    assert near(pair[0, 1], 0.37754067, 0.81757448, 0.11920292, 0.95257413)
    assert near(signed_pool(FEATURES, pair), 2.20378968, 0.07789455, 2.72646177, -0.05955274)
    triple = signed_pool(FEATURES, MASKS.softmax(1))
    assert near(triple, 2.24180264, 0.05986239, 2.72649700, -0.09536000, 2.49690337, 0.08146682)
    places = signed_pool(FEATURES, MASKS.flatten(2).softmax(-1).view_as(MASKS))
    assert near(places, 2.46571041, 0.02191631, 2.68244448, -0.15245191, 2.5, 0.0)


def test_masks_are_neither_clipped_nor_normalised() -> None:
    masks = build(TINY)(images()).maps["masks"]
    assert masks.shape == (8, 4, 16, 8)
    assert (masks < 0).any()
    probabilities = build(replace(TINY, masks="softmax"))(images()).maps["masks"]
    assert torch.allclose(probabilities.sum(1), torch.ones(8, 16, 8))
    assert (probabilities > 0).all()
    assert build(replace(TINY, masks="stripes"))(images()).maps == {}


def test_embeddings_are_the_global_one_and_every_parts() -> None:
    model = build(TINY)
    output, maps = model(images()), model.backbone(images())
    first = model.embed[0](signed_pool(maps["conv51"], output.maps["masks"]))[:, 1]
    whole = model.embed_global(maps["conv50"].amax((2, 3)))
    assert output.embeddings["concat"].shape == (8, 16 + 4 * 8)
    assert torch.allclose(output.embeddings["concat"][:, :16], whole, atol=EXACT)
    assert torch.allclose(output.embeddings["concat"][:, 24:32], first, atol=EXACT)
    assert output.embeddings["concat_bn"].shape == (8, 48)
    assert output.logits["parts"].shape == (8, 4, 5)


@pytest.mark.parametrize("source", SOURCES)
def test_sources_of_masks_and_parts(source: tuple[str, str]) -> None:
    """Table 3: what is copied starts equal and moves on its own, running statistics included."""
    masks, local = source
    trunk = build(replace(TINY, mask_source=masks, local_source=local)).backbone
    assert set(trunk.copied) == {name for name in source if name in ("conv41", "conv51")}
    maps = trunk(images())
    assert {masks, local, "conv50"} <= maps.keys()
    for name, stage in trunk.copied.items():
        original = getattr(trunk, "conv40" if name == "conv41" else "conv50")
        assert torch.equal(maps[name], maps["conv40" if name == "conv41" else "conv50"])
        before = {key: value.clone() for key, value in original.state_dict().items()}
        stage.train()(maps["conv40"] if name == "conv51" else trunk.early(images()))
        with torch.no_grad():
            for parameter in stage.parameters():
                parameter.add_(1.0)
        assert all(torch.equal(before[key], value) for key, value in original.state_dict().items())


def test_the_shared_layer_is_one() -> None:
    assert len(build(TINY).embed) == 1
    assert len(build(replace(TINY, shared=False)).embed) == 4


def test_the_global_feature_is_the_maximum() -> None:
    model = build(TINY)
    pooled = model.backbone(images())["conv50"].amax((2, 3))
    seen = model(images()).embeddings["concat"][:, :16]
    assert torch.allclose(seen, model.embed_global(pooled), atol=EXACT)


def test_the_descriptor_is_normalised_as_a_whole() -> None:
    """Lengths of its blocks count: scaled block by block, the balance of widths would be lost."""
    embeddings = build(TINY)(images()).embeddings
    concat, nothing = embeddings["concat_bn"], torch.zeros(8, dtype=torch.long)
    assert torch.equal(concat[:, :16], embeddings["global_bn"])
    assert torch.equal(concat[:, 16:], embeddings["parts_bn"])
    batch = Features(embeddings, {}, nothing, nothing)
    found = PAN.distance(batch, batch, scoring=Scoring())
    assert torch.allclose(
        found, euclidean(normalize(concat), normalize(concat)), atol=1e-7
    )  # the root of a rounded zero
    apart = torch.cat([normalize(block) for block in concat.split([16, 8, 8, 8, 8], dim=1)], dim=1)
    assert not torch.allclose(found, euclidean(normalize(apart), normalize(apart)), atol=1e-2)


def test_soft_margin_example() -> None:
    points, labels = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 0]]), torch.tensor([0, 0, 1, 1])
    distances = euclidean(points, points)
    positive, negative = hardest(distances, labels)
    gaps = [distances.gather(1, index[:, None])[:, 0] for index in (positive, negative)]
    assert near(gaps[0], 1.0, 1.0, 3.60555128, 3.60555128)
    assert near(gaps[1], 2.0, 2.0, 2.0, 2.0)
    assert near(softplus(gaps[0] - gaps[1]), 0.31326169, 0.31326169, 1.78852166, 1.78852166)
    assert near(batch_hard_triplet(distances, labels, margin=0.0), 1.05089167)
    assert near(batch_hard_triplet(distances, labels, margin=0.3), 0.95277564)


def test_label_smoothing_example() -> None:
    logits, label = torch.tensor([[2.0, 1, 0]]), torch.tensor([0])
    assert near(identity_loss(logits, label, smoothing=0.1), 0.50760596)
    assert near(identity_loss(logits, label, smoothing=0.0), 0.40760596)


def test_loss_is_half_of_each_identity_loss_and_one_triplet() -> None:
    """Eq. 5."""
    model, labels = build(TINY), torch.arange(8) // 2
    output = model(images())
    terms = model.loss(output, labels)
    parts = [cross_entropy(output.logits["parts"][:, k], labels, label_smoothing=0.1) for k in range(4)]
    assert torch.allclose(terms["id_parts"], sum(parts) / 8)
    assert torch.allclose(
        terms["id_global"], cross_entropy(output.logits["global"], labels, label_smoothing=0.1) / 2
    )
    concat = output.embeddings["concat"]
    assert torch.allclose(
        terms["triplet_concat"], batch_hard_triplet(euclidean(concat, concat), labels, margin=0.0)
    )
    assert len(terms) == 3


@pytest.mark.parametrize(
    ("dim", "gamma", "length"),
    [
        (32, 0.875, 960),
        (64, 1.75, 1408),
        (128, 3.5, 2304),
        (256, 7, 4096),
        (512, 14, 7680),
        (1024, 28, 14848),
    ],
)
def test_balance(dim: int, gamma: float, length: int) -> None:
    """Eq. 4 and the length of f_cat."""
    config = Config(dim=dim)
    assert config.gamma == gamma
    assert config.global_dim + config.parts * config.dim == length


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (Config(), 40_075_086),
        (Config(shared=False), 46_894_158),
        (Config.baseline(), 42_669_120),
        (replace(Config.baseline(), shared=True), 40_046_400),
        (Config(parts=16), 40_079_184),
        (Config(parts=16, shared=False), 47_947_344),
        (Config(backbone="osnet"), 3_376_322),
        (Config(backbone="osnet", shared=False), 5_083_586),
        *(
            (Config(mask_source=masks, local_source=local), count)
            for (masks, local), count in zip(
                SOURCES, (25_096_014, 40_060_750, 32_194_382, 47_159_118, 25_110_350, 40_075_086)
            )
        ),
    ],
)
@pytest.mark.sizes
def test_parameter_counts(config: Config, parameters: int) -> None:
    """Section 4's sizes and Table 3's: BN-necks and classifiers left out, biases counted."""
    assert counted(config)[0] == parameters


@pytest.mark.sizes
def test_parameter_counts_of_the_width_sweep() -> None:
    counts = [counted(Config(dim=dim)) for dim in (32, 64, 128, 256, 512, 1024)]
    millions, billions = (
        [round(n / unit, 3) for n in column] for column, unit in zip(zip(*counts), (1e6, 1e9))
    )
    assert millions == [39.616, 39.682, 39.813, 40.075, 40.600, 41.649]
    assert billions == [5.972, 5.972, 5.974, 5.978, 5.985, 6.000]  # the specification has four digits


@pytest.mark.parametrize(
    ("config", "billions"),
    [(Config(), 5.97793), (Config(shared=False), 5.97793), (Config.baseline(), 5.97007)],
)
@pytest.mark.sizes
def test_operation_counts(config: Config, billions: float) -> None:
    """Multiply-adds of convolutions and linear layers at 256x128: the printed 5.98 and 5.97."""
    assert round(counted(config)[1] / 1e9, 5) == billions


def test_stripes_have_no_source() -> None:
    with pytest.raises(ValueError, match="mask_source = 'conv40' with stripes"):
        Config(masks="stripes", mask_source="conv40")
