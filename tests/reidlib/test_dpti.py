"""DPTI against its equations: worked examples, traps, naive attention, sizes to the digit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tolerance import EXACT, PRINTED
from torch.nn.functional import cross_entropy, normalize, scaled_dot_product_attention

from reidlib.complexity import complexity
from reidlib.distances import euclidean
from reidlib.losses import batch_hard_triplet
from reidlib.models import dpti
from reidlib.models.dpti import (
    DPTI,
    Config,
    DynamicTemplates,
    Encoder,
    Scoring,
    diversity_loss,
    dropout_attention,
    part_weights,
)
from reidlib.types import Features, ReIDOutput

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

TINY = Config(backbone="small", width=0.5, dim=8, heads=2, parts=8)
ROWS = {
    "G": {"templates": "none"},
    "G+P": {"templates": "grid"},
    "G+T": {"templates": "static"},
    "G+D": {},
    "G+D+W": {"weighted": True},
    "apart": {"joint": False},
}


def near(value: torch.Tensor, *expected: float) -> bool:
    return torch.allclose(value.flatten(), torch.tensor(expected), atol=PRINTED, rtol=0)


def build(config: Config, *, identities: int = 5) -> DPTI:
    torch.manual_seed(0)
    return DPTI(config, identities=identities).eval()


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def identity(layer: torch.nn.Linear, *, scale: float = 1.0) -> None:
    with torch.no_grad():
        layer.weight.copy_(scale * torch.eye(len(layer.weight)))
        if layer.bias is not None:
            layer.bias.zero_()


def test_encoder_example() -> None:
    """Eq. 2 to 4 with identities for projections and feed-forward network; the outer residual adds g alone."""
    encoder = Encoder(2, heads=1, attention_dropout=0.0, dropout=0.0).eval()
    for layer in (encoder.query, encoder.key, encoder.value, encoder.out):
        identity(layer)
    encoder.feed_forward = torch.nn.Identity()
    tokens = torch.tensor([[[1.0, 0], [0, 1]]])
    assert near(encoder.attention(tokens, tokens)[0, 0], 0.66976155, 0.33023845)
    assert near(encoder(tokens, tokens)[0, 0], 2.33952310, 0.66047690)


def test_encoder_is_naive_multi_head_attention() -> None:
    """Scaled by the square root of a head's width, not of the whole."""
    torch.manual_seed(0)
    encoder = Encoder(12, heads=3, attention_dropout=0.2, dropout=0.1).eval()
    queries, context = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        q, k, v = (
            f(x)[..., part]
            for f, x in ((encoder.query, queries), (encoder.key, context), (encoder.value, context))
        )
        heads.append((q @ k.mT / 2).softmax(-1))
        heads[-1] = (heads[-1], heads[-1] @ v)
    attended = encoder.out(torch.cat([value for _, value in heads], dim=-1))
    expected = encoder.feed_forward(attended + queries) + attended
    assert torch.allclose(encoder(queries, context), expected, atol=EXACT)
    assert torch.allclose(
        encoder.attention(queries, context), torch.stack([w for w, _ in heads]).mean(0), atol=EXACT
    )


def test_attention_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    encoder, tokens = Encoder(8, heads=2, attention_dropout=0.5, dropout=0.0), torch.randn(2, 6, 8)
    assert torch.equal(encoder.eval()(tokens, tokens), encoder(tokens, tokens))
    encoder.train()
    assert not torch.equal(encoder(tokens, tokens), encoder(tokens, tokens))


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_attention_dropout_keeps_the_mean_and_drops_its_share(rate: float) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 64, 2, 5, 8).unbind(0)
    v = torch.eye(5).expand(64, 2, 5, 5)  # so that the weights themselves come out
    draws = torch.stack([dropout_attention(q, k, v, dropped=rate) for _ in range(400)])
    weights = scaled_dot_product_attention(q, k, v)
    assert (draws == 0).float().mean() == pytest.approx(rate, abs=2e-3)
    assert torch.allclose(draws.mean(0), weights, atol=0.15)
    assert (draws.mean(0) / weights).mean() == pytest.approx(1, abs=0.01)


def test_dynamic_templates_example() -> None:
    """Eq. 5 and 6."""
    made = DynamicTemplates(1, 2)
    with torch.no_grad():
        made.queries.copy_(torch.tensor([[1.0, 2]]))
        made.value.weight.copy_(torch.diag(torch.tensor([1.0, 2])))
    templates, logits = made(torch.tensor([[[1.0, 0], [0, 1], [1, 1]]]))
    assert near(logits, 1.0, 2.0, 3.0)
    assert near(templates, 0.75527153, 1.81993885)


def test_part_weights_example_and_trap() -> None:
    """Eq. 8: the logits are averaged; averaging their softmax would make every weight one."""
    logits = torch.tensor([[[2.0, 0, 0, 2], [0, 0, 0, 0], [-1, -1, -1, -1]]])
    assert near(part_weights(logits), 1.99572287, 0.73418541, 0.27009172)
    trap = 3 * logits.softmax(-1).mean(-1).softmax(-1)
    assert near(trap, 1.0, 1.0, 1.0)
    assert part_weights(logits).sum().item() == pytest.approx(3, abs=EXACT)


def test_weights_survive_because_one_norm_is_taken_of_the_whole() -> None:
    whole = torch.tensor([1.0, 0])
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 0]])

    def distance(weights: tuple[float, float]) -> torch.Tensor:
        scale = torch.tensor(weights)[:, None]
        vectors = [torch.cat([whole, (scale * parts).flatten()])[None] for parts in (first, second)]
        nothing = torch.zeros(1, dtype=torch.long)
        pair = [
            Features({"descriptor": v, "descriptor_bn": v, "parts": p[None]}, {}, nothing, nothing)
            for v, p in zip(vectors, (first, second))
        ]
        return DPTI.distance(*pair, scoring=Scoring("before")).square() / 2  # the cosine distance

    assert near(distance((1.0, 1.0)), 0.33333333)
    assert near(distance((1.5, 0.5)), 0.07142857)


def test_diversity_example() -> None:
    """Eq. 10, and the loss without its square, which lets opposite vectors cost less than orthogonal ones."""
    parts = torch.tensor([[[1.0, 0], [1, 1], [0, -2]]])
    assert near(diversity_loss(parts), 0.33333333)
    assert near(diversity_loss(parts, power=1), 0.0)
    assert near(diversity_loss(7 * parts), 0.33333333)
    opposite = torch.tensor([[[1.0, 0], [-1, 0]]])
    assert near(diversity_loss(opposite), 1.0)
    assert near(diversity_loss(opposite, power=1), -1.0)


@pytest.mark.sizes
def test_shapes_at_full_size() -> None:
    with torch.device("meta"):
        model = DPTI(Config(), identities=751).eval()
        middle, _ = model.backbone(torch.empty(2, 3, 256, 128))
        output = model(torch.empty(2, 3, 256, 128))
    assert middle.shape == (2, 1024, 16, 8)
    assert output.maps["templates"].shape == output.maps["parts"].shape == (2, 8, 16, 8)
    assert output.embeddings["templates"].shape == output.embeddings["parts"].shape == (2, 8, 256)
    assert output.embeddings["descriptor"].shape == (2, 2304)


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_table(row: str) -> None:
    model = build(replace(TINY, **ROWS[row]))
    output = model(images())
    blocks = 1 if row == "G" else 9
    assert (
        output.embeddings["descriptor"].shape == output.embeddings["descriptor_bn"].shape == (8, 8 * blocks)
    )
    assert ("templates" in output.maps) == (row in ("G+D", "G+D+W", "apart"))
    assert ("rho" in output.visibility) == (row == "G+D+W")
    assert ("reduce_middle" in dict(model.named_children())) == (row not in ("G", "G+T"))
    for maps in output.maps.values():
        assert torch.allclose(maps.sum((2, 3)), torch.ones(8, 8), atol=EXACT)
    terms = model.loss(output, torch.arange(8) // 2)
    assert set(terms) == {"id", "triplet"} | ({"diversity"} if row != "G" else set())


def test_static_templates_do_not_see_the_image_dynamic_ones_do() -> None:
    for templates, same in (("static", True), ("dynamic", False), ("grid", False)):
        found = build(replace(TINY, templates=templates))(images()).embeddings["templates"]
        assert torch.allclose(found[0], found[1]) == same


def test_grid_templates_are_means_of_cells() -> None:
    model = build(replace(TINY, templates="grid"))
    middle, _ = model.backbone(images())
    tokens = dpti._tokens(model.reduce_middle(middle))
    attended = model.encode_middle(tokens, tokens).view(8, 16, 8, 8)  # [N, h, w, D]
    found = model(images()).embeddings["templates"]
    assert torch.allclose(
        found[:, 1], attended[:, :4, 4:].mean((1, 2)), atol=EXACT
    )  # first row, second column


def test_weighted_parts_enter_the_descriptor_and_not_the_diversity() -> None:
    model = build(replace(TINY, weighted=True))
    with torch.no_grad():
        model.make_templates.queries.mul_(50)  # from their small start, weights are nearly even
    output = model(images())
    weights = 8 * output.visibility["rho"]
    blocks = output.embeddings["descriptor"].view(8, 9, 8)[:, 1:]
    assert torch.allclose(blocks, weights[..., None] * output.embeddings["parts"], atol=EXACT)
    assert weights.std() > 1e-3


def test_the_two_encoders_share_nothing() -> None:
    model = build(TINY)
    ours = {id(p) for p in (*model.encode.parameters(), *model.reduce.parameters())}
    theirs = {id(p) for p in (*model.encode_middle.parameters(), *model.reduce_middle.parameters())}
    assert not ours & theirs


def test_loss_on_the_whole_descriptor() -> None:
    """Eq. 9, with label smoothing as fast-reid spreads it: over the other identities."""
    config, labels = replace(TINY, templates="none"), torch.arange(3).repeat_interleave(2)
    descriptor = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    logits = torch.tensor([[2.0, 1, 0]]).repeat(6, 1)
    output = ReIDOutput({"descriptor": descriptor}, logits={"descriptor": logits})
    terms = build(config, identities=3).loss(output, labels)
    assert terms["triplet"] == batch_hard_triplet(euclidean(descriptor, descriptor), labels, margin=0.3)
    one = ReIDOutput({"descriptor": descriptor[:2]}, logits={"descriptor": logits[:2]})
    assert near(build(config, identities=3).loss(one, labels[:2])["id"], 0.55760596)


def test_losses_apart_mine_every_block() -> None:
    model, labels = build(replace(TINY, joint=False)), torch.arange(8) // 2
    output = model(images())
    assert output.logits["blocks"].shape == (8, 9, 5)
    blocks = output.embeddings["descriptor"].view(8, 9, 8).unbind(1)
    expected = torch.stack([batch_hard_triplet(euclidean(b, b), labels, margin=0.3) for b in blocks]).mean()
    terms = model.loss(output, labels)
    assert torch.allclose(terms["triplet"], expected, atol=EXACT)
    scores = [
        cross_entropy(s, labels, label_smoothing=0.1 * 5 / 4) for s in output.logits["blocks"].unbind(1)
    ]
    assert torch.allclose(terms["id"], torch.stack(scores).mean(), atol=EXACT)


def test_scorings_compare_what_they_name() -> None:
    embeddings, nothing = build(TINY)(images()).embeddings, torch.zeros(8, dtype=torch.long)
    batch = Features(embeddings, {}, nothing, nothing)
    chosen = {"after": embeddings["descriptor_bn"], "before": embeddings["descriptor"]}
    scorings = {name: Scoring(name) for name in chosen}
    for count in (0, 1):
        chosen[count], scorings[count] = (
            embeddings["descriptor_bn"][:, : 8 + 8 * count],
            Scoring(templates=count),
        )
    for name, vectors in chosen.items():
        found = DPTI.distance(batch, batch, scoring=scorings[name])
        assert torch.allclose(found, euclidean(normalize(vectors), normalize(vectors)), atol=1e-7), (
            name
        )  # of zero


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({}, 26_728_768),
        ({"templates": "none"}, 24_821_312),
        ({"templates": "grid"}, 26_661_184),
        ({"templates": "static"}, 25_612_096),
        ({"weighted": True}, 26_728_768),
        ({"backbone": "resnet18"}, 13_807_424),
        ({"backbone": "osnet"}, 4_602_276),
    ],
)
@pytest.mark.sizes
def test_parameter_counts(changes: dict, parameters: int) -> None:
    """Without BN-neck and classifier."""
    config = replace(Config(), **changes)
    blocks = 1 if config.templates == "none" else 9
    found = complexity(partial(DPTI, config), identities=751)
    assert found.parameters - 2 * 256 * blocks == parameters
    if not changes:
        assert found.training == 28_463_680
        assert round(found.operations / 1e9, 2) == 4.40  # the specification's 4.396


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="dim a multiple of heads"):
        Config(dim=10, heads=4)
    with pytest.raises(ValueError, match="heads >= 1"):
        Config(heads=0)
    with pytest.raises(ValueError, match="attention_dropout = 1.0; expected both"):
        Config(attention_dropout=1.0)
    with pytest.raises(ValueError, match="only dynamic ones have logits"):
        Config(weighted=True, templates="static")
    with pytest.raises(ValueError, match="expected 8"):
        Config(templates="grid", parts=6)
