"""Landmarks without jitter: a Gaussian mean over time that knows neither shards nor the other side of a cut."""

import numpy as np

from stages.arrays import F32, F64, I32


def reach_s(sigma_s: float) -> float:
    """How far, in seconds, a frame's smoothed landmarks look to either side: the context a shard must bring."""
    return 3 * sigma_s


def smooth(landmarks: F32, times_s: F64, runs: I32, sigma_s: float) -> F32:
    """The Gaussian mean over time of every point, float32 [n, 68, 2] px.

    `landmarks`: float32 [n, 68, 2] px. `times_s`: float64 [n] seconds, ascending, any spacing. `runs`: [n] the
    unbroken stretch each frame belongs to; frames of other runs weigh nothing. `sigma_s`: seconds, 0 for none.

    Weights depend on the distance in time alone, the same to both sides, so nothing lags; they end at `reach_s`.
    At a run's ends the mean is over what is there. A frame's value is computed from the frames within reach and
    nothing else, in one order: with more context or less around them it is the same to the last bit.
    """
    if sigma_s <= 0:
        return landmarks.copy()
    result = np.empty_like(landmarks)
    reach = reach_s(sigma_s)
    low = np.searchsorted(times_s, times_s - reach, side="left")
    high = np.searchsorted(times_s, times_s + reach, side="right")
    for frame, (a, b) in enumerate(zip(low, high, strict=True)):
        near = np.flatnonzero(runs[a:b] == runs[frame]) + a
        weights = np.exp(-0.5 * ((times_s[near] - times_s[frame]) / sigma_s) ** 2)
        total = (weights[:, None, None] * landmarks[near]).sum(axis=0)
        result[frame] = total / weights.sum()
    return result
