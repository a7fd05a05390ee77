"""Where benchmarks keep what they measured, a file for every kind of machine; as a program, it draws the chart."""

import json
import platform
import re
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent.parent / "results" / "benchmarks"
RATIOS = {
    ("evaluation", "peer"): (
        "evaluation of given distances, over torchreid's loop in Python",
        200,
        "at least",
    ),
    ("evaluation", "product"): (
        "evaluation with 500k distractors, over the matrix product alone",
        1.3,
        "at most",
    ),
    ("evaluation", "gigabytes"): ("its peak memory in GB", 2.0, "at most"),
    ("reranking", "peer"): ("k-reciprocal re-ranking, over dense numpy", 10, "at least"),
    ("reranking", "gigabytes"): ("its peak memory in GB", 1.0, "at most"),
    ("matching", "refined"): ("QPM's refinement, over its part branch alone", 1.3, "at most"),
    ("training", "constant"): ("training, over the same on one constant batch", 0.95, "at least"),
}
"""What is compared, and its target."""


def kind() -> str:
    """The processor, as a file name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    name = next(iter(names), platform.processor() or platform.machine())
    return "cpu-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def keep(part: str, **numbers: float) -> None:
    """Write what a benchmark measured into this machine's file."""
    path = FOLDER / f"{kind()}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known["machine"] = {"torch": torch.__version__, "python": platform.python_version()}
    known[part] = {name: float(f"{value:.4g}") for name, value in numbers.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def chart() -> None:
    """Every ratio over its target on a logarithmic axis: what lies right of one is met."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    from reidlib.sheets import CORRECT, INK, STYLE, WRONG

    known = json.loads((FOLDER / f"{kind()}.json").read_text())
    bars = []
    for (part, name), (title, target, sense) in RATIOS.items():
        if name in known.get(part, {}):
            value = known[part][name]
            gain = value / target if sense == "at least" else target / value
            bars.append((title, gain, f"{value:.3g} (target {sense} {target:g})"))
            print(f"{title}: {value:.3g}, target {sense} {target:g}")
    with mpl.rc_context(STYLE | {"svg.hashsalt": "benchmarks"}):
        figure, axes = plt.subplots(figsize=(9, 0.45 * len(bars) + 1))
        places = range(len(bars))
        axes.barh(
            places, [gain for _, gain, _ in bars], color=[CORRECT if g >= 1 else WRONG for _, g, _ in bars]
        )
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}×")
        axes.set_xlabel("of the target")
        axes.set_yticks(places, [title for title, _, _ in bars])
        axes.invert_yaxis()
        for place, (_, gain, words) in zip(places, bars):
            axes.annotate(
                words, (max(gain, 1), place), xytext=(4, 0), textcoords="offset points", va="center"
            )
        axes.margins(x=0.4)
        axes.set_title(f"{kind()}: speed and memory beside peers")
        figure.savefig(FOLDER / f"{kind()}.svg", bbox_inches="tight", metadata={"Date": None})
    print(f"wrote {FOLDER / kind()}.svg")


if __name__ == "__main__":
    chart()
