"""QPM against its equations: worked examples, naive forms, gradients, parameter counts."""

import math
from functools import partial

import pytest
import torch
from tolerance import EXACT, PRINTED
from torch import nn
from torch.nn.functional import cosine_similarity

from reidlib.backbones import build_backbone
from reidlib.complexity import complexity
from reidlib.distances import euclidean
from reidlib.losses import batch_hard_triplet, hardest
from reidlib.models import qpm
from reidlib.models.qpm import CBAMSA, FCSA, ISA, QPM, RASA, RGASA, Config, Scoring
from reidlib.types import Features, ReIDOutput

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

QP, QG = torch.tensor([[[0.9, 0.5, 0.1]], [[0.8, 0.2, 0.6]]], dtype=torch.float64)
FP = torch.tensor([[[1, 0], [0, 1], [1, 1]]]).double()
FG = torch.tensor([[[1, 1], [0, 2], [-1, 0]]]).double()
GP = torch.tensor([[[1, 2], [3, 0], [0, 4]]]).double()
GG = torch.tensor([[[2, 0], [1, 1], [0, -2]]]).double()
TINY = {"backbone": "small", "width": 0.5, "dim": 16, "global_dim": 32}


def near(value: torch.Tensor, *expected: float) -> bool:
    return torch.allclose(value.flatten(), torch.tensor(expected), atol=PRINTED, rtol=0)


def features(*, count: int, parts: int = 3, dim: int = 5, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    draw = {name: torch.randn(count, parts, dim, generator=generator) for name in ("parts", "stripes")}
    draw["global"] = draw["stripes"].mean(1)
    quality = torch.rand(count, parts, generator=generator)
    nothing = torch.zeros(count, dtype=torch.long)
    return Features(draw, {"quality": quality}, nothing, nothing)


def test_part_distance_example() -> None:
    """Eq. 2: the worked example, its gradient, and indifference to an image's scale of scores."""
    assert near(1 - cosine_similarity(FP, FG, dim=-1), 0.29289322, 0.0, 1.70710678)
    assert near(QP * QG, 0.72, 0.10, 0.06)
    quality = QP.clone().requires_grad_()
    distance = qpm.part_distance(FP, FG, query_quality=quality, gallery_quality=QG)
    assert near(distance, 0.35603355)
    distance.sum().backward()
    assert near(quality.grad, -0.05740030, -0.08091672, 0.92118629)
    assert near(qpm.part_distance(FP, FG, query_quality=3 * QP, gallery_quality=QG), 0.35603355)
    ones = torch.ones(1, 3)
    assert near(qpm.part_distance(FP, FG, query_quality=ones, gallery_quality=ones), 0.66666667)


def test_adaptive_distance_example() -> None:
    """Eq. 9 to 12 and 15."""
    weights = QP * QG / (QP * QG).sum()
    assert near(weights, 0.81818182, 0.11363636, 0.06818182)
    assert near(weights @ GP[0], 1.15909091, 1.90909091)
    assert near(weights @ GG[0], 1.75, -0.02272727)
    distance = qpm.adaptive_distance(GP, GG, query_quality=QP, gallery_quality=QG)
    assert near(distance, 0.49216583)
    assert near(qpm._against(GP[0], GG, weights=QP * QG), 0.49216583)
    pair = [
        Features({"parts": f, "stripes": s}, {"quality": q}, *[torch.zeros(1).long()] * 2)
        for f, s, q in ((FP, GP, QP), (FG, GG, QG))
    ]
    assert near(QPM.distance(*pair, scoring=Scoring(gamma=0.6)), 0.41048646)


def test_single_image_weights_example() -> None:
    """Eq. 4, 5, and the distances of the rows SI global and GAP global."""
    assert near(QP / QP.sum(), 0.6, 0.33333333, 0.06666667)
    assert near(QG / QG.sum(), 0.5, 0.125, 0.375)
    p, g = qpm._single(GP, QP), qpm._single(GG, QG)
    assert near(p, 1.6, 1.46666667)
    assert near(g, 1.125, -0.625)
    pair = [Features({"stripes": s, "global": s.mean(1)}, {"quality": q}, *[torch.zeros(1).long()] * 2)
            for s, q in ((GP, QP), (GG, QG))]  # fmt: skip
    assert near(qpm.pairwise(*pair, scoring=Scoring("single")), 0.68377223)
    assert near(qpm.pairwise(*pair, scoring=Scoring("gap")), 1 - 6 / math.sqrt(520))  # printed 5e-8 lower


def test_isa_example() -> None:
    """Eq. 7, 8: (1 + M) G, with M from the expanded feature."""
    isa = ISA(4, identities=2)
    with torch.no_grad():
        isa.expand.weight.zero_()
        isa.expand.bias.copy_(torch.tensor([0.5, -1, 0, 0]))
    cells = torch.tensor([[1.0, 2, 0, 0], [3, 0, 0, 0]]).T.reshape(1, 4, 1, 2)
    attended, attention, logits = isa(cells, torch.randn(1, 4))
    assert near(attention, 0.18242552, 0.81757448)
    assert near(attended[0, :2, 0].T, 1.18242552, 2.36485105, 5.45272343, 0)
    assert logits.shape == (1, 2)


def test_violators_example() -> None:
    """Eq. 3: the mean over anchors whose hinge is positive; zero if there is none."""
    distances = torch.tensor([[0, 0.2, 0.6, 0.4], [0.2, 0, 0.7, 0.9], [0.6, 0.7, 0, 0.5], [0.4, 0.9, 0.5, 0]])
    labels = torch.tensor([0, 0, 1, 1])
    positive, negative = (distances.gather(1, i[:, None])[:, 0] for i in hardest(distances, labels))
    hinges = (positive - negative + 0.3).relu()
    assert near(hinges, 0.1, 0.0, 0.2, 0.4)
    assert (hinges > 0).sum() == 3
    loss = batch_hard_triplet(distances, labels, margin=0.3, average="violators")
    assert near(loss, 0.23333333)
    assert near(batch_hard_triplet(distances, labels, margin=0.3), 0.175)
    apart = 1 - (labels[:, None] == labels).double()
    assert batch_hard_triplet(apart, labels, margin=0.3, average="violators") == 0


def test_batch_hard_example() -> None:
    """The shared Euclidean checkpoint: mean over anchors, and over the two that violate the margin."""
    points = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 0]])
    distances, labels = euclidean(points, points), torch.tensor([0, 0, 1, 1])
    assert near(batch_hard_triplet(distances, labels, margin=0.3), 0.95277564)
    assert near(batch_hard_triplet(distances, labels, margin=0.3, average="violators"), 1.90555128)


def test_pair_logits_example() -> None:
    """Eq. 12 is twice the mean over all ordered pairs; classifying stripes first changes nothing."""
    stripes = torch.tensor([[[1.0, 0], [0, 2]], [[1, 1], [2, 0]]])
    quality = torch.tensor([[0.8, 0.4], [0.5, 1.0]])
    weight, labels = torch.tensor([[1.0, -1], [0.5, 1]]), torch.tensor([0, 1])
    bands = torch.eye(2).expand(2, 2, 2)  # classified by themselves: the weights come out
    pairs = qpm.pair_logits(bands, quality)
    assert near(pairs, 0.8, 0.2, 0.5, 0.5, 0.5, 0.5, 0.2, 0.8)
    logits = qpm.pair_logits(stripes @ weight.T, quality)
    vectors = torch.tensor([[[0.8, 0.4], [0.5, 1.0]], [[1.5, 0.5], [1.8, 0.2]]])
    assert torch.allclose(logits, vectors @ weight.T, atol=EXACT)
    model = QPM(Config(**TINY, attention="none"), identities=2)
    output = ReIDOutput({"stripes": stripes}, {"quality": quality}, {"stripes": stripes @ weight.T}, {})
    assert near(model._global_terms(output, labels)["id_global"], 2.18662790)
    distances = qpm.adaptive_distance(stripes, stripes, query_quality=quality, gallery_quality=quality)
    assert near(distances, 0, 0.29289322, 0.29289322, 0)


@pytest.mark.parametrize(("top", "order"), [(2, [3, 1, 0, 4, 2]), (5, [3, 0, 4, 2, 1])])
def test_refinement_example(top: int, order: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Section III-D: the top n are sorted by Eq. 15, the rest stay behind in the order of the part distance."""
    part = torch.tensor([[0.30, 0.10, 0.50, 0.20, 0.40]])
    whole = torch.tensor([0.10, 0.90, 0.01, 0.20, 0.02])
    query, gallery = features(count=1), features(count=5)
    numbered = torch.arange(5.0)[:, None, None].expand(5, 3, 5)
    gallery = Features(
        gallery.embeddings | {"stripes": numbered}, gallery.visibility, gallery.pid, gallery.camid
    )
    monkeypatch.setattr(QPM, "distance", staticmethod(lambda q, g, *, scoring: part))
    monkeypatch.setattr(qpm, "_against", lambda p, g, *, weights: whole[g[:, 0, 0].long()])
    distances = qpm.refined_distance(query, gallery, scoring=Scoring(gamma=0.6, top=top))
    refined = torch.tensor([0.22, 0.42, 0.304, 0.20, 0.248])
    chosen = part[0].argsort()[:top]
    assert near(distances[0, chosen], *refined[chosen].tolist())
    assert distances[0].argsort().tolist() == order


def test_nearest_takes_ties_in_gallery_order() -> None:
    distances = torch.tensor([[0.5, 0.1, 0.5, 0.5, 0.1], [0.2] * 5])
    chosen = qpm._among_nearest(distances, count=3)
    assert chosen.tolist() == [[True, True, False, False, True], [True, True, True, False, False]]


@pytest.mark.parametrize("kind", ["part", "agfe", "single", "gap"])
def test_distances_equal_naive_pairs(kind: str) -> None:
    """Every distance of a block equals the literal equations, pair by pair, also across gallery chunks."""
    query, gallery = features(count=3, seed=1), features(count=1200, seed=2)
    found = QPM.distance(query, gallery, scoring=Scoring(kind))
    for q in range(3):
        for g in (0, 7, 999, 1000, 1199):
            assert found[q, g] == pytest.approx(
                naive(query[torch.tensor([q])], gallery[torch.tensor([g])], kind), abs=EXACT
            )


def naive(query: Features, gallery: Features, kind: str) -> float:
    q, g = (f.visibility["quality"][0] for f in (query, gallery))
    weights = q * g / (q * g).sum()
    if kind == "part":
        apart = 1 - cosine_similarity(query.embeddings["parts"][0], gallery.embeddings["parts"][0])
        return float((weights * apart).sum())
    p, r = (f.embeddings["stripes"][0] for f in (query, gallery))
    shares = {"agfe": (weights, weights), "single": (q / q.sum(), g / g.sum())}
    left, right = shares.get(kind, (torch.full((3,), 1 / 3),) * 2)
    return float(1 - cosine_similarity(left @ p, right @ r, dim=0))


def test_refined_distance_equals_naive() -> None:
    query, gallery = features(count=4, seed=3), features(count=60, seed=4)
    scoring = Scoring(gamma=0.6, top=10)
    found = QPM.distance(query, gallery, scoring=scoring)
    part, whole = (QPM.distance(query, gallery, scoring=Scoring(kind)) for kind in ("part", "agfe"))
    for q in range(4):
        order = part[q].argsort(stable=True)
        near_by = sorted(order[:10].tolist(), key=lambda g: float(0.6 * part[q, g] + 0.4 * whole[q, g]))
        assert found[q].argsort(stable=True).tolist() == near_by + order[10:].tolist()


def test_vanishing_scores_stay_finite() -> None:
    """A weight sum that underflows is clamped, with a finite gradient."""
    quality = torch.full((2, 3), 1e-30, requires_grad=True)
    stripes = torch.randn(2, 3, 4)
    for distance in (qpm.part_distance, qpm.adaptive_distance):
        value = distance(stripes, stripes, query_quality=quality, gallery_quality=quality)
        (gradient,) = torch.autograd.grad(value.sum(), quality)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@pytest.fixture(scope="module")
def literal() -> QPM:
    return QPM(Config(), identities=702)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.sizes
def test_parameters(literal: QPM) -> None:
    """Section 6 of the specification: the literal model, without and with its classifiers for 702 identities."""
    classifiers = [
        m for n, m in literal.named_modules() if n.startswith("classify") or n.endswith("classifier")
    ]
    assert count(literal) == 43_944_786
    assert count(literal) - sum(count(m) for m in classifiers if isinstance(m, nn.Linear)) == 38_733_138
    assert count(literal.quality) == 12_306


@pytest.mark.sizes
def test_counts_of_the_readings() -> None:
    """Section 6 of the specification: without classifiers, and the width and the parts swept."""

    def parameters(**change: object) -> int:
        return complexity(partial(QPM, Config(**change)), size=(384, 128)).parameters

    widths = {512: 30_995_666, 256: 27_225_234, 128: 25_364_594}
    assert {d: parameters(dim=d, global_dim=d) for d in widths} == widths
    assert parameters(dim=256) == 29_291_346  # the nearest to the printed 29.0 M
    millions = [round(parameters(parts=k) / 1e6, 3) for k in (2, 3, 4, 6, 8)]
    assert millions == [30.332, 32.432, 34.533, 38.733, 42.934]
    found = complexity(partial(QPM, Config()), size=(384, 128))
    trunk = complexity(lambda *, identities: build_backbone("resnet50"), size=(384, 128))
    assert round(trunk.operations / 1e9, 4) == 6.0799
    agreement = 24 * 8 * 1024  # of Eq. 7, which the specification counts
    assert round((found.operations + agreement) / 1e9, 4) == 6.4959


def test_attention_parameters() -> None:
    assert count(CBAMSA()) == 100
    assert count(RGASA(1024, cells=(24, 8))) == 403_334


@pytest.mark.sizes
def test_shapes(literal: QPM) -> None:
    images = torch.zeros(2, 3, 384, 128, dtype=torch.float32)
    with torch.inference_mode():
        output = literal.eval()(images)
        features = literal.backbone(images)
        bands, whole = qpm.stripe_pool(features, stripes=6), literal.project(features)
        single = qpm._single(qpm.stripe_pool(whole, stripes=6), output.visibility["quality"])
        reduced = literal.attend.squeeze(single)
        pairs = qpm.pair_logits(output.logits["stripes"], output.visibility["quality"])
    found = (features, bands, whole, single, reduced, pairs)
    assert [tuple(tensor.shape) for tensor in found] == [
        (2, 2048, 24, 8), (2, 6, 2048), (2, 1024, 24, 8), (2, 1024), (2, 256), (2, 2, 702)
    ]  # fmt: skip
    embeddings = {name: tuple(tensor.shape) for name, tensor in output.embeddings.items()}
    assert embeddings == {"parts": (2, 6, 1024), "stripes": (2, 6, 1024), "global": (2, 1024)}
    assert tuple(output.visibility["quality"].shape) == (2, 6)
    assert tuple(output.maps["attention"].shape) == (2, 1, 24, 8)
    assert tuple(output.logits["isa"].shape) == (2, 702)


@pytest.mark.parametrize("attention", ["none", "isa", "fc", "rga", "ra", "cbam"])
def test_attention_variants_train(attention: str) -> None:
    model = QPM(Config(**TINY, attention=attention), identities=4)
    labels = torch.arange(4).repeat_interleave(2)
    terms = model.loss(model(torch.randn(8, 3, 96, 32)), labels)
    assert ("id_isa" in terms) == (attention == "isa")
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("module", [FCSA((24, 8)), CBAMSA(), RGASA(16, cells=(24, 8)), RASA(16)])
def test_attention_is_one_map_in_unit_range(module: nn.Module) -> None:
    attention = module.double().eval()(torch.randn(2, 16, 24, 8))
    assert attention.shape == (2, 1, 24, 8)
    assert (attention >= 0).all()
    assert (attention <= 1).all()


def test_rows_have_their_losses() -> None:
    """The ablation table of the specification: which losses each row of Table V and VI has."""
    both = {"id_parts", "triplet_parts", "id_global", "triplet_global"}
    parts_only = TINY | {"global_feature": "none", "attention": "none"}
    without_parts = TINY | {
        "part_branch": False,
        "quality": False,
        "global_feature": "gap",
        "attention": "none",
    }
    rows = (
        (Config(**parts_only, triplet=False, quality=False), {"id_parts"}),
        (Config(**parts_only), {"id_parts", "triplet_parts"}),
        (Config(**without_parts), {"id_global", "triplet_global"}),
        (Config(**TINY, global_feature="single", attention="none"), both),
        (Config(**TINY, global_feature="gap"), both | {"id_isa"}),
        (Config(**TINY, attention="none"), both),
        (Config(**TINY, attention="cbam"), both),
        (Config(**TINY), {"id_parts", "triplet_parts", "id_isa", "id_global", "triplet_global"}),
    )
    for config, expected in rows:
        model = QPM(config, identities=4)
        terms = model.loss(model(torch.randn(8, 3, 96, 32)), torch.arange(4).repeat_interleave(2))
        assert set(terms) == expected


def test_global_losses_teach_the_scores_too() -> None:
    labels, images = torch.arange(4).repeat_interleave(2), torch.randn(8, 3, 96, 32)
    model = QPM(Config(**TINY), identities=4)
    terms = model.loss(model(images), labels)
    (terms["id_global"] + terms["triplet_global"]).backward()
    assert model.quality.predict[0][0].weight.grad.any()


def test_scores_do_not_depend_on_the_batch() -> None:
    """The predictor's batch norm uses its running statistics at test time."""
    model = QPM(Config(**TINY), identities=4).eval()
    images = torch.randn(4, 3, 96, 32)
    with torch.inference_mode():
        together, alone = model(images).visibility["quality"], model(images[:1]).visibility["quality"]
    assert torch.allclose(together[:1], alone, atol=EXACT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parts": 0}, "parts = 0, .* expected all >= 1"),
        ({"quality": False}, "need scores; use part_branch, quality and triplet = True"),
        ({"part_branch": False, "global_feature": "none", "attention": "none"}, "nothing is left to train"),
    ],
)
def test_impossible_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_sums_of_part_losses() -> None:
    """Eq. 1 is a sum over parts: a classifier that knows nothing costs K log I."""
    model = QPM(Config(**TINY, global_feature="none", attention="none"), identities=4)
    for classifier in model.classify:
        nn.init.zeros_(classifier.weight)
    terms = model.loss(model(torch.randn(8, 3, 96, 32)), torch.arange(4).repeat_interleave(2))
    assert terms["id_parts"].item() == pytest.approx(6 * math.log(4), rel=0.02)
