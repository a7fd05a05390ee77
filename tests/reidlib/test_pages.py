"""The page of a ranked gallery: whole, and safe whatever files are called."""

import base64
import re

import cv2
import numpy as np

from reidlib.pages import MARK, Shown, ranked_page


def test_pictures_are_inside_and_names_are_text():
    picture = np.zeros((128, 64, 3), np.uint8)
    picture[..., 0] = 255  # red
    rows = [[Shown("p1/<b>&", picture, "query"), Shown("p\udcff/0", picture, "wrong")]]
    page = ranked_page(rows, head=["<script>"], table="<table></table>")
    assert MARK in page[:300]
    assert "<script>" not in page
    assert "p1/&lt;b&gt;&amp;" in page
    assert "p?/0" in page
    page.encode()
    data = [base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", page)]
    image = cv2.imdecode(np.frombuffer(data[1], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (128, 64, 3)
    assert image[64, 32, 2] > 200 > 60 > image[64, 32, 0]
