"""The embedded benchmark: reproducible bytes, honest ground truth, no shortcuts, safe files."""

import hashlib
import resource
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from synthreid import benchmark
from synthreid.benchmark import (
    GALLERY,
    PROFILES,
    QUERY,
    SETS,
    TRAIN,
    Difficulty,
    Profile,
    content_hash,
    cost,
    generate,
    ground_truth,
    identities,
    part_visibility,
    render,
)

plan = cache(benchmark.plan)

SMALL = Profile("small", 8, 2, 9, 2, 3, 3, 2, 2, (128, 64), 1.5)
TINY = Profile("tiny", 4, 2, 3, 2, 3, 2, 1, 1, (64, 32), 1.5)
FIVE = np.array([0, 1, 2, 3, 2, 2, 3, 3, 4, 4, 5, 5], np.uint8)


@pytest.fixture(autouse=True)
def _profiles(monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", TINY)
    monkeypatch.setitem(PROFILES, "small", SMALL)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "small", SMALL)
        return generate(tmp_path_factory.mktemp("data"), profile="small")


def shots(name: str, folder: str, *, profile: Profile = PROFILES["smoke"]) -> list:
    return [entry.shot for entry in plan(profile, seed=1)[name] if entry.folder == folder]


# ---------------------------------------------------------------- reproducibility


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    one = generate(tmp_path / "one", profile="tiny", workers=1)
    two = generate(tmp_path / "two", profile="tiny", workers=2)
    assert content_hash(one) == content_hash(two)
    assert content_hash(generate(tmp_path / "one", profile="tiny", seed=2)) != content_hash(one)


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    chosen = shots("synth-occluded", QUERY)[:6]
    forward = [render(shot, profile=PROFILES["smoke"], seed=1).image for shot in chosen]
    backward = [render(shot, profile=PROFILES["smoke"], seed=1).image for shot in reversed(chosen)]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward)))


def test_pictures_are_those_that_the_records_were_made_from():
    """One value per picture holds on any machine: the camera model may round differently by SIMD path."""
    drawn, means = hashlib.sha256(), []
    distinct = dict.fromkeys(entry.shot for entries in plan(TINY, seed=1).values() for entry in entries)
    for shot in distinct:
        picture = render(shot, profile=TINY, seed=1)
        truth = (shot, picture.occluder, picture.followed, picture.visible.tolist(), picture.full.tolist())
        drawn.update(repr(truth).encode() + picture.parts.tobytes() + picture.changed.tobytes())
        means.append(picture.image.mean())
    assert len(means) == 72
    assert drawn.hexdigest()[:16] == "bb40546d08a4a70d"
    assert np.mean(means) == pytest.approx(108.48, abs=0.01)
    assert np.std(means) == pytest.approx(16.07, abs=0.01)


# ---------------------------------------------------------------- plan


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_any_two_identities_differ_in_two_slots(profile):
    slots = np.array([who.slots for who in identities(PROFILES[profile], 1).values()])
    differing = (slots[:, None] != slots[None]).sum(2)
    assert differing[~np.eye(len(slots), dtype=bool)].min() >= 2


def test_plan_has_the_promised_sizes_and_unique_names():
    sets = plan(PROFILES["cpu"], seed=1)
    counts = {
        name: [sum(entry.folder == folder for entry in entries) for folder in (TRAIN, QUERY, GALLERY)]
        for name, entries in sets.items()
    }
    assert counts == {
        "synth-market": [2560, 720, 1720],
        "synth-occluded": [2560, 720, 1720],
        "synth-occluded-transfer": [0, 480, 480],
        "synth-partial": [0, 720, 1720],
        "synth-market-val": [1920, 240, 540],
        "synth-occluded-val": [1920, 240, 540],
    }
    for entries in sets.values():
        assert len({entry.name for entry in entries}) == len(entries)


def test_every_query_camera_is_used_once_and_every_query_has_a_match():
    sets = plan(PROFILES["cpu"], seed=1)
    for pid in (1, 3, 239):
        query = [e for e in sets["synth-occluded"] if e.folder == QUERY and e.pid == pid]
        assert sorted(entry.shot.camera for entry in query) == [1, 2, 3, 4, 5, 6]
    for entries in sets.values():
        places = {(e.pid, e.shot.camera) for e in entries if e.folder == GALLERY}
        for entry in entries:
            if entry.folder == QUERY:
                assert any(pid == entry.pid and camera != entry.shot.camera for pid, camera in places)


def test_sets_share_training_and_test_people_and_hold_validation_apart():
    sets = plan(PROFILES["cpu"], seed=1)
    people = {
        name: {f: {e.pid for e in entries if e.folder == f and e.pid > 0} for f in (TRAIN, QUERY)}
        for name, entries in sets.items()
    }
    market, val = people["synth-market"], people["synth-market-val"]
    assert market == people["synth-occluded"]
    assert not market[TRAIN] & market[QUERY]
    assert len(val[QUERY]) == 40
    assert not val[TRAIN] & val[QUERY]
    assert val[TRAIN] | val[QUERY] == market[TRAIN]
    assert not people["synth-occluded-transfer"][QUERY] & (market[TRAIN] | market[QUERY])


def oracle_rank1(slots: list[int]) -> float:
    """Expected rank-1 of who knows the given slots of everybody, ties at random."""
    people, entries = identities(PROFILES["cpu"], 1), plan(PROFILES["cpu"], seed=1)["synth-market"]

    def table(folder):
        chosen = [e for e in entries if e.folder == folder and e.pid >= 0]
        worn = np.array([people[e.shot.person].slots for e in chosen])[:, slots]
        return worn, np.array([e.pid for e in chosen]), np.array([e.shot.camera for e in chosen])

    (q, q_pid, q_cam), (g, g_pid, g_cam) = table(QUERY), table(GALLERY)
    hits = []
    for worn, pid, camera in zip(q, q_pid, q_cam):
        score = (g == worn).sum(1)
        score[(g_pid == pid) & (g_cam == camera)] = -1
        hits.append((g_pid[score == score.max()] == pid).mean())
    return float(np.mean(hits))


def test_all_slots_identify_and_one_slot_does_not():
    assert oracle_rank1([0, 1, 2, 3, 4]) > 0.999
    assert all(oracle_rank1([slot]) < 0.3 for slot in range(5))


# ---------------------------------------------------------------- pictures


def test_a_twin_differs_only_where_the_occluder_is():
    seen = 0
    for shot in shots("synth-occluded", QUERY):
        hidden = render(shot, profile=PROFILES["smoke"], seed=1)
        if hidden.followed:
            continue
        twin = render(replace(shot, occluded=False), profile=PROFILES["smoke"], seed=1)
        near = cv2.dilate(hidden.changed, np.ones((13, 13), np.uint8))  # the camera blurs the borders
        near = cv2.resize(near, twin.image.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
        differs = (hidden.image != twin.image).any(2)
        assert not differs[~near].any()
        assert differs[near].any()
        assert (hidden.visible[1:] <= twin.visible[1:]).all()
        assert (hidden.full == twin.full).all()
        seen += 1
    assert seen > 3


def test_a_followed_box_shows_the_body_larger():
    picture = next(
        p
        for p in (
            render(s, profile=PROFILES["smoke"], seed=1, difficulty=Difficulty(box_follows_visible=1.0))
            for s in shots("synth-occluded", QUERY)
        )
        if p.occluder in ("car", "box", "bush")
    )
    assert picture.followed
    visible, drawn = picture.visible[1:].sum(), (picture.parts > 0).sum()
    assert drawn > visible / PROFILES["smoke"].scale ** 2


def test_background_alone_does_not_identify():
    profile, features, labels = PROFILES["cpu"], [], []
    entries = plan(profile, seed=1)["synth-market"]
    for entry in entries:
        if 0 < entry.pid < 24 and entry.folder != TRAIN and not entry.shot.occluded:
            picture = render(entry.shot, profile=profile, seed=1)
            image, off = picture.image.astype(np.float32), (picture.parts == 0).astype(np.float32)
            off = cv2.erode(off, np.ones((7, 7)))
            grid = [
                cv2.resize(a, (4, 8), interpolation=cv2.INTER_AREA) for a in (image * off[..., None], off)
            ]
            features.append(grid[0] / np.maximum(grid[1], 0.05)[..., None] * (grid[1] > 0.05)[..., None])
            labels.append((entry.folder == QUERY, entry.pid, entry.shot.camera))
    features, (query, pid, camera) = np.stack(features).reshape(len(labels), -1), np.array(labels).T
    for number in range(1, 7):
        features[camera == number] -= features[camera == number].mean(0)
    hits = []
    for row in np.flatnonzero(query):
        ok = (query == 0) & ~((pid == pid[row]) & (camera == camera[row]))
        distance = np.where(ok, ((features - features[row]) ** 2).sum(1), np.inf)
        hits.append(pid[distance.argmin()] == pid[row])
    assert np.mean(hits) < 0.2  # chance is 1/12


# ---------------------------------------------------------------- files


def test_files_labels_and_ground_truth_agree(small):
    for name in SETS:
        frame = ground_truth(small / name)
        assert sorted(frame.file) == sorted(
            f"{f}/{path.name}" for f in (TRAIN, QUERY, GALLERY) for path in (small / name / f).iterdir()
        )
        assert frame.visible_share.between(0, 1).all()
        visibility = part_visibility(frame, FIVE)
        assert visibility.shape == (len(frame), 5)
        assert ((visibility >= 0) & (visibility <= 1)).all()
        for row in frame.iloc[::9].itertuples():
            image = cv2.imread(str(small / name / row.file))
            stem = Path(row.file).with_suffix(".png")
            labels = cv2.imread(str(small / name / "masks" / stem), cv2.IMREAD_UNCHANGED)
            assert labels.dtype == np.uint8
            assert labels.max() <= 11
            assert image.shape[:2] == labels.shape
            assert name == "synth-partial" or image.shape == (128, 64, 3)


def test_twins_are_named(small):
    market = ground_truth(small / "synth-market").set_index("file")
    for name in ("synth-occluded", "synth-partial"):
        frame = ground_truth(small / name)
        queries = frame[frame.file.str.startswith("query") & (frame.twin != "")]
        assert len(queries) > 15
        for row in queries.itertuples():
            twin = market.loc[f"query/{row.twin}"]
            assert (twin.pid, twin.camid, twin.occluder) == (row.pid, row.camid, "none")


def test_a_partial_query_is_cut_from_its_twin():
    for shot in shots("synth-partial", QUERY)[:5]:
        cut = render(shot, profile=PROFILES["smoke"], seed=1).image
        whole = render(replace(shot, crop=""), profile=PROFILES["smoke"], seed=1).image
        rows, columns = np.array(whole.shape[:2]) - cut.shape[:2]
        corners = [(0, 0), (rows, 0), (0, columns)]
        assert cut.size < whole.size
        assert any(np.array_equal(whole[y : y + cut.shape[0], x : x + cut.shape[1]], cut) for y, x in corners)


def test_the_cost_is_near_the_truth(small):
    files = {path.stat().st_ino for name in SETS for path in (small / name).rglob("*.jpg")}
    estimate = cost(SMALL, plan(SMALL, seed=1), workers=2)
    assert estimate.images == len(files)
    assert cost(SMALL, plan(SMALL, seed=1), workers=1).minutes == 2 * estimate.minutes
    full = cost(PROFILES["cpu"], plan(PROFILES["cpu"], seed=1), workers=2)
    assert 60 < full.megabytes < 90
    assert 0.2 < full.minutes < 2


def test_generating_twice_does_nothing(small):
    before = (small / "manifest.json").stat().st_mtime_ns
    assert generate(small.parent, profile="small") == small
    assert (small / "manifest.json").stat().st_mtime_ns == before


def test_an_interrupted_generation_is_redone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            benchmark, "_write_manifest", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
        )
        with pytest.raises(OSError, match="disk full"):
            generate(tmp_path, profile="tiny")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    for name in (".tiny-1.unfinished", "tiny-1"):  # what a killed process leaves
        (tmp_path / name / "synth-market" / QUERY).mkdir(parents=True)
        (tmp_path / name / "synth-market" / QUERY / "half.jpg").write_bytes(b"half")
    folder = generate(tmp_path, profile="tiny")
    assert (folder / "manifest.json").exists()
    assert not list(folder.rglob("half.jpg"))


def test_a_full_disk_names_the_folder_and_nothing_stays(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path}/tiny-1"):
            generate(tmp_path, profile="tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_other_parameters_and_foreign_files_are_refused(tmp_path):
    folder = generate(tmp_path, profile="tiny")
    with pytest.raises(ValueError, match=r"difficulty.cast: 0.6 there, 0.8 asked for.*delete that folder"):
        generate(tmp_path, profile="tiny", difficulty=Difficulty(cast=0.8))
    (folder / "manifest.json").unlink()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="thesis.txt"):
        generate(tmp_path, profile="tiny")
    assert (folder / "thesis.txt").exists()


def test_wrong_arguments_are_explained(tmp_path):
    with pytest.raises(ValueError, match="smoke, cpu, gpu"):
        generate(tmp_path, profile="huge")
    with pytest.raises(ValueError, match="workers is 0"):
        generate(tmp_path, profile="tiny", workers=0)
    with pytest.raises(ValueError, match=r"Difficulty.visible"):
        Difficulty(visible=(0.7, 0.3))
    with pytest.raises(ValueError, match="make data"):
        ground_truth(tmp_path)


def test_what_is_generated_is_read_without_writing(tmp_path):
    """As on a disk that cannot be written."""
    folder = generate(tmp_path, profile="tiny")
    (tmp_path / ".tiny-1.lock").unlink(missing_ok=True)
    before = sorted(tmp_path.rglob("*"))
    assert generate(tmp_path, profile="tiny") == folder
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parameters": 3}', '{"parameters": {"profile": 1}}'])
def test_a_damaged_manifest_is_one_clear_error(tmp_path, text):
    (tmp_path / "tiny-1").mkdir()
    (tmp_path / "tiny-1" / "manifest.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"manifest\.json is damaged .*; delete that folder, it is made again"
    ):
        generate(tmp_path, profile="tiny")
