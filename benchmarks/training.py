"""Training throughput with the real input pipeline against one constant batch on the device.

Run ``python benchmarks/training.py`` from the checkout; target: at least 95 % of the constant batch.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from machine import keep

from reidlib.data.loading import Batch, ImageStack, Loader
from reidlib.data.masks import groups
from reidlib.models import MODELS
from reidlib.recipe import TrainConfig
from reidlib.training import fit

IDENTITIES, EACH, ROUNDS = 32, 16, 3


@dataclass(frozen=True, eq=False)
class Constant(Loader):
    """The same batch again and again, prepared beforehand."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        batch = next(super().epoch(0))
        for _ in range(len(self.order(epoch))):
            yield batch


def stack(size: tuple[int, int]) -> ImageStack:
    """Noise in the shape of synthetic training images, a few batches per epoch."""
    count, generator = IDENTITIES * EACH, torch.Generator().manual_seed(0)
    label = torch.arange(IDENTITIES).repeat_interleave(EACH)
    return ImageStack(
        images=torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8),
        masks=torch.randint(0, 12, (count, *size), generator=generator, dtype=torch.uint8),
        label=label,
        pid=label,
        camid=label % 6,
        names=tuple(map(str, range(count))),
    )


def throughput(loader: Loader, *, model: str, config: TrainConfig, backbone: str) -> float:
    """Images per second after the first epoch, which warms up."""
    torch.manual_seed(0)
    kind = MODELS[model]
    network = kind(kind.Config(backbone=backbone, dim=128), identities=IDENTITIES)
    history = fit(network, loader, config=config, seed=0)
    return sum(history.epoch_images[1:]) / sum(history.epoch_seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bpbreid", choices=sorted(MODELS))
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 32), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    args = parser.parse_args()
    fast = args.precision != "32-true"
    config = replace(
        TrainConfig.cpu(), iterations=args.steps, lr=1e-4, precision=args.precision, channels_last=fast
    )
    loader = Loader(stack(tuple(args.size)), config, 0, groups(8))
    ratios = []
    for number in range(ROUNDS):
        speed = {
            kind.__name__: throughput(
                kind(loader.stack, config, 0, loader.groups),
                model=args.model,
                config=config,
                backbone=args.backbone,
            )
            for kind in (Loader, Constant)
        }
        ratios.append(speed["Loader"] / speed["Constant"])
        print(f"round {number}: {speed['Loader']:.0f} img/s, constant batch {speed['Constant']:.0f} img/s")
    started, batches = time.perf_counter(), sum(1 for epoch in range(3) for _ in loader.epoch(epoch))
    print(f"input alone: {(time.perf_counter() - started) / batches * 1e3:.2f} ms per batch")
    print(f"ratio (median of {ROUNDS}): {statistics.median(ratios):.3f}, target 0.95")
    keep("training", constant=statistics.median(ratios))


if __name__ == "__main__":
    main()
