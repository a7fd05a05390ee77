"""Identity-balanced batches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidlib.data.sampler import identity_batches


def sample(labels, seed=0, **sizes):
    return identity_batches(torch.tensor(labels), generator=torch.Generator().manual_seed(seed), **sizes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 11), min_size=3, max_size=8),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 999),
)
def test_batches_are_balanced(counts, identities, images, seed):
    labels = [i for i, count in enumerate(counts) for _ in range(count)]
    batches = sample(labels, seed, identities=identities, images=images)
    groups = torch.tensor(labels)[batches].view(-1, identities, images)
    assert (groups == groups[..., :1]).all()
    assert all(len(set(row)) == identities for row in groups[..., 0].tolist())
    used = batches.flatten().tolist()
    full = [row for row in used if counts[labels[row]] >= images]
    assert len(set(full)) == len(full)  # with replacement only where an identity is too small
    for label, count in enumerate(counts):
        assert (groups[..., 0] == label).sum() <= max(1, count // images)


def test_equal_counts_use_every_image():
    labels = [i for i in range(16) for _ in range(4)]
    assert sorted(sample(labels).flatten().tolist()) == list(range(64))


def test_same_seed_same_batches():
    labels = [i % 40 for i in range(400)]
    assert torch.equal(sample(labels, 3), sample(labels, 3))
    assert not torch.equal(sample(labels, 3), sample(labels, 4))


def test_labels_in_any_order():
    assert sample([7, 2, 7, 2], identities=2, images=2).shape == (1, 4)


def test_too_few_identities():
    with pytest.raises(ValueError, match=r"3 identities.*needs 16"):
        sample([0, 0, 1, 2])


def test_an_epoch_of_identities_shows_each_once():
    labels = [i for i, count in enumerate((9, 1, 4, 7, 30, 2, 5)) for _ in range(count)]
    batches = sample(labels, identities=3, images=4, epoch="identities")
    shown = torch.tensor(labels)[batches].view(-1, 4)
    assert (shown == shown[:, :1]).all()
    assert len(batches) == 2  # the seventh identity makes no whole batch
    assert shown[:, 0].unique().numel() == 6
