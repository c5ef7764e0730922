"""Landmarks of the chosen face on the film's own grid: which frames are looked at, the cache, the way between them."""

import hashlib
from collections.abc import Mapping

import numpy as np

from stages.arrays import F32, F64, I64, pack, unpack
from stages.cast.types import Cast
from stages.crops.landmarks.smooth import reach_s, smooth
from stages.media import storage
from stages.settings import digest

BLOCK = 64
"""Frames of the film's grid in one cache file: shards share a block at each end at most."""


def keyed_frames(cast: Cast, stride: int) -> I64:
    """Film frames a landmark model looks at: every `stride`-th painted one, and both ends of every run."""
    painted = cast.painted
    starts = painted & np.concatenate([[True], cast.runs[1:] != cast.runs[:-1]])
    ends = painted & np.concatenate([cast.runs[1:] != cast.runs[:-1], [True]])
    return np.flatnonzero((painted & (np.arange(len(cast)) % stride == 0)) | starts | ends)


def support(times: F64, cast: Cast, frames: I64, smooth_s: float) -> I64:
    """The painted frames whose landmarks the smoothed ones of `frames` depend on, ascending. Same runs only."""
    reach = reach_s(smooth_s)
    found = []
    for run in np.unique(cast.runs[frames]):
        own = frames[cast.runs[frames] == run]
        low = np.searchsorted(times, times[own[0]] - reach, side="left")
        high = np.searchsorted(times, times[own[-1]] + reach, side="right")
        found.append(np.flatnonzero(cast.runs[low:high] == run) + low)
    return np.concatenate(found)


def looked_at(frames: I64, keyed: I64) -> I64:
    """The keyed frames on both sides of each frame. A run begins and ends with one, so both are of its run."""
    before = keyed[np.searchsorted(keyed, frames, side="right") - 1]
    after = keyed[np.searchsorted(keyed, frames, side="left")]
    return np.union1d(before, after)


def smoothed(times: F64, cast: Cast, frames: I64, keyed: I64, known: Mapping[int, F32], smooth_s: float) -> F32:
    """float32 [n, 68, 2] px of `frames`, from the landmarks `known` of keyed frames.

    Between two keyed frames the points move with the box: they are interpolated in shares of it.
    """
    near = support(times, cast, frames, smooth_s)
    boxes = cast.boxes[near].astype(np.float64)
    before = np.searchsorted(keyed, near, side="right") - 1
    after = np.searchsorted(keyed, near, side="left")
    t0, t1 = times[keyed[before]], times[keyed[after]]
    weight = np.where(t1 > t0, (times[near] - t0) / np.maximum(t1 - t0, 1e-9), 0.0)[:, None, None]
    shares = (1 - weight) * _shares(cast, keyed[before], known) + weight * _shares(cast, keyed[after], known)
    origin, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    landmarks = (origin + shares * size).astype(np.float32)
    calm = smooth(landmarks, times[near], cast.runs[near], smooth_s)
    return calm[np.searchsorted(near, frames)]


def _shares(cast: Cast, frames: I64, known: Mapping[int, F32]) -> F64:
    boxes = cast.boxes[frames].astype(np.float64)
    points = np.stack([known[int(frame)] for frame in frames]).astype(np.float64)
    return np.asarray((points - boxes[:, None, :2]) / (boxes[:, 2:] - boxes[:, :2])[:, None], np.float64)


class LandmarkCache:
    """Raw landmarks of one film's chosen face, by blocks of its frame grid.

    A block's name holds what its landmarks depend on: the model and its settings (`key`), the frames it looked at, and
    the boxes and points it was given.
    """

    def __init__(self, folder: str, key: str) -> None:
        self._folder, self._key = folder, key

    def read(self, block: int, cast: Cast, keyed: I64) -> dict[int, F32] | None:
        """Landmarks of a block by frame, or None when they are not there, or not whole."""
        frames = block_frames(block, keyed)
        try:
            points = unpack(storage.read_bytes(self._url(block, cast, keyed)))["points"]
        except (FileNotFoundError, ValueError, KeyError):
            return None  # a damaged cache file costs a new look, nothing else
        if points.shape != (len(frames), 68, 2) or points.dtype != np.float32:
            return None
        return dict(zip(frames.tolist(), points, strict=True))

    def write(self, block: int, cast: Cast, keyed: I64, known: Mapping[int, F32]) -> None:
        """Keep a whole block."""
        points = np.stack([known[int(frame)] for frame in block_frames(block, keyed)])
        storage.write_bytes(self._url(block, cast, keyed), pack({"points": points.astype(np.float32)}))

    def _url(self, block: int, cast: Cast, keyed: I64) -> str:
        frames = block_frames(block, keyed)
        seen = (frames, cast.boxes[frames], cast.points[frames])
        looked_into = hashlib.sha256(b"".join(array.tobytes() for array in seen)).hexdigest()
        return storage.join(self._folder, f"{block * BLOCK:08d}-{digest(self._key, looked_into)}.npz")


def block_frames(block: int, keyed: I64) -> I64:
    """The keyed frames of a block."""
    return keyed[(keyed >= block * BLOCK) & (keyed < (block + 1) * BLOCK)]
