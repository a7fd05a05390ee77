"""A ranked gallery as one web page that needs no other file: every picture is inside."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from jaxtyping import UInt8

from reidlib.palette import CORRECT, INK, QUERY, SIGNS, WRONG

MARK = '<meta name="generator" content="reidlib">'
"""In every page, so that one of somebody else's is not overwritten."""

_STYLE = (
    f":root{{color-scheme:light dark}}body{{font:14px sans-serif;margin:2em;color:light-dark({INK},#dfe3e8)}}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:right}"
    ".row{display:flex;gap:6px;margin:1em 0;overflow-x:auto}figure{margin:0;width:74px;flex:none}"
    "img{width:64px;height:128px;border:4px solid;border-radius:3px}figcaption{font-size:10px;overflow-wrap:anywhere}"
    f".query img{{border-color:light-dark({QUERY},#dfe3e8)}}.correct img{{border-color:{CORRECT}}}"
    f".wrong img{{border:4px dashed {WRONG}}}.correct b{{color:{CORRECT}}}.wrong b{{color:{WRONG}}}"
    ".query{margin-right:14px}figcaption b{font-size:14px}"
)


_SIGNS = {"correct": f"<b>{SIGNS[CORRECT]}</b> ", "wrong": f"<b>{SIGNS[WRONG]}</b> "}


@dataclass(frozen=True)
class Shown:
    """A picture of a page: ``kind`` is query, correct or wrong, as it is framed."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    kind: str


def ranked_page(rows: Sequence[Sequence[Shown]], *, head: Sequence[str], table: str) -> str:
    """Queries and their nearest gallery images, a row each, below what is known of them.

    Args:
        rows: query first, then the gallery, nearest first.
        head: lines of text.
        table: html of the metrics.
    """
    words = "".join(f"<p>{_text(line)}</p>" for line in head)
    body = "".join(f'<div class="row">{"".join(map(_figure, row))}</div>\n' for row in rows)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{MARK}<title>Ranked gallery</title>'
        f"<style>{_STYLE}</style></head><body><h1>Ranked gallery</h1>{words}{table}"
        f"<p>Dark: the query. Blue, ✓: the same person. Dashed orange, ✗: another one.</p>\n{body}</body></html>\n"
    )


def _figure(shown: Shown) -> str:
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(shown.image, cv2.COLOR_RGB2BGR))
    assert ok
    source = base64.b64encode(data.tobytes()).decode()
    name = _text(shown.name)
    image = f'<img src="data:image/jpeg;base64,{source}" alt="{name}">'
    sign = _SIGNS.get(shown.kind, "")
    return f'<figure class="{shown.kind}">{image}<figcaption>{sign}{name}</figcaption></figure>'


def _text(words: str) -> str:
    """Safe in html, whatever bytes a file's name is of."""
    return escape(words.encode(errors="replace").decode())
