"""From config to record on the smoke preset: cached, resumable, repeatable."""

from dataclasses import replace

import numpy as np
import pytest

from companion import fingerprint, places, records, runner
from companion.inputs import Inputs
from companion.papers import PAPERS
from companion.sweep import sweep
from reidlib.training import Interrupted

PAPER = PAPERS["bpbreid"]
RUN = replace(PAPER.run("k8", preset_name="smoke"), scorings=("default", "no-visibility"))
COMMITTED = places.RESULTS / "runs"
BRIEF = replace(RUN, train=replace(RUN.train, iterations=2), scorings=("default",))

pytestmark = pytest.mark.usefixtures("scratch")


def forbid(*_, **__):
    raise AssertionError("this must come from the cache")


def test_a_run_is_trained_once_and_a_missing_scoring_is_filled_from_the_cache(monkeypatch):
    record = runner.train(RUN, progress=False)
    assert set(record.metrics) == set(RUN.data.test_sets)
    assert record.test_scorings == 8
    monkeypatch.setattr(runner, "fit", forbid)
    assert runner.train(RUN, progress=False) == record
    more = runner.train(replace(RUN, scorings=("default", "truth")), progress=False)
    assert more.metrics["synth-market"]["default"] == record.metrics["synth-market"]["default"]
    assert "truth" in more.metrics["synth-occluded"]


def test_a_killed_run_resumes_to_the_record_of_an_unbroken_one():
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


def test_a_record_is_stale_when_the_code_behaves_differently():
    behaviour = fingerprint.behaviour(BRIEF)
    assert behaviour == fingerprint.behaviour(replace(BRIEF, name="another name of the same"))
    assert fingerprint.same(behaviour, [value * (1 + 1e-6) for value in behaviour])
    assert not fingerprint.same(behaviour, [value * 1.001 for value in behaviour])
    assert not fingerprint.same(behaviour, behaviour[:-1])
    harder = replace(BRIEF, model_config=replace(BRIEF.model_config, margin=0.4))
    assert not fingerprint.same(behaviour, fingerprint.behaviour(harder))


def test_a_model_in_hand_scores_as_the_one_read_from_its_file():
    fresh = runner.trained(Inputs.of(BRIEF))
    read = runner.trained(Inputs.of(BRIEF))
    assert read.history == fresh.history
    for name in BRIEF.data.test_sets:
        assert read.score("default", name).summary() == fresh.score("default", name).summary()
    stored = runner.weights_path(BRIEF).read_bytes()
    runner.forget(BRIEF)
    again = runner.trained(Inputs.of(BRIEF))
    assert runner.weights_path(BRIEF).read_bytes() == stored
    np.testing.assert_array_equal(
        again.features("synth-market")[0].embeddings["parts"],
        fresh.features("synth-market")[0].embeddings["parts"],
    )


def test_weights_of_code_that_behaved_differently_are_not_reused(monkeypatch):
    runner.train(BRIEF, progress=False)
    monkeypatch.setattr(runner, "behaviour", lambda run: [0.0])
    monkeypatch.setattr(runner, "fit", forbid)
    with pytest.raises(AssertionError, match="must come from the cache"):
        runner.trained(Inputs.of(BRIEF))


def test_the_index_is_made_once_for_a_run(monkeypatch):
    calls = []
    make = Inputs.of.__func__
    monkeypatch.setattr(Inputs, "of", classmethod(lambda cls, run: (calls.append(run), make(cls, run))[1]))
    runner.train(BRIEF, progress=False)
    assert calls == [BRIEF]


def test_a_variation_that_no_table_names_keeps_only_the_scorings_it_knows():
    few = replace(RUN, scorings=("default", "part-8"))
    found = runner.live(few, few.vary(parts=2), name="k2")
    assert set(found.metrics["synth-market"]) == {"default"}


def test_a_variation_that_changes_nothing_is_read_from_the_record(monkeypatch):
    record = runner.train(BRIEF, progress=False)
    monkeypatch.setattr(runner, "train", forbid)
    assert runner.live(BRIEF, BRIEF, name="the same") == record


def test_a_failing_run_does_not_stop_the_others():
    broken = replace(RUN, scorings=("cosine",))
    assert sweep([broken, BRIEF]) == {"done": 1, "interrupted": 0, "not started": 0, "failed": 1}


def test_the_sweep_stops_at_its_budget_and_says_so():
    assert sweep([RUN], budget=1e-9)["not started"] == 1


def test_an_unknown_scoring_names_the_known_ones():
    with pytest.raises(ValueError, match="bpbreid has no scoring 'cosine' here; expected one of default"):
        RUN.scoring("cosine")


@pytest.mark.parametrize("slug", PAPERS)
def test_a_record_holds_what_the_committed_ones_hold(slug):
    """All scores, measures and maps: what claims and figures read must not fall away unseen."""
    paper = PAPERS[slug]
    run = paper.run(paper.main, preset_name="smoke")
    made = runner.train(replace(run, train=replace(run.train, iterations=2)), progress=False)
    kept = records.read(next(COMMITTED.glob(f"{slug}/cpu-{paper.main}-s0-*.json")))
    former = {key for key in kept.arrays if key.count("/") == 2 and key.split("/")[1] not in run.scorings}
    assert made.arrays.keys() == kept.arrays.keys() - former
    for name, scores in made.metrics.items():
        assert set(scores) == set(run.scorings) <= set(kept.metrics[name])
    assert {name: found.keys() for name, found in made.measures.items()} == {
        name: found.keys() for name, found in kept.measures.items()
    }
