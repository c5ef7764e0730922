"""The pixels of a box, resized to what a network wants."""

import cv2
import numpy as np
from PIL import Image

from stages.arrays import I32, U8
from stages.crops.landmarks.square import Square
from stages.crops.settings import Resize
from stages.crops.types import CONTEXT_PX
from stages.media.planes import Region


def crop(picture: U8, region: Region, box: I32, px: int, resize: Resize) -> U8:
    """The box's content as uint8 [px, px, 3]; `picture` shows the region it lies in."""
    x0, y0, x1, y1 = (int(v) for v in box - np.tile(np.array(region[:2]), 2))
    part = picture[y0:y1, x0:x1]
    if resize == "lanczos":  # Pillow widens its kernel where it shrinks, OpenCV does not (musetalk.md 9.1, 10)
        return np.asarray(Image.fromarray(part).resize((px, px), Image.Resampling.LANCZOS))
    shrinks = x1 - x0 > px or y1 - y0 > px
    if resize == "lanczos4":
        how = cv2.INTER_LANCZOS4
    else:
        how = cv2.INTER_AREA if resize == "area" and shrinks else cv2.INTER_LINEAR
    return cv2.resize(part, (px, px), interpolation=how)  # type: ignore[no-any-return]


def surroundings(picture: U8, region: Region, square: I32) -> U8:
    """A context square's content as uint8 [CONTEXT_PX, CONTEXT_PX, 3], black where it reaches beyond the picture.

    `picture` shows a region that holds all of the square that lies in the film's picture.
    """
    x0, y0, x1, _ = (int(v) for v in square)
    return Square(x0 - region[0], y0 - region[1], x1 - x0).cut(picture, CONTEXT_PX, cv2.BORDER_CONSTANT)
