"""From 0 to 1 without an edge: what masks and warps end by."""

import numpy as np
from numpy.typing import NDArray

from stages.arrays import F32


def smooth_step(x: NDArray[np.floating]) -> F32:
    """3 x^2 - 2 x^3 on 0..1, 0 below, 1 above: flat at both ends, at most 1.5 steep between. Any shape."""
    t: F32 = np.clip(x, 0, 1).astype(np.float32, copy=False)
    return t * t * (3 - 2 * t)
