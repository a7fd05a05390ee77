"""The authors' released weights of BPBreID: scored on a data set beside the rows that the paper prints."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from companion import runner
from companion.formats import percent
from companion.inputs import Inputs
from companion.paper import Cell
from companion.papers import paper
from companion.presets import DataConfig
from companion.published import printed
from companion.run import LIVE, RunConfig
from companion.study import METRICS
from companion.trained import Origin, Trained
from reidlib.data.index import Split
from reidlib.data.masks import PART_LABELS, PartGroups
from reidlib.models.bpbreid import BPBreID
from reidlib.models.released import Released, open_released
from reidlib.recipe import TrainConfig
from reidlib.training import History

PAPER = "bpbreid"


@dataclass(frozen=True, eq=False)
class ReleasedInputs(Inputs):
    """The data that released weights are scored on.

    Args:
        released: what the checkpoint holds.
    """

    released: Released

    @cached_property
    def groups(self) -> PartGroups:
        """The parts by the release's names, of any number; such networks attend by themselves and read no labels."""
        names, labels = self.released.parts, len(PART_LABELS) + 1
        return PartGroups("released", names, torch.zeros(labels, dtype=torch.uint8), ((),) * len(names))


def open_checkpoint(path: Path, split: Split) -> Trained:
    """Released weights, ready to be scored on a data set.

    Cached features are told apart by the content of the file.

    Args:
        path: as the authors' repository links it.
        split: the data set; nothing is trained on.

    Raises:
        ValueError: the file holds a network that is not built here.
    """
    released = open_released(path)
    config = released.model.config
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    run = RunConfig(
        paper=LIVE,
        name=re.sub(r"[^\w.-]+", "_", f"{path.stem}-{digest}"),
        model=PAPER,
        model_config=config,
        data=DataConfig("real", *released.size, train_set=split.name, test_sets=(split.name,)),
        train=TrainConfig.released(),
        preset="real",
        scorings=tuple(name for name in config.scorings() if name != "truth"),
    )
    inputs = ReleasedInputs(run, {split.name: split}, released)
    return Trained(inputs, released.model, Origin(History(), [], "released", {}))


def shown(inputs: Inputs, *, checkpoint: str | None, fresh: bool) -> Trained:
    """The model that a notebook shows: trained by its run, or a checkpoint's, on the same test set.

    Raises:
        ValueError: a checkpoint without real data, which alone it was trained for.
    """
    if checkpoint is None:
        return runner.trained(inputs, fresh=fresh)
    if not inputs.data.real:
        raise ValueError("CHECKPOINT is about photographs: use it with PRESET = 'real'")
    trained = open_checkpoint(Path(checkpoint), inputs.splits[inputs.data.holistic])
    print(trained.inputs.released.source)
    return trained


def beside_printed(trained: Trained) -> pd.DataFrame:
    """What released weights score, beside every printed row of the same network on the same data set, in percent.

    Returns:
        Columns table, row, scoring, metric, printed, here.
    """
    dataset, lines = trained.run.data.holistic, []
    values = {
        (v.table, v.row, v.dataset, v.metric): v.value for v in reversed([*printed(PAPER).itertuples()])
    }
    for cell in cells_of(trained):
        measured = trained.score(cell.scoring, dataset).summary()
        for metric in METRICS:
            known = values.get((cell.table, cell.row, cell.dataset, metric))
            if known is not None:
                lines.append(
                    (cell.table, cell.row, cell.scoring, metric, percent(known), percent(measured[metric]))
                )
    return pd.DataFrame(lines, columns=["table", "row", "scoring", "metric", "printed", "here"])


def cells_of(trained: Trained) -> list[Cell]:
    """The printed places of the network (backbone, K, D and objective) on the data set it is scored on."""
    study, dataset = paper(PAPER), trained.run.data.holistic
    if dataset not in study.recipe.datasets:
        return []
    own = {(v.table, v.row, v.dataset) for v in printed(PAPER).query("kind == 'own'").itertuples()}
    wanted, found = _network(trained.run), []
    for cell in study.cells:
        run = study.run(cell.run, preset_name="real", dataset=dataset)
        if (
            cell.dataset == dataset
            and (cell.table, cell.row, cell.dataset) in own
            and _network(run) == wanted
        ):
            found.append(cell)
    return found


def _network(run: RunConfig) -> tuple | None:
    """What tells the network of a row from another's; how its training weighed the attention does not."""
    config = run.model_config
    if not isinstance(config, BPBreID.Config):
        return None
    backbone = config.backbone.removesuffix("-unpadded")
    return (
        backbone,
        config.parts,
        config.dim,
        config.attention,
        config.objective,
        config.triplet,
        config.visible_triplet,
    )
