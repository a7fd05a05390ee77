"""Sheets of pictures: what is where, and what colour its frame has."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from reidlib import palette, sheets

RANDOM = np.random.default_rng(0)


def pictures(*shape):
    return RANDOM.integers(0, 255, (*shape, 16, 8, 3), dtype=np.uint8)


def shown(figure):
    """The pictures of a sheet, row by row, with the left and upper edge of each."""
    images = figure.axes[0].get_images()
    places = [(image.get_extent()[3], image.get_extent()[0]) for image in images]
    order = sorted(range(len(images)), key=lambda i: places[i])
    return [images[i].get_array() for i in order], [places[i] for i in order]


def texts(figure):
    return [text.get_text() for text in (*figure.axes[0].texts, *figure.texts)]


def test_a_grid_shows_every_picture_in_its_place():
    images = pictures(2, 3)
    figure = sheets.image_grid(images, column_titles=["whole", "whole", "occluded"], title="Some people")
    found, places = shown(figure)
    assert all(np.array_equal(a, b) for a, b in zip(found, images.reshape(6, 16, 8, 3)))
    assert len(found) == 6
    assert len({top for top, _ in places}) == 2
    assert sorted(texts(figure)) == ["Some people", "occluded", "whole"]  # written once over its two columns


@pytest.mark.parametrize("draw", ["failures", "ranking"])
def test_frames_tell_right_from_wrong(draw):
    gallery, correct = pictures(2, 3), np.array([[True, False, False], [False, True, True]])
    query = pictures(2) if draw == "failures" else pictures()
    figure = getattr(sheets, draw)(query, gallery, correct=correct, titles=["anna", "bert"])
    frames = [to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches]
    wanted = [[palette.QUERY, *(palette.CORRECT if hit else palette.WRONG for hit in row)] for row in correct]
    assert frames == sum(wanted, [])
    found, _ = shown(figure)
    asked = query if draw == "failures" else np.stack([query, query])
    assert all(np.array_equal(a, b) for a, b in zip(found[::4], asked))
    assert {"query", "1", "2", "3", "anna", "bert"} <= set(texts(figure))


def test_distances_stand_below_their_pictures():
    distances = np.array([[0.126, np.inf]])
    figure = sheets.ranking(pictures(), pictures(1, 2), correct=distances < 1, distances=distances)
    assert {"0.13", "∞"} <= set(texts(figure))


def test_sheets_are_closed_and_no_larger_than_their_area():
    for count in (1, 12):
        figure = sheets.image_grid(pictures(count, count))
        assert np.prod(figure.get_size_inches()) < 1.2 * sheets.AREA
    assert pyplot.get_fignums() == []
