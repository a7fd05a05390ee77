"""Command line of the library: ``python -m reidlib {doctor,masks,rank}``."""

import argparse
import logging
import sys
from pathlib import Path

from reidlib.backbones import BACKBONES
from reidlib.data.datasets import DATASETS, YOURS
from reidlib.files import replacing

ROOT = Path("data")
"""Where data sets are looked for unless told otherwise: ``data/`` below the working directory."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m reidlib", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="check a data set on disk: counts, images, labels, matches")
    doctor.add_argument(
        "name", choices=(*DATASETS, *YOURS), metavar="NAME", help=", ".join((*DATASETS, *YOURS))
    )
    doctor.add_argument("--root", type=Path, default=ROOT, help="folder that holds the set's folder")
    masks = commands.add_parser("masks", help="part labels by Keypoint R-CNN, for a data set that has none")
    masks.add_argument("name", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
    masks.add_argument("--root", type=Path, default=ROOT, help="folder that holds the set's folder")
    masks.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    rank = commands.add_parser("rank", help="your own images or features: metrics and a ranked gallery")
    rank.add_argument("name", choices=(*YOURS, *DATASETS), metavar="NAME", help="folder, csv, or a data set")
    rank.add_argument("root", type=Path, help="folder with one folder per person; csv; or a data set's root")
    source = rank.add_mutually_exclusive_group()
    source.add_argument(
        "--weights", type=Path, help="file of a backbone or of a stored model; default: ImageNet's"
    )
    source.add_argument(
        "--features", type=Path, nargs=2, metavar=("QUERY", "GALLERY"), help="npy, a row per image"
    )
    rank.add_argument(
        "--backbone", default="resnet50", choices=BACKBONES, metavar="NAME", help="without a stored model"
    )
    rank.add_argument("--synthetic", action="store_true", help="use weights trained on synthetic pictures")
    rank.add_argument(
        "--euclidean", action="store_true", help="compare features as they are, not their cosine"
    )
    rank.add_argument(
        "--trapezoid",
        action="store_true",
        help="also print mAP by the trapezoid rule, as Oxford's toolbox and much of the field's code have it",
    )
    rank.add_argument("--figure", type=Path, default=Path("ranking.png"), help="where the gallery is drawn")
    rank.add_argument("--queries", type=int, default=6, help="rows of the figure")
    rank.add_argument("--top", type=int, default=10, help="gallery images in a row")
    return top


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser().parse_args(arguments)
    commands = {"doctor": _doctor, "masks": _masks, "rank": _rank}
    try:
        return commands[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130


def _doctor(options: argparse.Namespace) -> int:
    from reidlib import doctor

    diagnosis = doctor.examine(options.name, options.root)
    print("\n".join(diagnosis.lines(colour=sys.stdout.isatty())))
    return 0 if diagnosis.healthy else 1


def _masks(options: argparse.Namespace) -> int:
    import torch

    from reidlib.data import datasets, pose

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this machine has no CUDA device; leave the option out")
    split = datasets.load(options.name, options.root)
    written = pose.write_fields(split, pose.keypoint_rcnn(options.device), device=options.device)
    print(f"wrote {written} files below {split.root / datasets.MASKS[-1].folder}")
    return 0


def _rank(options: argparse.Namespace) -> int:
    import platformdirs

    from reidlib import search
    from reidlib.data.datasets import load

    if options.queries < 1 or options.top < 1:
        raise ValueError(f"--queries and --top must be at least 1, got {options.queries} and {options.top}")
    split = load(options.name, options.root)
    if options.features:
        searched = search.given(split, *options.features, unit=not options.euclidean)
    else:
        searched = search.embedded(
            split,
            cache=Path(platformdirs.user_cache_dir("reidlib")) / "images",
            backbone=options.backbone,
            weights=options.weights,
            synthetic=options.synthetic,
        )
    table = search.table(searched.metrics())
    if options.trapezoid:
        table["mAP (trapezoid)"] = search.table(searched.metrics(trapezoid=True))["mAP"]
    print(table.to_string(index=False))
    figure = searched.figure(queries=options.queries, top=options.top)
    with replacing(options.figure) as handle:
        figure.savefig(handle, format=options.figure.suffix.removeprefix(".") or "png", dpi=150)
    print(f"protocol {split.protocol.value}; ranked gallery: {options.figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
