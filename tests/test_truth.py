"""True visible shares of stripes, on the smoke set."""

import numpy as np
import pytest
import torch

from reidlib.experiments import runner
from reidlib.experiments.grids import grid
from reidlib.experiments.truth import (
    VEHICLES,
    bodies,
    heat_values,
    mask_alarms,
    mask_measures,
    region_names,
    shown,
    stripe_visibility,
    truth_of,
    twins,
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(runner, "SYNTHETIC", tmp_path_factory.mktemp("synthetic"))
    patch.setattr(runner, "CACHE", tmp_path_factory.mktemp("cache"))
    data = grid("qpm").run("qpm", preset_name="smoke").data
    yield [runner.test_set(data, name) for name in ("synth-occluded", "synth-market")]
    runner.test_set.cache_clear()
    patch.undo()


def test_shares_are_fractions_of_the_twin(sets):
    occluded, holistic = sets
    share = stripe_visibility(occluded, holistic, stripes=6)
    known = ~np.isnan(share)
    assert share.shape == (len(occluded.query), 6)
    assert ((share[known] >= 0) & (share[known] <= 1)).all()
    assert (share[known] < 0.5).any()
    assert (share[known] > 0.95).any()


def test_shares_agree_with_the_whole_figure(sets):
    """Weighed by the stripes of its twin, an image's shares give its visible share, nearly (pixels are coarse)."""
    occluded, holistic = sets
    one = stripe_visibility(occluded, holistic, stripes=1)[:, 0]
    truth = truth_of(occluded.split, occluded.query.names)
    known = ~np.isnan(one)
    assert known.sum() >= 5
    whole = truth["visible_share"].to_numpy()[known]
    assert np.abs(one[known] - whole).max() < 0.15


def test_a_box_that_follows_the_visible_body_leaves_its_shares_unknown(sets):
    occluded, holistic = sets
    share = stripe_visibility(occluded, holistic, stripes=6)
    follows = truth_of(occluded.split, occluded.query.names)["box_follows_visible"].astype(bool).to_numpy()
    assert np.isnan(share[follows]).all()


def test_masks_that_are_the_true_regions_weigh_them(sets):
    occluded, holistic = sets
    person, hidden, known = bodies(occluded, holistic)
    masks = torch.stack([person, hidden, ~(person | hidden)], dim=1).float()  # of every query
    found = mask_measures(masks, occluded, holistic)
    weights, names = np.array(found["mask_regions"]), region_names()
    assert weights.shape == (3, len(names))
    assert names[0] == "background"
    assert names[np.nanargmax(weights[1])] == "in front"
    assert weights[0, 0] == 0
    assert weights[0, -1] == 0
    assert np.nanmin(weights[0, 1:-1]) > 1
    assert found["negative"] == 0
    assert known.any()


def test_masks_that_are_all_one_raise_an_alarm():
    assert mask_alarms({"a": {}, "b": {"cosine": 0.93}}) == []
    (alarm,) = mask_alarms({"a": {}, "b": {"cosine": 0.995}})
    assert "collapsed" in alarm


def test_heat_that_is_the_person_lies_on_the_person(sets):
    occluded, holistic = sets
    person, hidden, known = bodies(occluded, holistic)
    heat = {"body": person.float(), "thing": hidden.float(), "even": torch.ones(person.shape)}
    found = heat_values(heat, occluded, holistic)
    assert np.allclose(found["body-person"][known], 1)
    assert np.allclose(found["body-front"][known], 0)
    covered = known & hidden.flatten(1).any(1).numpy()
    assert np.allclose(found["thing-front"][covered], 1)
    assert np.allclose(found["even-person"][known], person.float().mean((1, 2))[known])
    assert np.array_equal(found["even-person"], found["area-person"], equal_nan=True)
    assert all(np.isnan(values[~known]).all() for values in found.values())
    alone = heat_values({"even": torch.ones(holistic.query.masks.shape)}, holistic, holistic)
    assert (alone["even-front"] == 0).all()


def test_shown_queries_have_a_twin_and_stand_behind_cars_first(sets):
    occluded, holistic = sets
    rows = shown(occluded, holistic, each=2)
    _, known = twins(occluded, holistic)
    assert known[rows].all()
    kinds = truth_of(occluded.split, occluded.query.names)["occluder"].isin(VEHICLES).to_numpy()[rows]
    assert (np.diff(kinds.astype(int)) <= 0).all()
    for kind in (True, False):
        people = occluded.query.pid.numpy()[rows[kinds == kind]]
        assert len(set(people)) == len(people) <= 2
