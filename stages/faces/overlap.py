"""How much two boxes are one."""

import numpy as np

from stages.arrays import F64


def overlaps(a: F64, b: F64) -> F64:
    """Intersection over union of every box of `a` [n, 4] with every one of `b` [m, 4], x0, y0, x1, y1: [n, m].

    0 where both are without area.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1)[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=1)[None, :]
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float64)
