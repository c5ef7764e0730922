"""One ladder of decode times for a whole film.

Each segment's encoder lays its own dts; where frame distances change from one segment to the next (60 fps, then
5 fps) the first dts of one lie before the last of the other, and the muxer refuses (reference media.md 7.2).
"""

import numpy as np

from stages.arrays import I64


def dts_ladder(coded_pts: I64) -> I64:
    """Decode times for frames in coded order, int64 [n]: strictly ascending, each at or before its pts.

    The sorted pts, shifted by the smallest number of places for which dts <= pts holds everywhere; the first ones
    extrapolated downwards, by the smallest gap (a title card of 10 s would push them far before the film), or by as
    much as the last frame in coded order waits for its pts: else a film that gets slower is shorter by its dts than
    by its pts, and an MP4's readers go by the shorter one.
    """
    ordered = np.sort(coded_pts)
    # Frame at coded place k has rank r in display order; it needs dts[k] = ordered[k - delay] <= ordered[r].
    delay = int(np.max(np.arange(len(coded_pts)) - np.searchsorted(ordered, coded_pts), initial=0))
    if not delay:
        return coded_pts.astype(np.int64)
    waits = int(coded_pts[-1] - ordered[-1 - delay])
    gap = max(int(np.diff(ordered).min()), -(-waits // delay))
    lead = ordered[0] - gap * np.arange(delay, 0, -1)
    return np.concatenate([lead, ordered[: len(ordered) - delay]]).astype(np.int64)
