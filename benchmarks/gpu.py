"""The papers' own rows at preset `gpu` on this GPU: images a second, memory, and what was estimated without one.

Run ``python benchmarks/gpu.py`` from the checkout. Images are noise: neither data nor starts are needed. Targets: 95 %
of a constant batch's throughput, and every row of five papers, one seed, in 30 minutes. ``--compile`` also times the
compiled step, which decides whether ``companion run --compile`` pays. ``--dry-run`` does all of it on a CPU, with the
networks of preset `smoke` (in seconds; compiling takes minutes there); its numbers mean nothing.
"""

import argparse
import json
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from training import Constant, stack

from companion import costs
from companion.papers import PAPERS
from companion.run import RunConfig
from reidlib.data.loading import Loader
from reidlib.data.masks import groups
from reidlib.extraction import EMBEDDED, extract
from reidlib.footprint import CARDS
from reidlib.models import MODELS
from reidlib.training import fit

OUTPUT = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


@dataclass(frozen=True)
class Measured:
    """One row: rates in images a second, memory in GB."""

    row: str
    training: float
    constant: float  # on one batch, again and again: what the input leaves to be gained
    extraction: float
    memory: float
    estimated_training: float | None  # for the card that is named; None for a row that nobody counted
    estimated_memory: float | None
    compiled: float | None  # None where it was not asked for

    @property
    def ratio(self) -> float:
        return self.training / self.constant


def measure(run: RunConfig, *, card: str, device: str, epochs: int, compiled: bool) -> Measured:
    """Train on noise, the first epoch to warm up, and embed it."""
    k = run.model_config.mask_parts
    config = replace(run.train, iterations=None, epochs=1 + epochs, identities=min(32, run.train.identities))
    loader = Loader(stack((run.data.height, run.data.width)), config, 0, None if k is None else groups(k))
    rates = [_rate(run, kind(loader.stack, config, 0, loader.groups), device) for kind in (Loader, Constant)]
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    again = _rate(run, loader, device, compiled=True) if compiled else None
    cost = costs.known(run)
    return Measured(
        row=f"{run.paper}/{run.name}",
        training=rates[0],
        constant=rates[1],
        extraction=_extraction(run, loader, device),
        memory=(memory - loader.stack.images.nbytes) / 1e9 if memory else 0.0,
        estimated_training=cost.images / CARDS[card].step(cost, precision=config.precision) if cost else None,
        estimated_memory=cost.memory / 1e9 if cost else None,
        compiled=again,
    )


def _network(run: RunConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[run.model](replace(run.model_config, weights=None), identities=702)


def _rate(run: RunConfig, loader: Loader, device: str, *, compiled: bool = False) -> float:
    history = fit(_network(run), loader, config=loader.config, seed=0, device=device, compiled=compiled)
    return sum(history.epoch_images[1:]) / sum(history.epoch_seconds[1:])


def _extraction(run: RunConfig, loader: Loader, device: str) -> float:
    from time import perf_counter

    model = _network(run)
    images = loader.stack[torch.arange(2 * EMBEDDED) % len(loader.stack)]
    extract(model, images, groups=loader.groups, device=device)
    started = perf_counter()
    extract(model, images, groups=loader.groups, device=device)
    return len(images) / (perf_counter() - started)


def _write(found: list[Measured]) -> Path:
    """All rows so far; called after each, so that one that fails loses none before it."""
    machine = torch.cuda.get_device_name()
    path = OUTPUT / f"gpu-{machine.replace(' ', '-').lower()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"device": machine, "torch": torch.__version__, "python": platform.python_version()}
    path.write_text(json.dumps(said | {"rows": [asdict(row) for row in found]}, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", choices=("main", "all"), default="main", help="of every paper")
    parser.add_argument("--card", choices=sorted(CARDS), default="h200", help="whose estimate stands beside")
    parser.add_argument("--epochs", type=int, default=3, help="of noise, for each training")
    parser.add_argument("--compile", action="store_true", help="also time the compiled step")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("no GPU here; --dry-run shows that everything runs")
    preset, device = ("smoke", "cpu") if options.dry_run else ("gpu", "cuda")
    found = []
    for paper in PAPERS.values():
        rows = paper.trainings(preset_name=preset) if options.rows == "all" else [paper.main]
        for slug in rows:
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            run = paper.run(slug, preset_name=preset)
            asked = {"card": options.card, "epochs": options.epochs, "compiled": options.compile}
            found.append(measure(run, device=device, **asked))
            if device == "cuda":
                path = _write(found)
            told = found[-1]
            rate, memory = (
                "not counted" if value is None else f"{value:.{digits}f} estimated"
                for value, digits in ((told.estimated_training, 0), (told.estimated_memory, 1))
            )
            compiled = f", {told.compiled:.0f} compiled" if told.compiled else ""
            print(
                f"{told.row:28} {told.training:7.0f} img/s ({told.ratio:.2f} of a constant batch, {rate}{compiled}), "
                f"extraction {told.extraction:.0f} img/s, {told.memory:.1f} GB ({memory})",
                flush=True,
            )
    if device == "cuda":
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
