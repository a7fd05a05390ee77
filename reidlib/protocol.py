"""Which gallery images count for a query: the camera rule, junk and distractors.

Identity -1 is junk and never reaches the evaluator (the loaders drop it). Identity 0 is a distractor:
it stays in the gallery, pushes correct images down, and never matches, not even a query of identity 0.
"""

from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Int

DISTRACTOR = 0


class Protocol(StrEnum):
    """The rules by which a benchmark is scored; ``Protocol("market")`` reads one by name.

    Raises:
        ValueError: no rule has that name.
    """

    MARKET = "market"
    """Gallery images with the query's identity and camera are left out, as if they were not there."""

    NO_CAMERA = "no-camera"
    """Every gallery image counts: Occluded-REID, Partial-REID and Partial-iLIDS tell no cameras apart."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"protocol = {value!r}; expected one of {', '.join(cls)}")

    def left_out(
        self, camid: Int[np.ndarray, "Q 1"], cameras: Int[np.ndarray, "Q W"]
    ) -> Bool[np.ndarray, "Q W"]:
        """Which gallery images of a query's own identity do not count.

        Args:
            camid: the query's camera.
            cameras: cameras of the W gallery images with the query's identity.
        """
        match self:
            case Protocol.MARKET:
                return cameras == camid
            case Protocol.NO_CAMERA:
                return np.zeros_like(cameras, dtype=bool)
