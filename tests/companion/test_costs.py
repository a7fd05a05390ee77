"""What runs take on a GPU, before any has run."""

from dataclasses import replace

import pytest

from companion import costs
from companion.papers import PAPERS
from companion.run import RunConfig
from reidlib.footprint import CARDS, Footprint

STEP = Footprint(128, 4e12, 5e10, 1000, 6e9, 1e10, 3e8)


def run(paper: str, preset: str, **options) -> RunConfig:
    return PAPERS[paper].run(PAPERS[paper].main, preset_name=preset, **options)


@pytest.fixture
def table(monkeypatch):
    known = {("gpu", "pan", "pan"): STEP, ("real", "pan", "pan"): STEP}
    monkeypatch.setattr(costs, "_table", lambda: known)


def test_steps_follow_the_recipe():
    assert costs.steps(run("pan", "gpu")) == 350
    market = run("pan", "real", dataset="market1501")
    assert costs.steps(market) == round(120 * 12936 / 64)
    aap = run("aap", "real", dataset="market1501")  # an epoch shows every identity once
    assert costs.steps(aap) == round(aap.train.epochs * 751 / 8)


@pytest.mark.usefixtures("table")
def test_minutes_and_room_come_from_the_table():
    gpu, card = run("pan", "gpu"), CARDS["h200"]
    step, each = card.step(STEP, precision="bf16-mixed"), card.embed(STEP)
    embedded = 4 * (250 * 18 + 800 + 100)
    assert costs.minutes(gpu, card) == pytest.approx((350 * step + embedded * each) / 60)
    assert costs.minutes(gpu, CARDS["t4"]) > 5 * costs.minutes(gpu, card)
    assert costs.fits(gpu, card)
    assert not costs.fits(gpu, replace(card, memory=7e9))
    assert costs.minutes(run("qpm", "gpu"), card) is None


def test_a_line_of_the_table_is_what_counting_gives(scratch):
    costs._table.cache_clear()
    counted = costs.count(run("bpbreid", "smoke"))
    costs._keep({("gpu", "bpbreid", "k8"): counted})
    found = costs.known(run("bpbreid", "gpu"))
    costs._table.cache_clear()
    assert found.images == counted.images
    assert found.operations == pytest.approx(counted.operations, rel=1e-5)
    assert found.memory == pytest.approx(counted.memory, rel=1e-5)
    assert (scratch / "results" / "costs.csv").exists()
