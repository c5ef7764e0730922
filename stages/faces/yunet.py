"""YuNet through `cv2.FaceDetectorYN`: the default detector."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from stages.arrays import U8
from stages.faces.types import Detections

_NMS_OVERLAP: Final = 0.3
_TOP_K: Final = 500
"""Candidates that enter the suppression of overlaps, as the model's authors ship it (5000) or less."""


class YuNet:
    """Finds faces and five points of each. Its box is the common box as it is: brow to chin, ear to ear."""

    def __init__(self, weights: Path, width_px: int | None, min_score: float) -> None:
        self.width_px = width_px
        self._size = (32, 32)  # until the first picture tells
        self._detector = cv2.FaceDetectorYN.create(
            str(weights), "", self._size, score_threshold=min_score, nms_threshold=_NMS_OVERLAP, top_k=_TOP_K
        )

    def detect(self, picture: U8) -> Detections:
        """Find every face of a picture, uint8 [h, w, 3] BGR."""
        size = (picture.shape[1], picture.shape[0])
        if size != self._size:
            self._detector.setInputSize(size)
            self._size = size
        found = self._detector.detect(picture)[1]
        rows = np.zeros((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
        # A row: x, y, width, height, five x, y pairs, score.
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return Detections(boxes=boxes, scores=rows[:, 14].copy(), points=rows[:, 4:14].reshape(-1, 5, 2).copy())
