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
    answer, weights = encoder.explained(tokens, tokens)
    assert near(weights[0, 0], 0.66976155, 0.33023845)
    attended = weights @ tokens
    assert near(attended[0, 0], 0.66976155, 0.33023845)
    assert near(answer[0, 0], 2.33952310, 0.66047690)
    assert torch.equal(encoder(tokens, tokens), answer)
    assert near(
        (answer + tokens)[0, 0], 3.33952310, 0.66047690
    )  # with the residual g + f, which is not meant


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
    answer, weights = encoder.explained(queries, context)
    assert torch.allclose(answer, expected, atol=EXACT)
    assert torch.allclose(weights, torch.stack([w for w, _ in heads]).mean(0), atol=EXACT)
    assert not weights.requires_grad


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
    shares = logits.softmax(-1)
    assert near(shares, 0.09003057, 0.24472847, 0.66524096)
    assert near(shares @ torch.tensor([[1.0, 0], [0, 1], [1, 1]]), 0.75527153, 0.90996943)
    assert near(templates, 0.75527153, 1.81993885)


def test_part_weights_example_and_trap() -> None:
    """Eq. 8: the logits are averaged; averaging their softmax would make every weight one."""
    logits = torch.tensor([[[2.0, 0, 0, 2], [0, 0, 0, 0], [-1, -1, -1, -1]]])
    assert near(logits.mean(-1), 1.0, 0.0, -1.0)
    assert near(part_weights(logits) / 3, 0.66524096, 0.24472847, 0.09003057)
    assert near(part_weights(logits), 1.99572287, 0.73418541, 0.27009172)
    trap = 3 * logits.softmax(-1).mean(-1).softmax(-1)
    assert near(trap, 1.0, 1.0, 1.0)
    assert part_weights(logits).sum().item() == pytest.approx(3, abs=EXACT)


def test_weights_survive_because_one_norm_is_taken_of_the_whole() -> None:
    whole = torch.tensor([1.0, 0])
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 0]])

    def distance(weights: tuple[float, float], *, apart: bool = False) -> torch.Tensor:
        scale = torch.tensor(weights)[:, None]
        weighted = [normalize(scale * parts) if apart else scale * parts for parts in (first, second)]
        vectors = [torch.cat([whole, parts.flatten()])[None] for parts in weighted]
        nothing = torch.zeros(1, dtype=torch.long)
        pair = [
            Features({"descriptor": v, "descriptor_bn": v, "parts": p[None]}, {}, nothing, nothing)
            for v, p in zip(vectors, (first, second))
        ]
        return DPTI.distance(*pair, scoring=Scoring("before")).square() / 2  # the cosine distance

    assert near(distance((1.0, 1.0)), 0.33333333)
    assert near(distance((1.5, 0.5)), 0.07142857)
    assert near(distance((1.5, 0.5), apart=True), 0.33333333)


def test_diversity_example() -> None:
    """Eq. 10, and the loss without its square, which lets opposite vectors cost less than orthogonal ones."""
    parts = torch.tensor([[[1.0, 0], [1, 1], [0, -2]]])
    unit = normalize(parts[0])
    assert near((unit @ unit.T)[[0, 0, 1], [1, 2, 2]], 0.70710678, 0.0, -0.70710678)
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
        middle, last = model.backbone(torch.empty(2, 3, 256, 128))
        output = model(torch.empty(2, 3, 256, 128))
        tokens = [dpti._tokens(x) for x in (model.reduce_middle(middle), model.reduce(last))]
        context = model.encode_middle(tokens[0], tokens[0])
        attended = model.encode(tokens[1], tokens[1])
        templates, logits = model.make_templates(context)
    assert middle.shape == (2, 1024, 16, 8)
    assert last.shape == (2, 2048, 16, 8)
    assert context.shape == attended.shape == (2, 128, 256)
    assert logits.shape == (2, 8, 128)
    assert templates.shape == (2, 8, 256)
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
    with pytest.raises(ValueError, match=r"scoring\.templates = 9, but there are"):
        DPTI.distance(batch, batch, scoring=Scoring(templates=9))
    with pytest.raises(ValueError, match="templates = -1; expected"):
        Scoring(templates=-1)


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
        assert found.operations == 4_377_804_800
        # two encoders of 128 tokens, templates and part attention of 8: two products of each pair, 256 wide
        products = 2 * 256 * 128 * (128 + 128 + 8 + 8)
        assert round((found.operations + products) / 1e9, 3) == 4.396  # the specification counts them


@pytest.mark.sizes
def test_sizes_of_the_pieces() -> None:
    with torch.device("meta"):
        model = DPTI(Config(), identities=751)

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    assert count(model.reduce) == 524_544
    assert count(model.reduce_middle) == 262_400
    assert [count(m) for m in (model.encode, model.encode_middle, model.attend)] == [788_736] * 3
    assert count(model.encode.query, model.encode.key, model.encode.value, model.encode.out) == 263_168
    assert count(model.encode.feed_forward) == 525_568
    assert count(model.make_templates) == 2_048 + 65_536
    assert count(model.identify) == 4_608 + 1_730_304


def test_one_identity_cannot_be_told_from_others() -> None:
    output = build(TINY, identities=1)(images(2))
    with pytest.raises(ValueError, match="identities = 1"):
        build(TINY, identities=1).loss(output, torch.zeros(2, dtype=torch.long))


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
