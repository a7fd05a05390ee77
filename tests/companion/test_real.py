"""Generated trees in the real layouts, all the way: index, feeding, a training step, evaluation, a record."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from test_released import checkpoint
from trees import LAYOUTS, paint, plant, plant_fields, touch

from companion import paper as paper_module
from companion import places, records, runner
from companion.__main__ import main
from companion.inputs import Inputs, NoTruth
from companion.papers import PAPERS
from companion.presets import preset
from companion.real import TRANSFER
from companion.study import Study
from companion.trained import Trained, initial
from reidlib.backbones import build_backbone
from reidlib.data.datasets import DATASETS, load
from reidlib.data.loading import Loader, load_stack
from reidlib.evaluation import evaluate
from reidlib.extraction import extract
from reidlib.models import BPBreID
from reidlib.models.bot import SCORINGS, BoT, Config
from reidlib.recipe import TrainConfig
from reidlib.training import fit

SIZE = (32, 16)


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
def test_every_layout_is_trained_and_scored_on(tmp_path, name, number):
    layout = DATASETS[name].layouts[number]
    home = plant(name, tmp_path, layout=layout)
    if layout.extra:
        touch(home / layout.extra, "0000_c1s1_000001_00.jpg")
    split = load(name, tmp_path)
    if not split.train:
        plant("market1501", tmp_path)
    source = split if split.train else load("market1501", tmp_path)
    cache = tmp_path / "cache"
    stack = load_stack(source.train, size=SIZE, cache=cache, labels=source.labels)
    config = TrainConfig(iterations=1, identities=4, images=2)
    model = BoT(Config(backbone="small", width=0.25), identities=len(source.labels))
    history = fit(model, Loader(stack, config, 0), config=config, seed=0, device="cpu")
    assert history.steps == 1
    query, gallery = (
        extract(model, load_stack(part, size=SIZE, cache=cache)) for part in (split.query, split.gallery)
    )
    scores = evaluate(
        query,
        gallery,
        distance=lambda q, g: BoT.distance(q, g, scoring=SCORINGS["default"]),
        protocol=split.protocol,
    )
    assert scores.skipped == 0
    assert 0 <= scores.mAP <= 1


def test_a_real_run_becomes_a_record_and_a_value(scratch):
    """BPBreID's recipe on Occluded-Duke with its published masks, the network and the length cut down."""
    plant_fields(
        plant(
            "occluded-duke", scratch / "data", counts={"train": (64, 16), "query": (6, 3), "gallery": (24, 4)}
        )
    )
    study = Study(PAPERS["bpbreid"], "real")
    run = study.run("k8", dataset="occluded-duke")
    small = replace(
        run,
        model_config=replace(run.model_config, backbone="small", width=0.25, dim=8, weights=None),
        data=replace(run.data, height=64, width=32),
        train=replace(run.train, epochs=1),
    )
    record = runner.train(small, progress=False)
    assert set(record.metrics) == {"occluded-duke"}
    assert record.metrics["occluded-duke"]["default"]["queries"] == 6
    assert records.path(small).is_relative_to(scratch / "results" / "runs" / "bpbreid")
    assert records.find(small) == record
    with pytest.raises(records.RecordError, match="weights: None -> imagenet"):
        records.find(run)
    records.write(replace(record, config=run.identity()), records.path(run))
    cell = study.paper.cell("table1", "bpbreid-rn", "occluded-duke")
    found = record.metrics["occluded-duke"]["default"]
    assert study.value(cell, "mAP").mean == pytest.approx(found["mAP"])
    assert study.value(study.paper.cell("table1", "bpbreid-rn", "market1501"), "mAP") is None


def _recorded(run, dataset):
    """A record with made-up scores, of data that are not here."""
    scores = {"rank1": 0.9, "rank3": 0.9, "rank5": 1.0, "rank10": 1.0, "mAP": 0.8, "mINP": 0.5}
    scores |= {"queries": 2, "skipped": 0}
    made = records.RunRecord(
        config=run.identity(), hash=run.hash, name=run.name, paper=run.paper, preset="real",
        seed=run.seed, provenance={},
        history={}, alarms=[], metrics={dataset: {name: scores for name in run.scorings}}, measures={},
        slices={}, behaviour=[], test_scorings=1, parameters=1, arrays={f"{dataset}/default/rank": np.array([1])},
    )  # fmt: skip
    records.write(made, records.path(run))
    return made


def test_command_line_prints_the_paper_beside_ours(scratch, capsys):
    _recorded(PAPERS["pan"].run("pan", preset_name="real", dataset="market1501"), "market1501")
    assert (
        main(["run", "--paper", "pan", "--preset", "real", "--dataset", "market1501", "--only", "pan"]) == 0
    )
    out = capsys.readouterr().out
    assert "nothing to do" in out
    line = next(line.split() for line in out.splitlines() if "pan-resnet50 " in line and "mAP" in line)
    assert line[2:7] == ["market1501", "mAP", "87.6", "80.0", "NaN"]


@pytest.fixture
def small_networks(monkeypatch):
    """The literal recipes with the smoke preset's networks and images, and as few epochs as make ten steps."""
    literal = paper_module._real

    def smaller(paper, row, dataset):
        small, real = paper_module._scaled(paper, row, preset("smoke")), literal(paper, row, dataset)
        data = replace(real.data, height=small.data.height, width=small.data.width)
        train = replace(real.train, epochs=5, identities=8, images=4)
        return replace(real, model_config=small.model_config, data=data, train=train)

    monkeypatch.setattr(paper_module, "_real", smaller)
    paper_module._trainings.cache_clear()
    yield
    paper_module._trainings.cache_clear()


ASKED = {slug: paper.recipe.datasets[0] for slug, paper in PAPERS.items()} | {"qpm": "p-dukemtmc-transfer"}


def _planted(slug, dataset, folder):
    counts = {"train": (64, 16), "query": (12, 6), "gallery": (48, 8)}
    home = plant(dataset, folder, counts=counts, cameras=3)
    if slug == "bpbreid":
        plant_fields(home)
    if dataset in TRANSFER:
        plant("market1501", folder, counts=counts, cameras=3)


@pytest.mark.parametrize(("slug", "dataset"), ASKED.items())
@pytest.mark.usefixtures("small_networks")
def test_every_paper_is_recorded_on_real_data(slug, dataset, scratch):
    """Its own model, trained and scored; what only ground truth could tell is refused by name."""
    _planted(slug, dataset, scratch / "data")
    run = PAPERS[slug].run(PAPERS[slug].main, preset_name="real", dataset=dataset)
    record = runner.train(run, progress=False)
    assert set(record.metrics[dataset]) == set(run.scorings)
    assert record.measures == {dataset: {}}
    if run.model_config.figure_map:
        assert len(record.arrays[f"{dataset}/maps"])
    own = Study(PAPERS[slug], "real").frame().query("seeds > 0")
    assert set(own["dataset"]) <= {dataset, *PAPERS[slug].recipe.measured_on}
    with pytest.raises(NoTruth, match="known for synthetic sets only"):
        Inputs.of(run).pair()


def _execute(slug, changes):
    """A notebook, cell by cell, in this process, with other words for some of its own."""
    book = json.loads((places.ROOT / "notebooks" / f"{slug}.ipynb").read_text())
    shell = InteractiveShell.instance()
    shell.reset()
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            for old, new in changes.items():
                source = source.replace(old, new)
            shell.run_cell(source).raise_error()


@pytest.mark.real_notebooks
@pytest.mark.usefixtures("small_networks")
def test_the_notebook_shows_released_weights_without_training(scratch, monkeypatch, capsys):
    _planted("bpbreid", "occluded-duke", scratch / "data")
    monkeypatch.setattr(runner, "fit", lambda *_, **__: pytest.fail("trained"))
    torch.manual_seed(0)
    source = BPBreID(BPBreID.Config(backbone="small"), identities=5)
    path = checkpoint(scratch / "released.pth", source, {"config": {"data": {"height": 64, "width": 32}}})
    _execute(
        "bpbreid", {'PRESET = "auto"': 'PRESET = "real"', "CHECKPOINT = None": f"CHECKPOINT = {str(path)!r}"}
    )
    assert "released.pth: small, K = 8, 5 identities, 64x32" in capsys.readouterr().out


@pytest.mark.real_notebooks
@pytest.mark.parametrize(("slug", "dataset"), ASKED.items())
@pytest.mark.usefixtures("small_networks")
def test_every_notebook_runs_on_real_data(slug, dataset, scratch, capsys):
    """Cell by cell, in this process; what only ground truth could fill says so."""
    _planted(slug, dataset, scratch / "data")
    _execute(slug, {'PRESET = "auto"': 'PRESET = "real"', "DATASET = None": f"DATASET = {dataset!r}"})
    out = capsys.readouterr().out
    assert f"data: {dataset}, trained on" in out
    assert f"warning: {dataset}: query images 12, expected" in out
    assert "not shown: true parts and occluders are known for synthetic sets only" in out
    own = Study(PAPERS[slug], "real").frame().query("seeds > 0")
    assert set(own["dataset"]) == {dataset}


@pytest.mark.usefixtures("small_networks")
def test_a_record_stands_for_its_images_and_labels(scratch):
    """More images, or labels of another make: neither the record nor the cached weights are used for them."""
    counts = {"train": (32, 8), "query": (6, 3), "gallery": (12, 4)}
    home = plant("occluded-duke", scratch / "data", counts=counts)
    plant_fields(home)
    run = PAPERS["bpbreid"].run("k8", preset_name="real")
    run = replace(run, train=replace(run.train, epochs=1))
    record = runner.train(run, progress=False)
    folder = home / "masks" / "pifpaf_maskrcnn_filtering"
    assert record.provenance["data"]["part labels"] == "masks/pifpaf_maskrcnn_filtering/bounding_box_train"
    assert runner.complete(run) == record
    folder.rename(folder.with_name("pifpaf"))
    for file in (folder.with_name("pifpaf")).rglob("*.npy"):
        file.rename(file.with_name(f"{file.stem}.jpg.confidence_fields.npy"))
    with pytest.raises(
        records.RecordError, match="part labels: masks/pifpaf_maskrcnn_filtering/.* -> masks/pifpaf/"
    ):
        runner.complete(run)
    records.remove(run)
    again = runner.train(run, progress=False)
    assert again.provenance["data"]["part labels"] == "masks/pifpaf/bounding_box_train"
    assert again.provenance["started"] >= record.provenance["started"]
    paint(home / "bounding_box_test" / "9999_c1_f0000001.jpg", 1)
    with pytest.raises(
        records.RecordError, match=r"occluded-duke: [0-9a-f]+ -> [0-9a-f]+(?s:.*)restore the data set"
    ):
        runner.train(run, progress=False)


@pytest.mark.usefixtures("small_networks")
def test_one_training_on_market_serves_every_transfer_set(scratch, monkeypatch):
    """DPTI's recipe for Market-1501 itself is another one, and so are other images to train on."""
    sets = ("occluded-reid", "partial-reid")
    for name in (*sets, "market1501"):
        plant(name, scratch / "data", counts={"train": (64, 16), "query": (6, 3), "gallery": (24, 4)})
    calls, literal = [], runner.fit

    def counted(*args, **kwargs):
        calls.append(args)
        return literal(*args, **kwargs)

    monkeypatch.setattr(runner, "fit", counted)
    runs = [PAPERS["dpti"].run("gdw", preset_name="real", dataset=name) for name in sets]
    found = [runner.train(run, progress=False) for run in runs]
    assert len(calls) == 1
    assert len({run.hash for run in runs}) == 2
    for record, name in zip(found, sets):
        assert set(record.metrics) == {name}
        assert record.provenance["data"].keys() == {"market1501", name}
    paint(scratch / "data" / "Market-1501-v15.09.15" / "bounding_box_train" / "9999_c1s1_000001_00.jpg", 1)
    records.remove(runs[0])
    runner.train(runs[0], progress=False)
    assert len(calls) == 2  # another training set
    other = PAPERS["dpti"].run("gdw", preset_name="real", dataset="market1501")
    assert other.training != runs[0].training


def test_missing_weights_are_told_before_anything_else(scratch, capsys, monkeypatch):
    monkeypatch.setattr(Inputs, "of", lambda run: pytest.fail("read the data"))
    assert main(["run", "--paper", "bpbreid", "--preset", "real", "--only", "k8", "hr"]) == 2
    streams = capsys.readouterr()
    assert "hrnetv2_w32_imagenet_pretrained.pth from the project HRNet" in streams.err
    assert "resnet50-0676ba61.pth from https://" in streams.err
    assert not streams.out
    run = PAPERS["pan"].run("pan", preset_name="real")
    with pytest.raises(ValueError, match="no file .*resnet50-0676ba61"):
        runner.train(run)


def test_status_knows_the_real_sets(scratch, capsys):
    _recorded(PAPERS["pan"].run("pan", preset_name="real", dataset="market1501"), "market1501")
    assert main(["status", "--paper", "pan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["pan"]["real"]
    assert "pan@market1501" not in found["missing"]
    assert {"pan@dukemtmc", "pan@occluded-duke", "osnet@market1501"} <= {*found["missing"]}
    assert main(["status", "--paper", "pan"]) == 0
    assert "pan      real " in capsys.readouterr().out


@pytest.mark.usefixtures("small_networks")
def test_a_broken_test_image_is_found_before_training(scratch, monkeypatch):
    home = plant("market1501", scratch / "data")
    broken = min((home / "bounding_box_test").iterdir())
    broken.write_bytes(broken.read_bytes()[:-20])
    monkeypatch.setattr(runner, "fit", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(runner, "behaviour", lambda run: [0.0])
    run = PAPERS["pan"].run("pan", preset_name="real", dataset="market1501")
    with pytest.raises(ValueError, match=f"{broken.name} is unreadable or truncated"):
        runner.train(run, progress=False)


def test_features_are_kept_by_the_pixels_that_they_are_of(scratch):
    """Another copy of a set has the same names, sizes and times."""
    home = plant("market1501", scratch / "data", suffix=".bmp")
    run = PAPERS["pan"].run("pan", preset_name="real", dataset="market1501")
    image = min((home / "query").iterdir())
    found = []
    for number in (1, 2, 1):
        paint(image, number)
        os.utime(image, ns=(10**18, 10**18))
        kept = SimpleNamespace(run=run, inputs=Inputs.of(run))
        found.append(Trained._features_path(kept, "market1501"))
    assert found[0] == found[2] != found[1]


@pytest.mark.usefixtures("small_networks")
def test_labels_that_a_model_does_not_read_do_not_matter(scratch):
    home = plant("market1501", scratch / "data")
    plant_fields(home)
    for file in sorted((home / "masks").rglob("*.npy"))[::3]:
        file.unlink()
    run = PAPERS["pan"].run("pan", preset_name="real", dataset="market1501")
    inputs = Inputs.of(run)
    assert inputs.training.masks is None
    assert inputs.test_set("market1501").gallery.masks is None


def test_ablations_of_the_start_are_the_main_row_again(scratch, capsys):
    study = Study(PAPERS["pan"], "real")
    made = _recorded(study.run("pan"), "occluded-duke")
    for name in ("pan", "pan-scratch"):
        assert study.records(name) == [made]
    command = ["run", "--paper", "pan", "--preset", "real", "--only"]
    assert main([*command, "pan-scratch"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_qpm_asks_with_the_occluded_originals(scratch, capsys):
    dataset = "partial-reid-occluded"
    _recorded(PAPERS["qpm"].run("qpm", preset_name="real", dataset=dataset), dataset)
    study = Study(PAPERS["qpm"], "real")
    assert study.value(study.paper.cell("table3", "qpm", "partial-reid"), "rank1").mean == 0.9
    command = [
        "run",
        "--paper",
        "qpm",
        "--preset",
        "real",
        "--only",
        "qpm",
        "--dataset",
        "partial-reid-occluded",
    ]
    assert main(command) == 0
    assert " 81.7  90.0" in capsys.readouterr().out


def test_absent_data_is_an_error_with_a_remedy(scratch):
    run = PAPERS["pan"].run("pan", preset_name="real", dataset="market1501")
    with pytest.raises(
        FileNotFoundError, match=r"market1501: expected .*Market-1501-v15\.09\.15.*does not exist"
    ):
        Inputs.of(run)


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ("resnet50", r"resnet50-0676ba61\.pth from https://.*resnet50-0676ba61\.pth and put it there"),
        ("resnet50-ibn", "IBN-Net"),
        ("hrnet-w32", "HRNet-Image-Classification"),
        ("osnet", "deep-person-reid"),
    ],
)
def test_absent_weights_say_where_they_come_from(scratch, backbone, words):
    with pytest.raises(ValueError, match=rf"nothing is downloaded.*{words}"):
        build_backbone(backbone, weights="imagenet")


def test_a_recipe_at_full_size(scratch):
    """Two steps of BPBreID's recipe with ResNet-50 at 256x128; the batch alone is smaller, for the test's time."""
    home = plant(
        "occluded-duke",
        scratch / "data",
        counts={"train": (16, 4), "query": (2, 1), "gallery": (4, 2)},
        write=lambda path, number: paint(path, number, size=(128, 64)),
    )
    plant_fields(home)
    files = scratch / "torch" / "hub" / "checkpoints"
    files.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(build_backbone("resnet50").state_dict(), files / "resnet50-0676ba61.pth")
    run = PAPERS["bpbreid"].run("k8", preset_name="real")
    stack = Inputs.of(run).training
    assert stack.size == (256, 128)
    assert stack.masks.shape == (16, 36, 64, 32)
    config = replace(run.train, identities=4, images=2, iterations=2)
    model = initial(run, identities=4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loader = Inputs.of(replace(run, train=config)).loader()
    history = fit(model, loader, config=config, seed=0, device="cpu")
    assert history.lr == pytest.approx([3.5e-6, 3.5e-6])
    assert set(history.losses) == {"id_global", "id_foreground", "id_concat", "triplet_parts", "attention"}
    assert all(np.isfinite(values).all() for values in history.losses.values())
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"backbone.conv1.weight", "head.classify_pixels.1.weight", "head.reduce.parts.0.weight"} <= moved
