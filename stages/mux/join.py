"""Segments -> one video-only MP4, by packets, on the film's own clock."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from stages.arrays import I64
from stages.errors import DubError
from stages.media.encode import exact_clock, muxer_for
from stages.media.ladder import dts_ladder
from stages.media.open import open_media, video_stream
from stages.media.timeline import Timeline


def join_segments(segments: Sequence[Path], timeline: Timeline, target: Path) -> None:
    """Write the packets of all segments, in order, to `target`.

    Every packet gets its dts from the film's ladder and its time on screen from the timeline; the last one's reaches
    to the film's end. Raises DubError `internal` when the segments' pts are not exactly the film's, or when they do
    not come from one encoder with one set of settings.
    """
    clock = Fraction(1, timeline.time_base.denominator)  # what an MP4 can count in: 1001/30000 becomes 1/30000
    shown_pts = timeline.pts * timeline.time_base.numerator
    shown_for = timeline.duration * timeline.time_base.numerator
    coded = _coded_pts(segments, clock)
    if len(coded) != len(timeline) or not np.array_equal(np.sort(coded), shown_pts):
        raise DubError(
            "internal",
            f"{target.name}: the segments hold {len(coded)} frames, the film {len(timeline)}, or not at the same times",
        )
    duration = shown_for[np.searchsorted(shown_pts, coded)]
    # MP4 ends where the last packet in decode order ends (media.md 7.1).
    duration[-1] = shown_pts[-1] + shown_for[-1] - coded[-1]
    times = zip(dts_ladder(coded).tolist(), duration.tolist(), strict=True)
    with (
        open_media(segments[0]) as first,
        av.open(str(target), "w", format=muxer_for(_codec(first)), options=exact_clock(timeline.time_base)) as output,
    ):
        stream = output.add_stream_from_template(video_stream(first, segments[0]))
        stream.time_base = clock
        if timeline.picture.sar[0]:  # a template does not bring what only the container says (ffv1)
            stream.codec_context.sample_aspect_ratio = Fraction(*timeline.picture.sar)
        if timeline.picture.rotation:
            stream.set_display_rotation(timeline.picture.rotation)
        for path in segments:
            for packet in _packets(path):
                packet.dts, packet.duration = next(times)
                packet.stream = stream
                output.mux(packet)


def _codec(segment: InputContainer) -> str:
    return segment.streams.video[0].codec_context.codec.canonical_name


def _packets(path: Path) -> Iterator["Packet[VideoStream]"]:
    with open_media(path) as container:
        for packet in container.demux(video_stream(container, path)):
            if packet.pts is not None:
                yield packet


def _coded_pts(segments: Sequence[Path], clock: Fraction) -> I64:
    """Every packet's pts in coded order, in units of `clock`."""
    pts: list[int] = []
    parameters = None
    for path in segments:
        with open_media(path) as container:
            stream = video_stream(container, path)
            own = (stream.time_base, bytes(stream.codec_context.extradata or b""))
            # The joined film has one header: with another segment's parameter sets frames decode wrong, silently.
            if own[0] != clock or own != (parameters or own):
                raise DubError("internal", f"{path.name}: not encoded like the film's other segments; delete it")
            parameters = own
            pts.extend(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    return np.array(pts, np.int64)
