"""Shot changes, from pictures that are small already."""

from typing import Final

import cv2
import numpy as np

from stages.arrays import U8
from stages.faces.types import CellFaces
from stages.terminal import no_input

with no_input():  # to be imported, it starts ffmpeg
    from scenedetect import FrameTimecode
    from scenedetect.detectors import ContentDetector

_CUT_WIDTH_PX: Final = 160
"""A mean over the picture needs no more, and every cell keeps two of these pictures."""
_RATE: Final = 25.0
"""scenedetect wants a frame rate for its clock; with a minimum length in frames it decides nothing."""


def cut_picture(picture: U8) -> U8:
    """The picture that shots are told apart by: uint8 [h, w, 3] BGR, shrunk to at most 160 px wide."""
    height, width = picture.shape[:2]
    if width <= _CUT_WIDTH_PX:
        return picture
    size = (_CUT_WIDTH_PX, max(1, round(height * _CUT_WIDTH_PX / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class CutFinder:
    """Tells which of a row of pictures begin a new shot. The first never does."""

    def __init__(self, threshold: float) -> None:
        # With the default minimum length the answer depends on where a cell begins (media.md 7.7).
        self._detector = ContentDetector(threshold=threshold, min_scene_len=1)
        self._count = 0

    def begins_shot(self, picture: U8) -> bool:
        """Whether a picture (of `cut_picture`, all of one size) differs from the one before by the threshold."""
        cuts = self._detector.process_frame(FrameTimecode(self._count, _RATE), picture)
        self._count += 1
        return bool(cuts)


def boundary_cut(before: CellFaces, after: CellFaces, threshold: float) -> bool:
    """Whether a new shot begins exactly where one cell ends and the next begins.

    The same arithmetic as inside a cell, on the two pictures that the cells kept.
    """
    if before.last.shape != after.first.shape:
        return True
    finder = CutFinder(threshold)
    finder.begins_shot(before.last)
    return finder.begins_shot(after.first)
