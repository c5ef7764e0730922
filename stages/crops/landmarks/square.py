"""Square crops that know the way back to the region they were cut from."""

import math
from dataclasses import dataclass

import cv2

from stages.arrays import F32, U8


@dataclass(frozen=True)
class Square:
    """A whole-pixel square of a region."""

    x: int
    y: int
    side: int

    def cut(self, region: U8, px: int, border: int = cv2.BORDER_REPLICATE) -> U8:
        """The square's pixels resized to [px, px, 3].

        What lies outside the region repeats its outermost pixels, or is black (`cv2.BORDER_CONSTANT`).
        """
        height, width = region.shape[:2]
        left, top = max(0, -self.x), max(0, -self.y)
        right, bottom = max(0, self.x + self.side - width), max(0, self.y + self.side - height)
        pixels = region[max(0, self.y) : self.y + self.side, max(0, self.x) : self.x + self.side]
        if left or top or right or bottom:
            pixels = cv2.copyMakeBorder(pixels, top, bottom, left, right, border)
        how = cv2.INTER_AREA if self.side > px else cv2.INTER_LINEAR
        return cv2.resize(pixels, (px, px), interpolation=how)  # type: ignore[no-any-return]


def square_round(box: F32, margin: float) -> Square:
    """The square round a box's centre whose side is the box's longer side and `margin` of it more."""
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(8, round((1 + margin) * max(x1 - x0, y1 - y0)))
    return Square(math.floor((x0 + x1 - side) / 2 + 0.5), math.floor((y0 + y1 - side) / 2 + 0.5), side)
