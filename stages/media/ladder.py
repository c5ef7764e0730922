"""One ladder of decode times for a whole film.

Each segment's encoder lays its own dts; where frame distances change from one segment to the next (60 fps, then
5 fps) the first dts of one lie before the last of the other, and the muxer refuses (reference media.md 7.2).
"""

import numpy as np

from stages.arrays import I64


def dts_ladder(coded_pts: I64) -> I64:
    """Decode times for frames in coded order, int64 [n]: strictly ascending, each at or before its pts.

    The sorted pts, shifted by the smallest number of places for which dts <= pts holds everywhere, and that many before
    the first. How those lie keeps MP4s exact: they begin as early as the last frame in coded order waits for its pts,
    or a film that gets slower would be shorter by its dts than by its pts, and readers go by the shorter one; and none
    of them waits less than the first, because FFmpeg's muxer takes the shortest wait before 0 for the film's start.
    """
    ordered = np.sort(coded_pts)
    # Frame at coded place k has rank r in display order; it needs dts[k] = ordered[k - delay] <= ordered[r].
    delay = int(np.max(np.arange(len(coded_pts)) - np.searchsorted(ordered, coded_pts), initial=0))
    if not delay:
        return coded_pts.astype(np.int64)
    places = np.arange(delay)
    room = (coded_pts[1:delay] - ordered[0]) // places[1:]
    gap = max(1, int(min(np.diff(ordered).min(), room.min(initial=np.iinfo(np.int64).max))))
    early = max(gap * delay, int(coded_pts[-1] - ordered[-1 - delay]))
    lead = ordered[0] - early + gap * places
    return np.concatenate([lead, ordered[: len(ordered) - delay]]).astype(np.int64)
