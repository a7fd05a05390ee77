"""Every printed own row has a runnable twin."""

from dataclasses import fields, replace

import pytest

from companion import start
from companion.paper import Row
from companion.papers import PAPERS, paper
from companion.presets import COUNTERPARTS, PRESETS
from companion.published import printed
from companion.study import Study

pytestmark = pytest.mark.parametrize("slug", PAPERS)


def test_every_own_row_has_a_cell(slug):
    frame = printed(slug)
    counted = frame["table"].isin(PAPERS[slug].computed) | (frame["dataset"] == "")  # as sizes are
    own = frame[(frame["kind"] == "own") & ~counted]
    assert len(own) > 0
    keys = {cell.key for cell in PAPERS[slug].cells}
    assert {f"{r.table}/{r.row}@{r.dataset}" for r in own.itertuples()} <= keys


def test_cells_name_runs_scorings_and_counterparts_that_exist(slug):
    for cell in PAPERS[slug].cells:
        run = PAPERS[slug].run(cell.run, preset_name="cpu")
        assert run.scoring(cell.scoring)
        assert cell.scoring in run.scorings, f"{cell.key} is not kept in the record of {cell.run}"
        assert cell.dataset in COUNTERPARTS


def test_rows_have_one_slug_and_one_title_each(slug):
    rows = PAPERS[slug].rows
    assert len({row.slug for row in rows}) == len({row.title for row in rows}) == len(rows)
    for row in rows:
        assert row.titles.keys() <= set(PAPERS[slug].run(row.slug, preset_name="cpu").model_config.scorings())


def test_what_heads_the_page_are_rows(slug):
    for row, _ in PAPERS[slug].headline:
        assert isinstance(PAPERS[slug].row(row), Row)
    assert PAPERS[slug].main == PAPERS[slug].rows[0].slug


@pytest.mark.parametrize("preset", PRESETS)
def test_equal_trainings_are_one_run(slug, preset):
    runs = [PAPERS[slug].run(row.slug, preset_name=preset) for row in PAPERS[slug].rows]
    assert len({run.hash for run in runs}) == len({run.stem for run in runs})  # or one would be trained twice
    assert len(PAPERS[slug].trainings(preset_name=preset)) == len({run.hash for run in runs})


def test_small_presets_change_nothing_but_widths_backbone_and_start(slug):
    for row in PAPERS[slug].rows:
        literal, run = PAPERS[slug].printed_config(row), PAPERS[slug].run(row.slug, preset_name="cpu")
        widths = PAPERS[slug].widths[run.model]
        for option in fields(literal):
            here, printed = (getattr(config, option.name) for config in (run.model_config, literal))
            if option.name in widths:
                assert here == printed // 4
            elif option.name not in ("backbone", "width", "weights"):
                assert here == printed, (row.slug, option.name)


def test_every_network_starts_from_the_pretraining_of_its_backbone(slug):
    for row in PAPERS[slug].rows:
        config = PAPERS[slug].run(row.slug, preset_name="cpu").model_config
        made = start.pretraining(config.backbone, "cpu")
        assert config.weights == (None if row.scratch else start.name(made))
        assert PAPERS[slug].run(row.slug, preset_name="smoke").model_config.weights is None


def test_the_queue_goes_world_by_world(slug):
    queue, count = PAPERS[slug].queue(preset_name="cpu", seeds=3), len(PAPERS[slug].rows)
    assert [run.seed for run in queue] == [1] * count + [2] * count + [3] * count
    assert all(run.data.seed == run.seed for run in queue)
    assert len({run.hash for run in queue}) == 3 * count


def test_rows_are_trained_again_as_they_are(slug):
    again = [row for row in PAPERS[slug].rows if row.again]
    assert len(again) == 2
    for row in again:
        run = PAPERS[slug].run(row.slug, preset_name="cpu")
        first = PAPERS[slug].run(row.slug.removesuffix("-again"), preset_name="cpu")
        assert run.draw != first.draw
        assert replace(run, network=0).hash == first.hash


def test_rows_without_records_are_not_counted_as_recorded(slug, scratch):
    found = Study(PAPERS[slug], "cpu").coverage()
    assert found["rows"] > 0
    assert found["recorded"] == 0
    assert found["missing"] == [row.slug for row in PAPERS[slug].rows]


def test_printed_values_are_fractions(slug):
    values = printed(slug).query("metric in ('rank1', 'mAP')")["value"].dropna()
    assert len(values) > 0
    assert values.between(0, 1).all()


def test_unknown_names_are_one_clear_error(slug):
    with pytest.raises(ValueError, match=f"{slug} has no run 'k9'; expected one of {PAPERS[slug].main}"):
        PAPERS[slug].run("k9", preset_name="cpu")
    with pytest.raises(ValueError, match="PRESET 'laptop' is unknown; expected one of auto"):
        PAPERS[slug].run(PAPERS[slug].main, preset_name="laptop")
    with pytest.raises(ValueError, match=f"{slug} table99 has no row"):
        PAPERS[slug].cell("table99", "k8", "occluded-duke")
    with pytest.raises(ValueError, match="paper 'resnet' is unknown; expected one of bpbreid"):
        paper("resnet")
