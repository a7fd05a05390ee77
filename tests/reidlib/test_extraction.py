"""Feature extraction keeps everything, changes nothing, and refuses what is not finite."""

import pytest
import torch
from test_training import stack, tiny  # noqa: F401 a fixture
from tolerance import EXACT
from torch import nn

from reidlib.data.masks import groups, part_targets
from reidlib.extraction import extract, extract_maps


def test_extract_is_deterministic_and_keeps_everything(stack):  # noqa: F811
    model = tiny().double()
    found = extract(model, stack, batch=10, device="cpu")
    assert found.embeddings["global"].shape == (32, 8)
    assert torch.equal(found.pid, stack.pid)
    again = extract(model, stack, batch=32, device="cpu")
    assert found.embeddings["global"].dtype == torch.float64
    torch.testing.assert_close(again.embeddings["global"], found.embeddings["global"], atol=EXACT, rtol=0)
    assert set(again.embeddings) == {"global", "spare"}
    assert model.training
    given = extract(model, stack, groups=groups(2), device="cpu").visibility["soft"]
    assert torch.equal(given, part_targets(stack.masks, groups(2))[:, 1:].amax((2, 3)).double())
    assert extract_maps(model, stack, name="a", device="cpu").shape == (32, 8, 7, 3)


def test_extract_leaves_the_weights_as_they_lie(stack):  # noqa: F811
    model = tiny()
    for layout in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=layout)
        before = [(p.data_ptr(), p.stride()) for p in model.parameters()]
        found = extract(model, stack, device="cpu").embeddings["global"]
        assert [(p.data_ptr(), p.stride()) for p in model.parameters()] == before
        assert torch.equal(found, extract(tiny(), stack, device="cpu").embeddings["global"])


def test_extract_refuses_unknown_names_and_nan(stack):  # noqa: F811
    model = tiny()
    with pytest.raises(ValueError, match=r"no 'b'; expected some of \['a'\]"):
        extract_maps(model, stack, name="b", device="cpu")
    nn.init.constant_(model.trunk[0].bias, torch.nan)
    with pytest.raises(ValueError, match=r"'global' is not finite for 32 images, the first is 0\.jpg"):
        extract(model, stack, device="cpu")
