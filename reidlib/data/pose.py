"""Confidence fields for images that come without: torchvision's Keypoint R-CNN behind the published contract.

The labels published for BPBreID are PifPaf's fields filtered by a Mask R-CNN; PifPaf no longer builds. Where a
set has none, keypoints of another detector are drawn as fields of the same 36 channels. They are coarser
than the published ones: no number of the paper should be expected from them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from shutil import rmtree

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.hub import get_dir
from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights, keypointrcnn_resnet50_fpn
from tqdm.auto import tqdm

from reidlib.data.datasets import MASKS, SPLITS, child, layout_of
from reidlib.data.index import ImageRecord, Split
from reidlib.data.loading import read_image
from reidlib.data.masks import KEYPOINTS, draw_fields
from reidlib.files import replacing

Detector = Callable[[list[Float[Tensor, "3 _ _"]]], list[dict[str, Tensor]]]
"""Images in [0, 1] to ``keypoints`` ``[P, 17, 3]`` and ``keypoints_scores`` ``[P, 17]`` of P persons each."""

_SURE = 2.0  # score of a keypoint, a logit, that counts as confidence 0.5; our choice


def keypoint_rcnn(device: torch.device | str = "cpu") -> Detector:
    """torchvision's detector from its published weights, which must lie in torch's checkpoint folder.

    Raises:
        FileNotFoundError: the weights are not there; nothing is downloaded.
        ValueError: the file cannot be read.
    """
    weights = KeypointRCNN_ResNet50_FPN_Weights.COCO_V1
    file = Path(get_dir()) / "checkpoints" / Path(weights.url).name
    if not file.is_file():
        raise FileNotFoundError(f"Keypoint R-CNN: no file {file}; download {weights.url} and put it there")
    model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Keypoint R-CNN: {file} holds no weights of it ({type(error).__name__}); fetch it again"
        ) from None
    return model.to(device).eval()


def write_fields(split: Split, detector: Detector, *, device: torch.device | str = "cpu") -> int:
    """Write confidence fields for all images of a data set, below ``masks/keypoint_rcnn``.

    Until all are there, new ones lie in a folder of another name; the same call goes on from there.

    Returns:
        How many files were written.

    Raises:
        ValueError: an image is unreadable.
        OSError: the data set's folder cannot be written.
    """
    home = split.root / MASKS[-1].folder
    unfinished = home.with_name(f"{home.name}.unfinished")
    files = [(r, Path(folder, f"{r.path.stem}.npy")) for side in SPLITS for r, folder in _placed(split, side)]
    absent = [(record, file) for record, file in files if not (home / file).exists()]
    missing = [(record, unfinished / file) for record, file in absent if not (unfinished / file).exists()]
    for record, path in tqdm(missing, desc="keypoints", unit="img", disable=None):
        with replacing(path) as file:
            np.save(file, estimate(record, detector, device=device))
    for _, file in absent:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / file).replace(home / file)
    rmtree(unfinished, ignore_errors=True)
    return len(missing)


def _placed(split: Split, side: str) -> Sequence[tuple[ImageRecord, str]]:
    """Every image and the folder of the layout that it lies in."""
    records, folders = getattr(split, side), layout_of(split).folders[side]
    homes = [(folder, child(split.root, folder)) for folder in folders]
    return [(r, next(name for name, home in homes if r.path.is_relative_to(home))) for r in records]


@torch.no_grad()
def estimate(
    record: ImageRecord, detector: Detector, *, device: torch.device | str = "cpu"
) -> Float[np.ndarray, "36 h w"]:
    """Fields of the person whose head is nearest to the top centre of the image; zeros where nobody is found.

    Source: the choice of the person, BPBreID, supplementary material, human parsing labels.
    """
    image = read_image(record.path)
    height, width = image.shape[:2]
    tensor = torch.from_numpy(image).permute(2, 0, 1).to(device) / 255
    found = {name: value.cpu() for name, value in detector([tensor])[0].items()}
    if not len(found["keypoints"]):
        return draw_fields(np.zeros((17, 2)), np.zeros(17), size=(height, width))
    head = found["keypoints"][:, : KEYPOINTS.index("left_shoulder"), :2].mean(1)  # [P, 2]
    person = int((head - torch.tensor([width / 2, 0.0])).norm(dim=1).argmin())
    points = found["keypoints"][person, :, :2].double().numpy()
    confidence = (found["keypoints_scores"][person] - _SURE).sigmoid().double().numpy()
    return draw_fields(points, confidence, size=(height, width))
