"""The ``real`` preset: each paper's own recipe on each of its data sets, field by field.

A run of a paper's grid says which model; here it gets the paper's images, schedule and start instead of the
small presets', and loses the deviations that training from scratch asked for. Where a paper is silent, the
value comes from the code that it builds on. Known to differ: erased rectangles are filled after normalisation
everywhere; DPTI's images are resized bilinearly, not bicubically; QPM starts from ImageNet (or from the file
of an identity classifier, its ``weights``), where the paper starts from such a classifier; AaP starts from
torchvision's first ImageNet weights throughout, its released code from the second for all rows but the
baseline; the baselines BoT and PCB of BPBreID's tables have BoT's recipe; BPBreID's released configurations of
some sets add a triplet loss on the foreground and group five parts in another way, its paper and we do not.

Source: section 5 (training) of the five papers; for BPBreID also its released configurations.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from companion.presets import DataConfig, RunConfig
from reidlib.data.transforms import Augment
from reidlib.models import MODELS
from reidlib.training import TrainConfig

TRANSFER = (
    "occluded-reid",
    "p-dukemtmc-transfer",
    "partial-reid",
    "partial-reid-occluded",
    "partial-ilids",
    "partial-ilids-occluded",
)
"""Sets without training images: models are trained on Market-1501."""

BENCHMARKS = {
    "bpbreid": ("occluded-duke", "market1501", "dukemtmc", "occluded-reid", "p-dukemtmc"),
    "qpm": (
        "occluded-duke",
        "p-dukemtmc",
        "p-dukemtmc-transfer",
        "partial-reid-occluded",
        "partial-ilids-occluded",
    ),
    "pan": ("occluded-duke", "market1501", "dukemtmc"),
    "dpti": ("market1501", "occluded-reid", "partial-reid", "partial-ilids"),
    "aap": ("market1501", "dukemtmc", "cuhk03"),
}
"""The data sets of a paper's tables, the one of its ablations first."""

_OCCLUDED_QUERIES = {"partial-reid": "partial-reid-occluded", "partial-ilids": "partial-ilids-occluded"}


def measured_on(paper: str, dataset: str) -> str:
    """The data set behind a printed column: QPM asks with the occluded originals of the two partial sets."""
    return _OCCLUDED_QUERIES.get(dataset, dataset) if paper == "qpm" else dataset


HOLISTIC = ("market1501", "dukemtmc", "cuhk03")
SIZE, TALL = (256, 128), (384, 128)
_ERASING = Augment(erase_area=(0.02, 0.4))  # with a mirror and 10 pixels of padding


_steps = partial(TrainConfig, iterations=None, schedule="steps")


BOT = _steps(epochs=120, decays=(39, 69), warm_epochs=9, warm_start=0.109, lr=3.5e-4, augment=_ERASING)
"""Its scheduler steps before an epoch: 3.815e-5 in the first, 3.5e-4 from the tenth on."""

TRAINING = {
    "bpbreid": TrainConfig.released(),
    "qpm": _steps(epochs=70, decays=(20, 40, 60), lr=0.01, optimiser="sgd", weight_decay=0.0, identities=8, images=8,
        augment=replace(_ERASING, pad=0.0),
    ),
    "pan": _steps(epochs=120, decays=(60, 90), warm_epochs=20, warm_start=0.1, lr=3.5e-4, augment=_ERASING),
    "dpti": _steps(epochs=180, decays=(40, 90, 150), warm_epochs=10, warm_start=0.1, lr=3.5e-4,
        augment=Augment(erase_area=(0.02, 0.33), augmix=0.5),
    ),
    "aap": _steps(epochs=450, decays=(150, 300), lr=2e-4, identities=8, epoch="identities",
        augment=Augment(pad=0.0, erase_area=(0.02, 0.4), zoom="enlarge"),
    ),
}  # fmt: skip

LITERAL = {
    "pcb": {"dropout": 0.5},
    "qpm": {"normalise": False, "detach_quality": False},
    "pan": {"pooling": "max"},
    "dpti": {"spread": 0.02, "decay": True, "attention_dropout": 0.2},
    "aap": {"head": "plain"},
}
"""What the small presets changed in a model so that it trains from scratch, put back."""


def literal(run: RunConfig, dataset: str | None = None) -> RunConfig:
    """A run of a grid at full scale, as its paper trained it.

    Args:
        run: built from the ``real`` preset by the paper's grid.
        dataset: whose printed column it is for; None is the one of the paper's ablations.

    Raises:
        ValueError: the paper prints no such data set.
    """
    known = BENCHMARKS[run.paper]
    dataset = known[0] if dataset is None else dataset
    if dataset not in known:
        raise ValueError(f"{run.paper} has no data set {dataset!r}; expected one of {', '.join(known)}")
    config = _model(run, dataset)
    height, width = _size(run, config)
    source = "market1501" if dataset in TRANSFER else dataset
    return replace(
        run,
        name=f"{run.name}-{dataset}",
        model_config=config,
        data=DataConfig("real", height, width, train_set=source, test_sets=(dataset,)),
        train=_training(run, dataset),
        scorings=tuple(name for name in run.scorings if name != "truth" and name in config.scorings()),
    )


def _model(run: RunConfig, dataset: str) -> Any:
    changes: dict[str, Any] = {"weights": run.model_config.weights or "imagenet"} | LITERAL.get(run.model, {})
    if run.model == "bpbreid":
        given = run.model_config.attention != "learned"
        heavy = dataset == "occluded-reid" and not given  # released configuration of that set
        changes["attention_weight"] = 0.7 if heavy else MODELS["bpbreid"].Config.attention_weight
        if dataset in HOLISTIC and run.name in ("k8", "ri", "hr"):  # the runs of Table 1
            changes["parts"] = 5
    return replace(run.model_config, **changes)


def _size(run: RunConfig, config: Any) -> tuple[int, int]:
    """QPM and BPBreID's two larger backbones read higher images."""
    larger = run.model == "bpbreid" and config.backbone in ("resnet50-ibn", "hrnet-w32")
    return TALL if run.paper == "qpm" or larger else SIZE


def _training(run: RunConfig, dataset: str) -> TrainConfig:
    if run.model in ("bot", "pcb"):
        return BOT
    train = TRAINING[run.paper]
    if run.paper == "bpbreid" and run.model_config.attention == "stripes":
        return replace(train, augment=replace(train.augment, flip=0.5))
    if run.paper == "bpbreid" and dataset == "occluded-reid":
        return replace(train, augment=replace(train.augment, flip=0.5, jitter=0.5))
    if run.paper == "aap" and run.name == "baseline":  # the published AlignedReID++ has its own schedule
        return replace(train, epochs=300, decays=(150,))
    if run.paper == "dpti" and dataset in TRANSFER:
        return replace(train, augment=replace(train.augment, zoom="resized"))
    return train
