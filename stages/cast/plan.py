"""The shards of a film: the pieces in which its frames are painted and encoded."""

from dataclasses import dataclass

import numpy as np

from stages.arrays import F64, I64
from stages.cast.types import Cast
from stages.split.cut import cut_ranges


@dataclass(frozen=True)
class Shard:
    """The frames [start, end) of a film's grid."""

    index: int
    start: int
    end: int
    painted: int
    """How many of them are painted; with 0 the shard never reaches a generator."""


def plan_shards(cast: Cast, keyframes: I64, times: F64, shard_s: float, max_frames: int) -> list[Shard]:
    """Cut a film into shards of about `shard_s` seconds that cover it once (see `cut_ranges`).

    `keyframes` are frame numbers, `times` [n] the frames' times in seconds. `max_frames` is what the largest
    payload between two stages can carry.
    """
    ranges = cut_ranges(len(cast), keyframes, times, shard_s, max_frames)
    return [
        Shard(index, start, end, int(np.count_nonzero(cast.painted[start:end])))
        for index, (start, end) in enumerate(ranges)
    ]
