"""What runs take on a GPU, before any has run."""

import json
from dataclasses import replace

import pytest

from companion import costs, places
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


def test_measured_rates_are_met():
    """Five rows on an H200, each alone: results/benchmarks."""
    costs._table.cache_clear()
    measured = json.loads((places.RESULTS / "benchmarks" / "gpu-nvidia-h200.json").read_text())
    card = costs.card(measured["device"])
    for row in measured["rows"]:
        paper, name = row["row"].split("/")
        found = PAPERS[paper].run(name, preset_name="gpu")
        cost = costs.known(found)
        step = card.step(cost, precision=found.train.precision)
        assert cost.images / step == pytest.approx(row["training"], rel=0.15), row["row"]
        assert 1 / card.embed(cost) == pytest.approx(row["extraction"], rel=0.25), row["row"]
        assert cost.memory / 1e9 == pytest.approx(row["memory"], rel=0.1), row["row"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", None),
        ("NVIDIA T400 4GB", None),
    ],
)
def test_a_card_is_known_by_its_device_s_name(name, known):
    assert costs.card(name) is (known and CARDS[known])


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
