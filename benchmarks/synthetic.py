"""Throughput of the embedded benchmark's generator, files included, with one and two workers.

python benchmarks/synthetic.py [profile]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from synthreid.benchmark import PROFILES, generate, plan


def measure(profile: str, workers: int) -> dict:
    images = len({entry.shot for entries in plan(PROFILES[profile], seed=1).values() for entry in entries})
    with tempfile.TemporaryDirectory() as root:
        start = time.perf_counter()
        folder = generate(Path(root), profile=profile, workers=workers)
        seconds = time.perf_counter() - start
        inodes = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {
        "profile": profile,
        "workers": workers,
        "distinct_images": images,
        "seconds": round(seconds, 1),
        "images_per_second": round(images / seconds),
        "minutes_for_20000": round(20000 / images * seconds / 60, 2),
        "megabytes": round(sum(inodes.values()) / 1e6, 1),
    }


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    for number in (1, 2):
        print(json.dumps(measure(chosen, number)))
