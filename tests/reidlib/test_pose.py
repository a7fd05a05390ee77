"""Confidence fields from another detector: who is chosen, where they are written, what an interruption leaves."""

import numpy as np
import pytest
import torch
from trees import plant

from reidlib.data.datasets import load
from reidlib.data.pose import keypoint_rcnn, write_fields


def test_fields_from_a_detector_fill_a_data_set(tmp_path):
    plant("occluded-reid", tmp_path)

    def detector(images):
        assert images[0].shape[0] == 3
        points = torch.zeros(2, 17, 3)
        points[0, :, 0], points[0, :, 1] = 1.0, 30.0  # someone at the lower left corner
        points[1, :, 0], points[1, :, 1] = 8.0, torch.linspace(2, 30, 17)
        return [{"keypoints": points, "keypoints_scores": torch.full((2, 17), 9.0)}]

    split = load("occluded-reid", tmp_path)
    assert write_fields(split, detector) == 30
    assert write_fields(split, detector) == 0
    again = load("occluded-reid", tmp_path)
    mask = again.query[0].mask
    assert mask.parts[-4:-1] == ("masks", "keypoint_rcnn", "occluded_body_images")
    assert np.load(mask)[0, 0].max() > 0.5  # the nose of the second person


def test_an_interrupted_detector_goes_on(tmp_path):
    plant("occluded-reid", tmp_path)
    split, calls = load("occluded-reid", tmp_path), []
    nobody = {"keypoints": torch.zeros(0, 17, 3), "keypoints_scores": torch.zeros(0, 17)}

    def detector(images):
        calls.append(images)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return [nobody]

    with pytest.raises(KeyboardInterrupt):
        write_fields(split, detector)
    assert all(record.mask is None for record in load("occluded-reid", tmp_path).gallery)
    assert write_fields(split, detector) == 30 - 9
    assert all(np.load(record.mask).max() == 0 for record in load("occluded-reid", tmp_path).gallery)
    lost = load("occluded-reid", tmp_path).query[0].mask
    lost.unlink()  # or another split of the same folder, unpacked later
    assert (write_fields(split, detector), write_fields(split, detector)) == (1, 0)
    assert lost.exists()


def test_detector_weights_are_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"keypointrcnn.*\.pth; download https.*put it there"):
        keypoint_rcnn()
