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


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.unused = (torch.nn.Conv2d(3, 2, 1) for _ in range(2))
        self.head = torch.nn.Linear(2, 2)

    def forward(self, images):
        return ReIDOutput({"global": self.head(self.layer(images).mean((2, 3)))})


@pytest.mark.parametrize(
    ("layer", "score", "error"),
    [
        ("unused", lambda o: o.embeddings["global"][:, 0], "layer Conv2d is not used in the forward pass"),
        ("head", lambda o: o.embeddings["global"][:, 0], "layer Linear returns no maps"),
        ("layer", lambda o: o.embeddings["global"], r"score gives \(2, 2\) for 2 images"),
        ("layer", lambda o: 3.0, "score gives float for 2 images; expected a tensor"),
        ("layer", lambda o: o.embeddings["global"].argmax(1), "expected a tensor with one number per image"),
        ("layer", lambda o: o.embeddings["global"].detach()[:, 0], "score does not depend on layer Conv2d"),
    ],
)
def test_what_grad_cam_cannot_explain_is_refused(layer, score, error):
    model = Small().eval()
    with pytest.raises(ValueError, match=error):
        grad_cam(model, torch.rand(2, 3, 8, 4), layer=getattr(model, layer), score=score)


def test_grad_cam_of_a_frozen_model_is_that_of_the_model():
    torch.manual_seed(0)
    model, images = Small().eval(), torch.rand(2, 3, 8, 4)
    explain = partial(
        grad_cam, model, images, layer=model.layer, score=lambda o: o.embeddings["global"][:, 0].abs()
    )
    expected = explain()
    assert close(model.requires_grad_(False) and explain(), expected)
    assert expected.any()


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
