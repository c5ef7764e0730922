"""Whose lips: the largest face of a shot, where it is surely there."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from stages.arrays import F32, F64, I64
from stages.cast.settings import CastSettings
from stages.cast.tracks import unbroken

_START_SIZE: Final = 1.1
"""A face is painted from this many times `min_face_px`, so that one at the limit does not flicker."""
_OTHER_SIZE: Final = 0.5
"""A second face of a shot, on screen when the first is not, must be at least this high beside it: else it is a
bystander."""


def choose_runs(
    tracks: Sequence[I64], times: F64, looks: I64, boxes: F32, scores: F32, seen_s: F64, settings: CastSettings
) -> list[I64]:
    """The stretches of one shot that are painted, in order and apart from each other in time.

    `tracks` are detections of the shot; `times`, `looks`, `boxes`, `scores` and `seen_s` (seconds that a detection
    stands for) go by detection. The track with the most area x time is chosen; others only where they begin after
    it has gone or end before it comes, and are of like size. Returns detections [m] of each run.
    """
    heights = boxes[:, 3] - boxes[:, 1]
    areas = heights * (boxes[:, 2] - boxes[:, 0])
    candidates = []
    for track in tracks:
        runs = painted_runs(track, times, looks, scores, heights, settings)
        if runs:
            weight = sum(float((areas[run] * seen_s[run]).sum()) for run in runs)
            candidates.append((weight, runs))
    # The earlier one where two weigh the same: the order of the film, not of the detector.
    candidates.sort(key=lambda c: (-c[0], c[1][0][0]))
    chosen: list[list[I64]] = []
    for _, runs in candidates:
        height = np.median(heights[np.concatenate(runs)])
        if chosen and height < _OTHER_SIZE * np.median(heights[np.concatenate(chosen[0])]):
            continue
        if all(_apart(runs, others, times) for others in chosen):
            chosen.append(runs)
    return sorted((run for runs in chosen for run in runs), key=lambda run: int(run[0]))


def painted_runs(track: I64, times: F64, looks: I64, scores: F32, heights: F32, settings: CastSettings) -> list[I64]:
    """Where one track is painted: from a sure detection on, until it is unsure, too small or gone too long."""
    runs: list[list[int]] = []
    painting = False
    for d in track.tolist():
        if scores[d] < settings.stay_score or heights[d] < settings.min_face_px:
            continue
        if painting and unbroken(runs[-1][-1], d, times, looks, settings.bridge_s):
            runs[-1].append(d)
            continue
        painting = scores[d] >= settings.start_score and heights[d] >= _START_SIZE * settings.min_face_px
        if painting:
            runs.append([d])
    return [np.array(run, np.int64) for run in runs]


def _apart(runs: list[I64], others: list[I64], times: F64) -> bool:
    """Whether one face's runs all end before the other's begin, or begin after they end."""
    return bool(times[runs[-1][-1]] < times[others[0][0]] or times[runs[0][0]] > times[others[-1][-1]])
