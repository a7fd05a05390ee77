"""The papers' own recipes: schedules and fields."""

from dataclasses import replace

import pytest

from companion.papers import PAPERS
from companion.papers.bpbreid import BOT
from companion.published import printed
from companion.real import TRANSFER
from reidlib.data.transforms import Augment
from reidlib.recipe import TrainConfig, learning_rate


@pytest.mark.parametrize(
    "change", [{"optimiser": "sgd"}, {"schedule": "steps", "decays": (3,)}, {"epoch": "identities"}]
)
def test_the_recipe_is_part_of_the_hash(change):
    run = PAPERS["bpbreid"].run("bot", preset_name="cpu")
    assert replace(run, train=replace(run.train, **change)).hash != run.hash


TRAINING = {slug: paper.run(paper.main, preset_name="real").train for slug, paper in PAPERS.items()}

SCHEDULES = {
    "bpbreid": {
        0: 3.5e-6,
        1: 3.815e-5,
        5: 1.7675e-4,
        9: 3.1535e-4,
        10: 3.5e-4,
        39: 3.5e-4,
        40: 3.5e-5,
        70: 3.5e-6,
    },
    "qpm": {0: 1e-2, 19: 1e-2, 20: 1e-3, 40: 1e-4, 60: 1e-5, 69: 1e-5},
    "pan": {0: 3.5e-5, 10: 1.925e-4, 20: 3.5e-4, 59: 3.5e-4, 60: 3.5e-5, 90: 3.5e-6, 119: 3.5e-6},
    "dpti": {
        0: 3.5e-5,
        5: 1.925e-4,
        10: 3.5e-4,
        39: 3.5e-4,
        40: 3.5e-5,
        90: 3.5e-6,
        150: 3.5e-7,
        179: 3.5e-7,
    },
    "aap": {0: 2e-4, 149: 2e-4, 150: 2e-5, 300: 2e-6, 449: 2e-6},
    "bot": {0: 3.815e-5, 8: 3.1535e-4, 9: 3.5e-4, 38: 3.5e-4, 39: 3.5e-5, 69: 3.5e-6, 119: 3.5e-6},
}
"""Epoch from 0 and rate, from the specifications' checkpoints or the papers' words."""


@pytest.mark.parametrize("paper", SCHEDULES)
def test_schedules(paper):
    config = BOT if paper == "bot" else TRAINING[paper]
    assert config.epochs == max(SCHEDULES[paper]) + 1 or paper == "bpbreid"
    for epoch, rate in SCHEDULES[paper].items():
        assert learning_rate(config, step=0, epoch=epoch, steps=1) == pytest.approx(rate)


def test_recipes_differ_where_the_papers_do():
    assert (TRAINING["qpm"].optimiser, TRAINING["qpm"].weight_decay) == ("sgd", 0.0)
    batches = {"bpbreid": (16, 4), "qpm": (8, 8), "pan": (16, 4), "dpti": (16, 4), "aap": (8, 4)}
    for paper, batch in batches.items():
        assert (TRAINING[paper].identities, TRAINING[paper].images) == batch
    assert TRAINING["aap"].epoch == "identities"
    assert TRAINING["bpbreid"].augment == Augment(flip=0.0)
    assert TRAINING["dpti"].augment.augmix == 0.5


def real(paper, name, dataset=None):
    return PAPERS[paper].run(name, preset_name="real", dataset=dataset)


def test_readings_of_aap_vary_images_as_text_or_code_says():
    paper, run = PAPERS["aap"], real("aap", "aap")
    augments = {name: paper.reading(run, name).train.augment for name in paper.readings}
    assert augments["released"] == replace(run.train.augment, erase=0.0)
    assert augments["paper"] == replace(run.train.augment, zoom="none")
    small = paper.run("aap", preset_name="cpu")
    assert {paper.reading(small, name).train for name in paper.readings} == {small.train}


def test_sets_to_transfer_to_have_nothing_to_train_on():
    assert set(TRANSFER) == {
        "occluded-reid",
        "p-dukemtmc-transfer",
        *("partial-reid", "partial-reid-occluded", "partial-ilids", "partial-ilids-occluded"),
    }


def test_bpbreid_per_data_set():
    duke, market, reid = (real("bpbreid", "k8", d) for d in (None, "market1501", "occluded-reid"))
    assert duke.data.test_sets == ("occluded-duke",)
    assert (duke.model_config.parts, market.model_config.parts, reid.model_config.parts) == (8, 5, 8)
    assert (duke.model_config.attention_weight, reid.model_config.attention_weight) == (0.35, 0.7)
    assert reid.data.train_set == "market1501"
    assert (reid.train.augment.flip, reid.train.augment.jitter) == (0.5, 0.5)
    assert (duke.train.augment.flip, duke.train.augment.jitter) == (0.0, 0.0)
    assert "truth" not in duke.scorings
    assert "part-6" not in market.scorings
    assert real("bpbreid", "hr").data.height == 384
    assert duke.data.height == 256
    assert real("bpbreid", "bot").train == BOT
    assert real("bpbreid", "pcb").model_config.dropout == 0.5


def test_the_baseline_of_aap_keeps_its_published_schedule():
    assert (real("aap", "baseline").train.epochs, real("aap", "stride").train.epochs) == (300, 450)


def test_a_real_run_does_not_depend_on_the_generator():
    run = real("pan", "pan")
    drawn = replace(run, data=replace(run.data, pictures=99, seed=7))
    assert drawn.hash == run.hash
    assert run.identity()["data"].keys() == {"profile", "height", "width", "train_set", "test_sets"}


@pytest.mark.parametrize("slug", PAPERS)
def test_every_run_has_a_recipe_for_every_data_set(slug):
    for dataset in PAPERS[slug].recipe.datasets:
        for row in PAPERS[slug].rows:
            run = real(slug, row.slug, dataset)
            assert run.model_config.weights == "imagenet"
            assert run.train.iterations is None
            assert run.data.test_sets == (dataset,)
            assert "default" in run.scorings


@pytest.mark.parametrize("slug", PAPERS)
def test_printed_data_sets_have_a_recipe(slug):
    recipe = PAPERS[slug].recipe
    own = printed(slug).query("kind == 'own' and dataset != ''")
    assert {recipe.measured_on.get(name, name) for name in own["dataset"]} <= set(recipe.datasets)


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match="bpbreid has no data set 'cuhk03'.*occluded-duke"):
        real("bpbreid", "k8", "cuhk03")
    with pytest.raises(ValueError, match="only the real preset"):
        PAPERS["bpbreid"].run("k8", preset_name="cpu", dataset="market1501")
    with pytest.raises(ValueError, match='belong to schedule "steps"'):
        TrainConfig(decays=(3,))
