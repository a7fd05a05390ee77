"""Losses against naive loops and against the released code of BPBreID, run in double precision."""

import math

import pytest
import torch
from tolerance import EXACT, rounding

from reidlib.distances import part_euclidean
from reidlib.losses import (
    attention_loss,
    batch_hard_triplet,
    identity_loss,
    pair_weights,
    part_average,
    pixel_targets,
)

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]

DTYPES = (torch.float32, torch.float64)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
BINARY = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]]).double()
SOFT = torch.tensor([[(2 * n + 3 * k + 1) % 5 / 4 for k in range(3)] for n in range(6)]).double()


def embeddings():
    values = [
        [[(7 * n + 3 * k + 5 * d + n * k * d) % 11 / 10 for d in range(4)] for k in range(3)]
        for n in range(6)
    ]
    return torch.tensor(values)


def averaged(parts, visibility=None, *, margin=0.3):
    distances, valid = part_average(part_euclidean(parts, parts), visibility)
    return batch_hard_triplet(distances, LABELS, margin=margin, valid=valid)


def per_part(parts, visibility=None, *, margin=0.3):
    valid = None if visibility is None else pair_weights(visibility) > 0
    return batch_hard_triplet(part_euclidean(parts, parts), LABELS, margin=margin, valid=valid)


def naive_triplet(distances, labels, *, margin, valid):
    losses = []
    for matrix, mask in zip(distances.tolist(), valid.tolist()):
        for a, row in enumerate(matrix):
            pairs = [(d, labels[a] == labels[b]) for b, d in enumerate(row) if b != a and mask[a][b]]
            positives, negatives = [d for d, s in pairs if s], [d for d, s in pairs if not s]
            if positives and negatives:
                gap = max(positives) - min(negatives)
                losses.append(max(gap + margin, 0) if margin > 0 else math.log1p(math.exp(gap)))
    return sum(losses) / max(len(losses), 1)


def test_part_distances_and_their_averages():
    parts = embeddings()
    distances = part_euclidean(parts, parts)
    expected = [0, 0.98488578018, 0.953939201417, 1.01488915651, 1.10453610172, 0.964365076099]
    torch.testing.assert_close(distances[0, 0], torch.tensor(expected), atol=EXACT, rtol=0)
    mean, valid = part_average(distances)
    assert valid is None
    expected = [[0, 1.03759252664, 0.992765579452, 0.784510599734, 0.84922691385, 0.629182349563]]
    expected += [[0.992765579452, 0.976522303968, 0, 0.850675939795, 0.889527340455, 0.587169051906]]
    torch.testing.assert_close(mean[[0, 2]], torch.tensor(expected), atol=EXACT, rtol=0)


def test_averages_over_visible_parts():
    distances = part_euclidean(embeddings(), embeddings())
    mean, valid = part_average(distances, BINARY)
    expected = [[0, -1, 0.971944347539, 1.01488915651, 0.787400787401, 0.821299037206]]
    expected += [[-1, 0, 0.754983443527, 0.640312423743, 0.854400374532, -1]]
    torch.testing.assert_close(mean.masked_fill(~valid, -1)[:2], torch.tensor(expected), atol=EXACT, rtol=0)
    mean, _ = part_average(distances, SOFT)
    expected = [0, 1.07719521707, 1.00283793599, 0.824223633747, 0.918762535699, 0.595313573987]
    torch.testing.assert_close(mean[0], torch.tensor(expected), atol=EXACT, rtol=0)


@pytest.mark.parametrize(
    ("loss", "visibility", "margin", "expected"),
    [
        (averaged, None, 0.3, 0.495848044681),
        (averaged, BINARY, 0.3, 0.509653952592),
        (averaged, SOFT, 0.3, 0.414039897005),
        (averaged, None, 0.0, 0.797862077104),
        (averaged, BINARY, 0.0, 0.805706201924),
        (averaged, SOFT, 0.0, 0.761199479285),
        (per_part, None, 0.3, 0.613810403688),
        (per_part, BINARY, 0.3, 0.380456898764),
        (per_part, None, 0.0, 0.878576016389),
        (per_part, BINARY, 0.0, 0.754019589387),
    ],
)
def test_triplets_of_the_released_code(loss, visibility, margin, expected):
    assert loss(embeddings(), visibility, margin=margin).item() == pytest.approx(expected, abs=EXACT)


def test_single_part_is_the_ordinary_triplet():
    assert averaged(embeddings()[:, :1]).item() == pytest.approx(0.75200259468, abs=EXACT)


def test_triplet_gradient_of_the_released_code():
    parts = embeddings().requires_grad_()
    averaged(parts).backward()
    assert parts.grad.abs().sum().item() == pytest.approx(3.37496065852, abs=EXACT)
    expected = torch.tensor([-0.0674496829023, 0.0566481817252, -0.00672108850836, 0.0566481817252])
    torch.testing.assert_close(parts.grad[0, 0], expected, atol=EXACT, rtol=0)


def test_duplicates_give_a_finite_gradient():
    parts = embeddings()
    parts[1] = parts[0]
    loss = averaged(parts.requires_grad_())
    loss.backward()
    assert loss.item() == pytest.approx(0.289955924758, abs=EXACT)
    assert parts.grad.abs().sum().item() == pytest.approx(2.5919467951, abs=EXACT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin", [0.3, 0.0])
def test_triplet_equals_a_naive_loop(dtype, margin):
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        distances = torch.randint(0, 4, (3, 9, 9), generator=generator).to(dtype) / 4  # ties abound
        labels = torch.randint(0, 4, (9,), generator=generator)  # some anchors without a positive
        valid = torch.rand(3, 9, 9, generator=generator) < 0.6
        ours = batch_hard_triplet(distances, labels, margin=margin, valid=valid)
        assert ours.dtype == dtype
        expected = naive_triplet(distances, labels, margin=margin, valid=valid)
        assert ours.item() == pytest.approx(expected, abs=rounding(dtype, steps=27, size=2))  # anchors


@pytest.mark.parametrize("labels", [torch.zeros(4, dtype=torch.long), torch.arange(4)])
def test_triplet_without_any_valid_anchor_is_zero(labels):
    distances = torch.rand(4, 4, requires_grad=True)
    loss = batch_hard_triplet(distances, labels, margin=0.0)
    loss.backward()
    assert loss.item() == 0
    assert distances.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_part_average_equals_a_naive_loop(dtype):
    generator = torch.Generator().manual_seed(1)
    distances = torch.rand(3, 5, 5, generator=generator, dtype=dtype)
    visibility = torch.rand(5, 3, generator=generator, dtype=dtype)
    visibility[1] = 0  # nothing visible
    visibility[:, 2] = 0  # one part invisible everywhere
    mean, valid = part_average(distances, visibility)
    for i in range(5):
        for j in range(5):
            weights = [math.sqrt(visibility[i, k] * visibility[j, k]) for k in range(3)]
            assert valid[i, j] == (sum(weights) > 0)
            if valid[i, j]:
                expected = sum(w * distances[k, i, j].item() for k, w in enumerate(weights)) / sum(weights)
                assert mean[i, j].item() == pytest.approx(expected, abs=rounding(dtype, steps=12))


def test_identity_loss_of_the_released_code():
    logits, labels = torch.tensor([[2, 0, -1, 1], [0.5, 0.5, 0, -0.5]]), torch.tensor([0, 3])
    assert identity_loss(logits, labels, smoothing=0.1).item() == pytest.approx(1.30886771624, abs=EXACT)
    assert identity_loss(logits, labels, smoothing=0.0).item() == pytest.approx(1.26511771624, abs=EXACT)


@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_loss_on_parts_is_the_mean_of_the_parts(dtype):
    logits = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(2), dtype=dtype)
    labels = torch.tensor([0, 6, 2, 2, 5])
    losses = []
    for n in range(5):
        for k in range(3):
            logs = logits[n, k].log_softmax(0)
            target = torch.full((7,), 0.1 / 7, dtype=dtype)
            target[labels[n]] += 0.9
            losses.append(-(target * logs).sum().item())
    found = identity_loss(logits, labels, smoothing=0.1).item()
    assert found == pytest.approx(sum(losses) / 15, abs=rounding(dtype, steps=15 + 7, size=max(losses)))


@pytest.mark.parametrize("label", [-100, -1, 4])
def test_labels_that_nobody_has_are_refused(label):
    """PyTorch leaves out -100 unseen."""
    logits, labels = torch.zeros(2, 4), torch.tensor([0, label])
    with pytest.raises(ValueError, match=rf"labels: .*{label}.*expected 0\.\.3"):
        identity_loss(logits, labels, smoothing=0.1)
    with pytest.raises(ValueError, match=rf"{label}.*expected 0\.\.2"):
        attention_loss(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, label]]]), smoothing=0.1)


@pytest.mark.parametrize("average", ["anchors", "violators"])
def test_what_is_not_a_number_reaches_the_triplet(average):
    distances = 1 - (LABELS[:, None] == LABELS).double()
    distances[2, 3] = torch.nan
    assert batch_hard_triplet(distances, LABELS, margin=0.3, average=average).isnan()


def test_attention_loss_of_the_released_code():
    logits = torch.tensor([[[[2, 0], [-1, 0.5]], [[0, 1], [0, 2]], [[-1, 0], [3, 0]]]])
    for target, expected in (([[0, 1], [2, 1]], 0.419215920702), ([[0, 2], [2, 1]], 0.644215920702)):
        loss = attention_loss(logits, torch.tensor([target]), smoothing=0.1)
        assert loss.item() == pytest.approx(expected, abs=EXACT)


def test_pixel_targets_align_corners_and_break_ties_downwards():
    masks = torch.zeros(1, 3, 8, 4)
    masks[:, 1, :2], masks[:, 2, 2:] = 1.0, 1.0
    assert pixel_targets(masks, (8, 4))[0, :, 0].tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
    assert pixel_targets(masks, (4, 2))[0, :, 0].tolist() == [1, 2, 2, 2]  # rows 0, 2.33, 4.67, 7
    assert pixel_targets(torch.ones(1, 3, 4, 2), (4, 2)).sum() == 0


def test_losses_are_full_precision_under_autocast():
    parts = embeddings().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert averaged(parts).dtype == torch.float32
        assert identity_loss(parts[:, 0], LABELS, smoothing=0.1).dtype == torch.float32
