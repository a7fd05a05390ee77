"""The renderer: formulas without a network, small pictures, misspelt parameters refused."""

import base64
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def test_pictures_stay_under_the_limit(render):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(noise).save(packed, "PNG")
    data = {"image/png": base64.b64encode(packed.getvalue()).decode()}
    render.shrink(data)
    assert len(base64.b64decode(data["image/png"])) <= render.FIGURE_LIMIT


def test_a_misspelt_parameter_or_notebook_is_refused(render):
    with pytest.raises(SystemExit, match="bpbreid has no parameter 'PRESETS'; it has"):
        render.check_parameters("bpbreid", [["PRESETS", "cpu"]])
    with pytest.raises(SystemExit, match="no notebook 'bprebid'; there are aap, bpbreid"):
        render.check_parameters("bprebid", [])
