"""The authors' checkpoints scored by a command: which network, beside which printed rows, and nothing confused."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import cv2
import numpy as np
import pytest
import torch
from test_released import checkpoint
from trees import plant

from companion import plots
from companion.__main__ import main
from companion.papers import PAPERS, bpbreid
from companion.report import beside_printed, open_checkpoint
from companion.report.released import cells_of
from companion.trained import Trained
from reidlib.data.datasets import load
from reidlib.models.bpbreid import BPBreID, Config

COUNTS = {"train": (8, 4), "query": (9, 3), "gallery": (24, 4)}


@pytest.fixture
def split(scratch):
    plant("occluded-duke", scratch / "data", counts=COUNTS)
    return load("occluded-duke", scratch / "data")


def released(path, *, parts=8, seed=0, config=None):
    """A checkpoint in the release's names, of a small network and small images."""
    torch.manual_seed(seed)
    source = BPBreID(config or replace(Config(), backbone="small", parts=parts), identities=5)
    options = {"config": {"model": {"bpbreid": {}}, "data": {"height": 64, "width": 32}}}
    return checkpoint(path, source, options)


@pytest.fixture
def literal(monkeypatch):
    """The paper's ResNet-50 is the small network of the tests' checkpoints."""
    paper, run = PAPERS["bpbreid"], type(PAPERS["bpbreid"]).run

    def smaller(self, slug, **asked):
        found = run(self, slug, **asked)
        small = found.model_config.backbone == "resnet50"
        return found.vary(backbone="small") if small else found

    monkeypatch.setattr(type(paper), "run", smaller)


def score(checkpoint: Path, scratch: Path) -> list[str]:
    """The command as it is typed."""
    root = str(scratch / "data")
    return ["score", "--checkpoint", str(checkpoint), "--dataset", "occluded-duke", "--root", root]


@pytest.mark.usefixtures("literal")
def test_the_command_prints_the_paper_s_rows_beside_ours_and_draws_attention(scratch, split, capsys):
    path = released(scratch / "duke.pth")
    assert main([*score(path, scratch), "--output", str(scratch / "maps")]) == 0
    out = capsys.readouterr().out
    assert "duke.pth: small, K = 8, 5 identities, 64x32" in out
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("table")]
    printed = {(row[0], row[1], row[3]): row[4] for row in rows[1:]}
    assert printed["table1", "bpbreid-rn", "rank1"] == "66.7"
    assert printed["table2", "bpbreid-rn", "mAP"] == "54.1"
    assert ("table3", "f-g", "rank1") not in printed  # of six parts
    assert ("table2", "bot", "rank1") not in printed
    assert cv2.imread(str(scratch / "maps" / "occluded-duke-attention.png")).shape[0] > 200


@pytest.mark.usefixtures("literal")
def test_six_parts_are_table_3(scratch, split):
    trained = open_checkpoint(released(scratch / "a.pth", parts=6), split)
    found = beside_printed(trained)
    assert set(found["table"]) == {"table3", "table5"}
    own = PAPERS["bpbreid"].cell("table3", "f-3", "occluded-duke").scoring
    here = found.query("row == 'f-3' and metric == 'mAP'")["here"].item()
    assert here == f"{100 * trained.score(own, 'occluded-duke').mAP:.1f}"


def test_what_the_paper_does_not_print_is_scored_and_said_so(scratch, split, capsys):
    path = released(scratch / "a.pth")
    rmtree(split.root / "bounding_box_train")  # nothing is trained on
    assert main(score(path, scratch)) == 0
    streams = capsys.readouterr()
    assert "train" not in streams.err
    out = streams.out
    assert "prints no row of this network" in out
    assert list((scratch / "cache" / "released").rglob("*.png"))


def test_a_file_of_the_same_name_does_not_get_the_other_s_features(scratch, split):
    first = open_checkpoint(released(scratch / "a.pth", seed=1), split).features("occluded-duke")[0]
    second = open_checkpoint(released(scratch / "a.pth", seed=2), split).features("occluded-duke")[0]
    assert not torch.equal(first.embeddings["parts"], second.embeddings["parts"])


def test_the_ibn_row_is_the_release_s_network(scratch, split):
    run = PAPERS["bpbreid"].run("ri", preset_name="real", dataset="occluded-duke")
    assert run.model_config.backbone == "resnet50-ibn-unpadded"
    small = open_checkpoint(released(scratch / "a.pth"), split)
    config = Config(backbone="resnet50-ibn-unpadded")
    inputs = replace(small.inputs, run=replace(small.run, model_config=config))
    cells = cells_of(Trained(inputs, small.model, small.origin))
    assert {(cell.table, cell.row) for cell in cells} == {("table1", "bpbreid-ri")}


def test_parts_have_the_names_of_the_release(scratch, split):
    trained = open_checkpoint(released(scratch / "a.pth", parts=5), split)
    shown = bpbreid.attention(trained, "occluded-duke")
    assert shown["names"][1] == "shoulders and upper arms"
    assert plots.attention(**shown).axes


def test_a_number_of_parts_that_no_row_has_is_scored_all_the_same(scratch, split):
    trained = open_checkpoint(released(scratch / "a.pth", parts=7), split)
    assert beside_printed(trained).empty
    assert np.isfinite(trained.score("default", "occluded-duke").mAP)
    shown = bpbreid.attention(trained, "occluded-duke")
    assert shown["names"][-1] == "part 7"
    assert plots.attention(**shown).axes


def test_other_files_are_one_line(scratch, split, capsys):
    torch.save({"model": {"backbone.conv1.weight": torch.ones(2)}}, scratch / "a.pth")
    assert main(score(scratch / "a.pth", scratch)) == 2
    assert "none of BPBreID's release" in capsys.readouterr().err
    assert main(score(scratch / "b.pth", scratch)) == 2
    assert "no file" in capsys.readouterr().err
