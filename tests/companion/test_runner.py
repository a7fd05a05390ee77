"""From config to record on the smoke preset: cached, resumable, repeatable."""

from dataclasses import replace

import numpy as np
import pytest

from companion import records, runner
from companion.papers import grid
from reidlib.training import Interrupted

RUN = replace(grid("bpbreid").run("k8", preset_name="smoke"), scorings=("default", "no-visibility"))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture
def places(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "SYNTHETIC", benchmark)
    monkeypatch.setattr(runner, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    runner._test_set.cache_clear()
    yield tmp_path
    runner._test_set.cache_clear()


def forbid(*_, **__):
    raise AssertionError("this must come from the cache")


def test_a_run_is_trained_once_and_a_missing_scoring_is_filled_from_the_cache(places, monkeypatch):
    record = runner.train(RUN, progress=False)
    assert set(record.metrics) == set(RUN.data.test_sets)
    assert record.test_scorings == 8
    monkeypatch.setattr(runner, "fit", forbid)
    monkeypatch.setattr(runner, "behaviour", lambda run: record.behaviour)
    assert runner.train(RUN, progress=False) == record
    more = runner.train(replace(RUN, scorings=("default", "truth")), progress=False)
    assert more.metrics["synth-market"]["default"] == record.metrics["synth-market"]["default"]
    assert "truth" in more.metrics["synth-occluded"]


def test_a_killed_run_resumes_to_the_record_of_an_unbroken_one(places, monkeypatch):
    run = replace(RUN, train=replace(RUN.train, iterations=6))
    whole = runner.train(run, progress=False)
    runner.forget(run)
    records.remove(run)
    with pytest.raises(Interrupted):
        runner.train(run, progress=False, deadline=1.0)
    assert records.find(run) is None
    again = runner.train(run, progress=False)
    assert again.metrics == whole.metrics
    assert again.history == whole.history
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    assert not runner.stale(again, run)
    assert runner.stale(replace(again, behaviour=[b * 1.01 for b in again.behaviour]), run)


def test_weights_of_code_that_behaved_differently_are_not_reused(places, monkeypatch):
    run = replace(RUN, train=replace(RUN.train, iterations=2))
    runner.train(run, progress=False)
    monkeypatch.setattr(runner, "behaviour", lambda run: [0.0])
    monkeypatch.setattr(runner, "fit", forbid)
    with pytest.raises(AssertionError, match="must come from the cache"):
        runner.trained(run)


def test_a_variation_that_no_table_names_keeps_only_the_scorings_it_knows(places):
    few = replace(RUN, scorings=("default", "part-8"))
    assert set(runner.live(few, replace(RUN.model_config, parts=2), name="k2").metrics["synth-market"]) == {
        "default"
    }


def test_a_variation_that_changes_nothing_is_read_from_the_record(places, monkeypatch):
    record = runner.train(RUN, progress=False)
    monkeypatch.setattr(runner, "train", forbid)
    assert runner.live(RUN, RUN.model_config, name="the same") == record


def test_a_failing_run_does_not_stop_the_others(places):
    broken = replace(RUN, scorings=("cosine",))
    short = replace(RUN, train=replace(RUN.train, iterations=2), scorings=("default",))
    assert runner.sweep([broken, short]) == {"done": 1, "interrupted": 0, "not started": 0, "failed": 1}


def test_the_sweep_stops_at_its_budget_and_says_so(places):
    assert runner.sweep([RUN], budget=1e-9)["not started"] == 1


def test_an_unknown_scoring_names_the_known_ones(places):
    with pytest.raises(ValueError, match="bpbreid has no scoring 'cosine' here; expected one of default"):
        runner.distance(RUN, "cosine")
