"""The frames of an output's grid, decoded: forwards in one pass, backwards in small blocks, a repeated one once."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

from stages.arrays import I64
from stages.media.decode import read_frames
from stages.media.ranges import MediaSource
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline

_BLOCK = 16
"""Frames held to be shown backwards: each block decodes its group of pictures anew, and 16 of 4K are 200 MB."""


def read_mapped(
    source: MediaSource, timeline: Timeline, start: int, end: int, settings: MediaSettings | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """The frames [start, end) of the output's grid, each with its number there and its pts there.

    No two share their pixels, so each may be painted in place. Of a film as it is, these are the frames of
    `read_frames`, at no further cost. Raises as `read_frames` does.
    """
    at = start
    for stretch in _stretches(timeline.source[start:end]):
        backwards = len(stretch) > 1 and stretch[1] < stretch[0]
        read = _backwards if backwards else _forwards
        for frame in read(source, timeline, stretch, settings):
            frame.pts = int(timeline.pts[at])
            yield at, frame
            at += 1


def _stretches(source: I64) -> Iterator[I64]:
    """Pieces of a map that are read in one way: by steps of 0 and 1, or by steps of -1."""
    steps = np.diff(source)
    kind = np.where(steps == -1, -1, np.where((steps == 0) | (steps == 1), 1, 0))
    start = 0
    while start < len(source):
        end = start + 1
        if end < len(source) and kind[start]:
            others = np.flatnonzero(kind[start:] != kind[start])
            end = start + 1 + (int(others[0]) if len(others) else len(kind) - start)
        yield source[start:end]
        start = end


def _forwards(
    source: MediaSource, timeline: Timeline, stretch: I64, settings: MediaSettings | None
) -> Iterator[VideoFrame]:
    shown, times_shown = np.unique(stretch, return_counts=True)
    frames = read_frames(source, timeline.index, int(shown[0]), int(shown[-1]) + 1, settings)
    for (_, frame), count in zip(frames, times_shown.tolist(), strict=True):
        copy = _Copier(frame) if count > 1 else None
        for _ in range(count - 1):
            assert copy is not None
            yield copy(frame)
        yield frame


def _backwards(
    source: MediaSource, timeline: Timeline, stretch: I64, settings: MediaSettings | None
) -> Iterator[VideoFrame]:
    for high in range(int(stretch[0]), int(stretch[-1]) - 1, -_BLOCK):
        low = max(high - _BLOCK + 1, int(stretch[-1]))
        held = [frame for _, frame in read_frames(source, timeline.index, low, high + 1, settings)]
        while held:
            yield held.pop()


class _Copier:
    """Copies of frames with all that belongs to them, side data too, which no constructor of PyAV brings."""

    def __init__(self, like: VideoFrame) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=like.time_base or Fraction(1)
        )
        source.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """A frame with pixels of its own."""
        self._graph.push(frame)
        copy = self._graph.pull()
        assert isinstance(copy, VideoFrame)
        copy.make_writable()  # until here it shows the same buffers
        return copy
