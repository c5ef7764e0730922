"""YuNet through `cv2.FaceDetectorYN`: the default detector."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from stages.arrays import U8
from stages.errors import DubError
from stages.faces.types import Detections

_NMS_OVERLAP: Final = 0.3
_TOP_K: Final = 500
"""Candidates that enter the suppression of overlaps, as the model's authors ship it (5000) or less."""


class YuNet:
    """Finds faces and five points of each. Its box is the common box as it is: brow to chin, ear to ear.

    Raises DubError `weights_missing` when the file is no ONNX network.
    """

    def __init__(self, weights: Path, width_px: int | None, min_score: float) -> None:
        self.width_px = width_px
        self._size = (32, 32)  # until the first picture tells
        # As bytes of a named kind: by path, OpenCV goes by the file's ending and knows six kinds.
        model, config = np.fromfile(weights, np.uint8), np.zeros(0, np.uint8)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                "onnx",
                model,
                config,
                self._size,
                score_threshold=min_score,
                nms_threshold=_NMS_OVERLAP,
                top_k=_TOP_K,
            )
        except cv2.error as error:
            raise DubError(
                "weights_missing",
                f"{weights} is not YuNet as an ONNX file ({error.err}): run `dubline weights fetch yunet`",
            ) from error

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
