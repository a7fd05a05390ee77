"""Records: round trip, refusal of a changed config, recovery from corruption; and the tracked ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


class Killed(BaseException):
    """After which nothing of a process happens any more."""


@pytest.mark.parametrize("operation", range(6))
def test_a_kill_leaves_the_old_record_or_none_and_never_a_mixed_one(run, operation):
    """Before each change of the folder: two renames, the removal between them, the end of two temporary names."""
    old, other = record(run), replace(record(run), behaviour=[2.0])
    other.arrays["synth-market/default/rank"] = np.array([2, 2, 2])
    records.write(old, records.path(run))
    left = [operation]

    def counted(change):
        def changed(*arguments, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return change(*arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            records.write(other, records.path(run))
        except Killed:
            pass
        else:
            assert operation == 5
    found = records.find(run)
    assert found == ((old, None, None, None, other, other)[operation])
    if found:
        rank = found.per_query("synth-market", "default", "rank1")
        np.testing.assert_array_equal(rank, [0, 0, 0] if found == other else [1, np.nan, 0])


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("schema", "config", "metrics", "alarms", "behaviour", "arrays", "history", "seed", "hash")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FIELDS), value=WRONG)
def test_a_record_edited_by_hand_is_read_or_refused(run, name, value):
    """Whatever stands there: a record with fields of their kinds, None, or one clear line."""
    target = records.path(run)
    records.write(record(run), target)
    body = json.loads(target.read_text())
    target.write_text(json.dumps(body | {name: value}))
    try:
        found = records.find(run)
    except RecordError as error:
        assert name == "config"  # noqa: PT017
        assert "was edited" in str(error)  # noqa: PT017
    else:
        if found is not None:
            assert np.isnan(found.value("nowhere", "default", "mAP"))
            assert all(isinstance(number, int | float) for number in found.behaviour)
            assert all(
                table.keys() for tables in found.metrics.values() for table in tables.values() if table
            )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".json", ".npz"]), data=st.data())
def test_damaged_bytes_of_a_record_are_noticed(run, suffix, data):
    target = records.path(run)
    records.write(record(run), target)
    place = target.with_suffix(suffix)
    content = bytearray(place.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    place.write_bytes(content)
    try:
        found = records.find(run)
    except RecordError as error:
        assert "was edited" in str(error)  # noqa: PT017
    else:
        assert found is None or isinstance(found, RunRecord)


@pytest.mark.parametrize("text", ["3", "null", '"x"', "[" * 100_000, "[]", "{}", '{"schema": NaN}'])
def test_json_that_is_no_record_is_corrupt(run, text, caplog):
    target = records.path(run)
    target.parent.mkdir(parents=True)
    target.write_text(text)
    assert records.find(run) is None
    assert "corrupt" in caplog.text or "has schema" in caplog.text


def test_an_array_of_objects_is_not_unpickled(run, tmp_path):
    records.write(record(run), records.path(run))
    np.savez(
        records.path(run).with_suffix(".npz"),
        **{name: np.array([Evil(tmp_path)]) for name in record(run).arrays},
    )
    assert records.find(run) is None
    assert not (tmp_path / "made").exists()


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder / "made",)
