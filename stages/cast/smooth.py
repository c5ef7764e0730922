"""A box that follows the head and does not shake."""

from typing import Final

import numpy as np

from stages.arrays import F64, I64

_REACH: Final = 4.0
"""The Gaussian ends at this many standard deviations, lowered to reach zero there: a frame just at the end must
not weigh by how its time was rounded."""
_WINDOW: Final = 5  # wav2lip.md 4.3


def smooth_in_time(times: F64, values: F64, sigma_s: float) -> F64:
    """Values [n, c] at `times` [n] seconds, ascending, smoothed by a Gaussian of `sigma_s` seconds.

    At every frame a line is fitted to its neighbours, weighted by the Gaussian and by the time each frame is on
    screen, and read off at that frame. So steady motion comes out as it went in, at the ends too and for any
    frame spacing, and nothing lags.
    """
    base = values[:1]
    offset = values - base  # a still box stays the same to the last bit
    weight = np.minimum(np.gradient(times), sigma_s) if len(times) > 1 else np.ones(1)
    sums = np.zeros((3, len(times), 1))
    moments = np.zeros((2, *offset.shape))
    low = np.searchsorted(times, times - _REACH * sigma_s)
    high = np.searchsorted(times, times + _REACH * sigma_s, side="right")
    at = np.arange(len(times))
    for step in range(int((low - at).min()), int((high - at).max())):
        here = at[(at + step >= low) & (at + step < high)]
        there = here + step
        distance = ((times[there] - times[here]) / sigma_s)[:, None]
        bell = np.exp(-0.5 * distance**2) - np.exp(-0.5 * _REACH**2)
        share = weight[there, None] * np.maximum(bell, 0.0)
        sums[0, here] += share
        sums[1, here] += share * distance
        sums[2, here] += share * distance**2
        moments[0, here] += share * offset[there]
        moments[1, here] += share * distance * offset[there]
    mean = moments[0] / sums[0]
    spread = sums[0] * sums[2] - sums[1] ** 2
    # A frame without neighbours in reach has no slope.
    sloped = spread > 1e-9 * sums[0] ** 2
    line = (sums[2] * moments[0] - sums[1] * moments[1]) / np.where(sloped, spread, 1.0)
    return np.asarray(base + np.where(sloped, line, mean), np.float64)


def forward_mean(boxes: I64) -> I64:
    """The Wav2Lip script's smoothing of whole-number boxes [n, 4], wav2lip.md 4.3.

    Box i becomes the mean of the boxes i..i+4, truncated; the last ones the mean of the last five rows as they
    stand by then. It leads the head by two frames, and rows written are read again.
    """
    out = np.array(boxes, np.int64)
    count = len(out)
    for i in range(count):
        # With fewer than five rows the script's slice starts at a negative place: see the reference's check values.
        window = out[count - _WINDOW :] if i + _WINDOW > count else out[i : i + _WINDOW]
        out[i] = np.trunc(window.mean(axis=0))
    return out
