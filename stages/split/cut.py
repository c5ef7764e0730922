"""Where a film may be cut into pieces: at keyframes where there are any, else anywhere."""

import math

import numpy as np

from stages.arrays import F64, I64


def cut_ranges(n: int, keyframes: I64, times: F64, target_s: float, max_frames: int) -> list[tuple[int, int]]:
    """Cut the frames [0, n) into ranges of about `target_s` seconds.

    `keyframes` are frame numbers at which decoding can begin, `times` [n] the frames' times in seconds, ascending.
    Each boundary goes to the keyframe nearest to its target within half a piece, else to the target itself:
    decoding then begins at the keyframe before. The pieces that remain share the time that remains, so the last
    is no sliver. Ranges are contiguous, never empty and never longer than `max_frames`.
    """
    if max_frames < 1 or not target_s > 0:
        raise ValueError(f"pieces of {target_s} s and at most {max_frames} frames")
    keys = np.unique(keyframes)
    ranges: list[tuple[int, int]] = []
    start = 0
    while start < n:
        end = _next_boundary(start, n, keys, times, target_s, max_frames)
        ranges.append((start, end))
        start = end
    return ranges


def _next_boundary(start: int, n: int, keys: I64, times: F64, target_s: float, max_frames: int) -> int:
    # The last frame is on screen for as long as a frame usually is.
    left_s = float(times[n - 1] - times[start] + (times[n - 1] - times[0]) / max(n - 1, 1))
    pieces = max(1, round(left_s / target_s), math.ceil((n - start) / max_frames))
    if pieces == 1 or start == n - 1:
        return n
    piece_s = left_s / pieces
    target = float(times[start]) + piece_s
    furthest = min(start + max_frames, n - 1)
    possible = keys[(keys > start) & (keys <= furthest)]
    if len(possible):
        away = np.abs(times[possible] - target)
        if away.min() <= piece_s / 2:
            return int(possible[away.argmin()])
    return start + 1 + int(np.abs(times[start + 1 : furthest + 1] - target).argmin())
