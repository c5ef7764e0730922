"""Where a patch is seen: soft masks over the mouth, the chin and the lower cheeks.

A mask is a product of soft steps, each 0 on its line and 1 from the feather's width inwards, so it is smooth, has no
edge, and is 0 beyond every line.
"""

import cv2
import numpy as np

from stages.arrays import F32, F64, U8
from stages.media.planes import Region
from stages.smooth_step import smooth_step

_STEP_PX = 4  # the jaw's distance is linear between lines: measured this finely, then interpolated
_JAW = slice(3, 14)  # from below one ear round the chin to below the other
# How many feathers outside the jaw it ends: below, because a dub opens jaws further.
_ROOM_SIDE, _ROOM_BELOW = 0.4, 1.0
_NOSE_BASE, _UPPER_LIP = 33, 51
_BELOW_NOSE = 0.15  # where between nose and upper lip the mask begins to rise
_RISE = 0.8  # and how much of that distance the rise takes: the upper lip is wholly the patch's
# Half-face boxes end at the chin: over a whole feather it would be the film's, and a jaw that opens would be doubled.
# At the default feather this is as far as the official blur reaches inwards, 0.0375 of the box (musetalk.md 4.8.6).
_GIVEN = 1 / 3
_ELLIPSE = (0.5, 0.79, 0.44, 0.27)  # without landmarks: centre and radii as shares of the box


def mouth_mask(landmarks: F32, box: Region, region: Region, feather: float) -> F32:
    """The lower face below the nose, inside the jaw: float32 [h, w] in 0..1, one value a pixel of the region.

    `landmarks`: float32 [68, 2] px of the full frame, iBUG order; where some are not finite, `ellipse_mask` answers.
    `box`, `region`: x0, y0, x1, y1 px of the full frame; the region contains the box. `feather`: width of the soft
    edge as a share of the box's height. The mask is exactly 0 on the box's outermost pixels and outside it, whatever
    the landmarks say, and neighbouring pixels differ by at most 6 / the feather in pixels.
    """
    if not np.isfinite(landmarks).all():
        return ellipse_mask(box, region, feather)
    points = landmarks.astype(np.float64) - region[:2]
    width, height = region[2] - region[0], region[3] - region[1]
    soft_px = feather * (box[3] - box[1])
    mask = smooth_step(_inside_jaw(points, soft_px, width, height))
    mask *= smooth_step(_below_nose(points, soft_px, width, height))
    mask *= _box_ramp(box, region, soft_px)
    return mask


def ellipse_mask(box: Region, region: Region, feather: float) -> F32:
    """As `mouth_mask`, an ellipse over the lower half of the box: for faces without landmarks."""
    x0, y0 = box[0] - region[0], box[1] - region[1]
    across, down = box[2] - box[0], box[3] - box[1]
    x = (np.arange(region[2] - region[0], dtype=np.float32) + 0.5 - x0) / across
    y = (np.arange(region[3] - region[1], dtype=np.float32) + 0.5 - y0) / down
    centre_x, centre_y, radius_x, radius_y = (np.float32(v) for v in _ELLIPSE)
    square = ((x - centre_x) / radius_x)[None, :] ** 2 + ((y - centre_y) / radius_y)[:, None] ** 2
    inside = (1 - np.sqrt(square)) * (radius_y / np.float32(feather))
    return smooth_step(inside) * _box_ramp(box, region, feather * down)


def placed_mask(mask: U8, box: Region, region: Region) -> F32:
    """A mask on a grid over the box, in the pixels of the region: float32 [h, w] in 0..1, 0 outside the box.

    `mask`: uint8 [k, k], 0 unseen to 255 painted. `box`, `region`: as in `mouth_mask`. Interpolated bilinearly; where
    the box is k by k px, the values are those of the mask.
    """
    x0, y0, x1, y1 = box
    placed = np.zeros((region[3] - region[1], region[2] - region[0]), np.float32)
    part = cv2.resize(mask / np.float32(255), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    placed[y0 - region[1] : y1 - region[1], x0 - region[0] : x1 - region[0]] = part
    return placed


def soft_mask(mask: U8, box: Region, region: Region, feather: float) -> F32:
    """`placed_mask`, falling to 0 towards the box's outermost pixels over a part of the feather."""
    return placed_mask(mask, box, region) * _box_ramp(box, region, _GIVEN * feather * (box[3] - box[1]))


def chroma_mask(mask: F32, sx: int, sy: int) -> F32:
    """The mask of a chroma plane: the mean over each sample's `sx` by `sy` luma pixels (2, 2 for 4:2:0).

    `mask`: float32 [h, w], h a multiple of `sy` and w of `sx`. Returns float32 [h / sy, w / sx].
    """
    height, width = mask.shape
    if height % sy or width % sx:
        raise ValueError(f"a mask of {width}x{height} px has no whole {sx}x{sy} chroma samples")
    if sx == sy == 1:
        return mask
    return cv2.resize(mask, (width // sx, height // sy), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def _inside_jaw(points: F64, soft_px: float, width: int, height: int) -> F32:
    """[h, w]: distance inside the jaw's convex outline, in feathers; negative outside."""
    jaw = points[_JAW]
    hull = cv2.convexHull(jaw.astype(np.float32))[:, 0].astype(np.float64)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    middle = hull.mean(axis=0)
    down = _down(points)
    columns, rows = -(-width // _STEP_PX), -(-height // _STEP_PX)
    x = (np.arange(columns) + 0.5) * _STEP_PX
    y = (np.arange(rows) + 0.5) * _STEP_PX
    nearest = np.full((rows, columns), np.inf)
    for start, edge, length in zip(hull, edges, lengths, strict=True):
        if length < 1e-6:
            continue
        normal = np.array([-edge[1], edge[0]]) / length
        if normal @ (middle - start) < 0:
            normal = -normal
        outwards = -float(normal @ down)  # 1 under the chin, 0 at the cheeks, negative for the edge that closes the top
        if outwards < -0.5:
            continue
        room = _ROOM_SIDE + (_ROOM_BELOW - _ROOM_SIDE) * max(0.0, outwards)
        across, along = normal / soft_px
        offset = room - (start @ normal) / soft_px
        np.minimum(nearest, (along * y)[:, None] + (across * x + offset)[None, :], out=nearest)
    coarse = nearest.clip(-1, 2).astype(np.float32)
    full = cv2.resize(coarse, (columns * _STEP_PX, rows * _STEP_PX), interpolation=cv2.INTER_LINEAR)
    return full[:height, :width]  # type: ignore[no-any-return]


def _below_nose(points: F64, soft_px: float, width: int, height: int) -> F32:
    """[h, w]: 0 on a line just under the nose, 1 where the upper lip begins."""
    down = _down(points)
    base, gap = points[_NOSE_BASE], float((points[_UPPER_LIP] - points[_NOSE_BASE]) @ down)
    rise = max(_RISE * gap, soft_px / 2)
    first = float(base @ down) + _BELOW_NOSE * max(gap, 0.0)
    x = ((np.arange(width) + 0.5) * (down[0] / rise)).astype(np.float32)
    y = (((np.arange(height) + 0.5) * down[1] - first) / rise).astype(np.float32)
    rise_by: F32 = y[:, None] + x[None, :]
    return rise_by


def _down(points: F64) -> F64:
    """The face's own down, a unit vector square to the line of the eyes; the picture's where eyes coincide."""
    eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    length = float(np.hypot(*eyes))
    if length < 1e-6:
        return np.array([0.0, 1.0])
    return np.array([-eyes[1], eyes[0]]) / length


def _box_ramp(box: Region, region: Region, soft_px: float) -> F32:
    """[h, w]: 0 on the box's outermost pixels and outside, 1 from a feather inwards."""
    across = _ramp(box[0] - region[0], box[2] - region[0], region[2] - region[0], soft_px)
    down = _ramp(box[1] - region[1], box[3] - region[1], region[3] - region[1], soft_px)
    ramp: F32 = down[:, None] * across[None, :]
    return ramp


def _ramp(first: int, end: int, length: int, soft_px: float) -> F32:
    at = np.arange(length, dtype=np.float32)
    return smooth_step(np.minimum(at - first, end - 1 - at) / np.float32(soft_px))
