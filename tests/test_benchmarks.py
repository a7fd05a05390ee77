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


WHOLE = """
import torch
from companion.papers import PAPERS
from reidlib.models import MODELS
from reidlib.training import objective

for slug, paper in PAPERS.items():
    run = paper.run(paper.main, preset_name="smoke")
    if slug == "dpti":  # whose dropout of attention is another on a CPU
        run = run.vary(attention_dropout=0.0)
    model, k = MODELS[run.model](run.model_config, identities=4), run.model_config.mask_parts
    images = torch.randn(8, 3, run.data.height, run.data.width)
    batch = images, torch.arange(8) // 2, None if k is None else torch.rand(8, k + 1, 16, 8)
    found = []
    for step in (objective(model), torch.compile(objective(model), backend="eager", fullgraph=True)):
        torch.manual_seed(0)  # dropout
        found.append(step(*batch))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0] | found[1])
    print(slug)
"""


def test_forward_pass_and_losses_are_one_graph():
    """Else a compiled step stops at every break, and CUDA graphs with it. (The compiler cannot see through the checks
    of types that tests have, so this runs by itself.)"""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["bpbreid", "qpm", "pan", "dpti", "aap"]
