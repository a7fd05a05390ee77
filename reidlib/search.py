"""One's own images, or someone else's features: to a table of metrics and a ranked gallery."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize

from reidlib import sheets
from reidlib.backbones import build_backbone
from reidlib.data.index import ImageRecord, Split
from reidlib.data.loading import load_stack, resized
from reidlib.distances import euclidean
from reidlib.evaluation import evaluate, ranking
from reidlib.heads import global_pool
from reidlib.models.stored import described, load_model
from reidlib.training import extract
from reidlib.types import Distance, Features, Metrics, ReIDOutput

SIZE = (256, 128)
"""Height and width of the images that a backbone sees; a trained model knows its own."""

LONGEST = 18  # characters of a title


@dataclass(frozen=True)
class Searched:
    """A data set with the features of its queries and gallery, and their distance."""

    split: Split
    query: Features
    gallery: Features
    distance: Distance

    def metrics(self, *, trapezoid: bool = False) -> Metrics:
        """Under the set's own protocol; ``trapezoid`` as in ``evaluate``."""
        sides = self.query, self.gallery
        protocol = self.split.protocol
        return evaluate(*sides, distance=self.distance, protocol=protocol, trapezoid=trapezoid)

    def figure(self, *, queries: int = 6, top: int = 10) -> Figure:
        """Some queries, spread over all, and their nearest gallery images; green frames are correct."""
        rows = torch.linspace(0, len(self.query) - 1, min(queries, len(self.query))).round().long().unique()
        index, correct = ranking(
            self.query[rows], self.gallery, distance=self.distance, protocol=self.split.protocol, top=top
        )
        top = int((index >= 0).sum(1).min())
        asked = [self.split.query[i] for i in rows.tolist()]
        found = np.stack([[resized(self.split.gallery[i]) for i in row[:top]] for row in index])
        return sheets.failures(
            np.stack([resized(record) for record in asked]),
            found,
            correct=correct[:, :top],
            titles=[_title(record) for record in asked],
            title="Queries and their nearest gallery images",
        )


def _title(record: ImageRecord) -> str:
    name = f"{record.path.parent.name}/{record.path.stem}"
    return name if len(name) <= LONGEST else f"…{name[-LONGEST + 1 :]}"


def table(metrics: Metrics) -> pd.DataFrame:
    """Metrics in percent, and how many queries had a match."""
    counts = {"queries", "skipped"}
    summary = metrics.summary().items()
    return pd.DataFrame([{k: str(v) if k in counts else f"{100 * v:.1f}" for k, v in summary}])


class Pooled(nn.Module):
    """A backbone and nothing else: the mean of its last map, as ``global``."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self, images: Float[Tensor, "N 3 H W"], masks: Float[Tensor, "N M _ _"] | None = None
    ) -> ReIDOutput:
        return ReIDOutput({"global": global_pool(self.backbone(images))})


def cosine(query: Features, gallery: Features) -> Float[Tensor, "Q G"]:
    """Euclidean distance of unit vectors, which ranks as the cosine does."""
    return euclidean(normalize(query.embeddings["global"]), normalize(gallery.embeddings["global"]))


def embedded(
    split: Split,
    *,
    cache: Path,
    backbone: str = "resnet50",
    weights: Path | None = None,
    synthetic: bool = False,
    device: str | None = None,
) -> Searched:
    """Search a data set with a pretrained backbone or with one of our trained models.

    Args:
        cache: folder for the decoded images; may be deleted at any time.
        backbone: name in ``backbones``; a trained model has its own.
        weights: file of a backbone, or one that ``models.stored.save_model`` wrote; None is ImageNet's.
        synthetic: use weights that were trained on synthetic pictures although these are photographs.

    Raises:
        ValueError: weights are absent or do not fit, or were trained on synthetic data and not asked for so.
    """
    said = None if weights is None else described(weights)
    if said is None:
        source = "imagenet" if weights is None else str(weights)
        model, size, distance = Pooled(build_backbone(backbone, weights=source)), SIZE, cosine
    else:
        if said.synthetic and not split.name.startswith("synth") and not synthetic:
            raise ValueError(
                f"weights {weights.name} were trained on synthetic pictures ({said.trained_on}): on photographs "
                "their scores mean nothing; pass --synthetic to use them all the same"
            )
        model, size = load_model(weights), said.size
        distance = partial(model.distance, scoring=said.config.scorings()["default"])
    images = [[replace(image, mask=None) for image in part] for part in (split.query, split.gallery)]
    stacks = [load_stack(part, size=size, cache=cache) for part in images]
    return Searched(split, *(extract(model, stack, device=device) for stack in stacks), distance)


def given(split: Split, query: Path, gallery: Path, *, unit: bool = True) -> Searched:
    """Search a data set with features that someone else computed.

    Args:
        query: npy of ``[Q, D]``, in the order of ``split.query``: sorted file names, or the lines of a csv.
        gallery: npy of ``[G, D]``, likewise.
        unit: compare the cosine; False compares the Euclidean distance of the features as they are.

    Raises:
        ValueError: a file is no matrix of numbers, or has not one row per image.
    """
    features = (_matrix(query, split.query), _matrix(gallery, split.gallery))
    widths = [found.embeddings["global"].shape[1] for found in features]
    if widths[0] != widths[1]:
        raise ValueError(
            f"{query} has {widths[0]} columns and {gallery} {widths[1]}; expected the same number"
        )
    return Searched(split, *features, cosine if unit else _straight)


def _straight(query: Features, gallery: Features) -> Float[Tensor, "Q G"]:
    return euclidean(query.embeddings["global"], gallery.embeddings["global"])


def _matrix(path: Path, records: tuple[ImageRecord, ...]) -> Features:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise ValueError(f"features {path} cannot be read ({error}); expected an npy file") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"features {path} hold several arrays; expected an npy file with one")
    if array.ndim != 2 or len(array) != len(records) or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"features {path} are {array.dtype} of shape {array.shape}; expected one row of numbers for each of "
            f"the {len(records)} images, from {records[0].path.name} to {records[-1].path.name}"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array).all(1))[0, 0])
        raise ValueError(f"features {path}: row {row} ({records[row].path.name}) is not finite")
    pid, camid = (torch.tensor([getattr(record, key) for record in records]) for key in ("pid", "camid"))
    return Features({"global": torch.from_numpy(array)}, {}, pid, camid)
