"""Opens a mouth: the lower face moves down, the gap is painted dark, everything else stays as it is."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from stages.arrays import F32, F64, U8
from stages.lips.lipline import Lips, MouthAxes
from stages.smooth_step import smooth_step

_WIDE = 2.1  # u where the cheeks have come to rest
_JAW = 0.8  # how far the chin goes down, of what the lips part
_CORNERS = 0.25  # how far the corners go down, of what the chin does
_PARTED = 0.92  # u up to which the lips part
_HIGHEST = -0.3  # v over which nothing moves, or the nose's base where that is further: room for the upper lip
_UPPER = 0.22  # the upper lip's share of the gap; the lower lip has the rest
_SPARE = 0.6  # the most a chin goes down, of the room under it: there the neck is folded away
_ROUND, _SPREAD, _DROP = 0.15, 0.16, 0.12  # how far corners move in when round, out when spread, in when open
_FULL = 0.36  # the opening that `_DROP` is for
_EDGE_PX, _OVER_PX = 2.0, 2.0  # the gap's soft edge, and how far it shades the lower lip
# Parts of the skin's lightness, BGR.
_CAVITY, _TONGUE, _TEETH = (
    np.array(c, np.float32) for c in ((0.13, 0.11, 0.22), (0.33, 0.31, 0.62), (0.74, 0.84, 0.98))
)


@dataclass(frozen=True)
class Fields:
    """What the warp is made of, float32 [h, w] each, in the mouth's own units."""

    u: F32
    v: F32
    aside: F32
    """How far to the right, in u, a pixel's source lies."""
    below: F32
    """How far up, in v, the source of a pixel under the gap lies..."""
    above: F32
    """...and of one over it."""
    high: F32
    """v of the gap's upper edge..."""
    low: F32
    """...and of its lower edge, the same where the lips do not part."""
    line: F32
    """v in the source of where the lips meet."""


def redraw(crop: U8, lips: Lips, landmarks: F32, opening: float, rounding: float) -> None:
    """Open the mouth of a crop in place.

    `crop`: uint8 [h, w, 3] BGR. `landmarks`: float32 [68, 2] px of it. `opening`: what the lips part, as a share of
    the way from mouth to chin. `rounding`: -0.5 spread to 1 round. Displacements are smooth, fall to 0 inside the
    crop, and nowhere fold; only between the lips there is a gap.
    """
    axes = lips.axes
    height, width = crop.shape[:2]
    nose = min(_v_of(axes, landmarks[33].astype(np.float64)), _HIGHEST)
    end = _end(axes, width, height)
    x0, y0, x1, y1 = _region(axes, nose, end, width, height)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return
    # The fields are smooth: every other pixel is enough to know them.
    half = _coordinates(axes, (x0, y0, x1, y1), 2)
    fields = _grown(warp_fields(*half, lips, nose, end, opening, rounding), x1 - x0, y1 - y0)

    # Within the gap everything comes from the line where the lips meet: nothing is seen twice.
    up = np.where(fields.v >= fields.low, fields.below, np.maximum(fields.above, fields.v - fields.line))
    x = np.arange(x0, x1, dtype=np.float32)[None, :] + fields.aside * np.float32(axes.u[0]) - up * np.float32(axes.v[0])
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + fields.aside * np.float32(axes.u[1]) - up * np.float32(axes.v[1])
    warped = cv2.remap(crop, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    _paint_gap(warped, fields, float(np.hypot(*axes.v)), _tone(crop, axes), lips.covered)
    crop[y0:y1, x0:x1] = warped


def warp_fields(u: F32, v: F32, lips: Lips, nose: float, end: float, opening: float, rounding: float) -> Fields:
    """The warp at places u, v, float32 [h, w]. `nose`, `end`: v between which it acts; the rest as for `redraw`.

    (u + aside, v - above) over the gap and (u + aside, v - below) under it are the source's places; both keep their
    order, and both are `line` where the gap begins.
    """
    gap_at_middle = opening * (1 - 0.25 * max(rounding, 0.0)) * (0.75 + 0.25 * lips.covered)
    spare = max(_SPARE * (end - 1), 1e-3)
    chin = spare * math.tanh(_JAW * gap_at_middle / spare)

    # Sideways first: where in the source a column comes from.
    inwards = (_ROUND if rounding > 0 else _SPREAD) * rounding + _DROP * min(opening / _FULL, 1.0)
    at_corner = (1 - 1 / _WIDE**2) ** 2
    upright = smooth_step((v - nose) / -nose) * (1 - smooth_step((v - 0.35) / 0.6))
    aside = upright * _rest(u) * u * (inwards / at_corner)
    u = u + aside

    # Then down: one field under the gap and one over it, the same where the lips do not part.
    jaw, arc = chin * _rest(u), np.maximum(1 - u * u, -0.5)
    gap, line = gap_at_middle * np.maximum(1 - (u / _PARTED) ** 2, 0), lips.sag * arc
    lower = _CORNERS * jaw + (1 - _UPPER) * gap
    upper = lower - gap
    low, high = line + lower, line + upper
    share = smooth_step((v - low) / np.maximum(1 - low, 0.2))
    below = (lower + (jaw - lower) * share) * (1 - smooth_step((v - 1) / max(end - 1, 1e-3)))
    above = upper * (1 - smooth_step((high - v) / np.maximum(high - nose, 0.1)))
    return Fields(u, v, aside, below, above, high, low, line)


def _grown(fields: Fields, width: int, height: int) -> Fields:
    """Fields known at every other pixel -> at every pixel."""
    stack = (fields.u, fields.v, fields.aside, fields.below, fields.above, fields.high, fields.low, fields.line)
    rows, columns = fields.u.shape
    full = (2 * columns, 2 * rows)
    return Fields(*(cv2.resize(f, full, interpolation=cv2.INTER_LINEAR)[:height, :width] for f in stack))


def _paint_gap(face: U8, fields: Fields, px: float, tone: float, teeth: float) -> None:
    """Paint the gap in place: a hint of teeth under the upper lip, of the tongue at the bottom, dark between.

    `px`: pixels in one v. `tone`: lightness of the skin, 0..255. `teeth`: 0 where the source shows its own.
    """
    parted = np.flatnonzero(((fields.low - fields.high) * px > 0.05).any(axis=0))
    if len(parted) == 0:
        return
    columns = slice(int(parted[0]), int(parted[-1]) + 1)
    v = fields.v[:, columns]
    rows = np.flatnonzero(((v > fields.high[:, columns]) & ((v - fields.low[:, columns]) * px < _OVER_PX)).any(axis=1))
    if len(rows) == 0:
        return
    part = (slice(int(rows[0]), int(rows[-1]) + 1), columns)
    u, v, high, low = np.abs(fields.u[part]), fields.v[part], fields.high[part], fields.low[part]
    gap, under, over = (low - high) * px, (v - high) * px, (low - v) * px
    # The shade reaches over the lower lip's edge, where teeth and light sit, the further the wider the gap.
    seen = smooth_step(np.minimum(under, over + np.minimum(0.3 * gap, _OVER_PX)) / _EDGE_PX) * (gap > 0)
    depth = under / np.maximum(gap, 1e-3)
    tongue = 0.8 * smooth_step((depth - 0.55) / 0.4) * (1 - smooth_step((u - 0.3) / 0.5)) * smooth_step((gap - 5) / 10)
    shine = 1 - smooth_step((under - np.minimum(0.4 * gap, 9.0)) / 4)
    shine = shine * (0.5 * teeth) * (1 - smooth_step((u - 0.35) / 0.4)) * smooth_step((gap - 4) / 8)
    colour = _CAVITY + (_TONGUE - _CAVITY) * tongue[..., None]
    colour += (_TEETH - colour) * shine[..., None]
    colour *= (tone * (0.7 + 0.3 * smooth_step(under / 5)))[..., None]  # in the upper lip's shadow
    skin = face[part]
    face[part] = np.clip(np.rint(skin + (colour - skin) * seen[..., None]), 0, 255).astype(np.uint8)


def _v_of(axes: MouthAxes, point: F64) -> float:
    away = point - axes.origin
    return float((axes.u[0] * away[1] - axes.u[1] * away[0]) / (axes.u[0] * axes.v[1] - axes.u[1] * axes.v[0]))


def _end(axes: MouthAxes, width: int, height: int) -> float:
    """v under the chin where everything rests again: 1.6, or sooner where the crop ends."""
    room = [1.6]
    for length, at, step in ((width, axes.origin[0], axes.v[0]), (height, axes.origin[1], axes.v[1])):
        if step > 1e-6:
            room.append((length - 2 - at) / step)
        elif step < -1e-6:
            room.append((1 - at) / step)
    return float(max(min(room), 1.0))


def _region(axes: MouthAxes, nose: float, end: float, width: int, height: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 px of what may move, inside the crop."""
    ends = np.array([axes.at(u, v) for u in (-_WIDE, _WIDE) for v in (nose, end)])
    low = np.clip(np.floor(ends.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(ends.max(axis=0)) + 1, 0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _coordinates(axes: MouthAxes, region: tuple[int, int, int, int], step: int) -> tuple[F32, F32]:
    """u and v at the middle of every `step` by `step` pixels of a region, float32 [h, w]."""
    inverse = np.linalg.inv(np.stack([axes.u, axes.v], axis=1))
    x = np.arange(region[0], region[2], step) + step / 2 - axes.origin[0]
    y = np.arange(region[1], region[3], step) + step / 2 - axes.origin[1]
    u, v = ((row[0] * x)[None, :].astype(np.float32) + (row[1] * y)[:, None].astype(np.float32) for row in inverse)
    return u, v


def _tone(crop: U8, axes: MouthAxes) -> float:
    """How light the face is round the mouth, 0..255: a mouth in a dark picture is darker."""
    low = np.clip((axes.origin - np.abs(axes.u) - 0.2 * np.abs(axes.v)).astype(int), 0, None)
    high = (axes.origin + np.abs(axes.u) + 0.5 * np.abs(axes.v)).astype(int) + 1
    blue, green, red, _ = cv2.mean(crop[low[1] : high[1], low[0] : high[0]])
    return float(0.114 * blue + 0.587 * green + 0.299 * red)


def _rest(u: F32) -> F32:
    """1 in the middle, falling smoothly to 0 at the cheeks."""
    t: F32 = np.maximum(1 - (u / _WIDE) ** 2, 0)
    return t * t
