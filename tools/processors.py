"""Run the numeric tests again as other processors would compute them, once with one thread and once with two.

python tools/processors.py --jobs 2
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reidlib.options import at_least

ROOT = Path(__file__).resolve().parents[1]
PASSES = {
    "no vector units, one thread": {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
    "AVX2, two threads": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OMP_NUM_THREADS": "2",
    },
}
COMMAND = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "numeric and not sizes")
MARK = "pytest.mark.numeric"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=at_least(1), default=1, help="passes side by side")
    with ThreadPoolExecutor(parser.parse_args().jobs) as pool:
        passed = list(pool.map(run, PASSES))
    return 0 if all(passed) else 1


def run(name: str) -> bool:
    """One pass over the numeric tests; prints how it ended, and everything where it failed."""
    environment = os.environ | PASSES[name]
    marked = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if MARK in path.read_text()]
    done = subprocess.run(
        [*COMMAND, *marked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().rsplit("\n", 1)[-1]
    print(f"{name}: {last}", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
