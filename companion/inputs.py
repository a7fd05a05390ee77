"""What a run reads, indexed once: splits, part groups, fingerprints; images decoded when first asked for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from companion import places
from companion.presets import DataConfig
from companion.run import RunConfig
from reidlib.data.datasets import load
from reidlib.data.index import ImageRecord, Split
from reidlib.data.loading import ImageStack, Loader, load_stack
from reidlib.data.masks import PartGroups, groups
from synthreid import benchmark
from synthreid.parser import EXACT, misread

FIGURE_QUERIES = 8


class NoTruth(ValueError):
    """Something was asked of photographs that only the generator of synthetic pictures knows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"true parts and occluders are known for synthetic sets only, not for {name}")


@dataclass(frozen=True)
class TestSet:
    """A test set ready to be scored: its index and its images."""

    split: Split
    query: ImageStack
    gallery: ImageStack


def figure_queries(count: int) -> Int[Tensor, " n"]:
    """The fixed queries that figures show, spread over the identities."""
    return torch.linspace(0, count - 1, FIGURE_QUERIES).round().long()


def index(data: DataConfig, *, workers: int = 1) -> dict[str, Split]:
    """The training set and every test set; the synthetic benchmark is generated if absent.

    Raises:
        FileNotFoundError: a real data set is not there; it is never fetched.
    """
    names = dict.fromkeys((data.train_set, *data.test_sets))
    if data.real:
        return {name: load(name, places.DATA) for name in names}
    root = benchmark.generate(
        places.SYNTHETIC, profile=data.profile, seed=data.seed, workers=workers, difficulty=data.difficulty
    )
    return {name: load(name, root) for name in names}


@dataclass(frozen=True, eq=False)
class Inputs:
    """The data of a run.

    Args:
        run: whose model says which part labels it reads.
        splits: data set -> index.
    """

    run: RunConfig
    splits: dict[str, Split]

    @classmethod
    def of(cls, run: RunConfig) -> "Inputs":
        """Index the data of a run; nothing is decoded yet.

        Raises:
            FileNotFoundError: a real data set is not there.
        """
        return cls(run, index(run.data))

    @property
    def data(self) -> DataConfig:
        return self.run.data

    @property
    def train(self) -> Split:
        """The data set that is trained on."""
        return self.splits[self.data.train_set]

    @property
    def identities(self) -> int:
        return len(self.train.labels)

    @cached_property
    def groups(self) -> PartGroups | None:
        """How the part labels are grouped; None for models that read no masks."""
        k = self.run.model_config.mask_parts
        return None if k is None else groups(k)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Hash of every index, and of all pixels and labels as the generator wrote them, or who made the labels."""
        found = {name: split.fingerprint for name, split in self.splits.items()}
        if not self.data.real:
            manifest = json.loads((self.train.root.parent / "manifest.json").read_text())
            return found | {"content": manifest["content_sha256"][:16]}
        if self.groups is not None:
            folders = {str(r.mask.parent.relative_to(self.train.root)) for r in self.train.train if r.mask}
            found["part labels"] = ", ".join(sorted(folders)) or "none"
        return found

    @cached_property
    def training(self) -> ImageStack:
        """The training images, decoded once, with their part labels if there is use for them."""
        wanted = not self.data.real or self.groups is not None
        return self.read(self._stack(self.train.train, labels=self.train.labels, masks=wanted))

    def read(self, images: ImageStack) -> ImageStack:
        """Images with the part labels that models are given, which err where the run's parser does.

        What a test set holds is the truth.
        """
        parser = self.data.labels
        if parser == EXACT or images.masks is None:
            return images
        pairs = zip(images.masks.numpy(), images.names)
        found = [misread(labels, parser, seed=self.data.seed, name=name) for labels, name in pairs]
        return replace(images, masks=torch.from_numpy(np.stack(found)))

    def loader(self) -> Loader:
        """The run's training batches."""
        return Loader(self.training, config=self.run.train, seed=self.run.draw, groups=self.groups)

    def test_set(self, name: str) -> TestSet:
        """Queries and gallery of a test set, decoded once.

        With the part labels of synthetic sets, the truth; of a real set, where the model is given them instead
        of learning them.
        """
        if name not in self._test_sets:
            split = self.splits[name]
            masks = not self.data.real or self.run.model_config.given_masks
            stacks = (self._stack(part, masks=masks) for part in (split.query, split.gallery))
            self._test_sets[name] = TestSet(split, *stacks)
        return self._test_sets[name]

    def pair(self) -> tuple[TestSet, TestSet]:
        """The holistic and the occluded set, whose queries are the same people in the same pose.

        Raises:
            NoTruth: at ``real``, where no set has a twin.
        """
        if self.data.real:
            raise NoTruth(self.data.occluded)
        return self.test_set(self.data.holistic), self.test_set(self.data.occluded)

    @cached_property
    def _test_sets(self) -> dict[str, TestSet]:
        return {}

    def _stack(
        self, images: Sequence[ImageRecord], *, masks: bool, labels: dict[int, int] | None = None
    ) -> ImageStack:
        chosen = images if masks else [replace(image, mask=None) for image in images]
        size = (self.data.height, self.data.width)
        return load_stack(chosen, size=size, cache=places.CACHE / "images", labels=labels)
