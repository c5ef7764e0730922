"""Which box of a frame is cut out: the cast's own, or one whose middle line follows the nose; and the square round it.

All boxes are x0, y0, x1, y1 px of the upright picture, half-open.
"""

import numpy as np

from stages.arrays import F32, F64, I32, Bool
from stages.crops.types import HalfFace

_NOSE = 29  # third point of the nose bridge (musetalk.md 4.5)
_LEAST_PX = 2  # a side: less is no picture of anything


def whole_boxes(boxes: F32, width: int, height: int) -> I32:
    """Boxes rounded to whole px, at least 2 px a side where the picture has them, inside it: int32 [n, 4]."""
    rounded = np.rint(boxes).astype(np.int32)
    low = np.clip(rounded[:, :2], 0, (max(0, width - _LEAST_PX), max(0, height - _LEAST_PX)))
    high = np.clip(rounded[:, 2:], low + _LEAST_PX, (width, height))
    return np.concatenate([low, high], axis=1).astype(np.int32)


def half_face_boxes(landmarks: F32, fallback: F32, rule: HalfFace, width: int, height: int) -> I32:
    """Boxes whose upper half ends at the nose: int32 [n, 4] whole px, inside the picture, at least 2 px a side.

    `landmarks`: float32 [n, 68, 2] px, a pixel's centre at half. `fallback`: float32 [n, 4] px, the cast's boxes: what
    a frame gets whose landmarks are not finite, or make no box in the picture. `rule`: see `HalfFace`.

    All four sides end at the picture's edge, so that what is cut out and where it is put back are one place; the
    official script leaves right and bottom unchecked and stretches mouths there (musetalk.md 9.1, 12). Where the edge
    cuts the top off, the middle is below the nose, as it is officially.
    """
    given: Bool = np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))
    points = np.where(given[:, None, None], landmarks, 0).astype(np.float64)
    found = _official(points, fallback, rule) if rule.unit == "px" else _by_shares(points, rule)
    found = np.clip(found, 0, np.tile(np.array([width, height], np.float64), 2)).astype(np.int32)
    usable = given & (found[:, 2:] - found[:, :2] >= _LEAST_PX).all(axis=1)
    return np.where(usable[:, None], found, whole_boxes(fallback, width, height))


def context_boxes(boxes: I32) -> I32:
    """The square round each box that face parsers and enhancers look at: int32 [n, 4], may reach beyond the picture.

    Its side is 2 s with s = int((max(w, h) // 2) * 1.5), at least 1, round the box's whole-px middle (musetalk.md 4.8,
    2).
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    middle = (low + high) // 2
    half = np.maximum((high - low).max(axis=1, keepdims=True) // 2 * 1.5, 1).astype(np.int32)
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.int32)


def _by_shares(points: F64, rule: HalfFace) -> F64:
    """Middle, top and bottom counted in the way from nose to chin, which grows with the face; whole px."""
    left, right = points[:, :, 0].min(axis=1), points[:, :, 0].max(axis=1)
    nose, chin = points[:, _NOSE, 1], points[:, :, 1].max(axis=1)
    reach = chin - nose
    middle = nose + rule.shift * reach
    boxes: F64 = np.stack([left, middle - (chin - middle), right, chin + rule.margin * reach], axis=1)
    return np.floor(boxes + 0.5)  # rint goes to even numbers: a face that moves by 1 px would change its size


def _official(points: F64, fallback: F32, rule: HalfFace) -> F64:
    """The official rule in whole px, step by step (musetalk.md 4.5). What differs:

    * officially a pixel's centre is at its whole number: ours less a half, then cut to whole numbers, is theirs;
    * `fallback` stands for the S3FD box (cut to whole numbers, negatives 0), and is there for every painted frame;
    * no margin clamps no bottom there (v1.0): here the caller clamps all sides.
    """
    whole = np.trunc(points - 0.5)
    middle = whole[:, _NOSE, 1] + np.trunc(rule.shift)
    chin = whole[:, :, 1].max(axis=1)
    top = np.maximum(0, middle - (chin - middle))
    left, right = whole[:, :, 0].min(axis=1), whole[:, :, 0].max(axis=1)
    boxes = np.stack([left, top, right, chin], axis=1)
    refused = (chin - top <= 0) | (right - left <= 0) | (left < 0)
    boxes = np.where(refused[:, None], np.trunc(np.maximum(fallback, 0)), boxes)
    boxes[:, 3] += np.trunc(rule.margin)  # after the fallback: it gets the margin too
    return boxes
