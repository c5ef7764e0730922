"""Segments -> one video-only MP4, by packets, on the film's own clock."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from stages.errors import DubError
from stages.media.index import VideoIndex
from stages.media.ladder import dts_ladder
from stages.media.open import open_media, video_stream


def join_segments(segments: Sequence[Path], index: VideoIndex, target: Path) -> None:
    """Write the packets of all segments, in order, to `target`.

    Every packet gets its dts from the film's ladder and its time on screen from the index; the last one's reaches
    to the film's end. Raises DubError `internal` when the segments' pts are not exactly the film's.
    """
    coded = np.array([pts for path in segments for pts in _coded_pts(path)], np.int64)
    if len(coded) != len(index) or not np.array_equal(np.sort(coded), index.pts):
        raise DubError("internal", f"{target.name}: the segments hold {len(coded)} frames, the film {len(index)}")
    ladder = iter(dts_ladder(coded).tolist())
    shown = dict(zip(index.pts.tolist(), index.duration.tolist(), strict=True))
    last = int(coded[-1])
    options = {"movie_timescale": str(index.time_base.denominator)}
    with av.open(str(target), "w", format="mp4", options=options) as output:
        with open_media(segments[0]) as first:
            stream = output.add_stream_from_template(video_stream(first, segments[0]))
        stream.time_base = index.time_base
        for path in segments:
            for packet in _packets(path):
                assert packet.pts is not None
                packet.dts = next(ladder)
                packet.duration = shown[packet.pts]
                if packet.pts == last:
                    # MP4 ends where the last packet in decode order ends (media.md 7.1).
                    packet.duration = index.end_pts - last
                packet.stream = stream
                output.mux(packet)


def _packets(path: Path) -> Iterator["Packet[VideoStream]"]:
    with open_media(path) as container:
        for packet in container.demux(video_stream(container, path)):
            if packet.pts is not None:
                yield packet


def _coded_pts(path: Path) -> list[int]:
    return [packet.pts for packet in _packets(path) if packet.pts is not None]
