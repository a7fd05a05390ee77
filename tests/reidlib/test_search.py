"""One's own images and features: from a folder to a table and a figure, and what is refused."""

import os
import warnings

import cv2
import numpy as np
import pytest
import torch
from test_released import checkpoint
from trees import paint, plant

from reidlib import search
from reidlib.__main__ import main
from reidlib.backbones import build_backbone, imagenet_file
from reidlib.data.datasets import load
from reidlib.data.loading import load_stack
from reidlib.extraction import extract
from reidlib.models import BoT, BPBreID
from reidlib.models.stored import save_model
from reidlib.reranking import k_reciprocal


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """Four persons of three photographs, each person in colours of its search."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for person in range(4):
        folder = tmp_path / "crops" / f"person {person}"
        folder.mkdir(parents=True)
        for number in range(3):
            paint(folder / f"{number}.jpg", person, size=(60 + number, 30))
    return tmp_path / "crops"


@pytest.fixture
def backbone(crops):
    """A ResNet-18 where ImageNet's would lie."""
    files = crops.parent / "torch" / "hub" / "checkpoints"
    files.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(build_backbone("resnet18").state_dict(), files / "resnet18-f37072fd.pth")
    return "resnet18"


def test_from_a_folder_of_crops_to_a_table_and_a_figure(crops, backbone, tmp_path, capsys):
    figure = tmp_path / "ranking.png"
    assert main(["rank", "folder", str(crops), "--backbone", backbone, "--figure", str(figure)]) == 0
    out = capsys.readouterr().out.split("\n")
    assert out[0] == "used: 4 queries of 4 people, searched in 8 gallery images"
    *_, said, head, values, last, _ = out
    assert said == "resnet18, ImageNet weights"
    assert head.split() == ["rank1", "rank3", "rank5", "rank10", "mAP", "mINP", "queries", "skipped"]
    assert values.split() == ["100.0"] * 6 + ["4", "0"]  # a person's pictures are alike
    assert "protocol no-camera" in last
    page = (tmp_path / "index.html").read_text()
    assert page.count('class="query"') == 4
    assert page.count('class="correct"') == 8
    assert "resnet18, ImageNet weights" in page
    assert cv2.imread(str(figure)).shape[0] > 200


def test_without_weights_the_project_s_own_network_ranks_and_says_so(crops, tmp_path, capsys):
    assert main(["rank", "folder", "--root", str(crops), "--figure", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "resnet50-0676ba61.pth; --download fetches it): the project's small network ranks instead" in out
    assert "trained on drawn people: on photographs its scores and its ranking are a guess" in out
    assert "trained on drawn people" in (tmp_path / "index.html").read_text()
    assert main(["rank", "folder", str(crops), "--weights", "ours", "--figure", str(tmp_path / "a.png")]) == 0
    again = capsys.readouterr().out
    assert "ranks instead" not in again
    assert out.splitlines()[-3:] == again.splitlines()[-3:]


def test_a_backbone_that_is_asked_for_is_not_replaced(crops, tmp_path, capsys):
    arguments = ["rank", "folder", str(crops), "--backbone", "resnet101"]
    assert main([*arguments, "--figure", str(tmp_path / "no.png")]) == 2
    error = capsys.readouterr().err
    assert "no file" in error
    assert "--download fetches it, --weights ours ranks without" in error
    assert not (tmp_path / "no.png").exists()


def test_weights_are_fetched_when_asked_for(crops, tmp_path, monkeypatch, capsys):
    arguments = ["rank", "folder", str(crops), "--download", "--figure", str(tmp_path / "a.png")]

    def fetched(name):
        assert name == "resnet50"
        target = imagenet_file(name)
        target.parent.mkdir(parents=True)
        torch.save(build_backbone(name).state_dict(), target)
        return target

    def unreachable(name):
        raise ValueError("no route to host")

    monkeypatch.setattr("reidlib.backbones.download", unreachable)
    assert main(arguments) == 0
    assert "(no route to host): the project's" in capsys.readouterr().out
    monkeypatch.setattr("reidlib.backbones.download", fetched)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"fetched {imagenet_file('resnet50')}" in out
    assert "resnet50, ImageNet weights" in out


def test_a_file_says_which_network_it_holds(crops, tmp_path, capsys):
    torch.manual_seed(0)
    figure = ["--figure", str(tmp_path / "a.png")]
    state = build_backbone("resnet18").state_dict()
    torch.save({"model": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "fast.pth")
    assert main(["rank", "folder", str(crops), "--weights", str(tmp_path / "fast.pth"), *figure]) == 0
    assert "resnet18-unpadded of fast.pth, its last map averaged" in capsys.readouterr().out
    source = BPBreID(BPBreID.Config(backbone="small"), identities=3)
    path = checkpoint(tmp_path / "b.pth", source, {"config": {"data": {"height": 64, "width": 32}}})
    assert main(["rank", "folder", str(crops), "--weights", str(path), *figure]) == 0
    assert "BPBreID of b.pth: small, K = 8" in capsys.readouterr().out


def test_re_ranking_takes_the_place_of_the_distance(crops, files, tmp_path, capsys):
    split = load("folder", crops)
    searched = search.given(split, *files)
    ranked = searched.reranked()
    expected = k_reciprocal(searched.query, searched.gallery, distance=searched.distance)
    assert torch.equal(ranked.ranked, expected)
    nearest = expected.argmin(1).tolist()
    shown = ranked.shown(queries=4, top=3)
    assert [row[1].name.split("/")[0] for row in shown] == [
        split.gallery[place].path.parent.name for place in nearest
    ]
    arguments = ["rank", "folder", str(crops), "--features", *map(str, files), "--rerank"]
    assert main([*arguments, "--figure", str(tmp_path / "f.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[lines.index("re-ranked (k-reciprocal)") + 2].split()[4] == f"{100 * ranked.metrics().mAP:.1f}"
    )
    assert "re-ranked" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("figure", "words"),
    [("a.html", "expected a name that ends in one of"), ("file/a.png", "its folder cannot be written")],
)
def test_where_nothing_can_be_drawn_is_told_before_the_work(crops, tmp_path, capsys, figure, words):
    (tmp_path / "file").touch()
    assert main(["rank", "folder", str(crops), "--figure", str(tmp_path / figure)]) == 2
    streams = capsys.readouterr()
    assert words in streams.err
    assert "used:" not in streams.out


def test_a_page_of_somebody_else_is_not_overwritten(crops, tmp_path, capsys):
    (tmp_path / "index.html").write_text("<html>mine</html>")
    arguments = ["rank", "folder", str(crops), "--weights", "ours", "--figure"]
    assert main([*arguments, str(tmp_path / "a.png")]) == 2
    assert "index.html is not ours" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "new" / "folder" / "a")]) == 0
    assert "new/folder/a.png and " in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "new" / "folder")]) == 0
    assert "new/folder/ranking.png and " in capsys.readouterr().out


def stored(path, *, trained_on):
    """A small model in a file that says what it was trained on."""
    torch.manual_seed(0)
    model = BoT(BoT.Config(backbone="small", width=0.25), identities=7)
    save_model(model, path, trained_on=trained_on, size=(64, 32), identities=7)
    return model.eval()


def test_synthetic_weights_are_refused_on_photographs(crops, tmp_path):
    path, cache, split = tmp_path / "ours.safetensors", tmp_path / "cache", load("folder", crops)
    model = stored(path, trained_on="synth-occluded, profile cpu, seed 1")
    with pytest.raises(ValueError, match="trained on synthetic pictures.*--synthetic"):
        search.network(path, synthetic=False)
    searched = search.embedded(split, search.network(path), cache=cache, device="cpu")
    assert "trained on synth-occluded, profile cpu, seed 1; trained on drawn people" in searched.said
    stack = load_stack(split.query, size=(64, 32), cache=cache)
    expected = extract(model, stack, device="cpu").embeddings["global_bn"]
    torch.testing.assert_close(searched.query.embeddings["global_bn"], expected)


def test_weights_of_photographs_need_no_option(crops, tmp_path, capsys):
    path, figure = tmp_path / "ours.safetensors", tmp_path / "ranking.png"
    stored(path, trained_on="market1501")
    assert main(["rank", "folder", str(crops), "--weights", str(path), "--figure", str(figure)]) == 0
    assert figure.exists()
    assert list((tmp_path / "cache" / "reidlib" / "images").glob("*-images.npy"))


def test_a_network_that_is_given_masks_cannot_rank(crops, tmp_path, capsys):
    path = tmp_path / "fixed.safetensors"
    model = BPBreID(BPBreID.Config(backbone="small", width=0.25, dim=4, attention="fixed"), identities=3)
    save_model(model, path, trained_on="market1501", size=(64, 32), identities=3)
    assert main(["rank", "folder", str(crops), "--weights", str(path)]) == 2
    error = capsys.readouterr().err
    assert "attends to part masks that it is given" in error
    assert "--features" in error


def test_a_file_that_is_no_weights_is_one_clear_error(crops, tmp_path, capsys):
    path = tmp_path / "no.safetensors"
    for content in (None, b"text"):
        if content:
            path.write_bytes(content)
        assert main(["rank", "folder", str(crops), "--weights", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: weights: ")
        assert path.name in error


@pytest.fixture
def files(crops, tmp_path):
    rng = np.random.default_rng(0)
    names = tmp_path / "query.npy", tmp_path / "gallery.npy"
    for name, count in zip(names, (4, 8)):
        np.save(name, rng.normal(size=(count, 5)))
    return names


def test_features_of_someone_else_are_scored(crops, files, tmp_path, capsys):
    split = load("folder", crops)
    centres = np.eye(5)[:4]
    np.save(files[0], centres)
    np.save(files[1], np.stack([centres[record.pid - 1] * 3 for record in split.gallery]))
    figure = tmp_path / "f.png"
    arguments = ["rank", "folder", str(crops), "--features", *map(str, files), "--figure", str(figure)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-2].split()[0] == "100.0"
    np.save(files[1], np.stack([centres[record.pid - 1] * record.pid * 9 for record in split.gallery]))
    assert search.given(split, *files).metrics().mAP == 1.0
    assert search.given(split, *files, unit=False).metrics().mAP < 1.0


def test_the_trapezoid_rule_stands_beside(crops, files, tmp_path, capsys):
    split = load("folder", crops)
    np.save(files[0], np.eye(5)[:4])
    far = [3 + number % 2 if number < 4 else 0 for number in range(8)]  # some right ones behind wrong ones
    np.save(files[1], np.stack([np.eye(5)[r.pid - 1] + n * np.eye(5)[4] for n, r in zip(far, split.gallery)]))
    arguments = ["rank", "folder", str(crops), "--features", *map(str, files), "--euclidean"]
    assert main([*arguments, "--trapezoid", "--figure", str(tmp_path / "f.png")]) == 0
    head, values = (line.split() for line in capsys.readouterr().out.splitlines()[-3:-1])
    assert head[4] == "mAP"
    assert head[-2:] == ["mAP", "(trapezoid)"]
    plain, trapezoid = (search.given(split, *files, unit=False).metrics(trapezoid=t) for t in (False, True))
    assert trapezoid.mAP < plain.mAP < 1
    assert (values[4], values[-1]) == (f"{100 * plain.mAP:.1f}", f"{100 * trapezoid.mAP:.1f}")


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((7, 5)), r"shape \(7, 5\).*one row of numbers for each of the 8 images"),
        (np.zeros(8), r"shape \(8,\)"),
        (np.zeros((8, 5), "U3"), "U3"),
        (np.full((8, 5), np.nan), r"row 0 \(person 0/1\.jpg\) is not finite"),
        (np.zeros((8, 6)), "5 columns and .* 6"),
        (np.full((8, 5), 1e200), "row 0 is beyond double precision"),
        (np.full((8, 5), 1e-200), "row 0 is beyond double precision"),
        (np.zeros((8, 0)), r"shape \(8, 0\)"),
        (b"text", "this is no npy file; write the matrix with numpy.save"),
        (b"MATLAB 5.0 MAT-file", "this is no npy file; write the matrix with numpy.save"),
        (b"", "this is no npy file"),
        (b"\x93NUMPY\x01", "cannot be read"),
        (np.array([[None] * 5] * 8), "it holds objects"),
    ],
)
def test_wrong_features_name_the_file(crops, files, array, error):
    if isinstance(array, bytes):
        files[1].write_bytes(array)
    else:
        np.save(files[1], array)
    with pytest.raises(ValueError, match=rf"(?s){error}") as caught:
        search.given(load("folder", crops), *files)
    assert "pickle" not in str(caught.value)


def test_rows_of_zeros_are_told(crops, files, caplog):
    """An array that was made for all images and filled for some."""
    rows = np.load(files[1])
    rows[[3, 5]] = 0
    np.save(files[1], rows)
    search.given(load("folder", crops), *files)
    assert "2 rows are all zeros, the first is row 3 (person 1/2.jpg)" in caplog.text


def test_weights_that_are_absent_are_told_before_the_images_are_read(crops, tmp_path, capsys):
    arguments = ["rank", "folder", str(crops), "--figure", str(tmp_path / "a.png")]
    assert main([*arguments, "--weights", str(tmp_path / "no.pth")]) == 2
    assert capsys.readouterr().out == ""


def test_several_arrays_in_a_file_are_refused(crops, files):
    with files[1].open("wb") as file:
        np.savez(file, a=np.zeros((8, 5)), b=np.zeros(2))
    with pytest.raises(ValueError, match="several arrays; expected an npy file"):
        search.given(load("folder", crops), *files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--euclidean"], "--euclidean is about --features"),
        (["--download", "--weights", "ours"], "--download fetches ImageNet's weights"),
    ],
)
def test_options_that_do_not_go_together_are_refused(crops, capsys, arguments, words):
    assert main(["rank", "folder", str(crops), *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("unit", [True, False])
def test_features_with_a_large_common_part_rank_as_without(crops, files, unit):
    """Nearest neighbours are exact, squares in single precision are not."""
    split, rng = load("folder", crops), np.random.default_rng(0)
    centres = rng.normal(size=(4, 32))
    vectors = [
        centres[[record.pid - 1 for record in side]] + 0.9 * rng.normal(size=(len(side), 32))
        for side in (split.query, split.gallery)
    ]
    naive = np.linalg.norm(vectors[0][:, None] - vectors[1][None], axis=-1)
    for offset in (0, 1e4, 1e8):
        moved = [side + offset for side in vectors]
        for file, side in zip(files, moved):
            np.save(file, side)
        searched = search.given(split, *files, unit=unit)
        found = searched.distance(searched.query, searched.gallery).numpy()
        if unit:
            units = [x / np.linalg.norm(x.astype(np.longdouble), axis=-1, keepdims=True) for x in moved]
            naive = np.linalg.norm(units[0][:, None] - units[1][None], axis=-1).astype(float)
        order = naive.argsort(1)
        assert np.array_equal(found.argsort(1), order), offset
    for file, side in zip(files, vectors):
        np.save(file, (1e30 * side).astype(np.float32))
    searched = search.given(split, *files, unit=unit)
    assert searched.distance(searched.query, searched.gallery).isfinite().all()
    for file, side in zip(files, vectors):
        np.save(file, side.astype(np.float16))
    assert 0 < search.given(split, *files, unit=unit).metrics().mAP <= 1


def test_one_far_away_row_does_not_blur_the_others(crops, files):
    split = load("folder", crops)
    centres = np.eye(5)
    np.save(files[0], centres[[r.pid - 1 for r in split.query]])
    gallery = centres[[r.pid - 1 for r in split.gallery]]
    gallery[-1] = 1e20
    np.save(files[1], gallery)
    assert search.given(split, *files, unit=False).metrics().mAP > 0.8


def test_rows_of_junk_are_recognised(tmp_path, caplog):
    home = plant("market1501", tmp_path)
    for name in ("-1_c1s1_000001_00.jpg", "0002_c9s1_000001_00.jpg", "-1_c2s1_000001_00.jpg"):
        paint(home / "bounding_box_test" / name, 0)
    split = load("market1501", tmp_path)
    names = sorted(path.name for path in (home / "bounding_box_test").iterdir())
    rows = {r.path.name: np.eye(9)[r.pid] for r in split.gallery}
    np.save(tmp_path / "g.npy", np.stack([rows.get(name, np.ones(9)) for name in names]))
    np.save(tmp_path / "q.npy", np.stack([np.eye(9)[r.pid] for r in split.query]))
    with caplog.at_level("INFO"):
        searched = search.given(split, tmp_path / "q.npy", tmp_path / "g.npy")
    assert searched.metrics().mAP == 1
    assert "2 of junk are left out" in caplog.text


def test_no_training_folder_is_needed_to_rank(tmp_path, monkeypatch, capsys):
    home = plant("market1501", tmp_path)
    for image in (home / "bounding_box_train").iterdir():
        image.unlink()
    (home / "bounding_box_train").rmdir()
    split = load("market1501", tmp_path, sides=("query", "gallery"))
    for name, side in (("q", split.query), ("g", split.gallery)):
        np.save(tmp_path / f"{name}.npy", np.stack([np.eye(9)[r.pid] for r in side]))
    features = ["--features", str(tmp_path / "q.npy"), str(tmp_path / "g.npy")]
    monkeypatch.chdir(tmp_path)
    assert main(["rank", "market1501", str(tmp_path), *features]) == 0
    assert "100.0" in capsys.readouterr().out


def test_people_whose_names_no_font_and_no_parser_knows(crops, files, tmp_path):
    """Formulas, signs that the font lacks, bytes that are no UTF-8."""
    for number, name in enumerate(("cost $x^2", "$broken{", "人物", os.fsdecode(b"caf\xe9"))):
        (crops / f"person {number}").rename(crops / name)
    split = load("folder", crops)
    for name, side in zip(files, (split.query, split.gallery)):
        np.save(name, np.eye(5)[[r.pid - 1 for r in side]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a sign that the font lacks
        search.given(split, *files).figure().savefig(tmp_path / "ranking.png")
    assert cv2.imread(str(tmp_path / "ranking.png")) is not None


def test_a_truncated_crop_is_named(crops, backbone, capsys):
    path = crops / "person 2" / "1.jpg"
    path.write_bytes(path.read_bytes()[:-30])
    assert (
        main(["rank", "folder", str(crops), "--backbone", backbone, "--figure", str(crops.parent / "a.png")])
        == 2
    )
    assert "person 2/1.jpg is unreadable or truncated" in capsys.readouterr().err
