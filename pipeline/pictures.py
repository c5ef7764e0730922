"""Before and after: pictures of a film at its strongest mouth openings, for the report.

Chosen from what the lips step measured, cut from the source and from the finished film, so that they show what was
delivered.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from stages.arrays import F32, F64, U8, Bool
from stages.media.decode import read_frames
from stages.media.index import Picture, VideoIndex
from stages.media.planes import RegionColour
from stages.media.ranges import MediaSource
from stages.media.settings import MediaSettings

MOMENTS = 3
"""Pairs of pictures a film."""
APART = 10
"""Frames between two moments of one shard at the least."""
_WIDTH_PX = 360
_ROOM = 0.55  # shown round the face, as a share of its box
_QUALITY = 82


def choose(openings: Iterable[Sequence[float]], times: F64) -> list[int]:
    """Up to `MOMENTS` frames, ascending: the widest open mouths, from different parts of the film where it has some.

    `openings` are (frame, score) of all shards, `times` [n] the frames' times in seconds.
    """
    best = sorted(((float(score), int(frame)) for frame, score in openings), key=lambda found: (-found[0], found[1]))
    apart_s = float(times[-1] - times[0]) / (2 * MOMENTS)
    chosen: list[int] = []
    for least_s in (apart_s, 0.0):  # a film whose speech is all in one place has its moments there
        for _, frame in best:
            if len(chosen) < MOMENTS and all(abs(times[frame] - times[k]) > least_s for k in chosen):
                chosen.append(frame)
    return sorted(chosen)


def painted_ranges(painted: Bool, times: F64, end_s: float, most: int = 300) -> list[list[float]]:
    """[[start_s, end_s], ...] of the stretches in which a face is painted, ascending.

    `painted`: bool [n], `times` [n] s, `end_s` where the last frame leaves. Beyond `most` stretches those with the
    shortest gaps between them are given as one, so that a report of many long films stays small.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], painted, [False]]).astype(np.int8)))
    at = np.append(times, end_s)[edges].reshape(-1, 2)
    gaps = at[1:, 0] - at[:-1, 1]
    kept = np.sort(np.argsort(-gaps, kind="stable")[: most - 1])
    starts, ends = np.concatenate([at[:1, 0], at[1:, 0][kept]]), np.concatenate([at[:-1, 1][kept], at[-1:, 1]])
    return [[round(float(a), 3), round(float(b), 3)] for a, b in zip(starts, ends, strict=True)]


def cut(video: MediaSource, index: VideoIndex, frames: Sequence[int], boxes: F32, media: MediaSettings) -> list[bytes]:
    """JPEGs of the faces in some frames, at most 360 px wide, upright, with square pixels.

    `frames`: numbers on the grid of `video`. `boxes`: float32 [n, 4] x0, y0, x1, y1 px of its upright
    pictures, one for each.
    Raises DubError as `read_frames` does.
    """
    colour = RegionColour(index.picture, media)
    jpegs = []
    for number, box in zip(frames, boxes, strict=True):
        _, frame = next(iter(read_frames(video, index, number, number + 1, media)))
        x0, y0, x1, y1 = (float(v) for v in box)
        region = colour.region((x0, y0, x1, y1), round(_ROOM * max(x1 - x0, y1 - y0)))
        jpegs.append(_jpeg(_shown(colour.to_bgr(frame, region), index.picture)))
    return jpegs


def _shown(picture: U8, source: Picture) -> U8:
    """An upright picture with square pixels, at most `_WIDTH_PX` wide."""
    height, width = picture.shape[:2]
    stretch = source.sar[0] / source.sar[1] if source.sar[0] and source.sar[1] else 1.0
    stretch = 1 / stretch if source.rotation in (90, 270) else stretch  # it is the coded picture's
    wide, high = (width * stretch, height) if stretch >= 1 else (width, height / stretch)
    scale = min(1.0, _WIDTH_PX / wide)
    size = (max(2, round(wide * scale)), max(2, round(high * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def _jpeg(picture: U8) -> bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return bytes(data.tobytes())
