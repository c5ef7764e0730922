"""Where a face lies in the square that GFPGAN was trained on: five points -> a similarity.

All positions are continuous: the first pixel reaches from 0 to 1, its centre is at 0.5.
"""

from typing import Final

import numpy as np

from stages.arrays import F64, Bool

FACE_PX: Final = 512
"""Side of the aligned face that goes into the network and comes out of it (gfpgan.md 1)."""
TEMPLATE: Final[F64] = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""The five points of `stages.crops.landmarks.five.five_of`, in px of 512 (gfpgan.md 5)."""
_EYES_PX: Final = 5.0
"""Faces with eyes closer together are left alone (gfpgan.md 5)."""


def alignable(points: F64) -> Bool:
    """Whether each face's five points [n, 5, 2], in px of the full frame, say where it is: bool [n]."""
    apart = np.hypot(*(points[:, 1] - points[:, 0]).T)
    good: Bool = np.isfinite(points).all(axis=(1, 2)) & (apart >= _EYES_PX)
    return good


def similarity(points: F64, template: F64 = TEMPLATE) -> F64:
    """Rotation, one scale and shift that bring points nearest to the template: float64 [n, 2, 3].

    `points`: float64 [n, 5, 2], alignable. Least squares in closed form (Umeyama 1991, in the plane): as smooth over
    time as the landmarks are. The official helper's least median of squares gives the same while it keeps all five
    points, and jumps whenever it drops one.
    """
    source = points[..., 0] + 1j * points[..., 1]
    target = template[:, 0] + 1j * template[:, 1]
    middle, aim = source.mean(axis=1), target.mean()
    around = source - middle[:, None]
    # In the complex plane a similarity is one product and one sum.
    # Sums, not a matrix product: BLAS rounds differently for another number of faces.
    turn = (around.conj() * (target - aim)).sum(axis=1) / (np.abs(around) ** 2).sum(axis=1)
    shift = aim - turn * middle
    rows = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    return np.moveaxis(np.array(rows), -1, 0)
