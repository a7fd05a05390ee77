"""Every printed own row has a runnable twin."""

import pytest

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


def test_what_is_repeated_and_what_heads_the_page_are_rows(slug):
    for row in (*PAPERS[slug].repeated, *(row for row, _ in PAPERS[slug].headline)):
        assert isinstance(PAPERS[slug].row(row), Row)
    assert PAPERS[slug].main == PAPERS[slug].repeated[0] == PAPERS[slug].rows[0].slug


@pytest.mark.parametrize("preset", PRESETS)
def test_equal_trainings_are_one_run(slug, preset):
    runs = [PAPERS[slug].run(row.slug, preset_name=preset) for row in PAPERS[slug].rows]
    assert len({run.hash for run in runs}) == len({run.stem for run in runs})  # or one would be trained twice
    assert len(PAPERS[slug].trainings(preset_name=preset)) == len({run.hash for run in runs})


def test_small_presets_leave_only_what_they_must_of_the_printed_model(slug):
    """Widths are divided, the backbone is stood in for; a literal field keeps its printed value."""
    for row in PAPERS[slug].rows:
        literal, run = PAPERS[slug].printed_config(row), PAPERS[slug].run(row.slug, preset_name="cpu")
        for name in PAPERS[slug].widths[run.model]:
            assert getattr(run.model_config, name) == getattr(literal, name) // 4
        for name in row.literal:
            assert getattr(run.model_config, name) == getattr(literal, name)


def test_the_queue_computes_every_run_once_before_any_twice(slug):
    queue, count = PAPERS[slug].queue(preset_name="cpu", seeds=3), len(PAPERS[slug].rows)
    assert len(queue) == 3 * count
    assert all(run.seed == 0 for run in queue[:count])
    first = {PAPERS[slug].run(name, preset_name="cpu").name for name in PAPERS[slug].repeated}
    assert {run.name for run in queue[count : count + len(first)]} == first


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
