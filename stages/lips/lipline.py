"""Where the lips part, found in the crop itself: landmarks alone may be half a lip off, and a cut shows it."""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.arrays import F32, F64, U8

_U: F64 = np.linspace(-1.6, 1.6, 65)
_V: F64 = np.linspace(-0.55, 0.75, 53)
_DU, _DV = _U[1] - _U[0], _V[1] - _V[0]


@dataclass(frozen=True)
class Axes:
    c: F64
    u: F64
    v: F64

    def at(self, a, b):
        return self.c + a * self.u + b * self.v


@dataclass(frozen=True)
class Lips:
    axes: Axes     # u = -1, 1 at the corners, v = 1 at the chin
    sag: float
    own: float
    sure: bool
    flat: float = 2.0


def axes_of(left, right, bridge, chin) -> Axes:
    c = (left + right) / 2
    u = (right - left) / 2
    D = chin - bridge
    _, b = np.linalg.solve(np.stack([u, D], 1), chin - c)
    return Axes(c, u, D * b)


def sample(img, ax: Axes):
    o = ax.at(_U[0], _V[0]) - 0.5
    M = np.stack([ax.u * _DU, ax.v * _DV, o], axis=1)
    return cv2.warpAffine(img, M, (len(_U), len(_V)), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def maps(s):
    s = s + 12
    red = np.log(s[..., 2] / s[..., 1])
    Y = np.log(s @ np.array([0.114, 0.587, 0.299], np.float32))
    near = np.abs(_U) < 1.2
    z = red - np.median(red[:, near])
    top = np.percentile(z[8:44][:, near], 97)
    return z, Y - np.median(Y[:, near]), float(top)


def corners(e, wide, debug=None):
    x, y = _U[None, :], _V[:, None]
    r = 0.75 if wide else 0.4
    prior = np.exp(-0.5 * (np.maximum(np.abs(y - 0.04) - (0.24 if wide else 0.2), 0) / (0.12 if wide else 0.05)) ** 2)
    prior = prior * np.exp(-0.5 * (np.maximum(np.abs(x) - (1.2 if wide else 1.05), 0) / 0.12) ** 2)
    e = e * prior
    m = (e > 0.35).astype(np.uint8)
    m = cv2.morphologyEx(m, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    m = cv2.morphologyEx(m, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 3)))
    n, lab = cv2.connectedComponents(m)
    if n < 2:
        return None
    wgt = e * np.exp(-0.5 * ((x / 1.0) ** 2 + (y / 0.3) ** 2))
    sums = np.bincount(lab.ravel(), weights=wgt.ravel(), minlength=n)[1:]
    comp = np.isin(lab, 1 + np.flatnonzero(sums >= (0.6 if wide else 0.1) * sums.max()))
    if debug is not None:
        debug.append((e, comp))
    band = np.where(cv2.dilate(comp.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, e, 0)
    p = cv2.GaussianBlur(band.max(0)[None].astype(np.float32), (3, 1), 0.7)[0]
    ins = np.flatnonzero(p > 0.3)
    lo, hi = ins[0], ins[-1]
    if lo == 0 or hi == len(_U) - 1:
        return None
    ul = _U[lo] - _DU * (p[lo] - 0.3) / (p[lo] - p[lo - 1])
    ur = _U[hi] + _DU * (p[hi] - 0.3) / (p[hi] - p[hi + 1])
    if not 0.5 < (ur - ul) / 2 < 1.5:
        return None
    def vat(u):
        w = band**2 * np.exp(-0.5 * ((x - u) / 0.1) ** 2)
        return float((w * y).sum() / (w.sum() + 1e-9))
    rows = np.flatnonzero(comp[:, np.abs(_U - (ul + ur) / 2) < 0.3].mean(1) > 0.5)
    if len(rows) == 0: return None
    return ul, vat(ul + 0.05), ur, vat(ur - 0.05), _V[rows[0]], _V[rows[-1]]


def find(img: U8, L: F32, debug=None) -> Lips:
    L = L.astype(np.float64)
    ax = axes_of(L[48], L[54], L[27], L[8])
    img = cv2.GaussianBlur(img, (0, 0), 1.2)
    sure = False
    span = None
    for wide in (True, False):
        z, Y, top = maps(sample(img, ax))
        if top < 0.07:
            break
        lip = np.clip(z / top, 0, 1)
        teeth = np.clip(-z / top - 0.35, 0, 1) * (Y > -0.3)
        dark = np.clip(-Y / 0.7 - 0.4, 0, 1)
        got = corners(np.maximum(np.maximum(lip, teeth), dark), wide, debug)
        if got is None:
            break
        ul, vl, ur, vr, vt, vb = got
        nax = axes_of(ax.at(ul, vl), ax.at(ur, vr), L[27], L[8])
        # rows in the new axes
        k = np.linalg.norm(ax.v) / np.linalg.norm(nax.v)
        mid = (vl + vr) / 2
        span = ((vt - mid) * k, (vb - mid) * k)
        ax = nax
        sure = not wide
    z, Y, top = maps(sample(img, ax))
    t = np.linspace(-0.75, 0.75, 16)
    step = 0.0125
    lo, hi = -0.06, 0.34
    sags = np.arange(lo, max(hi, lo + 3 * step), step)
    flats = np.array([2.0, 2.7, 3.6])
    lens = (1 - np.abs(t)[None, :] ** flats[:, None])[:, None, :]       # flats, 1, t
    curve = sags[None, :, None] * lens

    def samp(F, d):
        vv = (curve + d).reshape(-1, len(t))
        uu = np.broadcast_to((t - _U[0]) / _DU, vv.shape)
        return cv2.remap(F.astype(np.float32), uu.astype(np.float32), ((vv - _V[0]) / _DV).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(curve.shape[0],curve.shape[1], len(t))
    zs = np.clip(z / max(top, 0.08), -0.5, 1.2)
    ys = np.clip(Y, -1.2, 0.0)
    f = zs + ys
    E = ((samp(f, 0.03) + samp(f, 0.06) + samp(f, 0.09)) / 3 - (samp(f, -0.015) + samp(f, -0.04)) / 2).mean(2)
    E = E - 0.03 * (flats[:, None] - 2)
    lz = np.clip(zs, 0, 1)
    if sure:
        above_lip = sum(samp(lz, -d) for d in np.arange(0.06, 0.40, 0.02)) * 0.02
        E = E + 0.6 * np.clip(above_lip.mean(2) / 0.07, 0, 1)
    if not sure:
        E = E - 0.5 * (sags[None] / 0.1) ** 2
    j = int(np.argmax(E.max(1))); E = E[j]
    k = int(np.clip(np.argmax(E), 1, len(E) - 2))
    den = E[k - 1] - 2 * E[k] + E[k + 1]
    sag = sags[k] + (step * np.clip(0.5 * (E[k - 1] - E[k + 1]) / den, -1, 1) if den < -1e-9 else 0)
    inner = np.maximum(np.clip(-zs - 0.1, 0, 1)*2.5 * (Y > -0.3), np.clip(-Y / 0.5 - 0.6, 0, 1)).clip(0, 1)
    c0 = np.abs(_U) < 0.4
    rows = (_V < sag) & (_V > sag - .3)
    own = float(inner[rows][:, c0].mean(1).sum() * _DV)
    return Lips(ax, float(sag), own, sure, float(flats[j]))
