"""AaP-ReID's printed sizes, and its re-ranked scoring."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from companion import forensics
from companion.inputs import Inputs
from companion.papers import PAPERS, aap
from companion.study import Study
from companion.trained import Origin, Trained, initial
from reidlib.data.index import Split
from reidlib.evaluation import evaluate
from reidlib.models.aap import AaP, Scoring
from reidlib.protocol import Protocol
from reidlib.reranking import k_reciprocal
from reidlib.training import History
from reidlib.types import Features


def test_printed_sizes_are_the_exact_count_truncated_or_in_two_cells_rounded():
    """29 cells: truncated to two decimals 27, rounded the other two; the specification's section 6."""
    sizes = forensics.sizes(PAPERS["aap"])
    assert len(sizes) == 29
    rounded = sizes.query("rule != 'truncated'")
    assert rounded[["row", "dataset", "rule"]].to_numpy().tolist() == [
        ["cwa-all", "dukemtmc", "rounded"],
        ["resnet18-sp", "market1501", "rounded"],
    ]
    exact = sizes.set_index(["row", "dataset"])["exact"]
    assert exact["baseline", "market1501"] == 25_313_199
    assert exact["aap-reid", "market1501"] == 27_691_183
    assert exact["resnet101-bam", "market1501"] == 53_825_033
    added = [exact[row, "market1501"] - 25_313_199 for row in ("cwa-all", "aap-reid")]
    assert added == [2_536_976, 2_377_984]


def test_table_1_is_trained_four_times_as_long_and_beside_it_as_long_as_the_other_papers():
    paper = PAPERS["aap"]
    steps = {row.slug: paper.run(row.slug, preset_name="cpu").train.iterations for row in paper.rows}
    assert {steps[row.slug] for row in aap.TABLE1} == {1800}
    assert {steps[row.slug] for row in aap.SHORT} == {450}
    assert {row.slug[:8]: steps[row.slug] for row in aap.TABLE3} == {
        "resnet18": 1800,
        "resnet34": 1800,
        "resnet50": 450,
        "resnet10": 450,
    }
    assert {cell.run for cell in paper.cells if cell.table == "length"} == {row.slug for row in aap.SHORT}
    assert [paper.as_long(name) for name in ("baseline", "baseline-short", "resnet50-sp")] == [
        "aap",
        "aap-short",
        "aap-short",
    ]
    for row in ("aap", "baseline"):
        real = [paper.run(row + end, preset_name="real") for end in ("", "-short", "-again", "-scratch")]
        assert {run.stem for run in real} == {real[0].stem}


def test_re_ranked_scorings_are_measured_on_the_whole_set(monkeypatch):
    """The model is asked for pairwise distances only; query and gallery are re-ranked together."""
    run = PAPERS["aap"].run("aap", preset_name="smoke")
    model = initial(run, identities=5).eval()
    images = torch.randn(24, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        embeddings = model(images).embeddings
    everyone = Features(embeddings, {}, torch.arange(24) % 6 + 1, torch.arange(24) // 6)
    query, gallery = everyone[slice(0, 6)], everyone[slice(6, None)]
    market = Split("synth-market", Path(), (), (), ())
    trained = Trained(Inputs(run, {market.name: market}), model, Origin(History(), [], "", {}))
    monkeypatch.setattr(Trained, "features", lambda *_: (query, gallery))
    table = k_reciprocal(query, gallery, distance=partial(AaP.distance, scoring=Scoring()))
    expected = evaluate(query, gallery, distance=lambda *_: table, protocol=Protocol.MARKET, block=6)
    assert trained.score("reranked", "synth-market").summary() == expected.summary()
    rows = torch.tensor([4, 1])
    assert torch.equal(trained.distances("reranked", "synth-market", rows=rows), table[rows])
    plain = trained.distances("default", "synth-market", rows=rows)
    assert torch.equal(plain, AaP.distance(query[rows], gallery, scoring=Scoring()))
    assert not torch.allclose(plain, table[rows])
    asked = trained.rescore(replace(Scoring(), local="none"), "synth-market")
    assert asked.summary() == trained.score("global", "synth-market").summary()


def test_curves_are_compared_within_worlds_and_stretches(monkeypatch):
    records = {
        "a": [
            SimpleNamespace(seed=1, history={"id": [4.0, 2.0, 2.0, 0.0]}),
            SimpleNamespace(seed=2, history={"id": [9.0, 9.0]}),
        ],
        "b": [
            SimpleNamespace(seed=2, history={"id": [8.0, 7.0]}),
            SimpleNamespace(seed=3, history={"id": [0.0, 0.0]}),
        ],
    }
    monkeypatch.setattr(Study, "records", lambda _, row: records.get(row, []))
    rows = {"A": "a", "B": "b", "C": "c"}
    found = aap.loss_curves(Study(PAPERS["aap"], "cpu"), rows, less="B")
    assert list(found) == ["A"]  # B is the one, C has no record
    np.testing.assert_allclose(found["A"]["mean"], [1, 2])  # of world 2 alone
    assert np.isnan(found["A"]["half"]).all()


def test_what_sliding_adds_is_said_from_all_worlds():
    said = aap.sliding_answer(Study(PAPERS["aap"], "cpu"))
    assert "over the global feature alone and" in said
    assert "worlds, the same weights" in said
    assert "nothing can be said" in aap.sliding_answer(Study(PAPERS["aap"], "real"))
