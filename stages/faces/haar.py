"""OpenCV's Haar cascade: faces without any download."""

from pathlib import Path
from typing import Final

import cv2
import cv2.data
import numpy as np

from stages.arrays import F32, F64, U8
from stages.faces.overlap import overlaps
from stages.faces.types import Detections

CASCADE: Final = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"

_SCALE_STEP: Final = 1.1
_MIN_SHARE: Final = 0.1
"""Smallest face looked for, as a share of the picture's shorter side; most of the time goes into small windows."""
_SAME_FACE_EPS: Final = 0.2
"""`groupRectangles`: windows belong together when their sides differ by less than this share."""
_SAME_FACE_IOU: Final = 0.4
_WEAK_LEVEL: Final = 53.5
"""Sum of the cascade's last stage at which a window only just passes."""
_EVIDENCE: Final = 8.5
"""Evidence at which the score is 1 - 1/e. Measured (two clips, the astronaut at twelve sizes, 14 faceless pictures):
real faces gather 10 to 160 and, at 20-30 px, 6 to 13; chance ones 1 to 8.6. So 0.7 parts them."""

# The window is a square round brows, eyes and mouth. Means over the same clips of YuNet's box in units of its side:
# 0.84, 0.82, 0.90 wide, 1.11, 1.05, 1.13 high, centre 0.03, -0.02, 0.05 lower.
_BOX_WIDTH: Final = 0.855
_BOX_HEIGHT: Final = 1.10
_BOX_DOWN: Final = 0.02


class Haar:
    """Finds frontal faces; gives no points. Scores are made from how many windows agree, and how surely."""

    def __init__(self, width_px: int | None, min_score: float) -> None:
        self.width_px = width_px
        self._min_score = min_score
        self._cascade = cv2.CascadeClassifier(str(CASCADE))

    def detect(self, picture: U8) -> Detections:
        """Find every frontal face of a picture, uint8 [h, w, 3] BGR."""
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        smallest = max(1, round(_MIN_SHARE * min(grey.shape)))
        # minNeighbors=0 hands out every window that passed, each with its certainty.
        windows, _, levels = self._cascade.detectMultiScale3(
            grey, _SCALE_STEP, 0, 0, (smallest, smallest), outputRejectLevels=True
        )
        boxes, evidence = _group(np.asarray(windows, np.int32).reshape(-1, 4), np.ravel(levels))
        scores = (1 - np.exp(-evidence / _EVIDENCE)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._min_score]
        return Detections(
            boxes=_common_box(boxes[order]),
            scores=scores[order],
            points=np.full((len(order), 5, 2), np.nan, np.float32),
        )


def _group(windows: np.ndarray[tuple[int, int], np.dtype[np.int32]], levels: F64) -> tuple[F64, F64]:
    """Windows [n, 4] x, y, w, h that mean one face as one box [k, 4] x0, y0, x1, y1, and its evidence [k].

    The box is the mean of its windows weighted by certainty, which shakes less than OpenCV's plain mean.
    """
    if not len(windows):
        return np.zeros((0, 4)), np.zeros(0)
    groups, _ = cv2.groupRectangles(windows.tolist(), 1, _SAME_FACE_EPS)
    if not len(groups):
        return np.zeros((0, 4)), np.zeros(0)
    corners, centres = _corners(windows), _corners(np.asarray(groups))
    overlap = overlaps(corners, centres)
    nearest = np.where(overlap.max(axis=1) > _SAME_FACE_IOU, overlap.argmax(axis=1), -1)
    certainty = np.maximum(levels - _WEAK_LEVEL, 0.05)
    boxes, evidence = centres.copy(), np.zeros(len(centres))
    for k in range(len(centres)):
        member = nearest == k
        evidence[k] = certainty[member].sum()
        if member.any():
            boxes[k] = np.average(corners[member], axis=0, weights=certainty[member])
    return boxes, evidence


def _corners(windows: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> F64:
    """[n, 4] x, y, w, h as x0, y0, x1, y1."""
    return np.concatenate([windows[:, :2], windows[:, :2] + windows[:, 2:]], axis=1).astype(np.float64)


def _common_box(windows: F64) -> F32:
    """The cascade's windows [n, 4] as the box of `Detections`."""
    side = windows[:, 2:] - windows[:, :2]
    centre = (windows[:, :2] + windows[:, 2:]) / 2 + side * (0, _BOX_DOWN)
    half = side * (_BOX_WIDTH / 2, _BOX_HEIGHT / 2)
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
