"""What every landmark provider looks like from outside."""

from collections.abc import Sequence
from typing import Protocol

from stages.arrays import F32, U8


class Landmarker(Protocol):
    """Places the 68 points of iBUG 300-W on faces that are already found.

    0-16 jaw from the ear at the picture's left, 17-26 brows, 27-35 nose, 36-47 eyes, 48-59 outer lips from the
    corner at the left over the upper lip, 60-67 inner lips.
    """

    needs_pixels: bool
    """False: `locate` looks at boxes and points only, `regions` may be empty and no frame need be decoded."""
    room: float
    """How far round the box a region should reach, as a share of the box's longer side."""

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        """Find the points of n faces, one in each region.

        `regions`: n pictures, uint8 [h, w, 3] BGR, each with some room round its face. `boxes`: float32 [n, 4]
        x0, y0, x1, y1 px of the region, the common face box of `stages.faces.types`. `points`: float32 [n, 5, 2]
        px of the region, the five points of `stages.faces.types`, NaN where unknown.
        Returns float32 [n, 68, 2] x, y px of the region, a pixel's centre at half. One face's answer does not
        depend on the others in the call.
        """
        ...
