"""Benchmarks that need a GPU run without one, on what is small."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_gpu_benchmark_runs_dry():
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--dry-run", "--epochs", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("/")[0] for line in lines] == ["bpbreid", "qpm", "pan", "dpti", "aap"]
    assert all("of a constant batch" in line for line in lines)
