"""The shards of a film: the pieces in which its frames are painted and encoded, and those that are copied."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.arrays import F64, I64, Bool
from stages.cast.types import Cast
from stages.split.cut import cut_ranges

Range = tuple[int, int]


@dataclass(frozen=True)
class Shard:
    """The frames [start, end) of an output's grid."""

    index: int
    start: int
    end: int
    painted: int
    """How many of them are painted; with 0 the shard never reaches a generator."""
    copied: bool = False
    """Its packets are the source's: it is neither decoded nor encoded, and has no segment."""


def copied_ranges(painted: Bool, groups: I64, times: F64, end_s: float, min_s: float) -> list[Range]:
    """The longest ranges [start, end) of whole groups of pictures in which nothing is painted.

    `painted` [n]; `groups` [g, 2] frames of the closed groups, ascending (`stages.media.gops`); `times` [n] seconds,
    `end_s` where the last frame leaves. Ranges shorter than `min_s` are left out. They depend on the cast and the
    source only, never on the shards.
    """
    before = np.concatenate([[0], np.cumsum(painted)])
    free = groups[before[groups[:, 1]] == before[groups[:, 0]]].tolist()
    joined: list[Range] = []
    for start, end in free:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    leaves = np.append(times, end_s)
    return [(start, end) for start, end in joined if leaves[end] - leaves[start] >= min_s]


def plan_shards(
    cast: Cast, keyframes: I64, times: F64, shard_s: float, max_frames: int, copied: Sequence[Range] = ()
) -> list[Shard]:
    """Cut a film into shards of about `shard_s` seconds that cover it once (see `cut_ranges`).

    `keyframes` are frame numbers, `times` [n] the frames' times in seconds. `max_frames` is what the largest
    payload between two stages can carry. Each of the ranges `copied` is one shard; the rest is cut between them.
    """
    shards: list[Shard] = []
    for start, end, as_it_is in _stretches(len(cast), copied):
        cuts = [(0, end - start)]
        if not as_it_is:
            inside = keyframes[(keyframes >= start) & (keyframes < end)] - start
            cuts = cut_ranges(end - start, inside, times[start:end], shard_s, max_frames)
        for first, last in cuts:
            painted = int(np.count_nonzero(cast.painted[start + first : start + last]))
            shards.append(Shard(len(shards), start + first, start + last, painted, as_it_is))
    return shards


def _stretches(count: int, copied: Sequence[Range]) -> list[tuple[int, int, bool]]:
    """The frames [0, count) in pieces that are copied or not."""
    out, at = [], 0
    for start, end in copied:
        if at < start:
            out.append((at, start, False))
        out.append((start, end, True))
        at = end
    if at < count:
        out.append((at, count, False))
    return out
