"""Saliency against pictures whose answer is known."""

from functools import partial

import numpy as np
import pytest
import torch
from tolerance import EXACT

from reidlib.explain import grad_cam, stretched
from reidlib.types import ReIDOutput

close = partial(np.allclose, rtol=0, atol=EXACT)

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


def test_stretched_maps_use_their_own_range():
    found = stretched(torch.tensor([[[2.0, 4.0]], [[0.0, 0.0]]]), size=(1, 2))
    assert close(found, [[[0, 1]], [[0, 0]]])


def test_grad_cam_finds_what_the_score_reads():
    """Two channels, copies of the image's own; the score reads one of them, so its picture is the map."""

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 2, 1, bias=False)
            with torch.no_grad():
                self.layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])

        def forward(self, images):
            return ReIDOutput({"global": self.layer(images).mean((2, 3))})

    model, images = Two().eval(), torch.zeros(2, 3, 8, 4)
    images[:, 0, 2, 1] = 5.0
    images[:, 1, 6, 3] = 7.0
    for channel, place in ((0, (2, 1)), (1, (6, 3))):
        found = grad_cam(
            model,
            images,
            layer=model.layer,
            score=lambda o: o.embeddings["global"][:, channel],  # noqa: B023
        )
        assert found.shape == (2, 8, 4)
        assert (found[:, place[0], place[1]] > 0.99).all()
        assert found.dtype == torch.float32  # the package's own
        assert np.isclose(found.sum(), 2, rtol=0, atol=1e-6)  # two pixels of one
    assert all(parameter.grad is None for parameter in model.parameters())
