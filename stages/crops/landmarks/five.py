"""The mean face fitted to a detector's five points: knows turn, size and where the mouth is; no pixels needed."""

from collections.abc import Sequence

import numpy as np

from stages.arrays import F32, F64, U8
from stages.crops.landmarks.template import MEAN, MEAN_BOX_ASPECT, place

_UPRIGHT: F64 = MEAN.astype(np.float64) * (MEAN_BOX_ASPECT, 1.0)  # the mean face in its true proportions
_LIPS = slice(48, 68)
_CORNERS = (48, 54)


def five_of(landmarks: F32 | F64) -> F64:
    """The five points of `stages.faces.types.Detections` out of iBUG's 68: [..., 68, 2] -> float64 [..., 5, 2]."""
    full = landmarks.astype(np.float64)
    eyes = full[..., 36:42, :].mean(axis=-2), full[..., 42:48, :].mean(axis=-2)
    return np.stack([*eyes, full[..., 30, :], full[..., 48, :], full[..., 54, :]], axis=-2)


_FIVE: F64 = five_of(_UPRIGHT)


class Five:
    """`Landmarker` that fits the mean face to the five points, or to the box where a face has none."""

    needs_pixels = False
    room = 0.0

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; regions are not looked at."""
        found = place(boxes)
        for item in np.flatnonzero(np.isfinite(points).all(axis=(1, 2))):
            found[item] = _fit(points[item].astype(np.float64))
        return found


def _fit(five: F64) -> F64:
    """[5, 2] px -> [68, 2] px: the best similarity, then the lips moved, turned and sized onto their corners."""
    face = _similarity(_FIVE, five, _UPRIGHT)
    corners = face[list(_CORNERS)]
    if np.ptp(five[3:], axis=0).max() > 0:
        face[_LIPS] = _similarity(corners, five[3:], face[_LIPS])
    return face


def _similarity(source: F64, target: F64, moved: F64) -> F64:
    """Move points by the turn, size and shift that carry `source` nearest to `target` (least squares).

    In complex numbers the similarity is z -> a z + b, and its least squares solution is one division.
    """
    z, w, m = (p[:, 0] + 1j * p[:, 1] for p in (source, target, moved))
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    turned = a * (m - z.mean()) + w.mean()
    return np.stack([turned.real, turned.imag], axis=1)
