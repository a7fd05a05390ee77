"""Check data sets, make part labels, rank your own images or features: ``python -m reidlib COMMAND``."""

import argparse
import logging
import sys
import warnings
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from reidlib.backbones import BACKBONES
from reidlib.data.datasets import DATASETS, YOURS
from reidlib.files import replacing
from reidlib.options import at_least

if TYPE_CHECKING:  # takes long to import
    from reidlib.search import Network

ROOT = Path("data")
"""Where data sets are looked for unless told otherwise: ``data/`` below the working directory."""

OURS = "ours"
"""Stands for the project's own pretrained small network."""

BACKBONE = "resnet50"
FIGURE = Path("ranking.png")
"""Where the ranked gallery is drawn unless told otherwise, and its name in a folder that is named alone."""

EXAMPLES = """examples:
  python -m reidlib doctor market1501 --root data      what is there, what is wrong, how to mend it
  python -m reidlib rank folder --root my-crops        one folder per person: metrics and a ranked gallery
  python -m reidlib rank market1501 --weights osnet_x1_0_market.pth
  python -m reidlib rank market1501 --features query.npy gallery.npy
  python -m reidlib masks occluded-reid                part labels for a set that has none
"""


def parser() -> argparse.ArgumentParser:
    examples = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse.ArgumentParser(prog="python -m reidlib", description=__doc__, **examples)
    top.add_argument("--version", action="version", version=f"reidlib {version('reidlib')}")
    commands = top.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="check a data set on disk: counts, images, labels, matches")
    _add_set(doctor, (*DATASETS, *YOURS))
    unpack = commands.add_parser("unpack", help="CUHK03 from cuhk-03.mat, as it is downloaded (needs h5py)")
    _add_set(unpack, ("cuhk03", "cuhk03-labelled"))
    masks = commands.add_parser("masks", help="part labels by Keypoint R-CNN, for a data set that has none")
    _add_set(masks, tuple(DATASETS))
    masks.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    rank = commands.add_parser(
        "rank", help="your own images or features: metrics and a ranked gallery", **examples
    )
    _add_rank(rank)
    return top


def _add_set(command: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    """Every command names a data set, and where it lies, alike."""
    command.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    command.add_argument("place", type=Path, nargs="?", metavar="ROOT", help="the same as --root")
    command.add_argument(
        "--root",
        type=Path,
        help="folder that holds the set's folder (default: data); the folder of the persons' folders, or the csv file",
    )


def _add_rank(rank: argparse.ArgumentParser) -> None:
    _add_set(rank, (*YOURS, *DATASETS))
    source = rank.add_mutually_exclusive_group()
    source.add_argument(
        "--weights",
        help="file of a backbone, of BPBreID's release or of a model of ours; it says itself which network it holds; "
        f"'{OURS}' is the project's small network, trained on drawn people (default: ImageNet's, or else {OURS})",
    )
    source.add_argument("--backbone", choices=BACKBONES, metavar="NAME", help="with ImageNet's weights")
    source.add_argument(
        "--features", type=Path, nargs=2, metavar=("QUERY", "GALLERY"), help="npy, a row per image"
    )
    rank.add_argument(
        "--download", action="store_true", help="fetch ImageNet's weights from torchvision if absent"
    )
    rank.add_argument("--synthetic", action="store_true", help="use weights trained on synthetic pictures")
    rank.add_argument(
        "--euclidean", action="store_true", help="compare --features as they are, not their cosine"
    )
    rank.add_argument(
        "--rerank", action="store_true", help="also by k-reciprocal re-ranking, which is then shown"
    )
    rank.add_argument(
        "--trapezoid",
        action="store_true",
        help="also print mAP by the trapezoid rule, as Oxford's toolbox and much of the field's code have it",
    )
    rank.add_argument(
        "--single-shot",
        action="store_true",
        help="also print CMC with one gallery image of each person, CUHK03's single-gallery-shot protocol",
    )
    rank.add_argument(
        "--figure",
        type=Path,
        default=FIGURE,
        help="file or folder where the gallery is drawn; index.html lies beside it",
    )
    rank.add_argument("--queries", type=at_least(1), default=6, help="rows of the figure")
    rank.add_argument("--top", type=at_least(1), default=10, help="gallery images in a row")


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", module="PIL")  # of damaged files, which our errors name
    top = parser()
    options = top.parse_args(arguments)
    if options.place and options.root:
        top.error(f"ROOT {options.place} and --root {options.root}: name one place")
    options.root = options.root or options.place or ROOT
    commands = {"doctor": _doctor, "unpack": _unpack, "masks": _masks, "rank": _rank}
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


def _unpack(options: argparse.Namespace) -> int:
    from reidlib.data import cuhk03

    print(f"wrote {cuhk03.unpack(options.name, options.root)} and the images beside it")
    return 0


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

    from reidlib import inventory, pages, search
    from reidlib.data.datasets import load

    if options.download and (options.weights or options.features):
        raise ValueError("--download fetches ImageNet's weights: leave out --weights and --features")
    if options.euclidean and not options.features:
        raise ValueError("--euclidean is about --features: a network says itself how two images are compared")
    figure, page = _outputs(options.figure)
    split = load(options.name, options.root, sides=("query", "gallery"))
    found = None if options.features else _network(options, split.name)  # told before every image is read
    notes = inventory.lines(split)
    print("\n".join(notes), flush=True)
    if found is None:
        searched = search.given(split, *options.features, unit=not options.euclidean)
    else:
        cache = Path(platformdirs.user_cache_dir("reidlib")) / "images"
        searched = search.embedded(split, found, cache=cache)
    table = search.table(searched.metrics())
    if options.trapezoid:
        table["mAP (trapezoid)"] = search.table(searched.metrics(trapezoid=True))["mAP"]
    print(f"{searched.said}\n{table.to_string(index=False)}")
    if options.single_shot:
        print(
            f"single-gallery-shot, expected over all draws\n{searched.single_shot().to_string(index=False)}"
        )
    if options.rerank:
        searched = searched.reranked()
        table = search.table(searched.metrics())
        print(f"re-ranked (k-reciprocal)\n{table.to_string(index=False)}")
    with replacing(figure) as handle:
        drawn = searched.figure(queries=options.queries, top=options.top)
        drawn.savefig(handle, format=figure.suffix.removeprefix("."), dpi=150)
    rows = searched.shown(top=options.top)
    head = [f"{split.name} in {split.root}", *notes, searched.said, f"protocol {split.protocol.value}"]
    head += [f"{len(rows)} of {len(split.query):,} queries"]
    with replacing(page) as handle:
        html = pages.ranked_page(rows, head=head, table=table.to_html(index=False, border=0))
        handle.write(html.encode())
    print(f"protocol {split.protocol.value}; ranked gallery: {figure} and {page}")
    return 0


def _outputs(figure: Path) -> tuple[Path, Path]:
    """The figure and the page beside it; that both can be written is known before the work.

    Raises:
        ValueError: no figure can have that name, or a page of somebody else's lies there.
        OSError: the folder cannot be written.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    from reidlib.pages import MARK

    if figure.is_dir():
        figure /= FIGURE
    figure = figure if figure.suffix else figure.with_suffix(".png")
    known = FigureCanvasBase.get_supported_filetypes()
    if figure.suffix.removeprefix(".").lower() not in known:
        raise ValueError(f"--figure {figure}: expected a name that ends in one of {', '.join(sorted(known))}")
    page = figure.parent / "index.html"
    if page.exists() and MARK not in page.read_text(errors="replace")[:1000]:
        raise ValueError(f"{page} is not ours: name a figure in another folder by --figure")
    try:
        with replacing(figure.parent / ".writable"):
            pass
    except OSError as error:
        raise OSError(f"--figure {figure}: its folder cannot be written ({error.strerror})") from None
    (figure.parent / ".writable").unlink()
    return figure, page


def _network(options: argparse.Namespace, name: str) -> "Network":
    """The network that the options name; without any and without ImageNet's weights, the project's own."""
    from reidlib import backbones, search

    if options.weights == OURS:
        return search.network(search.ours())
    if options.weights:
        synthetic = options.synthetic or name.startswith("synth")
        return search.network(Path(options.weights), synthetic=synthetic)
    backbone = options.backbone or BACKBONE
    file = backbones.imagenet_file(backbone)
    if not file.is_file():
        lacking = f"no file {file}; --download fetches it"
        if options.download:
            try:
                print(f"fetched {backbones.download(backbone)}")
                return search.network(None, backbone=backbone)
            except ValueError as error:
                lacking = str(error)
        if options.backbone:
            raise ValueError(f"{lacking}, --weights {OURS} ranks without")
        print(
            f"ImageNet's weights are not here ({lacking}): the project's small network ranks "
            f"instead, as --weights {OURS} asks for"
        )
        return search.network(search.ours())
    return search.network(None, backbone=backbone)


if __name__ == "__main__":
    sys.exit(main())
