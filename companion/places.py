"""Where things lie: the checkout, its data, results and caches. Tests put others in their place."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: ``data/``, ``notebooks/`` and ``results/`` lie below it."""

DATA = ROOT / "data"
PUBLISHED = DATA / "published"
SYNTHETIC = DATA / "synthetic"
WEIGHTS = DATA / "weights"
"""Pretrained networks that every small model starts from; those of preset ``cpu`` belong to the repository."""
RESULTS = ROOT / "results"
CACHE = Path(os.environ.get("COMPANION_CACHE", RESULTS / "cache"))
"""Weights, features, decoded images, live experiments: may be deleted at any time, and lie elsewhere."""


def check_code(here: Path) -> None:
    """Refuse to run one checkout's code for another: an environment that was copied belongs to the first.

    Args:
        here: where one works, a folder of a checkout or any other.

    Raises:
        ValueError: naming both and the remedy.
    """
    own = Path(__file__).resolve()
    for folder in (here.resolve(), *here.resolve().parents):
        other = folder / "companion" / own.name
        if other.is_file() and not other.samefile(own):
            raise ValueError(
                f"{folder} would run the code of {own.parents[1]}: its environment is a copy; remove "
                f"{folder / '.venv'} and set it up anew (make setup)"
            )
