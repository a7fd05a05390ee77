"""Where things lie: the checkout, its data, results and caches. Tests put others in their place."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: ``data/``, ``notebooks/`` and ``results/`` lie below it."""

DATA = ROOT / "data"
PUBLISHED = DATA / "published"
SYNTHETIC = DATA / "synthetic"
WEIGHTS = DATA / "weights"
"""Pretrained networks that every small model starts from; those of preset ``cpu`` belong to the repository."""
RESULTS = ROOT / "results"
CACHE = RESULTS / "cache"
"""Weights, features, decoded images, live experiments: may be deleted at any time."""
