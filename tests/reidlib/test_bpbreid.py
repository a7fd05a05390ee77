"""BPBreID against its released code run in double precision, its paper's grid, and its parameter counts."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError
from tolerance import EXACT
from torch.nn.functional import interpolate

from reidlib.heads import stripe_maps, weighted_pool
from reidlib.models.bpbreid import (
    GILT_GRID,
    SCORINGS,
    BPBreID,
    Config,
    Objective,
    PartHead,
    Scoring,
    part_distances,
)
from reidlib.types import Features

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

GRID = Path(__file__).parents[2] / "data" / "published" / "bpbreid_gilt_grid.csv"
N, CHANNELS, HEIGHT, WIDTH, K, D, IDS = 4, 8, 4, 2, 2, 4, 5
LABELS = torch.tensor([0, 0, 1, 1])
TINY = Config(parts=K, dim=D)


def close(ours, expected, tolerance=EXACT):
    torch.testing.assert_close(ours, torch.tensor(expected), atol=tolerance, rtol=0)


def grid(shape, function):
    """A tensor filled from its indices."""
    return torch.tensor(
        [function(*index.tolist()) for index in torch.cartesian_prod(*map(torch.arange, shape))]
    ).reshape(shape)


def features():
    return grid(
        (N, CHANNELS, HEIGHT, WIDTH), lambda n, c, h, w: (5 * n + 3 * c + 2 * h + 7 * w + c * h * w) % 13 / 6
    )


def masks():
    labels = grid((N, HEIGHT, WIDTH), lambda n, h, w: (n + h + w) % 3)
    return torch.nn.functional.one_hot(labels, K + 1).movedim(-1, 1).double()


@torch.no_grad()
def filled_head(config):
    """The head with every weight set by rule: tag t gives value_j = ((13j + 7t) mod 17 - 8) / 40."""
    everything = replace(
        config, objective=Objective((*GILT_GRID["idx2"].identity,), config.objective.triplet)
    )
    head = PartHead(everything, channels=CHANNELS, identities=IDS)
    tensors = [head.classify_pixels[1].weight, head.classify_pixels[1].bias]
    for name in ("global", "foreground", "parts"):
        tensors += [head.reduce[name][0].weight, head.reduce[name][0].bias]
    tensors += [head.identify[name].classifier.weight for name in ("global", "foreground", "concat")]
    tensors += [part.classifier.weight for part in head.identify_parts]
    for tag, tensor in enumerate(tensors, start=1):
        j = torch.arange(tensor.numel())
        tensor.copy_((((13 * j + 7 * tag) % 17 - 8) / 40).reshape(tensor.shape))
    head.config = config
    return head


def kept(output):
    detached = {name: value.detach() for name, value in output.embeddings.items()}
    return Features(detached, output.visibility, torch.zeros(N).long(), torch.zeros(N).long())


@pytest.fixture
def evaluated():
    return filled_head(TINY).eval()(features())


def test_pooling_of_the_released_code():
    values = torch.tensor([[[[1, 2], [3, 4]], [[0, 1], [0, 2]]]]).double()
    maps = torch.tensor([[[[0.5, 0.25], [0, 0.25]], [[0.1, 0.6], [0.8, 0]], [[0, 0], [0, 0]]]])
    close(weighted_pool(values, maps)[0], [[2.0, 0.75], [37 / 15, 0.4], [0.0, 0.0]])
    foreground = maps.amax(1, keepdim=True)
    close(foreground[0, 0], [[0.5, 0.6], [0.8, 0.25]])
    close(weighted_pool(values, foreground, average="mean")[0, 0], [1.275, 0.275])
    close(weighted_pool(values, foreground, average="gwap")[0, 0], [102 / 43, 22 / 43])


def test_visibility_rules_of_both_readings():
    maps = torch.tensor(
        [[[[0.46, 0.31], [0.90, 0.50]], [[0.45, 0.31], [0.05, 0.30]], [[0.09, 0.38], [0.05, 0.20]]]]
    )
    visibility = filled_head(TINY).visibility(maps)
    close(visibility["argmax"], [[0.0, 1.0]])
    close(visibility["soft"], [[0.45, 0.38]])
    assert (visibility["soft"] > 0.4).tolist() == [[True, False]]


def test_attention_of_the_released_code(evaluated):
    maps = evaluated.maps["parts"]
    close(maps[0, :, 0, 0], [0.399413199772, 0.343778212877, 0.256808587351])
    expected = [[0.479666064117, 0.386613843961, 0.405125648269]]
    expected += [[0.419561425797, 0.431186485818, 0.405125648269]]
    expected += [[0.479666064117, 0.390061017138, 0.335775081197]]
    expected += [[0.479666064117, 0.365422201882, 0.375479736892]]
    close(maps.amax((2, 3)), expected)
    close(evaluated.visibility["argmax"], [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    threshold = (evaluated.visibility["soft"] > 0.4).double()
    close(threshold, [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])


def test_embeddings_of_the_released_code(evaluated):
    close(evaluated.embeddings["global"][0], [0, 0.304685976574, 0, 0.269790317718])
    close(evaluated.embeddings["foreground"][0], [0.0252699106387, 0, 0, 0.113174942298])
    expected = [[0.210178272388, 0, 0.415118999191, 0], [0.253981804296, 0, 0.456736494872, 0]]
    close(evaluated.embeddings["parts"][0], expected)
    assert torch.equal(evaluated.embeddings["concat"][0], evaluated.embeddings["parts"][0].flatten())
    printed = filled_head(Config(parts=K, dim=D, foreground_pooling="gwap")).eval()(features())
    close(printed.embeddings["foreground"][0], [0.0736550888489, 0, 0, 0.0905342890758])


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("default", [[0.111335842462, 0.248322971445], [0.208987895979, 0.426679973388]]),
        ("threshold", [[0.219237025247, 0.529287830563], [0.153030501252, 0.59311082735]]),
        ("no-visibility", [[0.118753153186, 0.248322971445], [0.163300421995, 0.426679973388]]),
    ],
)
def test_distances_of_the_released_code(evaluated, scoring, expected):
    images = kept(evaluated)
    close(BPBreID.distance(images[:2], images[2:], scoring=SCORINGS[scoring]), expected)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            TINY,
            {
                "id_global": 1.60550141384,
                "id_foreground": 1.61723138343,
                "id_concat": 1.76037668301,
                "id_parts": 1.56589014589,
                "triplet_global": 1.1907415724,
                "triplet_foreground": 0.64402789147,
                "triplet_concat": 1.26455791278,
                "triplet_parts": 1.0801092587,
                "attention": 0.35 * 1.08242740937,
            },
        ),
        (replace(TINY, foreground_pooling="gwap"), {"id_foreground": 1.61749279909}),
        (replace(TINY, triplet="per-part"), {"triplet_parts": 1.09579191353}),
    ],
)
def test_loss_terms_of_the_released_code(config, expected):
    head = filled_head(replace(config, objective=GILT_GRID["idx2"]))
    terms = head.loss(head(features()), LABELS, masks=masks())
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, abs=EXACT), name


def test_gilt_gradients_of_the_released_code():
    head = filled_head(TINY)
    total = sum(head.loss(head(features()), LABELS, masks=masks()).values())
    total.backward()
    assert total.item() == pytest.approx(6.44206833226, abs=EXACT)
    assert head.classify_pixels[1].weight.grad.abs().sum().item() == pytest.approx(6.50618839139, abs=EXACT)
    assert head.reduce["parts"][0].weight.grad.abs().sum().item() == pytest.approx(12.9985956608, abs=EXACT)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("gilt", 6.06321873898),
        ("pcb", 1.56589014589),
        ("idx1", 4.66521752255),
        ("idx2", 10.7284362615),
        ("idx3", 6.54899962618),
        ("idx4", 4.17943663535),
        ("idx5", 7.62910888487),
        ("idx6", 4.30284205596),
        ("idx7", 4.44598735555),
        ("idx8", 4.45771732514),
        ("idx9", 7.32777665176),
        ("idx10", 6.70724663045),
        ("idx11", 7.25396031138),
        ("idx12", 6.24766739307),
    ],
)
def test_every_row_of_the_loss_grid(row, expected):
    head = filled_head(replace(TINY, objective=GILT_GRID[row]))
    terms = head.loss(head(features()), LABELS, masks=masks())
    del terms["attention"]
    assert sum(terms.values()).item() == pytest.approx(expected, abs=EXACT)


def test_loss_grid_is_the_printed_one():
    columns = {"g": "global", "f": "foreground", "c": "concat", "parts": "parts"}
    with GRID.open() as file:
        for row in csv.DictReader(file):
            identity = tuple(name for key, name in columns.items() if row[f"id_{key}"] == "1")
            triplet = tuple(name for key, name in columns.items() if row[f"tri_{key}"] == "1")
            assert GILT_GRID[row["row"]] == Objective(identity, triplet)


@pytest.mark.parametrize(
    ("config", "identities", "lean", "inference"),
    [
        (Config(parts=8), 702, 30_285_385, 25_631_817),
        (Config(parts=5), 751, 29_373_510, 25_625_670),
        (Config("hrnet-w32", parts=8), 702, 37_461_193, 32_873_161),
        (Config("hrnet-w32", parts=5), 751, 36_549_702, 32_867_398),
    ],
)
@pytest.mark.sizes
def test_parameter_counts(config, identities, lean, inference):
    with torch.device("meta"):
        model = BPBreID(config, identities=identities)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert sum(sizes.values()) == lean
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == [f"head.identify.{name}.neck.bias" for name in ("global", "foreground", "concat")]
    head = model.head
    used = [
        head.reduce["foreground"],
        head.reduce["parts"],
        head.classify_pixels,
        head.identify["foreground"].neck,
    ]
    assert sum(p.numel() for m in (model.backbone, *used) for p in m.parameters()) == inference


@pytest.mark.parametrize(
    ("backbone", "parts", "identities", "total"),
    [
        ("resnet50", 8, 702, 33_168_969),
        ("resnet50", 5, 751, 31_301_190),
        ("hrnet-w32", 8, 702, 40_344_777),
        ("hrnet-w32", 5, 751, 38_477_382),
    ],
)
@pytest.mark.sizes
def test_part_classifiers_exist_only_for_their_loss(backbone, parts, identities, total):
    with torch.device("meta"):
        model = BPBreID(Config(backbone, parts=parts, objective=GILT_GRID["idx5"]), identities=identities)
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize(("height", "rows"), [(16, [3, 3, 2, 3, 2, 3]), (24, [4] * 6), (8, None), (1, None)])
def test_stripes(height, rows):
    maps = stripe_maps(torch.zeros(2, 3, height, 4), stripes=6)
    assert maps.shape == (2, 7, height, 4)
    close(maps.sum(1), torch.ones(2, height, 4).tolist())
    if rows:
        assert maps[0, :, :, 0].sum(1).tolist() == [0, *rows]


def test_stripes_have_no_foreground_no_visibility_and_no_attention_loss():
    config = Config(parts=6, dim=D, attention="stripes", objective=GILT_GRID["idx2"])
    head = PartHead(config, channels=CHANNELS, identities=IDS)
    output = head(features())
    assert "foreground" not in output.embeddings
    assert output.visibility == {}
    expected = {f"{kind}_{name}" for kind in ("id", "triplet") for name in ("global", "concat", "parts")}
    assert head.loss(output, LABELS).keys() == expected
    for scoring in config.scorings().values():
        assert BPBreID.distance(kept(output), kept(output), scoring=scoring).isfinite().all()
    assert config.scorings()["default"] == Scoring("concat", ())


def test_fixed_attention_is_the_masks_as_the_released_code_resizes_them():
    """Soft ones: what is a probability already is not sharpened again."""
    config = replace(TINY, attention="fixed")
    head = PartHead(config, channels=CHANNELS, identities=IDS)
    draws = torch.rand(N, K + 1, 4 * HEIGHT, 4 * WIDTH, generator=torch.Generator().manual_seed(0))
    given = (3 * draws).softmax(1)
    given[:, 1] = 0
    output = head(features(), given)
    released = interpolate(given, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    close(output.maps["parts"], released.tolist())
    assert 0.1 < released[:, 2].mean() < 0.9
    winners = released.argmax(1).flatten(1)
    close(output.visibility["argmax"], [[0.0, float(2 in row)] for row in winners.tolist()])
    assert not output.maps["parts"].requires_grad
    assert "attention" not in head.loss(output, LABELS)
    with pytest.raises(ValueError, match="masks: None"):
        head(features())


def test_masks_must_fit_the_parts():
    head = filled_head(TINY)
    output = head(features())
    with pytest.raises(ValueError, match="masks: None; expected 3"):
        head.loss(output, LABELS)
    with pytest.raises(ValueError, match="masks: 9 channels; expected 3"):
        head.loss(output, LABELS, masks=torch.zeros(N, 9, 16, 8))


def test_triplet_can_skip_parts_that_a_pair_does_not_share():
    plain, visible = (filled_head(replace(TINY, visible_triplet=choice)) for choice in (False, True))
    output = plain(features())
    visibility = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    output = replace(output, visibility={**output.visibility, "argmax": visibility})
    first = replace(output, embeddings={**output.embeddings, "parts": output.embeddings["parts"][:, :1]})
    expected = plain.loss(first, LABELS, masks=masks())["triplet_parts"]  # part 2 is in one image only
    close(visible.loss(output, LABELS, masks=masks())["triplet_parts"], expected.item())


def test_pairs_without_a_common_part(evaluated):
    images = kept(evaluated)
    visibility = {"truth": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])}
    images = replace(images, visibility=images.visibility | visibility)
    parts_only = BPBreID.distance(images, images, scoring=Scoring(None, visibility="truth"))
    assert parts_only.isinf().tolist() == [
        [False, True, False, True],
        [True, False, False, True],
        [False, False, False, True],
        [True, True, True, True],
    ]
    assert BPBreID.distance(images, images, scoring=SCORINGS["truth"]).isfinite().all()
    slots = part_distances(images, images, scoring=Scoring(None, visibility="truth"))
    assert slots.shape == (K, N, N)
    common = slots.isfinite()
    mean = torch.where(common, slots, 0).sum(0) / common.sum(0)
    close(mean[:3, 2], parts_only[:3, 2].tolist(), tolerance=1e-7)  # the root of a rounded zero


def test_scorings_name_valid_slots(evaluated):
    config = replace(TINY, visibility="threshold")
    scorings = config.scorings()
    assert scorings["default"] == SCORINGS["threshold"]
    assert {name for name in scorings if name.startswith("part-")} == {"part-1", "part-2"}
    assert next(iter(scorings)) == "default"
    for name, scoring in scorings.items():
        if name != "truth":
            assert BPBreID.distance(kept(evaluated), kept(evaluated), scoring=scoring).shape == (N, N)
    with pytest.raises(ValueError, match="'truth'"):
        BPBreID.distance(kept(evaluated), kept(evaluated), scoring=SCORINGS["truth"])
    with pytest.raises(ValueError, match="no part 3"):  # of two
        BPBreID.distance(kept(evaluated), kept(evaluated), scoring=SCORINGS["part-3"])
    with pytest.raises(ValueError, match="no part 4"):
        part_distances(kept(evaluated), kept(evaluated), scoring=Scoring(None, (1, 4), None))


def test_readings():
    assert Config.released() == Config()
    assert Config.paper() == Config(foreground_pooling="gwap", visibility="threshold")


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match="parts = 0"):
        Config(parts=0)
    with pytest.raises((ValueError, TypeCheckError), match="attention"):
        Config(attention="lerned")
    with pytest.raises(ValueError, match="visible_triplet"):
        Config(attention="stripes", visible_triplet=True)
    with pytest.raises(ValueError, match="unknown embeddings"):
        Objective(("head",))
    with pytest.raises(ValueError, match="nothing to compare"):
        Scoring(None, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"holistic": "head_bn"},
        {"parts": (1, 0)},
        {"parts": (-1,)},
        {"parts": "every"},
        {"visibility": "hard"},
    ],
)
def test_scorings_that_name_nothing_are_refused(wrong):
    with pytest.raises((ValueError, TypeCheckError), match=next(iter(wrong))):
        Scoring(**wrong)
