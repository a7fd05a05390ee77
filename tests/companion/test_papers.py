"""Every printed own row has a runnable twin."""

import pytest

from companion.papers import GRIDS, grid
from companion.presets import PRESETS, TWINS
from companion.published import printed
from companion.study import Study


@pytest.mark.parametrize("paper", GRIDS)
def test_every_own_row_has_a_cell(paper):
    assert grid(paper).uncovered() == []


@pytest.mark.parametrize("paper", GRIDS)
def test_cells_name_runs_scorings_and_twins_that_exist(paper):
    table = grid(paper)
    for cell in table.cells:
        run = table.run(cell.run, preset_name="cpu")
        assert cell.scoring in run.model_config.scorings()
        assert cell.scoring in run.scorings, f"{cell.key} is not kept in the record of {cell.run}"
        assert cell.dataset in TWINS


@pytest.mark.parametrize("paper", GRIDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_runs_are_the_same_training(paper, preset):
    runs = [grid(paper).run(name, preset_name=preset) for name in grid(paper).runs]
    if preset == "real":  # where rows that undo a deviation are the main ones again
        runs = [run for run in runs if not any(word in run.name for word in ("literal", "small-start"))]
    assert len({run.hash for run in runs}) == len({run.stem for run in runs})  # or one would be trained twice


@pytest.mark.parametrize("paper", GRIDS)
def test_the_queue_computes_every_run_once_before_any_twice(paper):
    table = grid(paper)
    queue = table.queue(preset_name="cpu", seeds=3)
    count = len(table.runs)
    assert len(queue) == 3 * count
    assert all(run.seed == 0 for run in queue[:count])
    first = {table.run(name, preset_name="cpu").name for name in table.main}
    assert {run.name for run in queue[count : count + len(first)]} == first


@pytest.mark.parametrize("paper", GRIDS)
def test_rows_without_records_are_not_counted_as_recorded(paper, monkeypatch):
    monkeypatch.setattr(Study, "records", lambda self, name, **_: [])
    found = Study(paper, "cpu").coverage()
    assert found["rows"] > 0
    assert found["recorded"] == 0
    assert found["missing"] == list(grid(paper).runs)


def test_unknown_names_are_one_clear_error():
    with pytest.raises(ValueError, match="bpbreid has no run 'k9'; expected one of k8"):
        grid("bpbreid").run("k9", preset_name="cpu")
    with pytest.raises(ValueError, match="PRESET 'laptop' is unknown; expected one of auto"):
        grid("bpbreid").run("k8", preset_name="laptop")
    with pytest.raises(ValueError, match="table9 has no row"):
        grid("bpbreid").cell("table9", "k8", "occluded-duke")
    with pytest.raises(ValueError, match="paper 'resnet' is unknown"):
        grid("resnet")


def test_printed_values_are_fractions():
    values = printed("bpbreid").query("metric in ('rank1', 'mAP')")["value"]
    assert values.between(0, 1).all()
