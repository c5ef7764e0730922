"""Landmarks on some frames of a run, carried to the others by the box, which is known in every frame."""

import numpy as np

from stages.arrays import F32, I64


def looked_frames(run: tuple[int, int], part: tuple[int, int], stride: int) -> I64:
    """The frames a landmarker must look at so that `carry` knows every frame of `part`, ascending.

    `run` and `part`: half-open ranges of film frames, `part` inside `run`. A run is looked at in its first and last
    frame and in every multiple of `stride` on the film's own grid between them: a rule that knows no shard. A part
    needs those inside it and the nearest one on either side.
    """
    first, last = run[0], run[1] - 1
    if part[0] < first or part[1] > run[1] or part[0] >= part[1]:
        raise ValueError(f"part {part} is empty or not inside run {run}")
    grid = np.arange(-(-first // stride) * stride, last + 1, stride, dtype=np.int64)
    looked = np.unique(np.concatenate([[first], grid, [last]])).astype(np.int64)
    low = np.searchsorted(looked, part[0], side="right") - 1
    high = np.searchsorted(looked, part[1] - 1, side="left") + 1
    return looked[low:high]


def carry(looked: I64, landmarks: F32, frames: I64, boxes: F32, times_s: F32) -> F32:
    """Landmarks of every frame from those of the frames looked at, relative to the box and linear in time.

    `looked`: [m] film frames, ascending, of one run. `landmarks`: float32 [m, 68, 2] px. `frames`: [n] consecutive
    film frames that contain `looked` and begin and end with it. `boxes`: [n, 4] px. `times_s`: [n] seconds.
    Returns float32 [n, 68, 2] px; frames that were looked at keep their landmarks exactly.
    """
    corner = boxes[:, None, :2].astype(np.float64)
    size = boxes[:, None, 2:].astype(np.float64) - corner
    at = looked - frames[0]
    inside = (landmarks - corner[at]) / size[at]
    times = np.asarray(times_s, np.float64)
    after = np.searchsorted(looked, frames, side="left")
    before = np.maximum(after - 1, 0)
    t0, t1 = times[at[before]], times[at[after]]
    share = np.where(t1 > t0, (times - t0) / np.where(t1 > t0, t1 - t0, 1.0), 1.0)[:, None, None]
    full = (inside[before] * (1 - share) + inside[after] * share) * size + corner
    full[at] = landmarks
    return full.astype(np.float32)
