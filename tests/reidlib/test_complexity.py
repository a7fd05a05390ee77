"""Counts of parameters and multiply-adds on a network small enough to count by hand."""

from functools import partial

import torch
from torch import nn

from reidlib.complexity import complexity


class Toy(nn.Module):
    def __init__(self, *, width: int, identities: int):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, groups=1, bias=False)
        self.grouped = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.embed, self.classify = nn.Linear(4, width), nn.Linear(width, identities, bias=False)

    def forward(self, images):
        return self.classify(self.embed(self.grouped(self.convolution(images)).mean((2, 3))))


def test_counts_by_hand():
    found = complexity(partial(Toy, width=5), identities=7, size=(8, 4))
    assert found.parameters == 3 * 4 * 9 + (4 * 9 + 4) + (4 * 5 + 5)
    assert found.training == found.parameters + 5 * 7
    assert found.operations == 8 * 4 * 4 * 27 + 4 * 2 * 4 * 9 + 4 * 5


def test_a_layer_as_wide_as_the_identities_is_no_classifier():
    counts = [complexity(partial(Toy, width=7), identities=i, size=(8, 4)) for i in (7, 9)]
    assert counts[0].parameters == counts[1].parameters
    assert counts[0].operations == counts[1].operations


def test_nothing_is_allocated_and_no_state_is_left():
    state = torch.random.get_rng_state()
    complexity(partial(Toy, width=100_000), identities=100_000)
    assert torch.equal(state, torch.random.get_rng_state())
