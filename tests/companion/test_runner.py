"""From config to record on the smoke preset: cached, resumable, repeatable."""

import json
import os
import resource
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from jaxtyping import TypeCheckError
from safetensors.torch import load_file, save_file
from torch import nn

from companion import fingerprint, inputs, places, records, runner
from companion.inputs import Inputs
from companion.papers import PAPERS
from companion.run import RunConfig
from companion.study import Study
from companion.sweep import sweep
from companion.trained import Origin, Trained, figure_maps, initial
from reidlib import training
from reidlib.data.datasets import Split
from reidlib.training import History, Interrupted
from reidlib.types import Features
from synthreid.parser import ERRING

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


def test_a_run_that_is_stopped_between_epochs_resumes_to_the_record_of_an_unbroken_one(scratch, monkeypatch):
    run = replace(RUN, train=replace(RUN.train, iterations=6))  # an epoch has four steps
    whole = runner.train(run, progress=False)
    runner.forget(run)
    records.remove(run)
    save = training._Job.save

    def stopped(job, path):
        save(job, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Job, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        runner.train(run, progress=False)
    monkeypatch.setattr(training._Job, "save", save)
    assert records.find(run) is None
    assert list((scratch / "cache" / "checkpoints").iterdir())
    again = runner.train(run, progress=False)
    assert again.metrics == whole.metrics
    assert again.history == whole.history
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])


def test_a_deadline_that_is_over_trains_nothing():
    with pytest.raises(Interrupted):
        runner.train(RUN, progress=False, deadline=1.0)


@pytest.mark.parametrize(
    "kind", ["weights/*.safetensors", "weights/*.training.pt", "features/*/*.safetensors"]
)
def test_damaged_caches_heal(scratch, kind, caplog):
    whole = runner.train(BRIEF, progress=False)
    (first, *_) = sorted((scratch / "cache").glob(kind))
    first.write_bytes(first.read_bytes()[:100])
    records.remove(BRIEF)
    again = runner.train(BRIEF, progress=False)
    assert "damaged" in caplog.text
    assert again.metrics == whole.metrics


def test_features_of_weights_that_are_gone_enter_no_record(scratch):
    whole = runner.train(BRIEF, progress=False)
    runner.weights_path(BRIEF).unlink()
    for path in (scratch / "cache" / "features").rglob("*.safetensors"):
        save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}, path)
    records.remove(BRIEF)
    assert runner.train(BRIEF, progress=False).metrics == whole.metrics


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


def test_every_data_set_is_indexed_once_for_a_run(monkeypatch):
    loaded, load = [], inputs.load
    monkeypatch.setattr(inputs, "load", lambda name, root: (loaded.append(name), load(name, root))[1])
    runner.train(BRIEF, progress=False)
    assert sorted(loaded) == sorted({BRIEF.data.train_set, *BRIEF.data.test_sets})


def test_a_variation_that_no_table_names_keeps_only_the_scorings_it_knows():
    few = replace(RUN, scorings=("default", "part-8"))
    found = runner.live(few, few.vary(parts=2), name="k2")
    assert set(found.metrics["synth-market"]) == {"default"}


@pytest.mark.parametrize("change", [{"parts": True}, {"visible_triplet": 1}, {"attention_weight": False}])
def test_a_flag_is_no_number_and_a_number_no_flag(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} = .*: expected"):
        BRIEF.vary(**change)
    assert BRIEF.vary(attention_weight=1.0, visible_triplet=True, weights=None).model_config.visible_triplet


def test_a_variation_that_changes_nothing_is_read_from_the_record(monkeypatch):
    record = runner.train(BRIEF, progress=False)
    monkeypatch.setattr(runner, "train", forbid)
    assert runner.live(BRIEF, BRIEF, name="the same") == record


def test_a_variation_that_a_row_of_any_name_means_is_read_from_its_record(monkeypatch):
    kept = replace(BRIEF, preset="cpu")  # a preset whose records are kept
    varied = kept.vary(parts=2)
    record = replace(runner.train(BRIEF.vary(parts=2), progress=False), seed=varied.seed)
    records.write(record, records.path(replace(varied, name="two")))
    monkeypatch.setattr(runner, "train", forbid)
    assert runner.live(kept, varied, name="tried").metrics == record.metrics


def test_a_failing_run_does_not_stop_the_others():
    broken = replace(RUN, scorings=("cosine",))
    assert sweep([broken, BRIEF]) == {"done": 1, "interrupted": 0, "not started": 0, "failed": 1}


def test_whatever_breaks_one_run_is_told_with_its_traceback_and_the_others_go_on(monkeypatch, caplog):
    train, broken = runner.train, replace(BRIEF, name="broken")

    def breaking(run, **options):
        if run.name == "broken":
            raise KeyError("a slip of ours")
        return train(run, **options)

    monkeypatch.setattr(runner, "train", breaking)
    assert sweep([broken, BRIEF]) == {"done": 1, "interrupted": 0, "not started": 0, "failed": 1}
    assert f"{broken.stem} failed: 'a slip of ours'" in caplog.text
    assert "in breaking" in caplog.text


def test_people_are_told_apart_whatever_their_numbers(monkeypatch):
    """One's own sets number them as they like."""
    known = Trained.features

    def features(self, name):
        return tuple(replace(side, pid=side.pid + 70_000) for side in known(self, name))

    monkeypatch.setattr(Trained, "features", features)
    arrays = runner.train(SHORT, progress=False).arrays
    assert arrays["synth-market/pid"].min() >= 70_000


def test_the_gallery_is_moved_to_a_gpu_once(monkeypatch):
    """Not for every block of queries; here a copy stands for the move."""
    generator, moved, placed = torch.Generator().manual_seed(1), [], []

    def drawn(count):
        embeddings = {"global_bn": torch.randn(count, 8, generator=generator)}
        return Features(embeddings, {}, torch.arange(count) % 5 + 1, torch.arange(count) % 3)

    def to(self, device):
        (values,) = self.embeddings.values()
        if any(values is tensor for tensor in placed):
            return self
        moved.append(len(self))
        placed.append(values.clone())
        return replace(self, embeddings={"global_bn": placed[-1]})

    run = PAPER.run("bot", preset_name="smoke")
    market = Split("synth-market", Path(), (), (), ())
    query, gallery = drawn(300), drawn(40)
    trained = Trained(Inputs(run, {market.name: market}), nn.Identity(), Origin(History(), [], "", {}))
    monkeypatch.setattr(Trained, "features", lambda *_: (query, gallery))
    plain = trained.score("default", "synth-market").summary()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Features, "to", to)
    assert trained.score("default", "synth-market").summary() == plain
    assert moved.count(40) == 1


def test_a_record_tells_if_its_training_was_compiled(scratch, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: asked.append(module) or module)
    assert sweep([BRIEF], compiled=True)["done"] == 1
    assert len(asked) == 1
    assert records.find(BRIEF).provenance["compiled"]
    assert sweep([BRIEF], fresh=True)["done"] == 1
    assert "compiled" not in records.find(BRIEF).provenance


def test_the_sweep_stops_at_its_budget_and_says_so():
    assert sweep([RUN], budget=1e-9)["not started"] == 1


def test_an_unknown_scoring_names_the_known_ones():
    with pytest.raises(ValueError, match="bpbreid has no scoring 'cosine' here; expected one of default"):
        RUN.scoring("cosine")


def test_only_the_world_that_figures_show_keeps_queries_weights_and_maps(scratch):
    """Records of the other worlds hold summaries; what they were made with is dropped."""
    shown, other = BRIEF.world(1), BRIEF.world(2)
    assert runner.train(shown, progress=False).arrays.keys() >= {"synth-occluded/default/rank"}
    found = runner.train(other, progress=False)
    assert found.arrays == {}
    assert found.slices["synth-occluded"]
    assert found.config["data"]["seed"] == found.config["seed"] == 2
    assert {path.stem for path in (scratch / "cache" / "weights").glob("*.safetensors")} == {shown.stem}
    assert [path.name for path in (scratch / "cache" / "features").iterdir()] == [shown.stem]


def test_another_network_of_the_same_world_starts_elsewhere_on_the_same_data():
    first, second = (runner.train(replace(BRIEF, network=network), progress=False) for network in (0, 1))
    assert first.provenance["data"] == second.provenance["data"]
    assert first.history != second.history


def test_labels_that_err_reach_training_and_test_and_leave_the_truth(scratch):
    run = replace(BRIEF, data=replace(BRIEF.data, labels=ERRING))
    exact, erring = Inputs.of(BRIEF), Inputs.of(run)
    assert not torch.equal(exact.training.masks, erring.training.masks)
    assert torch.equal(exact.training.images, erring.training.images)
    queries = [known.test_set("synth-occluded").query for known in (exact, erring)]
    assert torch.equal(*(query.masks for query in queries))
    assert torch.equal(exact.read(queries[0]).masks, queries[0].masks)
    misread = erring.read(queries[1]).masks
    assert 0.2 < (misread != queries[1].masks).float().mean() / (queries[1].masks > 0).float().mean() < 1
    assert torch.equal(misread, erring.read(queries[1]).masks)


@pytest.mark.parametrize("slug", PAPERS)
def test_measures_and_maps_are_those_that_the_committed_records_hold(slug):
    """What claims and figures read must not fall away unseen; untrained networks show it as well."""
    paper = PAPERS[slug]
    run = paper.run(paper.main, preset_name="smoke")
    known = Inputs.of(run)
    model = initial(run, identities=known.identities).eval()
    trained = Trained(known, model, Origin(History(), [], "", {}))
    kept = records.read(next(COMMITTED.glob(f"{slug}/cpu-{paper.main}-s1-*.json")))
    arrays = {f"{name}/maps" for name in figure_maps(trained)}
    for name in run.data.test_sets:
        found = run.measure(trained, name)
        means = runner.means(found.values, queries=len(known.splits[name].query))
        assert found.summary.keys() | means.keys() == kept.measures[name].keys(), name
        arrays |= {f"{name}/{key}" for key in found.values} | {f"{name}/pid"}
    arrays |= {f"{n}/{s}/{v}" for n in run.data.test_sets for s in run.scorings for v in ("rank", "ap")}
    assert arrays == kept.arrays.keys()


@pytest.mark.parametrize("flag", ["false", "True", 0, None])
def test_text_is_no_flag(flag):
    """Whatever it says, it would be true."""
    for train, what in ((runner.train, BRIEF), (runner.trained, Inputs.of(BRIEF))):
        with pytest.raises((ValueError, TypeCheckError), match="FRESH is|fresh"):
            train(what, fresh=flag)
    with pytest.raises(ValueError, match="FRESH is .*expected True or False"):
        runner._check_flag(flag)


@pytest.mark.parametrize("seeds", ["3", 2.0, "abc", 0, True])
def test_numbers_of_worlds_are_whole(seeds):
    with pytest.raises((ValueError, TypeCheckError), match="SEEDS|seeds"):
        Study(PAPER, "cpu", seeds)


SHORT = replace(BRIEF, data=replace(BRIEF.data, test_sets=BRIEF.data.test_sets[:2]))


def timeless(record):
    """A record without the times that it took."""
    kept = {k: v for k, v in record.provenance.items() if k not in ("started", "seconds", "throughput")}
    return asdict(replace(record, provenance=kept, arrays={}))


@pytest.mark.parametrize("slug", PAPERS)
def test_the_same_seed_gives_the_same_record_twice(slug):
    """But for times; weights and features are made anew."""
    run = PAPERS[slug].run(PAPERS[slug].main, preset_name="smoke")
    data = replace(run.data, test_sets=run.data.test_sets[:2])
    run = replace(run, data=data, train=replace(run.train, iterations=2), scorings=("default",))
    first = runner.train(run, progress=False)
    runner.forget(run)
    records.remove(run)
    second = runner.train(run, progress=False)
    assert timeless(first) == timeless(second)
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])


def test_two_threads_change_losses_by_rounding_only():
    """Sums are taken in another order: what differs between machines, too. Records are made with one thread."""
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            model = initial(SHORT, identities=Inputs.of(SHORT).identities)
            loader = Inputs.of(SHORT).loader()
            found.append(training.fit(model, loader, config=SHORT.train, seed=SHORT.draw, device="cpu").total)
        finally:
            torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_record_that_lacks_a_test_set_is_no_complete_one():
    record = runner.train(SHORT, progress=False)
    for metrics in ({}, {SHORT.data.holistic: record.metrics[SHORT.data.holistic]}):
        records.write(replace(record, metrics=metrics), records.path(SHORT))
        assert runner.complete(SHORT) is None
    assert runner.train(SHORT, progress=False).metrics == record.metrics


def test_two_processes_compute_a_run_once(scratch, monkeypatch, caplog):
    """The second waits, says so, and reads what the first wrote."""
    record = runner.train(SHORT, progress=False)
    (lock,) = (scratch / "cache").glob("*.lock")
    records.remove(SHORT)
    monkeypatch.setattr(runner, "fit", forbid)
    found = []
    with FileLock(lock):  # as another process holds it
        waits = threading.Thread(target=lambda: found.append(runner.train(SHORT, progress=False)))
        waits.start()
        while "waiting for another process, which computes smoke-k8" not in caplog.text:
            time.sleep(0.01)
            assert waits.is_alive()
        records.write(record, records.path(SHORT))
    waits.join(timeout=60)
    assert found == [record]


def test_what_another_process_is_computing_is_not_forgotten(scratch, monkeypatch, caplog):
    """A fresh training waits for its lock before it drops what the other still reads and writes."""
    runner.trained(Inputs.of(SHORT), progress=False)
    (lock,) = (scratch / "cache").glob("*.lock")
    monkeypatch.setattr(runner, "_fit", lambda *_, **__: None)
    with FileLock(lock):  # as another process holds it
        waits = threading.Thread(target=lambda: runner.trained(Inputs.of(SHORT), fresh=True, progress=False))
        waits.start()
        while "waiting for another process" not in caplog.text:
            time.sleep(0.01)
            assert waits.is_alive()
        assert runner.weights_path(SHORT).exists()
    waits.join(timeout=60)
    assert not runner.weights_path(SHORT).exists()


def test_a_disk_without_locks_or_that_cannot_be_written_is_one_clear_error(scratch, monkeypatch):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    (scratch / "cache").write_text("no folder")
    with pytest.raises(OSError, match=r"cannot lock .*\(.*\); name a folder .* by COMPANION_CACHE"):
        runner.train(SHORT, progress=False)
    (scratch / "cache").unlink()
    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=r"cannot lock .*\(Operation not supported\); name a folder"):
        runner.train(SHORT, progress=False)


def test_a_disk_that_is_full_at_any_stage_is_one_clear_error_and_the_same_command_goes_on(scratch):
    """Caches of images, checkpoint, weights, features, record: each is the first that does not fit."""
    Inputs.of(SHORT)  # drawn before
    whole = runner.train(SHORT, progress=False)
    sizes = sorted({path.stat().st_size for path in scratch.rglob("*") if path.is_file()})
    limits = [size - 1 for size in sizes if size > 1000]
    runner.forget(SHORT)
    records.remove(SHORT)
    failed, before = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            runner.train(SHORT, progress=False)
        except OSError as error:
            failed.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(failed) > 2
    assert all("File too large" in text and str(scratch) in text for text in failed)
    assert not list(scratch.rglob("*.tmp"))
    assert timeless(runner.train(SHORT, progress=False)) == timeless(whole)


def test_features_of_a_version_that_named_them_otherwise_are_made_again(scratch, caplog):
    whole = runner.train(SHORT, progress=False)
    for path in (scratch / "cache" / "features").rglob("*.safetensors"):
        save_file({f"old/{name}": tensor for name, tensor in load_file(path).items()}, path)
    records.remove(SHORT)
    assert runner.train(SHORT, progress=False).metrics == whole.metrics
    assert "extracting again" in caplog.text


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "made"),)


def test_caches_are_read_without_running_what_they_hold(scratch, caplog):
    whole = runner.train(SHORT, progress=False)
    records.remove(SHORT)
    torch.save({"history": Evil(scratch)}, runner._origin_path(SHORT))
    assert runner.train(SHORT, progress=False).metrics == whole.metrics
    assert "damaged" in caplog.text
    runner.forget(SHORT)
    records.remove(SHORT)
    checkpoint = runner._checkpoint_path(SHORT)
    torch.save({"recipe": Evil(scratch)}, checkpoint)
    runner._begun_path(SHORT).write_text(json.dumps(fingerprint.behaviour(SHORT)))
    assert runner.train(SHORT, progress=False).metrics == whole.metrics
    assert f"checkpoint {checkpoint} cannot be read" in caplog.text
    runner.forget(SHORT)
    records.remove(SHORT)
    (image, *_) = (scratch / "cache" / "images").glob("*-images.npy")
    np.save(image, np.array([Evil(scratch)], dtype=object), allow_pickle=True)
    assert runner.train(SHORT, progress=False).metrics == whole.metrics
    assert not (scratch / "made").exists()


LONGER = replace(SHORT, train=replace(SHORT.train, iterations=6))  # an epoch has three steps


def begin(monkeypatch, **options):
    """A training that is stopped after its first epoch."""
    save = training._Job.save

    def stopped(job, path):
        save(job, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Job, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            runner.train(LONGER, progress=False, **options)
    assert runner._checkpoint_path(LONGER).exists()


def noted(monkeypatch) -> list[int]:
    """At which step every epoch begins."""
    starts, epoch = [], training._Job.epoch

    def told(job, bar):
        starts.append(job.history.steps)
        epoch(job, bar)

    fingerprint.behaviour(LONGER)  # trains, too
    monkeypatch.setattr(training._Job, "epoch", told)
    return starts


@pytest.mark.parametrize("part", ["images", "label"])
def test_a_training_does_not_go_on_with_other_data_than_it_began_with(scratch, monkeypatch, caplog, part):
    """It starts afresh and says so: the record is that of an unbroken run on today's data."""
    stack = Inputs.of(LONGER).training
    monkeypatch.setattr(Inputs, "training", replace(stack, **{part: getattr(stack, part).flip(0)}))
    whole = runner.train(LONGER, progress=False)
    monkeypatch.setattr(Inputs, "training", stack)
    runner.forget(LONGER)
    records.remove(LONGER)
    begin(monkeypatch)
    monkeypatch.setattr(Inputs, "training", replace(stack, **{part: getattr(stack, part).flip(0)}))
    again = runner.train(LONGER, progress=False)
    assert "belongs to other images or labels; delete it to start afresh (done: smoke-k8-s1" in caplog.text
    assert timeless(again) == timeless(whole)
    assert not [*(scratch / "cache" / "checkpoints").iterdir()]


@pytest.mark.parametrize("note", ["as it was", "[0.0]", "{", "3", '["a"]', None])
def test_a_training_goes_on_only_with_the_code_that_it_began_with(monkeypatch, caplog, note):
    """Recipe and data may be the same where a loss is another."""
    begin(monkeypatch)
    if note is None:
        runner._begun_path(LONGER).unlink()
    elif note != "as it was":
        runner._begun_path(LONGER).write_text(note)
    starts = noted(monkeypatch)
    assert sweep([LONGER])["done"] == 1
    assert starts == ([3] if note == "as it was" else [0, 3])
    told = "was begun by other code; it starts afresh" in caplog.text
    assert told == (note != "as it was")


def test_a_stale_record_is_renewed_by_a_training_that_goes_on(monkeypatch):
    """And stays until then: nothing that is cached is of other code."""
    whole = runner.train(LONGER, progress=False)
    runner.forget(LONGER)
    stale = replace(whole, behaviour=[0.0])
    records.write(stale, records.path(LONGER))
    assert runner.train(LONGER, progress=False) == stale
    begin(monkeypatch, renew=True)
    assert records.find(LONGER) == stale
    starts = noted(monkeypatch)
    assert sweep([LONGER], renew=True)["done"] == 1
    assert starts == [3]
    assert timeless(records.find(LONGER)) == timeless(whole)
    assert sweep([LONGER], renew=True)["done"] == 1
    assert starts == [3]


def test_a_record_of_another_config_goes_when_the_new_one_is_written(monkeypatch):
    run = replace(SHORT, preset="cpu")  # a preset whose records are kept
    old = replace(run, train=replace(run.train, lr=1e-3))
    runner.train(old, progress=False)
    with pytest.raises(records.RecordError, match="lr"):
        runner.train(run, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "fit", forbid)
        with pytest.raises(AssertionError):
            runner.train(run, progress=False, renew=True)
    assert records.find(old)
    record = runner.train(run, progress=False, renew=True)
    assert records.find(run) == record
    assert {path.stem for path in records.folder(run).iterdir()} == {run.stem}


def test_what_a_kill_after_the_record_left_is_dropped(monkeypatch):
    """Of a world that no figure shows, weights are not kept."""
    monkeypatch.setattr(RunConfig, "shown", property(lambda run: False))
    record = runner.train(SHORT, progress=False)
    assert not runner.weights_path(SHORT).exists()
    runner.weights_path(SHORT).write_bytes(b"left")
    assert runner.train(SHORT, progress=False) == record
    assert not runner.weights_path(SHORT).exists()


@pytest.mark.parametrize("back", [3600.0, 1e9])
def test_a_clock_that_is_set_back_harms_nothing(monkeypatch, back):
    """Durations are counted by another clock, and no file is judged by its time."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - back)
    told = []
    assert sweep([SHORT], report=lambda *values: told.append(values[2]))["done"] == 1
    assert 0 <= told[0] < 600
    assert 0 < records.find(SHORT).provenance["seconds"] < 600


def test_places_may_have_spaces_and_letters_of_any_script(scratch, monkeypatch):
    monkeypatch.setattr(places, "CACHE", scratch / "ünï cödé" / "a b")
    assert runner.train(SHORT, progress=False) == records.find(SHORT)
