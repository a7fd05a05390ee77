"""Features and metrics."""

import numpy as np
import pytest
import torch

from reidlib.types import Features, Metrics


def test_rows_of_features_go_together():
    rows = torch.arange(5)
    features = Features({"x": rows[:, None].float()}, {"soft": rows[:, None] / 10}, rows, rows + 100)
    for chosen in (slice(1, 3), torch.tensor([4, 0])):
        part = features[chosen]
        assert len(part) == 2
        assert torch.equal(part.embeddings["x"][:, 0].long(), part.pid)
        assert torch.equal((part.visibility["soft"][:, 0] * 10).round().long(), part.pid)
        assert torch.equal(part.camid, part.pid + 100)


def test_a_query_without_a_match_is_counted_and_left_out():
    nan = float("nan")
    metrics = Metrics(np.array([1, 0, 4, 11]), np.array([1, nan, 0.5, 0.3]), np.array([1, nan, 0.25, 0.1]))
    found = metrics.summary()
    assert (found["queries"], found["skipped"]) == (3, 1)
    ranks = [found[f"rank{k}"] for k in (1, 3, 5, 10)]
    assert ranks == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert found["mAP"] == pytest.approx(0.6)
    assert found["mINP"] == pytest.approx(0.45)
