"""Command line of the benchmark: ``python -m synthreid {smoke,cpu,gpu}`` draws it, once."""

import argparse
import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from synthreid.benchmark import DEFAULT_SEED, PROFILES, SETS, content_hash, generate, ground_truth

KILLED = "error: a process was killed, most likely for want of memory; call again with fewer --workers"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m synthreid", description=__doc__)
    top.add_argument("profile", metavar="PROFILE", help=", ".join(PROFILES))
    top.add_argument("--root", type=Path, default=Path("data/synthetic"), help="folder for all benchmarks")
    top.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything drawn")
    top.add_argument("--workers", type=int, default=2, help="processes; any number writes the same bytes")
    return top


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    try:
        folder = generate(options.root, profile=options.profile, seed=options.seed, workers=options.workers)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(KILLED, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is left behind, the same command starts again", file=sys.stderr)
        return 130
    print("\n".join(_lines(folder)))
    return 0


def _lines(folder: Path) -> list[str]:
    """The folder, the images of each set per split, and the content hash."""
    counts = {}
    for name in SETS:
        splits = ground_truth(folder / name).file.str.split("/").str[0].value_counts(sort=False)
        counts[name] = ", ".join(f"{split} {count}" for split, count in splits.items())
    wide = max(len(name) for name in SETS)
    return [
        f"{folder}",
        *(f"  {name:{wide}}  {splits}" for name, splits in counts.items()),
        f"content {content_hash(folder)}",
    ]


if __name__ == "__main__":
    sys.exit(main())
