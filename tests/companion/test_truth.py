"""True visible shares of stripes, on the smoke set."""

import numpy as np
import pytest
import torch
from tolerance import EXACT

from companion import places
from companion.inputs import Inputs
from companion.papers import PAPERS
from companion.papers.aap import SHOWN, VEHICLES, figure_rows, heat_values
from companion.papers.dpti import template_values
from companion.papers.qpm import stripe_visibility
from companion.truth import SHARES, bodies, mask_measures, region_names, slices, truth_of, twins
from reidlib.types import Features

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("double")]


@pytest.fixture(scope="module")
def sets(drawn, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(places, "SYNTHETIC", drawn)
    patch.setattr(places, "CACHE", tmp_path_factory.mktemp("cache"))
    inputs = Inputs.of(PAPERS["qpm"].run("qpm", preset_name="smoke"))
    yield [inputs.test_set(name) for name in ("synth-occluded", "synth-market")]
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
    masks = torch.stack([person, hidden, ~(person | hidden)], dim=1).double()  # of every query
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


def test_template_values_compare_each_query_with_its_own_twin(sets):
    """Templates that know the person but not the occluder do not move; a map on the occluder loses nothing."""
    occluded, holistic = sets
    rows, known = twins(occluded, holistic)
    _, hidden, _ = bodies(occluded, holistic)
    drawn = torch.randn(len(holistic.query), 3, 4, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(len(drawn), dtype=torch.long)
    twin, query = (Features({"templates": t}, {}, nothing, nothing) for t in (drawn, drawn[rows]))
    uniform = torch.full((len(drawn), 3, 16, 8), 1 / 128)
    found = template_values(query, twin, {"parts": (uniform, uniform)}, occluded, holistic)
    assert np.isnan(found["moved"][~known]).all()
    assert np.allclose(found["moved"][known], 0, atol=EXACT)
    assert (found["moved-person"][known] > 0.1).all()
    assert np.allclose(found["parts-hidden"][known], hidden[known].double().mean((1, 2)), atol=EXACT)
    assert np.array_equal(found["parts-hidden"], found["parts-clear"], equal_nan=True)


def test_weights_that_leave_what_is_hidden_correlate_with_it(sets):
    occluded, holistic = sets
    rows, known = twins(occluded, holistic)
    _, hidden, _ = bodies(occluded, holistic)
    nothing, templates = torch.zeros(len(hidden), dtype=torch.long), torch.ones(len(hidden), 2, 3)
    upper = torch.zeros(len(hidden), 2, 16, 8)
    upper[:, 0, :8], upper[:, 1, 8:] = 1 / 64, 1 / 64  # one template for each half of the image
    covered = hidden.double().unflatten(1, (2, -1)).mean((2, 3))  # [Q, 2]
    even, kept = torch.full_like(covered, 0.5), (1 - covered) / (2 - covered.sum(1, keepdim=True))
    twin, query = (Features({"templates": templates}, {"rho": rho}, nothing, nothing) for rho in (even, kept))
    found = template_values(query, twin, {"templates": (upper, upper)}, occluded, holistic)["rho-shift"]
    apart = known & ((covered[:, 0] - covered[:, 1]).abs() > 0.01).numpy()
    assert apart.sum() > 3
    assert np.allclose(found[apart], -1, atol=EXACT)
    assert np.isnan(found[~known]).all()


def test_slices_are_means_over_the_queries_of_a_group(sets):
    occluded, _ = sets
    truth = truth_of(occluded.split, occluded.query.names)
    share = truth["visible_share"].to_numpy()
    found = slices(occluded, {"share": share, "none": np.full(len(share), np.nan)})
    kinds = {kind: found[kind] for kind in truth["occluder"].unique()}
    for groups in (kinds, {name: found[name] for name in SHARES if name in found}):
        assert sum(group["queries"] for group in groups.values()) == len(share)
        total = sum(group["queries"] * group["share"] for group in groups.values())
        assert total == pytest.approx(share.sum(), abs=1e-2)
    assert found["<40 %"]["share"] < 0.4
    assert all(np.isnan(group["none"]) for group in found.values())


def test_heat_that_is_the_person_lies_on_the_person(sets):
    occluded, holistic = sets
    person, hidden, known = bodies(occluded, holistic)
    heat = {"body": person.double(), "thing": hidden.double(), "even": torch.ones(person.shape)}
    found = heat_values(heat, occluded, holistic)
    assert np.allclose(found["body-person"][known], 1, atol=EXACT)
    assert np.allclose(found["body-front"][known], 0, atol=EXACT)
    covered = known & hidden.flatten(1).any(1).numpy()
    assert np.allclose(found["thing-front"][covered], 1, atol=EXACT)
    assert np.allclose(found["even-person"][known], person.double().mean((1, 2))[known], atol=EXACT)
    assert np.array_equal(found["even-person"], found["area-person"], equal_nan=True)
    assert all(np.isnan(values[~known]).all() for values in found.values())
    alone = heat_values({"even": torch.ones(holistic.query.masks.shape)}, holistic, holistic)
    assert (alone["even-front"] == 0).all()


def test_shown_queries_have_a_twin_and_stand_behind_cars_first(sets):
    occluded, holistic = sets
    rows = figure_rows(occluded, holistic)
    _, known = twins(occluded, holistic)
    assert known[rows].all()
    kinds = truth_of(occluded.split, occluded.query.names)["occluder"].isin(VEHICLES).to_numpy()[rows]
    assert (np.diff(kinds.astype(int)) <= 0).all()
    for kind in (True, False):
        people = occluded.query.pid.numpy()[rows[kinds == kind]]
        assert len(set(people)) == len(people) <= SHOWN
