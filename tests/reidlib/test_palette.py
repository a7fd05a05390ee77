"""Colours that one reader in twelve must tell apart too."""

from itertools import combinations

import numpy as np
import pytest

from reidlib import palette

SEEN = {  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "all colours": np.eye(3).tolist(),
}


def lab(colour, eye):
    """CIELAB coordinates of a colour as an eye sees it."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[eye]) @ linear, 0, 1)
    xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]) @ linear
    xyz = xyz / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other, eye):
    return np.linalg.norm(lab(one, eye) - lab(other, eye))


@pytest.mark.parametrize("eye", SEEN)
def test_right_and_wrong_and_the_first_series_can_be_told_apart(eye):
    for one, other in combinations((palette.QUERY, palette.CORRECT, palette.WRONG), 2):
        assert apart(one, other, eye) > 30, (one, other)
    for one, other in combinations(palette.SERIES[:5], 2):
        assert apart(one, other, eye) > 20, (one, other)


def test_the_colours_of_before_fail():
    assert apart("#2e9e5b", "#d1495b", "deuteranopia") < 30


def test_signs_differ_too():
    assert len({*palette.SIGNS.values()}) == len(palette.SIGNS) == 2


def test_words_are_read_on_every_colour():
    assert palette.contrast("#ffffff", "#000000") == pytest.approx(21)
    for fill in (*palette.SERIES, palette.BLUE, palette.ORANGE, palette.PALE_BLUE, palette.PALE_ORANGE):
        assert palette.contrast(palette.ink_on(fill), fill) > 4, fill
