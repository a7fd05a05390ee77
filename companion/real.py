"""What the papers' own recipes share: preset ``real`` trains each paper as it was printed, on each of its sets.

A wing of ``papers/`` holds its paper's recipe; where a paper is silent, the value comes from the code that it
builds on. Known to differ: erased rectangles are filled after normalisation everywhere; images that shrink are
resized by averaging areas, the others bilinearly, where BPBreID's code is bilinear throughout and DPTI bicubic;
a mirrored image exchanges its left and right part labels, in BPBreID's released code it does not; QPM starts
from ImageNet (or from the file of an identity classifier, its ``weights``), where the paper starts from such a
classifier; AaP starts from torchvision's first ImageNet weights throughout, its released code from the second for
all rows but the baseline; the baselines BoT and PCB of BPBreID's tables have BoT's recipe; BPBreID's released
configurations of some sets add a triplet loss on the foreground and group five parts in another way, its paper and
we do not.

Source: section 5 (training) of the five papers; for BPBreID also its released configurations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from companion.presets import DataConfig
from companion.run import RunConfig
from reidlib.data.datasets import DATASETS
from reidlib.data.transforms import Augment
from reidlib.recipe import TrainConfig

HOLISTIC = ("market1501", "dukemtmc", "cuhk03")
TRANSFER = tuple(name for name, source in DATASETS.items() if not any(x.train for x in source.layouts))
"""Sets without a training folder in any layout: models are trained on Market-1501."""

SIZE, TALL = (256, 128), (384, 128)
ERASING = Augment(erase_area=(0.02, 0.4))
"""Random erasing as the papers have it, with a mirror and 10 pixels of padding."""

steps = partial(TrainConfig, iterations=None, schedule="steps")


@dataclass(frozen=True)
class Recipe:
    """How a paper trained on the real data sets.

    Args:
        datasets: of its tables, the one of its ablations first.
        adapt: a run of the printed model at 256x128, the slug of its row and the data set, to the run as the paper
            trained it.
        measured_on: printed column -> data set behind it, where they differ.
    """

    datasets: tuple[str, ...]
    adapt: Callable[[RunConfig, str, str], RunConfig]
    measured_on: Mapping[str, str] = field(default_factory=dict)

    def data(self, dataset: str | None) -> DataConfig:
        """Images of one of the paper's data sets; None is that of its ablations.

        Raises:
            ValueError: the paper prints no such data set.
        """
        dataset = self.datasets[0] if dataset is None else dataset
        if dataset not in self.datasets:
            raise ValueError(f"no data set {dataset!r}; expected one of {', '.join(self.datasets)}")
        source = "market1501" if dataset in TRANSFER else dataset
        return DataConfig("real", *SIZE, train_set=source, test_sets=(dataset,))
