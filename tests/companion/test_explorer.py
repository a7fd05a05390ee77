"""The explorer: what is asked reaches the answer, filters keep what they say, and totals are the model's distances."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from companion import runner
from companion.inputs import Inputs
from companion.papers import PAPERS
from companion.report.explorer import DEEP, Asked, Model, explore, view
from companion.study import Study
from companion.truth import truth_of

pytestmark = pytest.mark.usefixtures("scratch")


def brief(slug: str):
    paper = PAPERS[slug]
    run = paper.run(paper.main, preset_name="smoke")
    run = replace(run, train=replace(run.train, iterations=1))
    return Study(paper, "smoke"), runner.trained(Inputs.of(run), progress=False)


@pytest.fixture
def bpbreid():
    return brief("bpbreid")


@pytest.mark.parametrize("slug", PAPERS)
def test_every_paper_ranks_by_variants_and_parts_and_shows_its_maps(slug):
    study, trained = brief(slug)
    explorer = explore(study, trained, test_set=trained.run.data.holistic, query=0)
    for way in (explorer.by.options[0], explorer.by.options[-1]):
        explorer.by.value = way
        assert f"by {way}" in explorer.answer.value
    explorer.by.value = "default"
    before = explorer.answer.value
    explorer.look.value = explorer.look.options[-1]
    assert explorer.answer.value != before
    assert explorer.answer.value.count("<img") == before.count("<img") == 9
    assert ("In parentheses" in before) == (slug in ("dpti", "pan", "qpm"))
    assert f"By {'distance' if slug == 'aap' else 'part'}, the largest" in before
    assert "behind none" not in before


def test_distances_and_order_are_the_model_s(bpbreid):
    study, trained = bpbreid
    model, test_set = Model(trained, study.paper.slots), trained.run.data.holistic
    seen = model.seen(Asked(test_set, 2))
    every = trained.distances("default", test_set, rows=torch.tensor([2]))[0].numpy()
    np.testing.assert_array_equal(seen.distances, every[seen.nearest])
    assert (np.diff(seen.distances) >= 0).all()
    assert len(seen.nearest) <= DEEP
    split = trained.inputs.splits[test_set]
    assert [split.gallery[i].pid == split.query[2].pid for i in seen.nearest] == seen.right.tolist()


def test_ranking_by_one_part_sorts_that_part(bpbreid):
    study, trained = bpbreid
    model = Model(trained, study.paper.slots)
    seen = model.seen(Asked(trained.run.data.holistic, 0, by="only torso"))
    torso = seen.terms.distances[seen.terms.names.index("torso")]
    known = torso[np.isfinite(torso)]
    assert (np.diff(known) >= 0).all()


def test_filters_keep_what_they_say_and_the_slider_follows_the_set(bpbreid):
    study, trained = bpbreid
    test_set = trained.run.data.occluded
    explorer = explore(study, trained, test_set=test_set, query=0)
    split = trained.inputs.splits[test_set]
    known = truth_of(split, [record.path.name for record in split.query])
    kind = known["occluder"].iloc[0]
    explorer.behind.value, explorer.share.value = kind, (0.2, 0.6)
    wanted = (known["occluder"] == kind) & known["visible_share"].between(0.2, 0.6)
    assert explorer.found.tolist() == np.flatnonzero(wanted).tolist()
    explorer.behind.value, explorer.share.value, explorer.order.value = "anything", (0, 1), "worst first"
    precision = trained.score("default", test_set).ap[explorer.found]
    assert (np.diff(precision[~np.isnan(precision)]) >= 0).all()
    explorer.test_set.value = trained.run.data.test_sets[-1]
    assert explorer.query.max == len(trained.inputs.splits[explorer.test_set.value].query) - 1


def test_a_thumbnail_asks_for_its_query_and_a_page_for_others(bpbreid):
    study, trained = bpbreid
    explorer = explore(study, trained, test_set=trained.run.data.holistic, query=0)
    explorer.strip.children[3].children[1].click()
    assert f"query {explorer.found[3]}:" in explorer.answer.value
    if explorer.turn.max:
        explorer.turn.value = 1
        assert explorer.strip.children[0].children[1].description == str(explorer.found[10])


def test_two_models_side_by_side_and_a_way_that_one_lacks(bpbreid):
    study, trained = bpbreid
    run = replace(study.run("bot"), train=replace(study.run("bot").train, iterations=1))
    bot = runner.trained(Inputs.of(run), progress=False)
    explorer = explore(study, trained, test_set=run.data.holistic, query=1, beside={"BoT": bot})
    explorer.beside.value = "BoT"
    explorer.by.value = "only head"
    assert explorer.answer.value.count("<img") == 18
    assert "by only head" in explorer.answer.value
    assert "by default" in explorer.answer.value  # what BoT does instead
    explorer.model.value = "BoT"
    assert "only head" not in explorer.by.options


def test_another_set_or_model_is_drawn_once(bpbreid, monkeypatch):
    study, trained = bpbreid
    beside = {"the same": trained}
    explorer = explore(study, trained, test_set=trained.run.data.holistic, query=0, beside=beside)
    explorer.behind.value, explorer.by.value = explorer.behind.options[-1], "only head"
    explorer.query.value = explorer.query.max
    drawn = []
    monkeypatch.setattr("companion.report.explorer.view", lambda *asked: drawn.append(asked) or "")
    explorer.test_set.value = trained.run.data.test_sets[-1]
    assert len(drawn) == 1
    explorer.model.value = "the same"
    assert len(drawn) == 2


def test_why_adds_up_and_names_the_nearer_one(bpbreid):
    study, trained = bpbreid
    models, asked = {"BPBreID": Model(trained, study.paper.slots)}, Asked(trained.run.data.holistic, 0)
    text = view(models, asked)
    seen = models["BPBreID"].seen(asked)
    near = min(np.flatnonzero(seen.right)[0], np.flatnonzero(~seen.right)[0])
    assert f"at place {near + 1}, outranks" in text
    whole = re.search(r"whole distance</th>" + r"<th[^>]*>([^<]*)</th>" * 3, text)
    first, second, gap = map(float, whole.groups())
    assert first + gap == pytest.approx(second, abs=2e-3)


def test_a_page_shows_the_first_view(bpbreid):
    study, trained = bpbreid
    explorer = explore(study, trained, test_set=trained.run.data.holistic, query=0)
    assert explorer._repr_mimebundle_()["text/html"] == explorer.answer.value
