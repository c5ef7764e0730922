"""A mean face put into the box: landmarks for when nothing better is known."""

from collections.abc import Sequence

import numpy as np

from stages.arrays import F32, U8

# Our own mean: PFLD's points on a real face, a drawn one and the portrait of the demo, turned upright, measured in
# their YuNet boxes (0..1 across and down), averaged, made symmetric, and the lips closed.
MEAN: F32 = np.array(
    [
        # jaw, from the ear at the left round the chin: 0..16
        [-0.033, 0.375], [-0.029, 0.479], [-0.011, 0.584], [0.021, 0.687], [0.075, 0.783], [0.157, 0.865],
        [0.258, 0.934], [0.370, 0.988], [0.500, 1.005], [0.630, 0.988], [0.742, 0.934], [0.843, 0.865],
        [0.925, 0.783], [0.979, 0.687], [1.011, 0.584], [1.029, 0.479], [1.033, 0.375],
        # brows: 17..26
        [0.047, 0.280], [0.120, 0.245], [0.213, 0.239], [0.306, 0.253], [0.391, 0.280], [0.609, 0.280],
        [0.694, 0.253], [0.787, 0.239], [0.880, 0.245], [0.953, 0.280],
        # nose, bridge and base: 27..35
        [0.500, 0.363], [0.500, 0.429], [0.500, 0.493], [0.500, 0.558], [0.386, 0.613], [0.441, 0.627],
        [0.500, 0.637], [0.559, 0.627], [0.614, 0.613],
        # eyes: 36..47
        [0.147, 0.372], [0.212, 0.346], [0.287, 0.347], [0.353, 0.385], [0.282, 0.395], [0.208, 0.393],
        [0.647, 0.385], [0.713, 0.347], [0.788, 0.346], [0.853, 0.372], [0.792, 0.393], [0.718, 0.395],
        # outer lips: 48..59
        [0.279, 0.736], [0.358, 0.714], [0.444, 0.702], [0.500, 0.712], [0.556, 0.702], [0.642, 0.714],
        [0.721, 0.736], [0.649, 0.769], [0.566, 0.796], [0.500, 0.802], [0.434, 0.796], [0.351, 0.769],
        # inner lips: 60..67
        [0.305, 0.739], [0.441, 0.739], [0.500, 0.745], [0.559, 0.739], [0.695, 0.739], [0.562, 0.739],
        [0.500, 0.745], [0.438, 0.739],
    ],
    dtype=np.float32,
)  # fmt: skip
MEAN.flags.writeable = False

MEAN_BOX_ASPECT = 0.753  # width / height of the boxes behind MEAN


def place(boxes: F32) -> F32:
    """The mean face stretched into boxes: float32 [n, 4] px -> [n, 68, 2] px."""
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    return (corner + MEAN * size).astype(np.float32)


class Template:
    """`Landmarker` that knows the box alone."""

    needs_pixels = False
    room = 0.0

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """See `Landmarker.locate`; regions and points are not looked at."""
        return place(boxes)
