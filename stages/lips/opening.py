"""How far a mouth is open in a picture, whoever drew it: by what is dark between the lips.

For pictures in reports only; nothing that is painted depends on it.
"""

import numpy as np

from stages.arrays import F32, F64, I64, U8

# Of the face's own lightness round the mouth: where the inner mouth begins, and over how much lips become it.
_DARK, _SOFT = 0.62, 0.25
_CHANGED = 3.0  # mean codes by which a redrawn mouth differs from the source's at the least
_QUIET = 10  # percentile of a stretch's frames that is its mouth at rest


def openings(before: U8, after: U8, landmarks: F32) -> F32:
    """How far each mouth is open, against the quietest of them: float32 [n], 0 and up.

    `before`, `after`: uint8 [n, px, px, 3] BGR, crops and what a generator made of them. `landmarks`: float32
    [n, 68, 2] px of the crop, iBUG order. The measure is the share of the mouth's surroundings that is far darker than
    the skin round it. A beard, a shadow or parted lips at rest are dark in the quietest frame too, and do not count;
    neither does a mouth that the generator left as it was.
    """
    if not len(after):
        return np.zeros(0, np.float32)
    dark = np.empty(len(after))
    changed = np.empty(len(after))
    for item in range(len(after)):
        y0, y1, x0, x1 = _mouth(landmarks[item].astype(np.float64), after.shape[1])
        own, source = after[item, y0:y1, x0:x1], before[item, y0:y1, x0:x1]
        dark[item] = _darkness(own)
        changed[item] = np.abs(own.astype(np.int16) - source).mean()
    opened = np.maximum(dark - np.percentile(dark, _QUIET), 0)
    return np.asarray(opened * np.minimum(changed / _CHANGED, 1), np.float32)


def strongest(frames: I64, scores: F32, count: int, apart: int) -> list[tuple[int, float]]:
    """Up to `count` (frame, score) with the highest scores above 0, at least `apart` frames from each other."""
    chosen: list[tuple[int, float]] = []
    for item in np.argsort(-scores, kind="stable"):
        if len(chosen) == count or scores[item] <= 0:
            break
        if all(abs(int(frames[item]) - frame) >= apart for frame, _ in chosen):
            chosen.append((int(frames[item]), round(float(scores[item]), 5)))
    return chosen


def _mouth(points: F64, px: int) -> tuple[int, int, int, int]:
    """y0, y1, x0, x1 of a mouth and the room it opens into; the lower middle of a crop whose points are no face."""
    lips = points[48:68]
    if not np.isfinite(lips).all() or np.ptp(lips[:, 0]) < 4:
        return px // 2, px, px // 4, px - px // 4
    left, right = lips[:, 0].min(), lips[:, 0].max()
    wide = right - left
    ends = (lips[:, 1].min() - 0.1 * wide, lips[:, 1].max() + 0.5 * wide, left - 0.1 * wide, right + 0.1 * wide)
    y0, y1, x0, x1 = (int(np.clip(round(v), 0, px)) for v in ends)
    y0, x0 = min(y0, px - 2), min(x0, px - 2)
    return y0, max(y1, y0 + 2), x0, max(x1, x0 + 2)


def _darkness(picture: U8) -> float:
    """0..1: how much of a picture is darker than its skin, which is what most of it is."""
    shade = picture @ np.array([0.114, 0.587, 0.299], np.float32)
    tone = float(np.percentile(shade, 75)) + 1.0
    return float(np.clip((_DARK - shade / tone) / _SOFT, 0, 1).mean())
