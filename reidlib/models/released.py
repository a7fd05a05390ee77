"""The authors' BPBreID checkpoints as our model, by a map of names; the file says which network it holds.

=======================================================  =========================================
released (``VlSomers/bpbreid``)                          here
=======================================================  =========================================
``backbone_appearance_feature_extractor.*``              ``backbone.*``
``<e>_after_pooling_dim_reduce.layers.{0,1}.*``          ``head.reduce.<e>.{0,1}.*``
``pixel_classifier.{bn,classifier}.*``                   ``head.classify_pixels.{0,1}.*``
``<e>_identity_classifier.{bn,classifier}.*``            ``head.identify.<e>.{neck,classifier}.*``
``parts_identity_classifier.*``, ``background_*``        left out: no loss or test embedding reads them
the backbone's own classifier                            left out likewise
=======================================================  =========================================

<e> is an embedding: global, foreground, parts, and concat, which the release calls concat_parts.

Any other name in a file is of a network that is not built here, and the file is refused. The ResNets of the release
come from two toolkits with equal names: Torchreid's have a classifier, fast-reid's (all of its IBN networks) have
none, and pool without padding. The options that a file holds beside its weights decide where there are any.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from reidlib.backbones import HEADS, recognised
from reidlib.checkpoints import Checkpoint, read
from reidlib.data.masks import groups
from reidlib.models.bpbreid import BPBreID, Config

BACKBONE = "backbone_appearance_feature_extractor."

_NAMES = (
    (r"backbone_appearance_feature_extractor\.(.+)", r"backbone.\1"),
    (r"(global|foreground|parts)_after_pooling_dim_reduce\.layers\.([01])\.(.+)", r"head.reduce.\1.\2.\3"),
    (r"pixel_classifier\.bn\.(.+)", r"head.classify_pixels.0.\1"),
    (r"pixel_classifier\.classifier\.(.+)", r"head.classify_pixels.1.\1"),
    (r"(global|foreground|concat)(?:_parts)?_identity_classifier\.bn\.(.+)", r"head.identify.\1.neck.\2"),
    (
        r"(global|foreground|concat)(?:_parts)?_identity_classifier\.classifier\.(.+)",
        r"head.identify.\1.classifier.\2",
    ),
)


_LEFT_OUT = r"background_.+|parts_identity_classifier\..+|backbone\.({})\..+".format("|".join(HEADS))
"""What our model may lack of a file: by the released names, but for the backbone's."""

_BUILT = {
    "last_stride": 1,
    "pooling": "gwap",
    "normalization": "identity",
    "dim_reduce": "after_pooling",
    "learnable_attention_enabled": True,
    "test_use_target_segmentation": "none",
}
"""Options of a released model and the only value of each that is built here."""

VERTICAL = ("head", "shoulders and upper arms", "waist and lower arms", "legs", "feet")
"""The five parts of ``five_v``, which the released models of Market-1501 and DukeMTMC-reID attend to."""


@dataclass(frozen=True, eq=False)
class Released:
    """What a released checkpoint holds.

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width of its images, by its options, else as the paper has them with that backbone.
        parts: names of its K parts.
        source: the file, and what of it is known, in words.
    """

    model: BPBreID
    size: tuple[int, int]
    parts: tuple[str, ...]
    source: str


def is_released(checkpoint: Checkpoint) -> bool:
    """Whether a file is of BPBreID's release, by its names."""
    return any(name.startswith(BACKBONE) for name in checkpoint.tensors)


def open_released(path: Path) -> Released:
    """Build the network that a released checkpoint holds, and fill it.

    Raises:
        ValueError: no such file, or one of a network that is not built here; the message names what is not.
    """
    checkpoint = read(path)
    if not is_released(checkpoint):
        raise ValueError(
            f"checkpoint {path} is none of BPBreID's release: its names begin with {checkpoint.prefixes}; "
            "`python -m reidlib rank NAME --weights FILE` scores the backbones of other toolkits"
        )
    options = _options(checkpoint)
    for name, built in _BUILT.items():
        if options.get(name, built) != built:
            raise ValueError(
                f"checkpoint {path} was trained with {name} = {options[name]!r}; built here is {built!r} only"
            )
    parts, dim, identities = _sizes(checkpoint)
    backbone, _ = recognised(Checkpoint(path, _backbone(checkpoint), {}))
    if backbone.startswith("resnet") and _from_fastreid(checkpoint, options):
        backbone += "-unpadded"
    model = BPBreID(Config(backbone=backbone, parts=parts, dim=dim), identities=identities)
    _fill(model, checkpoint)
    size = _image_size(checkpoint, backbone)
    named = ", ".join(
        f"{key} {checkpoint.rest[key]}" for key in ("epoch", "rank1", "mAP") if _plain(checkpoint, key)
    )
    source = f"{path.name}: {backbone}, K = {parts}, {identities} identities, {size[0]}x{size[1]}"
    return Released(
        model.eval(), size, _part_names(parts, options), f"{source}; {named}" if named else source
    )


def translate(name: str) -> str | None:
    """Our name of a released parameter, None for what our model does not have."""
    name = name.removeprefix("module.")
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def _fill(model: BPBreID, checkpoint: Checkpoint) -> None:
    path, wanted = checkpoint.path, model.state_dict()
    released = {(translate(name) or name): value for name, value in checkpoint.tensors.items()}
    optional = {name for name in wanted if "identify" in name and name.endswith("classifier.weight")}
    optional |= {name for name in wanted if name.endswith("num_batches_tracked")}
    found = {name: value for name, value in released.items() if name in wanted}
    lacking = [name for name in wanted if name not in found and name not in optional]
    wrong = sorted(name for name, value in found.items() if value.shape != wanted[name].shape)
    if lacking or wrong:
        first = (lacking or wrong)[0]
        shape = tuple(found[first].shape) if first in found else "nothing"
        raise ValueError(
            f"checkpoint {path} is of another network: {first} is {shape}, expected {tuple(wanted[first].shape)}; "
            "what it computes is not built here"
        )
    left = [name for name in released if name not in wanted and not re.fullmatch(_LEFT_OUT, name)]
    if left:
        raise ValueError(
            f"checkpoint {path} is of another network: it has {len(left)} entries that this one lacks, first "
            f"{left[0]}; what they compute is not built here"
        )
    model.load_state_dict(found, strict=False)


def _options(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The model's options in a file, those of its masks among them; empty where it holds none."""
    config = checkpoint.rest.get("config")
    found = config.get("model", {}).get("bpbreid", {}) if isinstance(config, dict) else {}
    return {**found, **found.get("masks", {})}


def _image_size(checkpoint: Checkpoint, backbone: str) -> tuple[int, int]:
    config = checkpoint.rest.get("config")
    data = config.get("data", {}) if isinstance(config, dict) else {}
    if {"height", "width"} <= data.keys():
        return int(data["height"]), int(data["width"])
    return (384, 128) if backbone.startswith(("hrnet", "resnet50-ibn")) else (256, 128)


def _plain(checkpoint: Checkpoint, key: str) -> bool:
    return isinstance(checkpoint.rest.get(key), int | float)


def _backbone(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {f"{BACKBONE}{name}": tensor for name, tensor in checkpoint.below(BACKBONE).items()}


def _from_fastreid(checkpoint: Checkpoint, options: Mapping[str, Any]) -> bool:
    named = options.get("backbone")
    if isinstance(named, str):
        return named.startswith("fastreid")
    return not any(name.startswith(f"{BACKBONE}classifier.") for name in checkpoint.tensors)


def _sizes(checkpoint: Checkpoint) -> tuple[int, int, int]:
    """K, D and the number of training identities, by the shapes of three layers."""
    names = (
        "pixel_classifier.classifier.weight",
        "parts_after_pooling_dim_reduce.layers.0.weight",
        "global_identity_classifier.classifier.weight",
    )
    lacking = [name for name in names if name not in checkpoint.tensors]
    if lacking:
        raise ValueError(
            f"checkpoint {checkpoint.path} lacks {lacking[0]}: expected BPBreID with learned attention"
        )
    classes, dim, identities = (len(checkpoint.tensors[name]) for name in names)
    return classes - 1, dim, identities


def _part_names(parts: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the grouping that the options name; without any, of the one that the release has for five parts."""
    key = options.get("preprocess", "five_v" if parts == len(VERTICAL) else None)
    if key == "five_v":
        return VERTICAL
    try:
        known = groups(parts)
    except ValueError:
        known = None
    if known is not None and key in (known.key, None):
        return known.names
    return tuple(f"part {number}" for number in range(1, parts + 1))
