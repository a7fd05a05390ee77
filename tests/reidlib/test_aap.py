"""AaP-ReID against its equations and its release: worked examples, gates, sizes to the printed digit."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from tolerance import EXACT, PRINTED, rounding
from torch.nn.functional import cross_entropy, normalize

from reidlib.backbones import build_backbone, stages
from reidlib.complexity import complexity
from reidlib.distances import aligned_distance, aligned_pairs, euclidean, shortest_path
from reidlib.losses import batch_hard_triplet, hardest, identity_loss
from reidlib.models.aap import ATTENTIONS, BAM, CWA, ECA, SP, AaP, Config, Scoring
from reidlib.types import Features

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

A = torch.tensor([[1, 0], [0, 1], [-1, 0]]).double()
B = torch.tensor([[0, 1], [1, 0], [-1, 0]]).double()
near = partial(torch.testing.assert_close, rtol=0, atol=PRINTED)
TINY = Config(backbone="small", width=0.5, local_dim=8)


def build(config: Config = TINY, *, identities: int = 5) -> AaP:
    torch.manual_seed(0)
    return AaP(config, identities=identities)


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def features(model: AaP, count: int = 8) -> Features:
    nothing = torch.zeros(count, dtype=torch.long)
    with torch.no_grad():
        return Features(model.eval()(images(count)).embeddings, {}, nothing, nothing)


def recursion(costs: torch.Tensor) -> float:
    """S_ij = d_ij + min(S_{i-1,j}, S_{i,j-1}), as written."""
    rows, columns = costs.shape
    table = {}
    for i in range(rows):
        for j in range(columns):
            before = [table[cell] for cell in ((i - 1, j), (i, j - 1)) if cell in table]
            table[i, j] = float(costs[i, j]) + min(before, default=0.0)
    return table[rows - 1, columns - 1]


def table(costs: torch.Tensor) -> torch.Tensor:
    """The accumulated table: the shortest path to every cell."""
    rows, columns = costs.shape
    return torch.stack(
        [torch.stack([shortest_path(costs[: i + 1, : j + 1]) for j in range(columns)]) for i in range(rows)]
    )


def test_tables_of_the_base_code() -> None:
    """Section 9 of the specification: distances of stripes, their cells, and the accumulated tables."""
    distances = euclidean(A, B)
    root, zero, one, two = 1.41421356, 0.0, 0.60885937, 0.76159416
    near(distances, torch.tensor([[root, zero, 2], [zero, root, root], [root, 2, zero]]))
    cells = (distances / 2).tanh()
    near(cells, torch.tensor([[one, zero, two], [zero, one, one], [one, two, zero]]))
    expected = [
        [0.60885937, 0.60885937, 1.37045352],
        [0.60885937, 1.21771873, 1.82657810],
        [1.21771873, 1.97931289, 1.82657810],
    ]
    near(table(cells), torch.tensor(expected))
    raw = torch.tensor([[0.1, 0.9, 0.9], [0.2, 0.8, 0.9], [0.9, 0.3, 0.4]])
    near(table(raw), torch.tensor([[0.1, 1.0, 1.9], [0.3, 1.1, 2.0], [1.2, 1.4, 1.8]]))
    near(raw.diagonal().sum(), torch.tensor(1.3))


def test_paths_lead_around_infinite_cells() -> None:
    inf = math.inf
    costs = torch.tensor(
        [
            [[1, inf, 1], [1, 1, inf], [inf, 1, 1]],
            [[1, inf, 1], [inf, 1, 1], [1, 1, 1]],
            [[1, 1, 1], [1, 1, inf], [1, inf, 1]],
            [[inf, 1, 1], [1, 1, 1], [1, 1, 1]],
        ]
    ).double()  # fmt: skip
    expected = torch.tensor([recursion(pair) for pair in costs])
    assert expected.tolist() == [5, inf, inf, inf]
    assert torch.equal(shortest_path(costs), expected)
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(200, 5, 6, generator=generator)
    costs[torch.rand(200, 5, 6, generator=generator) < 0.2] = inf
    found, expected = shortest_path(costs), torch.tensor([recursion(pair) for pair in costs])
    assert 20 < expected.isfinite().sum() < 180
    near(found, expected, atol=EXACT)
    costs.requires_grad_()
    (slope,) = torch.autograd.grad(shortest_path(costs).sum(), costs)
    assert slope.isfinite().all()
    steps = slope.sum((1, 2))
    assert torch.equal(steps, torch.where(expected.isfinite(), 10.0, 0.0))  # the cells of a path


def test_stripes_of_zeros_have_no_direction() -> None:
    """They stay zero, at distance one from every unit vector and zero from each other, as in the release."""
    blank = torch.zeros(1, 3, 2)
    step = math.tanh(0.5)
    near(aligned_distance(A[None], blank), torch.tensor([[5 * step]]))
    near(aligned_pairs(A[None], blank), torch.tensor([5 * step]))
    near(aligned_distance(blank, blank), torch.tensor([[0.0]]))
    near(aligned_distance(blank, A[None], aligned=False), torch.tensor([[3 * step]]))
    mixed = torch.cat([A[None], blank])
    mixed[1, 1] = A[1]
    pairs = aligned_pairs(mixed, mixed.flip(0))
    near(aligned_distance(mixed, mixed.flip(0)).diagonal(), pairs)
    near(aligned_distance(blank[:, :1], blank[:, :1]), torch.tensor([[0.0]]))


def test_aligned_distance_of_the_base_code() -> None:
    near(aligned_distance(A[None], B[None]), torch.tensor([[1.82657810]]))
    near(aligned_pairs(A[None], B[None]), torch.tensor([1.82657810]))
    near(aligned_distance(A[None], B[None], aligned=False), torch.tensor([[1.21771873]]))
    raw = torch.tensor([[0.1, 0.9, 0.9], [0.2, 0.8, 0.9], [0.9, 0.3, 0.4]])
    near(shortest_path(raw), torch.tensor(1.8))


def test_an_image_is_not_at_distance_zero_from_itself() -> None:
    own = aligned_distance(A[None], A[None]), aligned_distance(A[None], A[None], aligned=False)
    near(torch.cat(own, 1), torch.tensor([[1.21771873, 0.0]]))
    angles = torch.deg2rad(torch.tensor([0.0, 10, 20, 30]))
    fan = torch.stack([angles.cos(), angles.sin()], -1)[None]
    near(aligned_distance(fan, fan), torch.tensor([[0.26080719]]), atol=1e-7)  # roots of rounded zeros


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_aligned_distances_equal_the_recursion(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(n, 5, 4, generator=generator, dtype=dtype) for n in (3, 4))
    gallery[0] = query[0]
    gallery[1] = gallery[1, :1]  # all stripes alike: ties everywhere
    units = normalize(query, dim=-1), normalize(gallery, dim=-1)
    costs = (torch.cdist(units[0][:, None], units[1][None]) / 2).tanh()  # [Q, G, m, m]
    naive = torch.tensor([[recursion(pair) for pair in row] for row in costs], dtype=dtype)
    zeros = 5 * math.sqrt(rounding(dtype, steps=4))  # the root of a rounded zero, in each of five stripes
    near(aligned_distance(query, gallery), naive, atol=zeros)
    near(shortest_path(costs), naive, atol=rounding(dtype, steps=5 * 9, size=5))
    pairs = aligned_pairs(units[0], units[1][:3])
    near(pairs, naive.diagonal(), atol=zeros)
    diagonal = costs.diagonal(dim1=-2, dim2=-1).sum(-1)
    near(aligned_distance(query, gallery, aligned=False), diagonal, atol=zeros)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(n, 4, 6, generator=generator) for n in (7, 9))
    whole = aligned_distance(query, gallery)
    monkeypatch.setattr("reidlib.distances.BLOCK", 3)
    monkeypatch.setattr("reidlib.distances.ALIGNED_CHUNK", 2)
    near(aligned_distance(query, gallery), whole, atol=EXACT)


def test_gradient_follows_the_path() -> None:
    costs = torch.tensor([[1.0, 9, 9], [1, 1, 9], [9, 1, 1]], requires_grad=True)
    shortest_path(costs).backward()
    assert torch.equal(costs.grad, torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1]]))


def test_stripes_of_different_numbers_align_but_do_not_stack() -> None:
    assert aligned_distance(A[None], B[None, :2]).shape == (1, 1)
    with pytest.raises(ValueError, match="3 stripes and gallery 2"):
        aligned_distance(A[None], B[None, :2], aligned=False)


def test_global_and_local_distance_add() -> None:
    nothing = torch.zeros(1, dtype=torch.long)
    query, gallery = (
        Features({"pooled": torch.tensor([point]), "stripes": stripes[None]}, {}, nothing, nothing)
        for point, stripes in (((3.0, 4.0), A), ((4.0, 3.0), B))
    )
    for scoring, expected in ((Scoring(local="none"), 0.08), (Scoring(), 1.90657810)):
        near(AaP.distance(query, gallery, scoring=scoring), torch.tensor([[expected]]))


def test_local_triplet_takes_the_pairs_that_the_global_one_mined() -> None:
    points = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 0]])
    labels, distances = torch.tensor([0, 0, 1, 1]), torch.cdist(points, points)
    positive, negative = hardest(distances, labels)
    near(distances.gather(1, positive[:, None])[:, 0], torch.tensor([1, 1, 3.60555128, 3.60555128]))
    near(distances.gather(1, negative[:, None])[:, 0], torch.full((4,), 2.0))
    assert positive.tolist() == [1, 0, 3, 2]
    assert negative.tolist() == [2, 3, 0, 1]
    for margin, expected in ((0.3, 0.95277564), (0.0, 1.05089167)):
        found = batch_hard_triplet(distances, labels, margin=margin)
        near(found, torch.tensor(expected))
    model = build()
    output = model(images())
    labels = torch.arange(8) // 2
    embedding, local = output.embeddings["global"], output.embeddings["local"]
    positive, negative = hardest(torch.cdist(embedding, embedding), labels)
    gaps = [
        recursion((torch.cdist(local[a], local[p]) / 2).tanh())
        - recursion((torch.cdist(local[a], local[n]) / 2).tanh())
        for a, (p, n) in enumerate(zip(positive, negative))
    ]
    expected = (torch.tensor(gaps) + 0.3).relu().mean()
    near(model.loss(output, labels)["triplet_local"], expected, atol=EXACT)


def test_label_smoothing_spreads_over_all_identities() -> None:
    logits, label = torch.tensor([[2.0, 1, 0]]), torch.tensor([0])
    near(cross_entropy(logits, label), torch.tensor(0.40760596))
    near(identity_loss(logits, label, smoothing=0.1), torch.tensor(0.50760596))


@pytest.mark.parametrize(
    ("fusion", "first", "second"),
    [
        ("mul", [1.46211519] * 4, [0.26894240] * 3 + [0.80682721]),
        ("add", [2.73105760] * 4, [1.26894240] * 3 + [3.26894240]),
    ],
)  # fmt: skip
def test_cwa_of_the_release(fusion: str, first: list[float], second: list[float]) -> None:
    block = CWA(2, fusion=fusion).eval()
    before, _, _, after = block.channel
    gate = []
    block.channel.register_forward_hook(lambda _, __, logits: gate.append(logits.sigmoid()))
    with torch.no_grad():
        before.weight.copy_(torch.tensor([[1.0, -1]]))
        before.bias.fill_(0.5)
        after.weight.copy_(torch.tensor([[1.0], [-1]]))
        after.bias.zero_()
        found = block(torch.tensor([[[[2.0, 2], [2, 2]], [[1, 1], [1, 3]]]]))
    near(gate[0].flatten(), torch.tensor([0.73105760, 0.26894240]))
    near(found.flatten(), torch.tensor(first + second))


def test_eca_of_the_release() -> None:
    block = ECA(3)
    maps = torch.tensor([1.0, 2, 3])[None, :, None, None].expand(1, 3, 2, 2)
    with torch.no_grad():
        block.mean.weight.copy_(torch.tensor([[[0.5, 1, 0.5]]]))
        for largest, expected in (
            ([0.0, 0, 0], [0.88079708, 1.96402758, 2.94604137]),
            ([0.0, 1, 0], [0.95257413, 1.99505475, 2.99726685]),
        ):
            block.max.weight.copy_(torch.tensor([[largest]]))
            near(block(maps)[0, :, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize(("kind", "gate"), [(partial(CWA, fusion="mul"), 0.5), (SP, 0.5), (BAM, 1.5)])
def test_gates_at_zero_logits(kind: type, gate: float) -> None:
    block = kind(32).eval()
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if name.startswith(("channel.3", "spatial.9")):  # the last layer of either gate
                parameter.zero_()
        maps = torch.rand(2, 32, 4, 3)
        near(block(maps), gate * maps, atol=EXACT)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("cwa-mul", (8_496, 33_376, 132_288, 526_720)), ("sp", (8_865, 35_137, 139_905, 558_337)), ("eca", (6,) * 4)],
)  # fmt: skip
@pytest.mark.sizes
def test_sizes_of_the_blocks(kind: str, sizes: tuple[int, ...]) -> None:
    for channels, expected in zip((256, 512, 1024, 2048), sizes):
        assert sum(p.numel() for p in ATTENTIONS[kind](channels).parameters()) == expected


@pytest.mark.parametrize(
    ("name", "strided", "fine"),
    [("resnet18", 1.184, 1.990), ("resnet34", 2.392, 3.651), ("resnet50", 2.669, 4.053), ("resnet101", 5.093, 6.478)],
)  # fmt: skip
@pytest.mark.sizes
def test_operations_of_the_trunks(name: str, strided: float, fine: float) -> None:
    for stride, expected in ((2, strided), (1, fine)):

        def trunk(*, identities: int, stride: int = stride) -> torch.nn.Module:
            return build_backbone(name, last_stride=stride)

        assert round(complexity(trunk).operations / 1e9, 3) == expected


@pytest.mark.sizes
def test_shapes_of_the_release() -> None:
    with torch.device("meta"):
        output = AaP(Config(), identities=751)(torch.empty(2, 3, 256, 128))
    shapes = {name: tuple(tensor.shape) for name, tensor in output.embeddings.items()}
    assert shapes == {
        "pooled": (2, 2048),
        "stripes": (2, 16, 2048),
        "global": (2, 2048),
        "local": (2, 16, 128),
    }
    assert output.logits["global"].shape == (2, 751)
    with torch.device("meta"):
        coarse = AaP(Config().baseline(), identities=751)(torch.empty(2, 3, 256, 128))
    assert coarse.embeddings["stripes"].shape == (2, 8, 2048)


def test_dropout_reaches_the_triplet() -> None:
    embedding = build().train()(images()).embeddings["global"]
    assert 0.4 < (embedding == 0).float().mean() < 0.65


def test_attention_stands_between_the_last_convolution_and_its_batch_norm() -> None:
    for name, where in (("resnet50", "conv3"), ("resnet18", "conv2")):
        with torch.device("meta"):
            model = AaP(Config(backbone=name), identities=5)
            wide = AaP(Config(backbone=name, everywhere=True), identities=5)
        for network, first in ((model, 2), (wide, 0)):
            for number, stage in enumerate(stages(network.backbone)):
                for block in stage:
                    last = getattr(block, where)
                    assert isinstance(last, torch.nn.Sequential) == (number >= first)
                    if number >= first:
                        assert isinstance(last[1], CWA)


def test_the_test_descriptor_is_the_raw_map_unless_band_is_asked_for() -> None:
    model = build()
    found = features(model)
    with torch.no_grad():
        raw = model.backbone(images())
        behind = model.band(raw).mean((2, 3))
    near(found.embeddings["pooled"], raw.mean((2, 3)), atol=EXACT)
    near(found.embeddings["stripes"], raw.amax(3).mT, atol=EXACT)
    near(found.embeddings["global"], behind, atol=EXACT)


def test_readings() -> None:
    """The release starts the last stage's shortcut anew; a fresh network keeps its size."""
    same = [
        sum(p.numel() for p in build(config).parameters())
        for config in (TINY, replace(TINY, reset_shortcut=True))
    ]
    assert same[0] == same[1]
    assert Config.released() == replace(Config(), reset_shortcut=True)
    assert Config.paper().smoothing == 0


def test_spatial_gate_is_one_map() -> None:
    maps = torch.rand(2, 32, 8, 4)
    ratio = SP(32).eval()(maps) / maps
    near(ratio, ratio[:, :1].expand_as(ratio), atol=EXACT)
