from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from companion import plots
from companion.claims import Status
from companion.papers import pan, qpm
from companion.plots import charts
from companion.plots.sheets import PARTS
from reidlib import sheets

RANDOM = np.random.default_rng(0)
NAMES = ("head", "left arm", "torso")


def pictures(*shape):
    return RANDOM.integers(0, 255, (*shape, 16, 8, 3), dtype=np.uint8)


def values(*shape):
    return RANDOM.random(shape)


def groups():
    rows = [(model, group, 0.5, 0.02, 90) for model in ("BoT", "PCB") for group in ("car", "board", "sign")]
    rows[2] = ("BoT", "sign", 0.5, np.nan, 1)  # one query has no spread; PCB has no value behind a sign
    return pd.DataFrame(rows[:-1], columns=["model", "group", "rank1", "error", "queries"])


def draw_all() -> dict[str, Figure]:
    gaps = np.array([0.1, np.nan, -0.1])
    verdicts = [SimpleNamespace(claim=str(n), status=name) for n, name in enumerate(charts.VERDICTS)]
    grid = {"printed": {"A": values(3), "B": gaps}, "ours": {"A": gaps, "B": np.full(3, np.nan)}}
    pairs = {"low": gaps - 0.1, "high": gaps + 0.1}
    correct, distances = values(2, 5) > 0.5, np.full((2, 5), np.inf)
    return {
        "image_grid": plots.image_grid(pictures(2, 3), column_titles=["x", "x", "y"]),
        "label_overlay": plots.label_overlay(pictures(2), RANDOM.integers(0, 4, (2, 8, 4)), names=NAMES),
        "attention": plots.attention(
            pictures(2), values(2, 3, 4, 2), names=NAMES, visibility=values(2, 3), truth=values(2, 3)
        ),
        "attention alone": plots.attention(pictures(2), values(2, 3, 4, 2), names=NAMES),
        "signed_masks": pan.signed_masks(
            pictures(2), values(2, 3, 4, 2) - 0.5, fusion=values(2, 4, 2), names=NAMES
        ),
        "signed_matrices": plots.signed_matrices(
            {"A": values(3, 4) - 0.5, "B": gaps[:, None]}, rows=NAMES, columns={"A": list("abcd"), "B": ["e"]}
        ),
        "quality_bars": qpm.quality_bars(
            pictures(2), values(2, 4), truth=values(2, 4), titles=["car", "person"]
        ),
        "ranking": plots.ranking(
            pictures(), pictures(2, 5), correct=correct, distances=distances, titles=["all", "head"]
        ),
        "failures": plots.failures(pictures(2), pictures(2, 5), correct=correct),
        "paper_versus_ours": plots.paper_versus_ours(NAMES, gaps, ours=gaps / 2, **pairs),
        "dumbbells": plots.dumbbells(NAMES, gaps, ours=np.full(3, np.nan)),
        "grid_heat": plots.grid_heat(NAMES, values(3, 8) > 0.5, columns=list("abcdefgh"), **grid),
        "printed_and_ours": plots.printed_and_ours(
            [1, 2, 3], gaps, ours=values(2, 3), xlabel="K", ylabel="mAP, %"
        ),
        "printed_and_ours without a printed curve": plots.printed_and_ours(
            [1, 2, 4],
            np.array([np.nan, 0.5, np.nan]),
            ours=values(2, 3),
            xlabel="gamma",
            ylabel="mAP, %",
            log=True,
        ),
        "verdict_strip": plots.verdict_strip({"A": verdicts, "B": verdicts[:2]}),
        "loss_history": plots.loss_history({"id": [2.0, 1.0], "triplet": [0.1, 0.0], "lr": [1e-3, 1e-4]}),
        "shares": plots.shares(
            pd.DataFrame(
                [("behind", "identity", "AaP", 0.5, 0.2, 0.3), ("behind", "area", "–", 0.4, 0.2, 0.4)],
                columns=["place", "map", "model", "person", "front", "background"],
            )
        ),
        "loss_panels": plots.loss_panels(
            {"A": {"x": values(5), "y": values(5)}, "B": {"y": values(9)}, "C": {}}, ylabel="loss"
        ),
        "bars": plots.bars(groups(), xlabel="occluder", ylabel="rank-1, %"),
        "part_bars": plots.part_bars(values(1, 3), names=NAMES, ylabel="IoU"),
        "visibility_boxes": plots.visibility_boxes(values(9, 3), values(9, 3), names=NAMES),
    }


def test_every_figure_draws_and_is_left_to_the_caller():
    before = dict(pyplot.rcParams)
    for name, figure in draw_all().items():
        assert isinstance(figure, Figure), name
        figure.draw_without_rendering()
        assert any(ax.has_data() or ax.patches for ax in figure.axes), name
    assert pyplot.get_fignums() == []  # or a notebook would show each twice
    assert dict(pyplot.rcParams) == before


def test_a_dumbbell_stands_where_its_numbers_are():
    figure = plots.paper_versus_ours(NAMES, np.array([0.1, 0.2, np.nan]), ours=np.array([0.3, 0.1, 0.2]))
    printed, ours = (collection.get_offsets() for collection in figure.axes[0].collections[-2:])
    np.testing.assert_allclose(np.ma.filled(printed[:, 0], np.nan), [0.1, 0.2, np.nan])
    np.testing.assert_allclose(ours, [[0.3, 0], [0.1, 1], [0.2, 2]])


def test_bars_are_as_high_as_their_rows():
    figure = plots.bars(groups(), xlabel="occluder", ylabel="rank-1, %")
    assert (
        sorted(bar.get_height() for bar in figure.axes[0].patches if np.isfinite(bar.get_height()))
        == [0.5] * 5
    )


def test_a_wrong_match_is_framed_red():
    correct = np.array([[True, False]])
    figure = plots.failures(pictures(1), pictures(1, 2), correct=correct)
    edges = [to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches]
    assert edges == [sheets.QUERY, sheets.CORRECT, sheets.WRONG]


def test_colours_never_run_out():
    for count in (1, len(charts.SERIES), 14):
        assert len({tuple(np.atleast_1d(c)) for c in charts._colours(count)}) == count
    assert len(set(PARTS)) == 11


@pytest.mark.parametrize("status", Status)
def test_every_verdict_has_a_colour(status):
    figure = plots.verdict_strip({"A": [SimpleNamespace(claim="1", status=status)]})
    assert f"{status} 1" in [text.get_text() for text in figure.legends[0].get_texts()]
