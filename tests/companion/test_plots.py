from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from companion import plots
from companion.papers import pan, qpm
from companion.plots import charts, comparing
from companion.plots.sheets import PARTS
from companion.words import Status
from reidlib import palette

RANDOM = np.random.default_rng(0)
NAMES = ("head", "left arm", "torso")


def pictures(*shape):
    return RANDOM.integers(0, 255, (*shape, 16, 8, 3), dtype=np.uint8)


def values(*shape):
    return RANDOM.random(shape)


def groups(rank1=0.5):
    kinds = ("car", "board", "sign")
    rows = [(model, group, rank1, 0.02, 90, 5) for model in ("BoT", "PCB") for group in kinds]
    rows[2] = (
        "BoT",
        "sign",
        rank1,
        np.nan,
        1,
        1,
    )  # one world has no interval; PCB has no value behind a sign
    return pd.DataFrame(rows[:-1], columns=["model", "group", "rank1", "half", "queries", "worlds"])


def marks(ours, *, states=("", "", "not comparable")):
    """Three rows as ``views`` hands them to a chart."""
    printed = np.array([0.1, 0.2, np.nan])
    half = np.full(3, 0.02)
    return {"printed": printed, "ours": np.array(ours), "half": half, "states": states, "worlds": [5, 3, 5]}


def words(figure):
    """All that a figure says."""
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    return [*texts, *(text.get_text() for legend in figure.legends for text in legend.get_texts())]


def dotted():
    rows = [("A", "BoT", "noise", 0.3, 0.1, 3, ""), ("A", "BoT", "start", 0.5, np.nan, 1, "")]
    rows.append(("B", "PCB", "start", np.nan, np.nan, 0, "not recorded"))
    return pd.DataFrame(rows, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])


def curves():
    rows = [("mAP", x, name, 0.4 - x, 0.1, 4) for x in (0.0, 0.5) for name in ("learned", "fixed")]
    return pd.DataFrame(rows, columns=["panel", "x", "series", "mean", "half", "worlds"])


def trainings():
    rows = [("BoT", 0.95, 0.01, 5, ""), ("PCB", 0.8, 0.06, 5, "not comparable")]
    return pd.DataFrame(rows, columns=["row", "rank1", "std", "worlds", "state"])


def claimed():
    names = ["paper", "claim", "statement", "status", "printed", "estimate", "low", "high"]
    rows = [
        ("A", "C1", "helps", "holds", 0.02, 0.01, 0.005, 0.015),
        ("B", "C1", "hurts", "opposite", 0.1, -0.1, -0.2, 0),
    ]
    return pd.DataFrame(rows, columns=names)


def ends(axes) -> np.ndarray:
    """Both ends of every horizontal interval that is drawn."""
    found = [bar for bar in axes.containers if isinstance(bar, ErrorbarContainer)]
    return np.concatenate([s[:, 0] for bar in found for s in bar[2][0].get_segments() if len(s)])


def draw_all() -> dict[str, Figure]:
    gaps = np.array([0.1, np.nan, -0.1])
    verdicts = [SimpleNamespace(claim=str(n), status=name) for n, name in enumerate(charts.VERDICTS)]
    curve = {"mean": values(5), "half": np.full(5, 0.1)}
    correct, distances = values(2, 5) > 0.5, np.full((2, 5), np.inf)
    return {
        "image_grid": plots.image_grid(pictures(2, 3), column_titles=["x", "x", "y"]),
        "label_overlay": plots.label_overlay(pictures(2), RANDOM.integers(0, 4, (2, 8, 4)), names=NAMES),
        "attention": plots.attention(
            pictures(2), values(2, 3, 4, 2), names=NAMES, visibility=values(2, 3), truth=values(2, 3)
        ),
        "attention alone": plots.attention(pictures(2), values(2, 3, 4, 2), names=NAMES),
        "attention with ranges": plots.attention(
            pictures(2), np.full((2, 3, 4, 2), np.nan), names=NAMES, ranges=np.full((2, 3, 2), np.nan)
        ),
        "signed_masks": pan.signed_masks(
            pictures(2), values(2, 3, 4, 2) - 0.5, fusion=values(2, 4, 2), names=NAMES
        ),
        "signed_matrices": plots.signed_matrices(
            {"A": values(3, 4) - 0.5, "B": gaps[:, None]},
            rows=NAMES,
            columns={"A": list("abcd"), "B": ["e"]},
            units={"A": "of the mean", "B": "correlation"},
        ),
        "quality_bars": qpm.quality_bars(
            pictures(2), values(2, 4), truth=values(2, 4), titles=["car", "person"]
        ),
        "ranking": plots.ranking(
            pictures(), pictures(2, 5), correct=correct, distances=distances, titles=["all", "head"]
        ),
        "failures": plots.failures(pictures(2), pictures(2, 5), correct=correct),
        "paper_versus_ours": plots.paper_versus_ours(NAMES, **marks([0.1, 0.2, 0.3])),
        "dumbbells": plots.dumbbells(NAMES, **marks([np.nan] * 3, states=["not recorded"] * 3)),
        "grid_heat": plots.grid_heat(
            NAMES, values(3, 8) > 0.5, columns=list("abcdefgh"), panels={"A": marks(gaps), "B": marks(gaps)}
        ),
        "printed_and_ours": plots.printed_and_ours(
            [1, 2, 3], **marks([0.1, 0.2, 0.3]), lines=values(2, 3), xlabel="K", ylabel="mAP, %"
        ),
        "printed_and_ours without a printed curve": plots.printed_and_ours(
            [1, 2, 4],
            **marks([0.1, 0.2, 0.3]) | {"printed": np.array([np.nan, 0.5, np.nan])},
            lines=values(2, 3),
            xlabel="gamma",
            ylabel="mAP, %",
            log=True,
        ),
        "dots": plots.dots(dotted(), xlabel="mAP, %"),
        "lines": plots.lines(curves(), xlabel="errors", ylabels={"mAP": "%", "gap": "points"}, columns=2),
        "spread": plots.spread(trainings()),
        "verdict_strip": plots.verdict_strip({"A": verdicts, "B": verdicts[:2]}),
        "loss_history": plots.loss_history({"id": [2.0, 1.0], "triplet": [0.1, 0.0], "lr": [1e-3, 1e-4]}),
        "shares": plots.shares(
            pd.DataFrame(
                [
                    ("behind", "identity", "AaP", 0.5, 0.2, 0.3, 0.1, 0.1, 5),
                    ("behind", "area", "–", 0.4, 0.2, 0.4, np.nan, np.nan, 1),
                ],
                columns=[
                    "place",
                    "map",
                    "model",
                    "person",
                    "front",
                    "background",
                    "person_half",
                    "front_half",
                    "worlds",
                ],
            )  # fmt: skip
        ),
        "loss_panels": plots.loss_panels(
            {"A": {"x": curve, "y": curve}, "B": {"y": curve}, "C": {}},
            less={"A": {"y": curve}, "B": {}, "C": {}},
            ylabels=("loss", "less that of x"),
            worlds=[5],
        ),
        "pairs": plots.pairs(
            [
                plots.PairPanel("row less column", np.array([[np.nan, 1], [-1, np.nan]]), "{:.1f}"),
                plots.PairPanel("alike", np.array([[np.nan, 0.5], [0.5, np.nan]]), "{:.2f}"),
            ],
            names=NAMES[:2],
            title="every two",
            note="bold: apart",
        ),
        "forest": charts.forest(claimed().assign(worlds=[3, 5]), title="What held", note="Dots: ours."),
        "bars": plots.bars(groups(), xlabel="occluder", ylabel="rank-1, %"),
        "part_bars": plots.part_bars(
            values(1, 3), mean=values(3), half=np.full(3, np.nan), names=NAMES, ylabel="IoU"
        ),
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
    figure = plots.paper_versus_ours(NAMES, **marks([0.3, 0.1, 0.2]))
    printed, failed, ours = (collection.get_offsets() for collection in figure.axes[0].collections[-3:])
    np.testing.assert_allclose(np.ma.filled(printed[:, 0], np.nan), [0.1, 0.2, np.nan])
    np.testing.assert_allclose(failed, [[0.2, 2]])  # a row that does not count is set apart
    np.testing.assert_allclose(ours, [[0.3, 0], [0.1, 1]])


def test_a_row_without_a_number_says_why():
    figure = plots.dumbbells(
        NAMES, **marks([0.3, np.nan, 0.2], states=["", "not recorded", "not comparable"])
    )
    assert {"not recorded", "not comparable"} <= {*words(figure)}
    assert sum(bool(patch.get_hatch()) for patch in figure.axes[0].patches) == 2
    swept = plots.printed_and_ours(
        [1, 2, 3], **marks([0.3, 0.1, 0.2]), lines=values(2, 3), xlabel="K", ylabel="%"
    )
    assert "not comparable" in words(swept)
    assert np.isnan(swept.axes[0].lines[-1].get_ydata()[2])  # and no curve leads through it


@pytest.mark.parametrize(
    ("worlds", "said"),
    [
        ([5, 5], "mean and 95 % interval over 5 worlds"),
        ([0, 3, 5], "mean and 95 % interval over 3 to 5 worlds"),
        ([1, 0], "one world: no interval"),
        ([0], "nothing recorded yet"),
    ],
)
def test_an_interval_says_of_how_many_worlds_it_is(worlds, said):
    assert charts.interval_over(worlds) == said


def test_the_foot_says_on_which_data_and_what_a_thin_line_is():
    data = "synthetic data, preset cpu"
    swept = plots.printed_and_ours(
        [1, 2, 3], **marks([0.3, 0.1, 0.2]), lines=values(2, 3), xlabel="K", ylabel="%", data=data
    )
    assert f"ours, mean and 95 % interval over 3 to 5 worlds; {data}" in words(swept)
    assert "one world each" in words(swept)
    gains = plots.paper_versus_ours(NAMES, **marks([0.3, 0.1, 0.2]), data=data)
    assert any(text.endswith(data) for text in words(gains))


def test_a_share_has_no_interval_beyond_one_or_below_zero_and_a_difference_may():
    rows = [("A", "x", "", 0.95, 0.1, 3, ""), ("A", "y", "", 0.02, 0.1, 3, "")]
    frame = pd.DataFrame(rows, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])
    drawn = ends(plots.dots(frame, xlabel="%").axes[0])
    assert drawn.min() == 0
    assert drawn.max() == 1
    drawn = ends(plots.dots(frame, xlabel="points", zero=True).axes[0])
    assert drawn.min() == pytest.approx(-0.08)
    low = {"half": np.full(3, 0.1)}
    assert ends(plots.dumbbells(NAMES, **marks([0.05, 0.5, 0.2]) | low).axes[0]).min() == 0
    assert ends(plots.paper_versus_ours(NAMES, **marks([0.05, 0.5, 0.2]) | low).axes[0]).min() < 0


def test_what_does_not_count_is_told_beside_its_mark():
    rows = [("A", "x", "start", 0.9, 0.1, 3, ""), ("A", "x", "noise", 0.1, np.nan, 1, "not comparable")]
    rows.append(("A", "y", "start", 0.9, 0.1, 3, ""))
    rows.append(("A", "y", "noise", np.nan, np.nan, 0, "not recorded"))
    frame = pd.DataFrame(rows, columns=["panel", "row", "series", "mean", "half", "worlds", "state"])
    beside, alone = plots.dots(frame, xlabel="%").axes[0].texts
    assert beside.get_text() == "noise: not comparable"
    assert beside.xy[0] == 0.1
    assert beside.get_ha() == "left"
    assert alone.get_position()[0] < 0.5  # the row's other mark is on the right


def test_the_name_of_the_widest_spread_stays_inside():
    figure = plots.spread(trainings())
    (name,) = figure.axes[0].texts
    assert name.get_text() == "PCB"
    assert name.get_ha() == "left"
    assert name.get_va() == "bottom"  # above all other dots


def test_a_group_and_a_row_without_values_say_so():
    truth = np.where(values(9, 1) > 0.5, 0.9, 0.6)
    figure = plots.visibility_boxes(values(9, 1), truth, names=["head"], note="AUC")
    assert words(figure).count("none") == 3
    assert "AUC" in figure.get_supxlabel()
    blank = {"A": np.array([[0.1, -0.1], [np.nan, np.nan]])}
    drawn = plots.signed_matrices(
        blank, rows=NAMES[:2], columns={"A": ["a", "b"]}, units={"A": "of the mean"}
    )
    assert "not recorded" in words(drawn)
    assert drawn.axes[1].get_ylabel() == "of the mean"


def test_losses_that_lie_on_one_another_are_told_apart_and_their_axis_is_readable():
    figure = plots.loss_history({"a": [2.0, 0.2], "b": [2.0, 0.2], "lr": [1.0, 0.1]})
    axes = figure.axes[0]
    first, second = axes.lines
    assert first.get_linestyle() != second.get_linestyle()
    figure.draw_without_rendering()
    labels = {text.get_text() for text in axes.get_yticklabels()}
    assert {"0.2", "0.5", "1", "2"} <= labels
    assert not any(text.get_text() for text in axes.get_yticklabels(minor=True))


def test_a_sweep_has_room_for_a_place_without_a_number():
    found = marks([np.nan, 0.1, 0.2], states=["not comparable", "", ""])
    for log in (False, True):
        axes = plots.printed_and_ours(
            [1, 2, 4],
            **found | {"printed": np.full(3, np.nan)},
            lines=values(2, 3),
            xlabel="K",
            ylabel="%",
            log=log,
        ).axes[0]
        assert axes.get_xlim()[0] < 1


def test_a_panel_of_pairs_has_its_own_scale():
    signed = comparing._shades(np.array([[np.nan, 2.0], [-2.0, 0.0]]))
    assert signed[0, 0, 3] == 0
    np.testing.assert_allclose(signed[1, 1, :3], signed[1, 1, :3].mean(), atol=0.02)  # zero is neutral
    one_sided = comparing._shades(np.array([[np.nan, 0.5], [0.6, np.nan]]))
    assert np.abs(one_sided[0, 1] - one_sided[1, 0]).max() > 0.3  # not all one shade


def test_the_forest_has_numbers_on_top_and_worlds_where_they_are_known():
    plain = charts.forest(claimed(), title="t", note="n")
    assert "worlds" not in words(plain)
    told = charts.forest(claimed().assign(worlds=[3, 5]), title="t", note="n")
    assert {"worlds", "3", "5"} <= {*words(told)}
    assert told.axes[0].xaxis.get_tick_params()["labeltop"]


def test_words_stand_between_marks_on_both_sides():
    given = marks([0.0, 0.9, 0.05], states=("", "", "not comparable")) | {
        "printed": np.array([0.1, 0.2, 0.85])
    }
    (told,) = plots.paper_versus_ours(NAMES, **given).axes[0].texts
    assert told.get_position()[0] == pytest.approx(0.45)


def test_the_paper_s_own_model_is_blue_wherever_it_stands():
    for own in ("BoT", "PCB"):
        figure = plots.bars(groups(), xlabel="occluder", ylabel="rank-1, %", own=own)
        drawn = zip(figure.legends[0].get_texts(), figure.legends[0].get_patches())
        colours = {text.get_text(): to_hex(patch.get_facecolor()) for text, patch in drawn}
        assert [name for name, colour in colours.items() if colour == palette.OURS] == [own]


def test_terms_of_a_loss_are_named_in_words():
    history = {"id_concat": [2.0, 0.2], "diversity": [2.0, 0.2], "lr": [1.0, 0.1]}
    assert words(plots.loss_history(history))[-2:] == ["identity, concatenated", "diversity"]


def test_bars_are_as_high_as_their_rows_and_end_at_a_hundred_per_cent():
    axes = plots.bars(groups(rank1=0.99), xlabel="occluder", ylabel="rank-1, %").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.99] * 5
    errors = [found for found in axes.containers if isinstance(found, ErrorbarContainer)]
    ends = np.concatenate(
        [segment[:, 1] for error in errors for segment in error[2][0].get_segments() if len(segment)]
    )
    assert np.nanmax(ends) == 1
    assert np.nanmin(ends) == pytest.approx(0.97)


def test_a_stretched_map_prints_its_range_and_a_missing_one_says_so():
    maps, ranges = values(1, 2, 4, 2), np.array([[[0.47, 0.53], [np.nan, np.nan]]])
    maps[0, 1] = np.nan
    said = words(plots.attention(pictures(1), maps, names=NAMES[:2], ranges=ranges))
    assert "≥ 0.47\n≤ 0.53" in said
    assert "not\nrecorded" in said


def test_a_wrong_match_is_framed_orange_and_crossed():
    correct = np.array([[True, False]])
    figure = plots.failures(pictures(1), pictures(1, 2), correct=correct)
    edges = [to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches]
    assert edges == [palette.QUERY, palette.CORRECT, palette.WRONG]
    assert [text for text in words(figure) if text in "✓✗"] == ["✓", "✗"]


def test_colours_never_run_out():
    for count in (1, len(charts.SERIES), 14):
        assert len({tuple(np.atleast_1d(c)) for c in charts._colours(count)}) == count
    assert len(set(PARTS)) == 11


@pytest.mark.parametrize("status", Status)
def test_every_verdict_has_a_colour(status):
    figure = plots.verdict_strip({"A": [SimpleNamespace(claim="1", status=status)]})
    assert f"{charts.MARKS[status]} {status} 1" in [text.get_text() for text in figure.legends[0].get_texts()]
