"""One's own images, or someone else's features: to a table of metrics and a ranked gallery."""

import logging
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
from reidlib.backbones import SMALL, build_backbone, load_weights, recognised
from reidlib.checkpoints import read
from reidlib.data.index import ImageRecord, Split
from reidlib.data.loading import load_stack, resized
from reidlib.distances import apart, euclidean
from reidlib.evaluation import RANKS, evaluate, ranking, single_shot
from reidlib.extraction import extract
from reidlib.heads import global_pool
from reidlib.models.released import is_released, open_released
from reidlib.models.stored import described, load_model
from reidlib.pages import Shown
from reidlib.reranking import k_reciprocal
from reidlib.types import Distance, Features, Metrics, ReIDOutput

logger = logging.getLogger(__name__)

SIZE, SMALL_SIZE = (256, 128), (64, 32)
"""Height and width of the images that a backbone sees, and a small one of the project's; a model knows its own."""

DRAWN = "trained on drawn people: on photographs its scores and its ranking are a guess"
WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "weights"
"""Where a checkout keeps the project's pretrained networks."""

LONGEST = 18  # characters of a title


@dataclass(frozen=True)
class Searched:
    """A data set with the features of its queries and gallery, and their distance.

    Args:
        said: what the features are of, in words.
        ranked: distances ``[Q, G]`` after re-ranking, which take the place of ``distance``.
    """

    split: Split
    query: Features
    gallery: Features
    distance: Distance
    said: str
    ranked: Float[Tensor, "Q G"] | None = None

    def metrics(self, *, trapezoid: bool = False) -> Metrics:
        """Under the set's own protocol; ``trapezoid`` as in ``evaluate``."""
        rows = torch.arange(len(self.query))
        distance, protocol = self._among(rows), self.split.protocol
        block = 256 if self.ranked is None else len(rows)
        return evaluate(
            self.query, self.gallery, distance=distance, protocol=protocol, block=block, trapezoid=trapezoid
        )

    def single_shot(self) -> pd.DataFrame:
        """CMC in percent with one gallery image of each person, under the set's own protocol."""
        sides, protocol = (self.query, self.gallery), self.split.protocol
        cmc = np.nanmean(single_shot(*sides, distance=self.distance, protocol=protocol), axis=0)
        return pd.DataFrame([{f"rank{k}": f"{100 * value:.1f}" for k, value in zip(RANKS, cmc)}])

    def reranked(self) -> "Searched":
        """The same by k-reciprocal re-ranking; all distances are held at a time."""
        ranked = k_reciprocal(self.query, self.gallery, distance=self.distance)
        return replace(self, said=f"{self.said}; re-ranked (k-reciprocal)", ranked=ranked)

    def _among(self, rows: Tensor) -> Distance:
        """The distance of some queries, all of them at a time where they are re-ranked."""
        ranked = self.ranked
        return self.distance if ranked is None else lambda *_: ranked[rows]

    def _nearest(self, queries: int, top: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Some queries, spread over all, and the places of their nearest gallery images: which, and correct or not."""
        rows = torch.linspace(0, len(self.query) - 1, min(queries, len(self.query))).round().long().unique()
        index, correct = ranking(
            self.query[rows],
            self.gallery,
            distance=self._among(rows),
            protocol=self.split.protocol,
            top=top,
            block=len(rows),
        )
        return rows.tolist(), index, correct

    def shown(self, *, queries: int = 100, top: int = 10) -> list[list[Shown]]:
        """What ``pages.ranked_page`` shows of some queries, spread over all: each before its nearest images."""
        lines = []
        for row, found, correct in zip(*self._nearest(queries, top)):
            asked = self.split.query[row]
            lines.append([Shown(_name(asked), resized(asked), "query")])
            for place, right in zip(found[found >= 0], correct):
                image = self.split.gallery[place]
                lines[-1].append(Shown(_name(image), resized(image), "correct" if right else "wrong"))
        return lines

    def figure(self, *, queries: int = 6, top: int = 10) -> Figure:
        """Some queries, spread over all, and their nearest gallery images; correct ones have a blue frame and ✓."""
        rows, index, correct = self._nearest(queries, top)
        top = int((index >= 0).sum(1).min())
        asked = [self.split.query[i] for i in rows]
        found = np.stack([[resized(self.split.gallery[i]) for i in row[:top]] for row in index])
        return sheets.failures(
            np.stack([resized(record) for record in asked]),
            found,
            correct=correct[:, :top],
            titles=[_title(record) for record in asked],
            title="Queries and their nearest gallery images",
        )


def _title(record: ImageRecord) -> str:
    name = _name(record)
    return name if len(name) <= LONGEST else f"…{name[-LONGEST + 1 :]}"


def _name(record: ImageRecord) -> str:
    return f"{record.path.parent.name}/{record.path.stem}"


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


@dataclass(frozen=True, eq=False)
class Network:
    """What embeds images: a network in evaluation mode, the size of its images, how two are compared, and its name."""

    model: nn.Module
    size: tuple[int, int]
    distance: Distance
    said: str


def network(weights: Path | None, *, backbone: str = "resnet50", synthetic: bool = True) -> Network:
    """The network that a file holds, which the file says itself.

    Args:
        weights: one that ``models.stored.save_model`` wrote, BPBreID's release, or a backbone of any toolkit in
            ``backbones.PREFIXES``; None is ImageNet's.
        backbone: name in ``backbones``, of ImageNet's weights.
        synthetic: False refuses weights that were trained on drawn people.

    Raises:
        ValueError: weights are absent, of a network that is not known here or needs part masks, or refused.
    """
    if weights is None:
        return Network(
            Pooled(build_backbone(backbone, weights="imagenet")),
            SIZE,
            cosine,
            f"{backbone}, ImageNet weights",
        )
    if said := described(weights):
        if said.synthetic:
            _refuse_drawn(weights, said.trained_on, synthetic)
        if said.config.given_masks:
            raise ValueError(
                f"weights {weights.name}: this {said.model} attends to part masks that it is given beside every image, "
                "and ranking gives none; train one with learned attention, or rank features by --features"
            )
        drawn = f"; {DRAWN}" if said.synthetic else ""
        name = f"{said.model} of {weights.name}, trained on {said.trained_on}{drawn}"
        model = load_model(weights)
        return Network(
            model, said.size, partial(model.distance, scoring=said.config.scorings()["default"]), name
        )
    checkpoint = read(weights)
    if is_released(checkpoint):
        found = open_released(weights)
        distance = partial(found.model.distance, scoring=found.model.config.scorings()["default"])
        return Network(found.model, found.size, distance, f"BPBreID of {found.source}")
    name, prefix = recognised(checkpoint)
    if name in SMALL:
        _refuse_drawn(weights, "people of the generator", synthetic)
    model = build_backbone(name)
    load_weights(model, weights)
    notes = [DRAWN] if name in SMALL else []
    if not name.startswith(("hrnet", "osnet", *SMALL)):
        notes.append("the last stage at stride 1, which files do not tell")
    if prefix:
        notes.append("what stands behind its backbone is left out")
    said = "; ".join([f"{name} of {weights.name}, its last map averaged", *notes])
    return Network(Pooled(model), SMALL_SIZE if name in SMALL else SIZE, cosine, said)


def ours() -> Path:
    """The project's own pretrained small network, which a checkout holds.

    Raises:
        ValueError: there is none, as the library was installed without a checkout.
    """
    found = sorted(WEIGHTS.glob("cpu-small-????????.safetensors"))
    if not found:
        raise ValueError(f"weights: {WEIGHTS} holds no network of the project; name a file")
    return found[0]


def _refuse_drawn(weights: Path, trained_on: str, synthetic: bool) -> None:
    if not synthetic:
        raise ValueError(
            f"weights {weights.name} were trained on synthetic pictures ({trained_on}): on photographs their scores "
            "mean nothing; pass --synthetic to use them all the same"
        )


def embedded(split: Split, found: Network, *, cache: Path, device: str | None = None) -> Searched:
    """Search a data set with a network.

    Args:
        found: of ``network``.
        cache: folder for the decoded images; may be deleted at any time.
    """
    images = [[replace(image, mask=None) for image in part] for part in (split.query, split.gallery)]
    stacks = [load_stack(part, size=found.size, cache=cache) for part in images]
    return Searched(
        split, *(extract(found.model, stack, device=device) for stack in stacks), found.distance, found.said
    )


def given(split: Split, query: Path, gallery: Path, *, unit: bool = True) -> Searched:
    """Search a data set with features that someone else computed.

    Args:
        query: npy of ``[Q, D]``, in the order of ``split.query``: sorted file names, or the lines of a csv.
        gallery: npy of ``[G, D]``, likewise; rows of junk, if there, are left out.
        unit: compare the cosine; False compares the Euclidean distance of the features as they are.

    Raises:
        ValueError: a file is no matrix of numbers, or has not one row per image.
    """
    vectors = _matrix(query, split.query), _matrix(gallery, split.gallery, junk=split.junk)
    widths = [found.shape[1] for found in vectors]
    if widths[0] != widths[1]:
        raise ValueError(
            f"{query} has {widths[0]} columns and {gallery} {widths[1]}; expected the same number"
        )
    pairs = zip(apart(*vectors, unit=unit), (split.query, split.gallery))
    said = f"features of {query} and {gallery}"
    return Searched(split, *(_features(found, records) for found, records in pairs), _straight, said)


def _straight(query: Features, gallery: Features) -> Float[Tensor, "Q G"]:
    return euclidean(query.embeddings["global"], gallery.embeddings["global"])


def _matrix(
    path: Path, records: tuple[ImageRecord, ...], *, junk: tuple[int, ...] = ()
) -> Float[Tensor, "N D"]:
    array = _array(path)
    if junk and array.ndim == 2 and len(array) == len(records) + len(junk):
        logger.info("features %s have a row for each file: %d of junk are left out", path, len(junk))
        array = np.delete(array, junk, axis=0)
    if array.ndim != 2 or len(array) != len(records) or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"features {path} are {array.dtype} of shape {array.shape}; expected one row of numbers for each of "
            f"the {len(records)} images, from {records[0].short} to {records[-1].short}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array).all(1))[0, 0])
        raise ValueError(f"features {path}: row {row} ({records[row].short}) is not finite")
    if len(empty := np.flatnonzero(~array.any(1))):
        logger.warning(
            "warning: features %s: %d rows are all zeros, the first is row %d (%s)",
            path, len(empty), empty[0], records[empty[0]].short,
        )  # fmt: skip
    return torch.from_numpy(array)


def _array(path: Path) -> np.ndarray:
    """What an npy file holds.

    Raises:
        ValueError: saying how features are written, whatever the file is.
    """
    remedy = (
        "write the matrix with numpy.save, as numbers (of a tensor, .float().numpy()), in a file of its own"
    )
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise ValueError(f"features {path} cannot be read ({error.strerror}); {remedy}") from None
    if magic.startswith(b"PK"):
        raise ValueError(
            f"features {path} are an archive (npz, or PyTorch's) of several arrays; expected an npy file with one: "
            f"{remedy}"
        )
    if magic != b"\x93NUMPY":
        raise ValueError(f"features {path} cannot be read: this is no npy file; {remedy}")
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        why = "it holds objects" if "pickle" in str(error) else error
        raise ValueError(f"features {path} cannot be read ({why}); {remedy}") from None


def _features(vectors: Float[Tensor, "N D"], records: tuple[ImageRecord, ...]) -> Features:
    pid, camid = (torch.tensor([getattr(record, key) for record in records]) for key in ("pid", "camid"))
    return Features({"global": vectors}, {}, pid, camid)
