"""A parser of body parts that errs: exact part labels made wrong as pose and parsing models make them wrong.

Three kinds of error, drawn image by image: parts that are missed, left and right taken for each other, and parts
that lie a little beside the body. Left out: labels that leak onto other people and onto what stands in front.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from synthreid.figure import PART_COUNT, stream

_MIRRORED = np.array([0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10], dtype=np.uint8)


@dataclass(frozen=True)
class Parser:
    """How often and how far a parser errs; all zero for exact labels."""

    missed: float = 0.0  # probability of a part's not being found
    swapped: float = 0.0  # probability of an image's left and right being exchanged
    shift: tuple[float, float] = (
        0.0,
        0.0,
    )  # standard deviation of a part's offset, shares of height and width

    def __post_init__(self) -> None:
        if not (0 <= self.missed <= 1 and 0 <= self.swapped <= 1 and min(self.shift) >= 0):
            raise ValueError(
                f"missed = {self.missed}, swapped = {self.swapped}, shift = {self.shift}; expected two "
                "probabilities and no negative shift"
            )

    def scaled(self, share: float) -> "Parser":
        """A parser with this share of the errors."""
        return Parser(
            self.missed * share, self.swapped * share, (self.shift[0] * share, self.shift[1] * share)
        )


EXACT = Parser()
ERRING = Parser(missed=0.3, swapped=0.3, shift=(2.5 / 64, 1.5 / 32))
"""A bad one: three parts in ten missed, three images in ten mirrored, boundaries off by a twenty-fifth."""


def misread(
    labels: UInt8[np.ndarray, "H W"], parser: Parser, *, seed: int, name: str
) -> UInt8[np.ndarray, "H W"]:
    """Part labels as a parser would give them; a pure function of its arguments.

    A worse parser of the same kind errs wherever a better one does.

    Args:
        labels: 0 to 11, exact.
        parser: how it errs.
        seed: of the world.
        name: of the image, which has random numbers of its own.
    """
    if parser == EXACT:
        return labels
    rng = stream(seed, "parser", name)
    missed = rng.random(PART_COUNT + 1) < parser.missed
    if rng.random() < parser.swapped:
        labels = _MIRRORED[labels]
    sides = np.array(labels.shape) * parser.shift
    offsets = np.rint(rng.standard_normal((PART_COUNT + 1, 2)) * sides).astype(int)
    found = np.zeros_like(labels)
    for part in np.unique(labels):
        if part and not missed[part]:
            found[_moved(labels == part, *offsets[part].tolist())] = part
    return found


def _moved(mask: np.ndarray, down: int, right: int) -> np.ndarray:
    """A region moved within the picture; what leaves it is lost."""
    rows, columns = np.nonzero(mask)
    rows, columns = rows + down, columns + right
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    moved = np.zeros_like(mask)
    moved[rows[inside], columns[inside]] = True
    return moved
