"""Recipes: schedules follow the papers' checkpoints, impossible ones are refused."""

import pytest
from jaxtyping import TypeCheckError

from reidlib.recipe import TrainConfig, learning_rate


def test_step_schedules_follow_the_checkpoint():
    released, paper = TrainConfig.released(), TrainConfig.paper()
    expected = {0: 3.5e-6, 1: 3.815e-5, 2: 7.28e-5, 5: 1.7675e-4, 9: 3.1535e-4, 10: 3.5e-4, 39: 3.5e-4}
    expected |= {40: 3.5e-5, 69: 3.5e-5, 70: 3.5e-6, 119: 3.5e-6}
    for epoch, rate in expected.items():
        assert learning_rate(released, step=0, epoch=epoch, steps=1) == pytest.approx(rate, rel=1e-6)
    for epoch, rate in {0: 3.5e-5, 5: 1.925e-4, 10: 3.5e-4, 40: 3.5e-5}.items():
        assert learning_rate(paper, step=0, epoch=epoch, steps=1) == pytest.approx(rate, rel=1e-6)


def test_cosine_warms_up_and_ends_at_one_percent():
    config = TrainConfig(lr=2e-3)
    rates = [learning_rate(config, step=step, epoch=0, steps=600) for step in range(600)]
    assert rates[0] == pytest.approx(2e-3 / 60)
    assert rates[59] == max(rates) == 2e-3
    assert rates[-1] == pytest.approx(2e-5)
    assert rates[59:] == sorted(rates[59:], reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": None},
        {"iterations": 0},
        {"iterations": 2.5},
        {"epochs": True},
        {"identities": 1.5},
        {"images": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"weight_decay": -1.0},
        {"warm_epochs": -1, "schedule": "steps"},
        {"warm_start": 1.5, "schedule": "steps"},
        {"warm_start": float("nan"), "schedule": "steps"},
    ],
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises((ValueError, TypeCheckError), match=next(iter(wrong))):
        TrainConfig(**wrong)
