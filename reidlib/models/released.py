"""The authors' BPBreID checkpoints in our model, by a map of names.

=======================================================  =========================================
released (``VlSomers/bpbreid``)                          here
=======================================================  =========================================
``backbone_appearance_feature_extractor.*``              ``backbone.*``
``<e>_after_pooling_dim_reduce.layers.{0,1}.*``          ``head.reduce.<e>.{0,1}.*``
``pixel_classifier.{bn,classifier}.*``                   ``head.classify_pixels.{0,1}.*``
``<e>_identity_classifier.{bn,classifier}.*``            ``head.identify.<e>.{neck,classifier}.*``
``parts_identity_classifier.<k>.{bn,classifier}.*``      ``head.identify_parts.<k>.{neck,classifier}.*``
``background_*``, the backbone's own classifier          left out: no loss or test embedding reads them
=======================================================  =========================================

<e> is an embedding: global, foreground, parts, and concat, which the release calls concat_parts.

The files hold more than weights (an options object, the optimiser); a reader that makes nothing but tensors
out of them keeps a file from running code.
"""

import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

from reidlib.models.bpbreid import BPBreID

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
    (r"parts_identity_classifier\.([0-9]+)\.bn\.(.+)", r"head.identify_parts.\1.neck.\2"),
    (r"parts_identity_classifier\.([0-9]+)\.classifier\.(.+)", r"head.identify_parts.\1.classifier.\2"),
)


def translate(name: str) -> str | None:
    """Our name of a released parameter, None for what our model does not have."""
    name = name.removeprefix("module.")
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def load_released(model: BPBreID, path: Path) -> None:
    """Fill a model from a released checkpoint.

    Its identity classifiers are filled only where they were trained on as many identities.

    Raises:
        ValueError: no such file, one that holds no weights, or weights of another network (backbone, K).
    """
    released = {ours: value for name, value in _weights(path).items() if (ours := translate(name))}
    wanted = model.state_dict()
    optional = {name for name in wanted if "identify" in name and name.endswith("classifier.weight")}
    optional |= {name for name in wanted if name.endswith("num_batches_tracked") or "identify_parts" in name}
    found = {name: value for name, value in released.items() if name in wanted}
    wrong = [name for name, value in found.items() if value.shape != wanted[name].shape]
    lacking = [name for name in wanted if name not in found and name not in optional]
    if lacking or set(wrong) - optional:
        first = (lacking or sorted(set(wrong) - optional))[0]
        shape = tuple(found[first].shape) if first in found else "nothing"
        raise ValueError(
            f"checkpoint {path} is of another network: {first} is {shape}, expected {tuple(wanted[first].shape)}; "
            "choose the backbone and the number of parts that it was trained with"
        )
    model.load_state_dict({n: v for n, v in found.items() if n not in wrong}, strict=False)


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"checkpoint: no file {path}; the authors' repository links the released ones")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_TENSORS_ONLY)
        state = dict(content["state_dict"])
    except (
        pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, EOFError, AttributeError
    ) as error:  # fmt: skip
        raise ValueError(f"checkpoint {path} holds no weights ({error}); fetch it again") from error
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


class _Inert(dict):
    """Stands for any object that is not a tensor."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass

    def __call__(self, *_: Any) -> "_Inert":
        return self


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        tensor = module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter")
        if tensor or (module == "torch" and name.endswith("Storage")) or (module, name) == _ORDERED:
            return super().find_class(module, name)
        return _Inert


_ORDERED = ("collections", "OrderedDict")


def _read(file: IO[bytes], *, encoding: str = "ASCII") -> Any:
    return _Unpickler(file, encoding=encoding).load()


_TENSORS_ONLY = SimpleNamespace(Unpickler=_Unpickler, load=_read, __name__="tensors only")
