"""How near numbers must be: exactness belongs to double precision, elsewhere rounding decides."""

import torch

EXACT = 1e-9
"""Between two ways of computing the same in double precision."""

PRINTED = 5.1e-9
"""From a checkpoint printed with eight decimals: half a unit of the last one."""


def rounding(dtype: torch.dtype, *, steps: int, size: float = 1.0) -> float:
    """What so many operations, each rounding a number of this size, may add up to; never under ``EXACT``."""
    return max(steps * torch.finfo(dtype).eps * size, EXACT)
