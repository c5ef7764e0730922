"""Where the lips part, found in the crop's own pixels: landmarks may be half a lip off, and a warp shows it."""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.arrays import F32, F64, U8, Bool

_U: F64 = np.linspace(-1.6, 1.6, 65)  # the grid a mouth is looked at on, in its own coordinates
_V: F64 = np.linspace(-0.55, 0.75, 53)
_DU, _DV = float(_U[1] - _U[0]), float(_V[1] - _V[0])
_LEAST_REDNESS = 0.07  # lips that stand out less from the skin are not looked for: black and white, beards, deep shade
_SAGS: F64 = np.arange(-0.06, 0.34, 0.0125)
_ACROSS: F64 = np.linspace(-0.75, 0.75, 16)


@dataclass(frozen=True)
class MouthAxes:
    """A mouth's own coordinates: u is -1 and 1 at its corners, v is 0 between them and 1 at the chin."""

    origin: F64
    """[2] x, y px: half-way between the corners."""
    u: F64
    """[2] px from the origin to the corner at the right."""
    v: F64
    """[2] px: down the face, as long as it is from the origin to the chin."""

    def at(self, u: float, v: float) -> F64:
        """[2] x, y px of a place."""
        return self.origin + u * self.u + v * self.v


@dataclass(frozen=True)
class Lips:
    """A mouth as found."""

    axes: MouthAxes
    sag: float
    """The upper edge of the lower lip is v = sag (1 - u^2)."""
    covered: float
    """1: the upper lip lies right above that edge; 0: teeth or the dark of an open mouth do."""
    seen: bool
    """False: nothing stood out, the corners are the landmarks'."""


def find_lips(crop: U8, landmarks: F32) -> Lips | None:
    """Find the mouth near where the landmarks have it; None when those span no face.

    `crop`: uint8 [h, w, 3] BGR. `landmarks`: float32 [68, 2] px of the crop, iBUG order, finite.
    """
    points = landmarks.astype(np.float64)
    bridge, chin = points[27], points[8]
    axes = _axes(points[48], points[54], bridge, chin)
    if axes is None:
        return None
    near, corner = _surroundings(crop, axes)
    seen = False
    for wide in (True, False):  # a second look, nearer, from where the first one found it
        redness, shade, contrast = _looks(near, corner, axes)
        if contrast < _LEAST_REDNESS:
            break
        corners = _corners(_mouth_evidence(redness, shade), wide)
        better = None if corners is None else _axes(axes.at(*corners[0]), axes.at(*corners[1]), bridge, chin)
        if better is None:
            break
        axes, seen = better, not wide
    redness, shade, _ = _looks(near, corner, axes)
    sag, covered = _lower_lip(redness, shade, seen)
    return Lips(axes, sag, covered, seen)


def _axes(left: F64, right: F64, bridge: F64, chin: F64) -> MouthAxes | None:
    origin, u, down = (left + right) / 2, (right - left) / 2, chin - bridge
    area = u[0] * down[1] - u[1] * down[0]
    if area <= 1e-3 * float(u @ u + down @ down):
        return None  # flat or mirrored
    # How far down the chin lies, whatever way it is turned aside: solves origin + a u + b down = chin for b.
    away = chin - origin
    share = (u[0] * away[1] - u[1] * away[0]) / area
    if share <= 0.05:
        return None
    return MouthAxes(origin, u, down * share)


def _surroundings(crop: U8, axes: MouthAxes) -> tuple[U8, F64]:
    """The pixels where the mouth may be, a little blurred, and the x, y px of their first corner."""
    ends = np.array([axes.at(u, v) for u in (-1.9, 1.9) for v in (-0.75, 0.9)])
    size = np.array([crop.shape[1], crop.shape[0]])
    low = np.clip(np.floor(ends.min(axis=0)).astype(int), 0, size - 1)
    high = np.clip(np.ceil(ends.max(axis=0)).astype(int), low + 1, size)
    return cv2.GaussianBlur(crop[low[1] : high[1], low[0] : high[0]], (5, 5), 1.2), low.astype(np.float64)


def _looks(near: U8, corner: F64, axes: MouthAxes) -> tuple[F32, F32, float]:
    """On the grid [53, 65]: redness over the skin's in units of the lips', log brightness over the skin's; and how
    far the lips' redness stands out."""
    first = axes.at(float(_U[0]), float(_V[0])) - corner
    to_px = np.stack([axes.u * _DU, axes.v * _DV, first - 0.5], axis=1)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(near, to_px, (len(_U), len(_V)), flags=how, borderMode=cv2.BORDER_REPLICATE)
    bgr = seen.astype(np.float32) + 12  # so that noise in the dark has no colour
    red = np.log(bgr[..., 2] / bgr[..., 1])
    shade = np.log(bgr @ np.array([0.114, 0.587, 0.299], np.float32))
    face = np.abs(_U) < 1.2
    red -= np.median(red[:, face])
    shade -= np.median(shade[:, face])
    contrast = float(np.percentile(red[8:44, face], 97))
    return red / np.float32(max(contrast, _LEAST_REDNESS)), shade, contrast


def _mouth_evidence(redness: F32, shade: F32) -> F32:
    """[53, 65] in 0..1: red as lips, pale as teeth, or dark as the corners and the gap between lips."""
    teeth = np.clip(-redness - 0.35, 0, 1) * (shade > -0.3)
    dark = np.clip(-shade / 0.7 - 0.4, 0, 1)
    evidence: F32 = np.maximum(np.maximum(np.clip(redness, 0, 1), teeth), dark)
    return evidence


def _corners(evidence: F32, wide: bool) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """(u, v) of both corners of the blob of evidence, between grid points; None when there is no mouth-like blob."""
    u, v = _U[None, :], _V[:, None]
    below, soft, beside = (0.24, 0.12, 1.2) if wide else (0.20, 0.05, 1.05)
    evidence = evidence * np.exp(-0.5 * (np.maximum(np.abs(v - 0.04) - below, 0) / soft) ** 2)
    evidence *= np.exp(-0.5 * (np.maximum(np.abs(u) - beside, 0) / 0.12) ** 2)
    blob = _blob(evidence, evidence * np.exp(-0.5 * (u**2 + (v / 0.3) ** 2)), 0.6 if wide else 0.1)
    if blob is None:
        return None
    evidence = np.where(blob, evidence, 0).astype(np.float32)
    ridge = cv2.GaussianBlur(evidence.max(axis=0)[None], (3, 1), 0.7)[0]
    inside = np.flatnonzero(ridge > 0.3)
    if len(inside) == 0 or inside[0] == 0 or inside[-1] == len(_U) - 1:
        return None
    a, b = int(inside[0]), int(inside[-1])
    left = float(_U[a] - _DU * (ridge[a] - 0.3) / (ridge[a] - ridge[a - 1]))
    right = float(_U[b] + _DU * (ridge[b] - 0.3) / (ridge[b] - ridge[b + 1]))
    if not 1.0 < right - left < 3.0:  # half or one and a half times what the landmarks say: something else
        return None
    return (left, _height_at(evidence, left + 0.05)), (right, _height_at(evidence, right - 0.05))


def _blob(evidence: F32, weight: F32, least: float) -> Bool | None:
    """The connected parts that carry the weight: those with at least `least` of the heaviest one's."""
    solid = (evidence > 0.35).astype(np.uint8)
    solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 3)))
    count, labels = cv2.connectedComponents(solid)
    if count < 2:
        return None
    weights = np.bincount(labels.ravel(), weights=weight.ravel(), minlength=count)[1:]
    kept = np.isin(labels, 1 + np.flatnonzero(weights >= least * weights.max()))
    return cv2.dilate(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # type: ignore[no-any-return]


def _height_at(evidence: F32, u: float) -> float:
    weight = evidence**2 * np.exp(-0.5 * ((_U[None, :] - u) / 0.1) ** 2)
    return float((weight * _V[:, None]).sum() / (weight.sum() + 1e-9))


def _lower_lip(redness: F32, shade: F32, seen: bool) -> tuple[float, float]:
    """The sag of the lower lip's upper edge, and how far the upper lip covers it.

    Of the arcs through both corners, the one with a lip under it, something less red or darker over it, and more lip
    above that: the last keeps it from the upper lip's own upper edge.
    """
    curves = _SAGS[:, None] * (1 - _ACROSS**2)[None, :]
    lip = np.clip(redness, 0, 1)
    tone = np.clip(redness, -0.5, 1.2) + np.clip(shade, -1.2, 0)
    under = _along(tone, curves, (0.03, 0.06, 0.09))
    over = _along(tone, curves, (-0.015, -0.04))
    score = (under - over).mean(axis=1)
    if seen:
        above = _along(lip, curves, np.arange(-0.38, -0.05, 0.02)).mean(axis=1) * 0.34
        score += 0.6 * np.clip(above / 0.07, 0, 1)
    else:
        score -= 0.5 * ((_SAGS - 0.02) / 0.1) ** 2
    best = int(np.clip(np.argmax(score), 1, len(score) - 2))
    before, peak, after = (float(v) for v in score[best - 1 : best + 2])
    bend = before - 2 * peak + after
    lean = float(np.clip(0.5 * (before - after) / bend, -1, 1)) if bend < -1e-9 else 0.0
    middle = np.abs(_ACROSS) < 0.4
    covered = _along(lip, curves[best : best + 1], (-0.04, -0.07, -0.10))[0, middle].mean()
    return float(_SAGS[best]) + lean * float(_SAGS[1] - _SAGS[0]), float(np.clip((covered - 0.3) / 0.3, 0, 1))


def _along(grid: F32, curves: F64, offsets: "tuple[float, ...] | F64") -> F64:
    """The mean of a grid along curves moved up and down: curves [k, t] -> [k, t]."""
    u = np.broadcast_to((_ACROSS - _U[0]) / _DU, curves.shape).astype(np.float32)
    total = np.zeros(curves.shape)
    for offset in offsets:
        v = ((curves + float(offset) - _V[0]) / _DV).astype(np.float32)
        total += cv2.remap(grid.astype(np.float32), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total / len(offsets)
