"""Records: round trip, refusal of a changed config, recovery from corruption; and the tracked ones."""

from dataclasses import replace

import numpy as np
import pytest

from companion import places, records
from companion.papers import PAPERS
from companion.records import RecordError, RunRecord
from companion.run import differences


@pytest.fixture
def run(scratch):
    return PAPERS["bpbreid"].run("bot", preset_name="cpu")


def record(run) -> RunRecord:
    return RunRecord(
        config=run.identity(), hash=run.hash, name=run.name, paper=run.paper, preset=run.preset, seed=run.seed,
        provenance={}, history={}, alarms=[], metrics={"synth-market": {"default": {"rank1": 0.5}}},
        measures={"synth-market": {"focus": 0.25, "iou": [0.1]}},
        slices={}, behaviour=[1.0], test_scorings=1, parameters=3,
        arrays={
            "synth-market/default/rank": np.array([1, 0, 3]),
            "synth-market/default/ap": np.array([1, np.nan, 0.5]),
        },
    )  # fmt: skip


def test_round_trip(run):
    records.write(record(run), records.path(run))
    found = records.find(run)
    assert found == record(run)
    np.testing.assert_array_equal(found.per_query("synth-market", "default", "rank1"), [1, np.nan, 0])
    np.testing.assert_array_equal(found.per_query("synth-market", "default", "mAP"), [1, np.nan, 0.5])
    assert not list(records.path(run).parent.glob("*.tmp"))


def test_values_are_accuracies_or_measures(run):
    found = record(run)
    assert found.value("synth-market", "default", "rank1") == 0.5
    assert found.value("synth-market", "default", "focus") == 0.25
    for absent in ("mAP", "iou"):
        assert np.isnan(found.value("synth-market", "default", absent))
    assert np.isnan(found.value("synth-occluded", "default", "rank1"))


def test_a_record_without_arrays_is_one_file(run):
    summary = replace(record(run), arrays={})
    records.write(summary, records.path(run))
    assert records.find(run) == summary
    assert [path.suffix for path in records.path(run).parent.iterdir()] == [".json"]


def test_a_record_of_another_schema_counts_as_absent(run, caplog):
    records.write(replace(record(run), schema=1), records.path(run))
    assert records.find(run) is None
    assert "has schema 1, this code reads 2" in caplog.text


def test_absent_record_is_none(run):
    assert records.find(run) is None


def test_a_record_of_another_config_is_refused_with_the_difference(run):
    records.write(record(run), records.path(run))
    other = replace(run, train=replace(run.train, lr=1e-3))
    with pytest.raises(RecordError, match=r"train.lr: 0.002 -> 0.001(.|\n)*run --replace"):
        records.find(other)
    records.remove(other)
    assert records.find(other) is None
    assert records.find(run) is None


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_corrupt_record_is_reported_and_counts_as_absent(run, suffix, caplog):
    records.write(record(run), records.path(run))
    path = records.path(run).with_suffix(suffix)
    path.write_bytes(path.read_bytes()[:20])
    assert records.find(run) is None
    assert "corrupt" in caplog.text


def test_a_failed_write_leaves_the_old_record(run, monkeypatch):
    records.write(record(run), records.path(run))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        records.write(replace(record(run), seed=9), records.path(run))
    assert records.find(run) == record(run)


def test_the_seed_and_every_config_field_are_part_of_the_identity(run):
    assert len({run.hash, run.world(2).hash, replace(run, network=1).hash}) == 3
    assert run.world(2).world(1) == run
    assert replace(run, model_config=replace(run.model_config, margin=0.4)).hash != run.hash
    assert replace(run, name="else").hash == run.hash


def test_differences_names_nested_fields():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 0}) == [
        "a.c: 2 -> 3",
        "d: absent -> 0",
    ]


@pytest.mark.parametrize("slug", PAPERS)
def test_tracked_records_belong_to_a_run(slug):
    paper = PAPERS[slug]
    names = {paper.run(row.slug, preset_name="cpu").name: row.slug for row in paper.rows}
    tracked = sorted((places.RESULTS / "runs" / slug).glob("*.json"))
    for path in tracked:
        found = records.read(path)
        run = paper.run(names[found.name], preset_name=found.preset, seed=found.seed)
        assert records.find(run) is not None, path.name
