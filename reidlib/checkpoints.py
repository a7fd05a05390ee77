"""Weight files of any toolkit, read without running what they hold: tensors by name, and plain options.

Besides tensors, files of PyTorch may hold any object, and unpickling one can run code. Here everything that is not
a tensor, a number, a text or a list of them becomes an empty dict; a yacs options node is a dict itself and keeps
its entries.
"""

import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WRAPPERS = ("state_dict", "model")
"""Entries under which toolkits keep the weights beside other things: Torchreid and BPBreID, fast-reid."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a weight file holds.

    Args:
        path: of the file.
        tensors: all of them by name, without the ``module.`` of data-parallel training.
        rest: what else a file of PyTorch holds beside its weights (epoch, options, ...), as far as it is plain.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    rest: Mapping[str, Any]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, by what follows it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    @property
    def prefixes(self) -> str:
        """What the names begin with, the most frequent first, in words for an error."""
        return in_words(self.tensors)


def in_words(names: Mapping[str, Any], *, most: int = 6) -> str:
    """The first parts of dotted names and how often each occurs."""
    counts = Counter(name.split(".")[0] for name in names).most_common()
    rest = f" and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(f"{prefix} ({count})" for prefix, count in counts[:most]) + rest


def read(path: Path) -> Checkpoint:
    """Read a file of PyTorch or of safetensors (by its suffix); no code of it runs.

    Raises:
        ValueError: no such file, or one that holds no tensors by name.
    """
    if not path.is_file():
        raise ValueError(f"weights: no file {path}")
    try:
        if path.suffix == ".safetensors":
            return Checkpoint(path, load_file(path), {})
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_TENSORS_ONLY)
        content = content if isinstance(content, dict) else {}
        state = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), content)
        found = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    except (
        pickle.UnpicklingError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError, EOFError,
        AttributeError, OSError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise ValueError(f"weights: {path} cannot be read ({reason}); fetch it again") from None
    tensors = {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError(f"weights: {path} holds no tensors by name; expected a network's state dict")
    return Checkpoint(path, tensors, {} if state is content else content)


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
