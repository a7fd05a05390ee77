import numpy as np
import pytest

from reidlib.protocol import Protocol

ASKED = np.array([[0], [1]])
CAMERAS = np.array([[0, 1, 0], [0, 1, 2]])


def test_market_leaves_out_the_same_camera():
    left_out = Protocol.MARKET.left_out(ASKED, CAMERAS)
    assert left_out.tolist() == [[True, False, True], [False, True, False]]


def test_without_cameras_everything_counts():
    assert not Protocol.NO_CAMERA.left_out(ASKED, CAMERAS).any()


def test_read_by_name():
    assert Protocol("no-camera") is Protocol.NO_CAMERA
    with pytest.raises(ValueError, match="cuhk"):
        Protocol("cuhk")
