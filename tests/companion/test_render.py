"""The renderer: formulas without a network, small pictures in their colours, misspelt parameters refused."""

import base64
import importlib.util
import io
import re
from argparse import Namespace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from companion import runner
from companion.papers import PAPERS

SOURCE = Path(__file__).parents[2] / "tools" / "render.py"


@pytest.fixture(scope="module")
def render():
    spec = importlib.util.spec_from_file_location("render", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_mathml_and_code_stays(render):
    text = "| $q_k$ | `[N, K]` costs `$1` |\n\n$$D = \\lVert a \\rVert \\tag{2}$$"
    found = render.with_mathml(text)
    assert found.count("<math") == 2
    assert "`[N, K]` costs `$1`" in found
    assert "\\" not in found


def test_bars_in_formulas_do_not_end_table_cells(render):
    row = render.with_mathml("| $|a|$ | size |")
    assert row.count("|") == 3


def packed(picture: np.ndarray) -> dict:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return {"image/png": base64.b64encode(file.getvalue()).decode()}


def unpacked(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


def test_a_photograph_stays_under_the_limit_and_keeps_its_colours(render):
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((800, 600))
    photo = np.clip(np.asarray(smooth) + random.normal(0, 4, (600, 800, 3)), 0, 255).astype(np.uint8)
    data = packed(photo)
    render.shrink(data)
    assert len(base64.b64decode(data["image/jpeg"])) <= render.FIGURE_LIMIT
    found = unpacked(data["image/jpeg"])
    assert np.abs(found - photo).mean() < 6
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 10_000  # a palette has 256


def test_thin_coloured_frames_do_not_fade(render):
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 255, (60, 60, 3), dtype=np.uint8)).resize((400, 400))
    photo = np.clip(np.asarray(smooth) + random.normal(0, 8, (400, 400, 3)), 0, 255).astype(np.uint8)
    photo[::20, :, :] = photo[1::20, :, :] = (200, 80, 0)
    data = packed(photo)
    render.shrink(data)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))).layer[0][1:3] == (
        1,
        1,
    )  # all of its colours
    frame = unpacked(data["image/jpeg"])[::20].mean((0, 1))
    assert np.abs(frame - (200, 80, 0)).max() < 20


def test_a_drawing_stays_as_it_is(render):
    drawing = np.zeros((60, 80, 3), np.uint8)
    drawing[20:40] = (200, 30, 60)
    data = packed(drawing)
    render.shrink(data)
    assert (unpacked(data["image/png"]) == drawing).all()


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_a_picture_of_a_page_has_its_alternative_text(render, kind):
    data = {kind: "abc", "text/plain": "<Figure>"}
    render.embed(data)
    assert data == {
        "text/plain": "<Figure>",
        "text/html": f'<img alt="&lt;Figure&gt;" src="data:{kind};base64,abc">',
    }


def test_pictures_of_one_cell_have_captions_of_their_own(render, tmp_path):
    drawing = packed(np.zeros((6, 8, 3), np.uint8))
    shown = [nbformat.v4.new_output("display_data", dict(drawing)) for _ in range(2)]
    tags = {"tags": ["figure-1-first", "figure-1-second"]}
    text = nbformat.v4.new_markdown_cell("## 1. Two\n\nBoth.\n\n- Shown is one.\n- Shown is the other.")
    notebook = nbformat.v4.new_notebook(
        cells=[text, nbformat.v4.new_code_cell("draw()", outputs=shown, metadata=tags)]
    )
    render.lighten(notebook, "pan")
    words = [out.data["text/plain"] for out in notebook.cells[1].outputs]
    assert words == ["PAN, two. Both. Shown is one.", "PAN, two. Both. Shown is the other."]
    assert [out.metadata["image/png"]["alt"] for out in notebook.cells[1].outputs] == words
    render.export_figures(notebook, tmp_path, kinds=render.FORMATS["png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-first.png", "1-second.png"]


def test_every_table_scrolls_in_a_box_of_its_own(render):
    page = render.boxed('<p>a</p><table class="x">\n<tr></tr></table><table></table>&lt;table&gt;')
    assert page.count('<div class="table"><table') == page.count("</table></div>") == 2
    assert page.endswith("&lt;table&gt;")


def test_a_page_has_no_widgets_and_no_bars(render, tmp_path, monkeypatch):
    shown = nbformat.v4.new_output("display_data", {"text/plain": "first view"})
    widget = nbformat.v4.new_output("display_data", {render.WIDGET: {}, "text/plain": "interactive(...)"})
    bar = nbformat.v4.new_output("stream", name="stderr", text="\rtraining:  40%|####      | 4/10")
    cell = nbformat.v4.new_code_cell("explore()", outputs=[shown, widget, bar])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    monkeypatch.setattr(render, "EXECUTED", tmp_path)
    render.render("x", Namespace(output=tmp_path, publish=False, figures=None))
    page = (tmp_path / "x.html").read_text()
    assert "first view" in page
    assert "interactive(" not in page
    assert "training" not in page
    assert not re.search(r"(src|href)=.https?:", page)  # no server is asked for anything


def test_a_misspelt_parameter_or_notebook_is_refused(render):
    with pytest.raises(SystemExit, match="bpbreid has no parameter 'PRESETS'; it has"):
        render.check_parameters("bpbreid", [["PRESETS", "cpu"]])
    with pytest.raises(SystemExit, match="no notebook 'bprebid'; there are aap, bpbreid"):
        render.check_parameters("bprebid", [])


@pytest.mark.parametrize("seeds", ["three", "0", "2.5", ""])
def test_a_number_of_worlds_that_is_none_is_refused_before_anything_runs(render, seeds):
    with pytest.raises(SystemExit, match=f"error: SEEDS '{seeds}' is no whole number from 1 on"):
        render.check_parameters("bpbreid", [["SEEDS", seeds]])
    render.check_parameters("bpbreid", [["SEEDS", "None"]])


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(render, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(render, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(render, "start", None)
    monkeypatch.setattr(
        "sys.argv",
        ["render.py", "bpbreid", "--preset", "smoke", "--output", str(tmp_path / "file" / "pages")],
    )
    with pytest.raises(OSError, match="file/pages"):
        render.main()


def test_what_will_be_trained_is_foretold(render, scratch):
    rows = len(PAPERS["pan"].trainings(preset_name="smoke"))

    def told(preset="smoke", fresh=False, **parameters):
        options = Namespace(preset=preset, parameters=[*parameters.items()], fresh=fresh, jobs=2)
        return render.foretold(["pan", "compare"], options)

    assert told().startswith("1 to train, about ")  # the shown model
    assert told(COMPUTE="missing").startswith(f"{rows} to train, ")
    assert told(COMPUTE="missing", SEEDS="3").startswith(f"{3 * rows} to train, ")
    at_gpu = len(PAPERS["pan"].trainings(preset_name="gpu"))
    assert told(preset="gpu").startswith(f"{at_gpu} to train, ")  # there, auto computes what is missing
    runner.train(PAPERS["pan"].run("pan", preset_name="smoke"), progress=False)
    assert re.fullmatch(r"nothing to train; about \d+ (seconds|minutes)", told())
    assert told(fresh=True).startswith("1 to train, ")
    assert told(COMPUTE="missing").startswith(f"{rows - 1} to train, ")
    assert told(COMPUTE="all").startswith(f"{rows} to train, ")


def test_a_killed_kernel_is_one_line_that_says_how_to_go_on(render, tmp_path):
    log = tmp_path / "x.log"
    log.write_text("Executing Cell 3---\nTraceback (most recent call last):\nValueError: a\nb\nc\n")
    assert render._reason(log) == ["ValueError: a", "b", "c"]
    log.write_text("Traceback\n  raise DeadKernelError\nnbclient.exceptions.DeadKernelError: Kernel died\n")
    (line,) = render._reason(log)
    assert "its kernel was killed" in line
    assert "the same command resumes" in line


def test_a_log_tells_which_cell_runs_and_how_far_its_training_is(render, tmp_path):
    log = tmp_path / "x.log"
    job = render.Job("x", None, log, 9)
    log.write_text("Input Notebook: x\n")
    assert job.stands() == (0, "")
    log.write_text(
        "Executing Cell 3---\nEnding Cell 3---\nExecuting Cell 12---\n\rgd:  20%|##   | 90/450 [0:10<0:41]"
    )
    assert job.stands() == (12, "gd:  20% 90/450 [0:10<0:41]")
