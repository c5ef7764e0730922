"""Detections of one shot, joined into tracks: one track is one face."""

import itertools
from typing import Final

import numpy as np

from stages.arrays import F32, F64, I64
from stages.faces.overlap import overlaps

_REMEMBERED: Final = 32
"""Lost tracks that a face may come back to; keeps an hour of flickering detections linear."""


def unbroken(earlier: int, later: int, times: F64, looks: I64, bridge_s: float) -> bool:
    """Whether a face found at two detections was there all the time between them, as far as can be told.

    No look between them missed it (at a low frame rate looks are far apart), or it was missed for at most `bridge_s`.
    """
    return bool(looks[later] - looks[earlier] <= 1 or times[later] - times[earlier] <= bridge_s)


def find_tracks(times: F64, looks: I64, boxes: F32, bridge_s: float, overlap: float) -> list[I64]:
    """Join the detections of one shot.

    `times` [k] seconds and `looks` [k], ascending, which of the detector's looks each face was found at; `boxes`
    [k, 4] px. Boxes are compared doubled in size, so that a head may move by its own width from one look to the
    next. A track lost for longer than `bridge_s` goes on only where no living track wants the face. Returns each
    track's detections, ascending.
    """
    tracks: list[list[int]] = []
    alive: list[list[int]] = []
    lost: list[list[int]] = []
    doubled = _doubled(boxes.astype(np.float64))
    starts = np.flatnonzero(np.diff(looks, prepend=-1))
    for begin, end in itertools.pairwise([*starts.tolist(), len(looks)]):
        new = list(range(begin, end))
        followed = sorted(lost + alive, key=lambda t: t[-1])
        alive = [t for t in followed if unbroken(t[-1], begin, times, looks, bridge_s)]
        lost = [t for t in followed if not unbroken(t[-1], begin, times, looks, bridge_s)][-_REMEMBERED:]
        for candidates in (alive, lost):
            pairs = _match(doubled, [t[-1] for t in candidates], new, overlap)
            for k, detection in pairs:
                candidates[k].append(detection)
            new = [d for d in new if d not in {d for _, d in pairs}]
        fresh = [[detection] for detection in new]
        alive += fresh
        tracks += fresh
    return [np.array(track, np.int64) for track in tracks]


def _match(doubled: F64, old: list[int], new: list[int], overlap: float) -> list[tuple[int, int]]:
    """Pairs (place in `old`, detection of `new`), the best overlap first; each is used once."""
    if not old or not new:
        return []
    shares = overlaps(doubled[old], doubled[new])
    pairs: list[tuple[int, int]] = []
    while shares.max() >= overlap:
        row, column = (int(v) for v in np.unravel_index(shares.argmax(), shares.shape))
        pairs.append((row, new[column]))
        shares[row, :] = shares[:, column] = -1.0
    return pairs


def _doubled(boxes: F64) -> F64:
    """Boxes [k, 4] twice as wide and high round the same centre."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, 2:] + half], axis=1)
