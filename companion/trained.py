"""A trained model in hand: its features, distances, scores and maps. Nothing here trains."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from companion import places, start, truth
from companion.inputs import Inputs, TestSet, figure_queries
from companion.run import RunConfig
from companion.start import is_start
from reidlib.data.loading import ImageStack, content
from reidlib.devices import device_of
from reidlib.evaluation import evaluate
from reidlib.extraction import extract, extract_maps
from reidlib.files import replacing
from reidlib.models import MODELS
from reidlib.reranking import k_reciprocal
from reidlib.training import History
from reidlib.types import Distance, Features, Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """How a model came about, kept beside its weights."""

    history: History
    behaviour: list[float]  # what the code did then
    commit: str
    data: dict[str, str]  # fingerprints


@dataclass(frozen=True, eq=False)
class Trained:
    """A model that is trained, what it was trained for and on, and how.

    Args:
        model: in evaluation mode.
    """

    inputs: Inputs
    model: nn.Module
    origin: Origin

    @property
    def run(self) -> RunConfig:
        return self.inputs.run

    @property
    def history(self) -> History:
        return self.origin.history

    def test_set(self, name: str) -> TestSet:
        """Queries and gallery as the model reads them."""
        return self.inputs.test_set(name)

    def features(self, name: str) -> tuple[Features, Features]:
        """Query and gallery embeddings of a test set, extracted once and kept on disk."""
        if name not in self._features:
            target = self._features_path(name)
            found = _read_features(target)
            if found is None:
                _write_features(self._extracted(name), target)
                found = _read_features(target)
            self._features[name] = found
        return self._features[name]

    def score(self, scoring: str, name: str) -> Metrics:
        """Retrieval metrics under a test-time variant on a test set.

        Raises:
            ValueError: the model has no such scoring.
        """
        return self.rescore(self.run.scoring(scoring), name)

    def rescore(self, scoring: Any, name: str) -> Metrics:
        """The same under a variant that no table names.

        Args:
            scoring: a ``Scoring`` of the model.
        """
        query, gallery = self._moved(name)
        protocol = self.inputs.splits[name].protocol
        if not scoring.rerank:
            return evaluate(query, gallery, distance=self._pairwise(scoring), protocol=protocol)
        known = k_reciprocal(query, gallery, distance=self._pairwise(scoring))
        return evaluate(query, gallery, distance=lambda *_: known, protocol=protocol, block=len(query))

    def distance(self, scoring: str) -> Distance:
        """Distance of any two images under a named test-time variant, before any re-ranking.

        Raises:
            ValueError: the model has no such scoring.
        """
        return self._pairwise(self.run.scoring(scoring))

    def distances(self, scoring: str, name: str, *, rows: Tensor) -> Float[Tensor, "q G"]:
        """Distances of some queries of a test set to its gallery, re-ranked if the variant is."""
        query, gallery = self._moved(name)
        chosen = self.run.scoring(scoring)
        if chosen.rerank:  # which compares sets: all queries and the gallery at a time
            return k_reciprocal(query, gallery, distance=self._pairwise(chosen))[rows]
        return self._pairwise(chosen)(query[rows], gallery)

    def maps(self, images: ImageStack, name: str) -> Float[Tensor, "N M h w"]:
        """One of the model's maps (part maps with background first) for all images of a stack."""
        return extract_maps(self.model, self.inputs.read(images), name=name, groups=self.inputs.groups)

    @cached_property
    def _features(self) -> dict[str, tuple[Features, Features]]:
        return {}

    def _moved(self, name: str) -> tuple[Features, Features]:
        """Embeddings of a test set where distances are computed: moved once, not for every block of queries."""
        query, gallery = self.features(name)
        device = device_of(None)
        return query.to(device), gallery.to(device)

    def _pairwise(self, scoring: Any) -> Callable[[Features, Features], Tensor]:
        distance, device = partial(MODELS[self.run.model].distance, scoring=scoring), device_of(None)
        return lambda query, gallery: distance(query.to(device), gallery.to(device)).cpu()

    def _features_path(self, name: str) -> Path:
        """Of real data, which may be other pictures tomorrow, the name tells index and content too."""
        told = ""
        if self.run.data.real:
            split, given = self.inputs.splits[name], self.run.model_config.given_masks
            images = [r if given else replace(r, mask=None) for r in (*split.query, *split.gallery)]
            told = f"-{split.fingerprint}-{content(images)[:16]}"
        return places.CACHE / "features" / self.run.training / f"{name}{told}.safetensors"

    def _extracted(self, name: str) -> tuple[Features, Features]:
        data, groups = self.test_set(name), self.inputs.groups
        query, gallery = (
            extract(self.model, self.inputs.read(images), groups=groups)
            for images in (data.query, data.gallery)
        )
        if groups is None or self.run.data.real:
            return query, gallery
        return (
            truth.with_truth(query, data.query, data.split, k=len(groups)),
            truth.with_truth(gallery, data.gallery, data.split, k=len(groups)),
        )


def _write_features(pair: tuple[Features, Features], target: Path) -> None:
    tensors = {
        f"{side}/{key}": tensor
        for side, features in zip(("query", "gallery"), pair)
        for key, tensor in _flatten(features).items()
    }
    with replacing(target) as handle:
        handle.write(safetensors.torch.save(tensors))


def _read_features(target: Path) -> tuple[Features, Features] | None:
    """None where they are absent or damaged."""
    if not target.exists():
        return None
    try:
        tensors = load_file(target)
        return _unflatten(tensors, "query"), _unflatten(tensors, "gallery")
    except (SafetensorError, KeyError) as error:  # KeyError: of a version that named them otherwise
        logger.warning("features %s are damaged (%s); extracting again", target, error)
        return None


def _flatten(features: Features) -> dict[str, Tensor]:
    named = {f"embeddings/{k}": v for k, v in features.embeddings.items()}
    named |= {f"visibility/{k}": v for k, v in features.visibility.items()}
    named |= {"pid": features.pid, "camid": features.camid}
    return {name: tensor.contiguous().cpu() for name, tensor in named.items()}


def _unflatten(tensors: dict[str, Tensor], side: str) -> Features:
    def named(kind: str) -> dict[str, Tensor]:
        prefix = f"{side}/{kind}/"
        return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

    pid, camid = (tensors[f"{side}/{key}"] for key in ("pid", "camid"))
    return Features(named("embeddings"), named("visibility"), pid, camid)


def figure_maps(trained: Trained) -> dict[str, Float[Tensor, "n M h w"]]:
    """Test set -> the model's maps on the fixed figure queries; nothing for a model without maps to show."""
    kind, found = trained.run.model_config.figure_map, {}
    for name in trained.run.data.shown if kind else ():
        query = trained.test_set(name).query
        found[name] = trained.maps(query[figure_queries(len(query))], kind)
    return found


def initial(run: RunConfig, *, identities: int) -> nn.Module:
    """The run's model as it starts: layers freshly drawn, the backbone from its pretraining if it has one.

    The global random state is left as it was.

    Raises:
        ValueError: the pretrained network is not there.
    """
    config = run.model_config
    if is_start(config.weights):
        file = start.path(config.weights)
        if not file.exists():
            raise ValueError(
                f"weights: no pretrained network {config.weights} in {file.parent}; make it: "
                f".venv/bin/python -m companion pretrain --preset {run.preset} --only {config.backbone}"
            )
        config = replace(config, weights=str(file))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.draw)
        model = MODELS[run.model](config, identities=identities)
    model.config = run.model_config  # which names the start, no place on this machine
    return model
