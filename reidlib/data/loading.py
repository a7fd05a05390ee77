"""From files to batches: decode once, keep on the device if it fits, augment whole batches.

No worker processes: the parameters of an epoch's augmentation are drawn on the CPU from (seed, epoch), so
that CPU and GPU train on the same pictures (but for AugMix, whose mixture torchvision draws on the GPU) and a
resumed run needs no stored random state.
"""

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps
from torch import Generator, Tensor
from tqdm.auto import tqdm

from reidlib.data.index import ImageRecord
from reidlib.data.masks import (
    CELL,
    KEYPOINTS,
    LIMBS,
    PartGroups,
    check_fields,
    check_labels,
    field_targets,
    part_targets,
    shrink_fields,
)
from reidlib.data.sampler import identity_batches
from reidlib.data.transforms import Augment, apply, draw, normalise, recolour, zoom
from reidlib.files import replacing
from reidlib.options import check_choices, check_count

logger = logging.getLogger(__name__)
_DECODERS, _READ_AHEAD = 8, 256  # threads, and how many images they may be ahead of the file
_SHARE = 0.5  # of the free memory of a GPU that images may take


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Decoded images at network size, in memory or memory-mapped.

    Args:
        images: RGB bytes.
        masks: part labels 0..11 ``[N, H, W]`` or 36 confidence fields in 1/255 ``[N, 36, H/4, W/4]``, if the
            data set has them.
        label: training label 0..I-1, -1 where there is none.
        pid: the data set's person.
        camid: camera.
        names: file names, for messages and joins.
    """

    images: UInt8[Tensor, "N 3 H W"]
    masks: UInt8[Tensor, "N *planes _ _"] | None
    label: Int[Tensor, " N"]
    pid: Int[Tensor, " N"]
    camid: Int[Tensor, " N"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Int[Tensor, " n"]) -> "ImageStack":
        chosen = tuple(self.names[i] for i in rows.tolist())
        masks = None if self.masks is None else self.masks[rows]
        return ImageStack(
            self.images[rows], masks, self.label[rows], self.pid[rows], self.camid[rows], chosen
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[-2], self.images.shape[-1]

    def to(self, device: torch.device | str) -> "ImageStack":
        """The same stack with its pixels on a device, or unchanged if they would not fit there."""
        device = torch.device(device)
        tensors = {"images": self.images, "masks": self.masks}
        needed = sum(tensor.nbytes for tensor in tensors.values() if tensor is not None)
        if device.type == "cuda" and needed > _SHARE * torch.cuda.mem_get_info(device)[0]:
            logger.info("%d images (%.1f GB) stay on disk: too many for %s", len(self), needed / 1e9, device)
            return self
        return replace(
            self, **{k: tensor if tensor is None else tensor.to(device) for k, tensor in tensors.items()}
        )


def load_stack(
    records: Sequence[ImageRecord],
    *,
    size: tuple[int, int],
    cache: Path,
    labels: dict[int, int] | None = None,
) -> ImageStack:
    """Decode and resize images (and part maps) once; later calls map the cached arrays into memory.

    Args:
        records: which images; either all have a part map or none.
        size: height and width in pixels.
        cache: folder of the cached arrays; may be deleted at any time.
        labels: training label of each pid, None outside training.

    Raises:
        ValueError: no records, an unreadable or damaged file, a part map that does not fit its image, a
            pid without label.
        OSError: the cache cannot be written.
    """
    _check(records, labels)
    key = hashlib.sha256(f"2 {size} {content(records)}".encode()).hexdigest()[:16]  # 2: layout of the cache
    parts = ("images", "masks") if records[0].mask else ("images",)
    shapes = {"images": (len(records), 3, *size), "masks": (len(records), *_mask_shape(records[0], size))}
    files = {part: cache / f"{key}-{part}.npy" for part in parts}
    arrays = {part: _read(files[part], shapes[part]) for part in parts}
    if any(array is None for array in arrays.values()):
        _build(records, size, {files[part]: shapes[part] for part in parts})
        arrays = {part: _read(files[part], shapes[part]) for part in parts}
    tensors = {part: torch.from_numpy(array) for part, array in arrays.items()}
    return ImageStack(
        images=tensors["images"],
        masks=tensors.get("masks"),
        label=torch.tensor([-1 if labels is None else labels[record.pid] for record in records]),
        pid=torch.tensor([record.pid for record in records]),
        camid=torch.tensor([record.camid for record in records]),
        names=tuple(record.path.name for record in records),
    )


def _mask_shape(record: ImageRecord, size: tuple[int, int]) -> tuple[int, ...]:
    if not _has_fields(record):
        return size
    if size[0] % CELL or size[1] % CELL:
        raise ValueError(f"size {size}: confidence fields need sides that {CELL} divides")
    return len(KEYPOINTS) + len(LIMBS), size[0] // CELL, size[1] // CELL


def _has_fields(record: ImageRecord) -> bool:
    return record.mask is not None and record.mask.suffix == ".npy"


def _check(records: Sequence[ImageRecord], labels: dict[int, int] | None) -> None:
    if not records:
        raise ValueError("records is empty; this split of the data set holds no images")
    masked = [record.mask is not None for record in records]
    if any(masked) and not all(masked):
        raise ValueError(
            f"{records[masked.index(False)].path} has no part map but others have; add or drop them all"
        )
    if any(_has_fields(record) != _has_fields(records[0]) for record in records):
        raise ValueError(
            "records mix part labels (png) and confidence fields (npy); use one kind for a split"
        )
    unknown = set() if labels is None else {record.pid for record in records} - labels.keys()
    if unknown:
        raise ValueError(f"labels lacks {len(unknown)} pids, among them {min(unknown)}; pass `Split.labels`")


def content(records: Sequence[ImageRecord]) -> str:
    """Hash of the bytes of all images and masks, in order: names, sizes and times may be those of other pictures.

    Raises:
        ValueError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in (path for record in records for path in (record.path, record.mask) if path):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}); restore or remove it") from None
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached array, None if it is absent or damaged."""
    try:
        array = np.load(path, mmap_mode="c")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as error:
        logger.warning("cached array %s is damaged (%s); decoding again", path, error)
        return None
    if array.shape != shape or array.dtype != np.uint8:
        logger.warning("cached array %s has another shape than %s; decoding again", path, shape)
        return None
    return array


def _build(records: Sequence[ImageRecord], size: tuple[int, int], files: dict[Path, tuple[int, ...]]) -> None:
    """Write the arrays image by image, in order."""
    try:
        with ExitStack() as stack:
            handles = [stack.enter_context(replacing(path)) for path in files]
            for handle, shape in zip(handles, files.values()):
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(handle, header)
            threads = stack.enter_context(ThreadPoolExecutor(min(_DECODERS, os.cpu_count() or 1)))
            with tqdm(total=len(records), desc="decoding", unit="img", disable=None) as bar:
                for first in range(0, len(records), _READ_AHEAD):
                    some = records[first : first + _READ_AHEAD]
                    for arrays in threads.map(partial(decode, size=size), some):
                        for handle, array in zip(handles, arrays):
                            handle.write(array.tobytes())
                    bar.update(len(some))
    except OSError as error:
        folder = next(iter(files)).parent
        raise OSError(
            error.errno,
            f"cannot write the image cache ({error.strerror}); free disk space or choose another folder "
            "(XDG_CACHE_HOME, or COMPANION_CACHE in the study)",
            str(folder),
        ) from error


def decode(record: ImageRecord, *, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """One image ``[3, H, W]`` (RGB) and, if it has one, its mask (see ``ImageStack``), at network size.

    Raises:
        ValueError: a file is unreadable or damaged, or the part map does not fit the image.
    """
    image = read_image(record.path)
    stored, (height, width) = image.shape[:2], size
    shrinks = stored[0] >= height and stored[1] >= width
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    pixels = image.transpose(2, 0, 1)  # [3, H, W]
    if record.mask is None:
        return (pixels,)
    mask = read_mask(record.mask, size=stored)
    if _has_fields(record):
        return pixels, shrink_fields(mask, size=size)
    return pixels, cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """The decoded image, RGB; what is transparent is black.

    Raises:
        ValueError: the file is unreadable or damaged, or holds other numbers than bytes.
    """
    data, image = _opened(path)
    if image.mode in ("F", "I"):
        raise ValueError(f"image {path} holds numbers of 32 bits; save it with 8 bits a channel")
    if image.has_transparency_data:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
        return (pixels[..., :3] * (pixels[..., 3:] / 255)).round().astype(np.uint8)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:  # a format that this build of OpenCV lacks
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def resized(record: ImageRecord, *, size: tuple[int, int] = (128, 64)) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of one image at a common size, for figures."""
    return cv2.resize(read_image(record.path), size[::-1], interpolation=cv2.INTER_AREA)


def read_mask(path: Path, *, size: tuple[int, int]) -> np.ndarray:
    """Part labels ``[H, W]`` (png) or confidence fields ``[36, h, w]`` (npy) of an image.

    Args:
        size: height and width of the image as stored.

    Raises:
        ValueError: the file is unreadable or does not fit.
    """
    if path.suffix != ".npy":
        labels = np.asarray(_opened(path, kind="part map")[1])  # of a palette, the numbers, not their colours
        check_labels(labels, path, size=size)
        return labels
    try:
        fields = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError):
        fields = None
    check_fields(fields if isinstance(fields, np.ndarray) else None, path)
    return fields


def _opened(path: Path, *, kind: str = "image") -> tuple[bytes, Image.Image]:
    """A file's bytes and what Pillow makes of them, which notices what is missing: OpenCV fills it with grey."""
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data))
        if image.format == "PNG":
            image.verify()  # its checksums; after that it is to be opened anew
            image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # a decoder of damaged bytes may raise anything
        why = getattr(error, "strerror", None) or re.sub(" <_io.*>", "", str(error)) or type(error).__name__
        raise ValueError(f"{kind} {path} is unreadable or truncated ({why}); restore or remove it") from None
    return data, image


@dataclass(frozen=True)
class BatchConfig:
    """What training batches are made of."""

    identities: int = 16  # P, per batch
    images: int = 4  # M, of each identity
    augment: Augment = field(default_factory=Augment)  # how images are varied
    epoch: Literal["images", "identities"] = "images"  # what an epoch shows once

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("identities", "images"):
            check_count(name, getattr(self, name))


class Batch(NamedTuple):
    """Training images, their labels and, for models that learn parts, the part targets."""

    images: Float[Tensor, "N 3 H W"]
    labels: Int[Tensor, " N"]
    masks: Float[Tensor, "N M h w"] | None


@dataclass(frozen=True, eq=False)
class Loader:
    """Training batches, the same for the same (seed, epoch).

    Args:
        stack: training images.
        config: composition and augmentation of the batches.
        seed: of order and augmentation.
        groups: parts that the model learns, None if it learns none.
        device: where batches go.
        share: which of how many equal shares of every batch it gives, whole identities each. Together the shares
            are the batch of one loader, pictures included; but zooming, jitter and AugMix each draws for itself.
    """

    stack: ImageStack
    config: BatchConfig
    seed: int
    groups: PartGroups | None = None
    device: torch.device = torch.device("cpu")
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.config.identities % self.share[1]:
            raise ValueError(
                f"a batch of {self.config.identities} identities cannot be shared by {self.share[1]} devices; "
                "use as many as divide it"
            )
        if self.groups is not None and self.stack.masks is None:
            raise ValueError(
                f"the model learns body parts but the {len(self.stack)} training images (first {self.stack.names[0]}) "
                "have no part labels; see data/README.md, part labels, or make some: python -m reidlib masks NAME"
            )
        if (self.stack.label < 0).any():
            raise ValueError("stack has images without training label; pass `labels` to load_stack")

    def to(self, device: torch.device | str) -> "Loader":
        """The same loader giving batches on a device; the stack follows if it fits there."""
        groups = None if self.groups is None else self.groups.to(device)
        return replace(self, stack=self.stack.to(device), groups=groups, device=torch.device(device))

    def order(self, epoch: int) -> Int[Tensor, "batches {self.config.identities*self.config.images}"]:
        """Which images make the batches of an epoch."""
        return self._order(_stream(self.seed, epoch))

    def _order(self, generator: Generator) -> Tensor:
        p, m = self.config.identities, self.config.images
        return identity_batches(
            self.stack.label, identities=p, images=m, epoch=self.config.epoch, generator=generator
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch (0, 1, ...), augmented, on the device."""
        generator, (rank, of) = _stream(self.seed, epoch), self.share
        order = self._order(generator)  # [B, P*M]
        draws = draw(order.numel(), size=self.stack.size, augment=self.config.augment, generator=generator)
        draws = draws.view(len(order), of, -1, draws.shape[1])[:, rank].to(self.device)  # [B, P*M/of, 7]
        order = order.view(len(order), of, -1)[:, rank]  # [B, P*M/of]
        labels = self.stack.label[order].to(self.device)
        rows = order.to(self.stack.images.device)
        if rank:
            generator = _stream(self.seed, epoch, rank)
        for i in range(len(order)):
            yield self._batch(rows[i], labels[i], draws[i], generator)

    def _batch(self, rows: Tensor, labels: Tensor, draws: Tensor, generator: Generator) -> Batch:
        augment = self.config.augment
        images = _sent(self.stack.images[rows], self.device)
        masks = None if self.groups is None else _sent(self.stack.masks[rows], self.device)
        images, masks = zoom(images, masks, augment=augment, generator=generator)
        colours = partial(recolour, augment=augment, generator=generator)
        images, masks = apply(images, masks, draws=draws, colours=colours)
        return Batch(images, labels, None if masks is None else _targets(masks, self.groups))


def _sent(pixels: UInt8[Tensor, "*any"], device: torch.device) -> UInt8[Tensor, "*any"]:
    """On the device; from pinned memory, so that nobody waits."""
    pinned = pixels.pin_memory() if device.type == "cuda" and not pixels.is_cuda else pixels
    return pinned.to(device, non_blocking=True)


def _targets(masks: UInt8[Tensor, "N *planes _ _"], groups: PartGroups) -> Float[Tensor, "N M h w"]:
    return part_targets(masks, groups) if masks.ndim == 3 else field_targets(masks, groups)


def _stream(seed: int, epoch: int, *rank: int) -> Generator:
    state = np.random.SeedSequence((seed, epoch, *rank)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def batches(
    stack: ImageStack,
    *,
    size: int = 256,
    groups: PartGroups | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Float[Tensor, "N 3 H W"], Float[Tensor, "N M h w"] | None]]:
    """All images in order under the test transform, and their part targets.

    Args:
        size: images per batch.
        groups: parts of the targets; without it, or without part maps, there are no targets.
    """
    groups = None if groups is None or stack.masks is None else groups.to(device)
    for start in range(0, len(stack), size):
        rows = slice(start, start + size)
        images = normalise(stack.images[rows].to(device))
        yield images, None if groups is None else _targets(stack.masks[rows].to(device), groups)
