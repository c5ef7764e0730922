"""Pieces -> one video-only MP4 (MOV for ProRes), by packets, on the film's own clock."""

from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from stages.arrays import I64
from stages.errors import DubError
from stages.media.encode import exact_clock, muxer_for
from stages.media.h264 import read_header, write_header
from stages.media.ladder import dts_ladder
from stages.media.open import open_media, video_stream
from stages.media.settings import TRUSTED
from stages.media.timeline import Timeline
from stages.mux.copied import Copied, Packets, Piece, Source, packets_side_by_side, segment_packets
from stages.mux.tracks import codec_of


def join_segments(pieces: Sequence[Piece], timeline: Timeline, target: Path, source: Source | None = None) -> None:
    """Write the packets of all pieces, in order, to `target`.

    Every packet gets its dts from the film's ladder and its time on screen from the timeline; the last one's reaches
    to the film's end. Where pieces of the `source` are copied, the header holds its parameter sets and the segments',
    which have other ids (`stages.media.seam`). Raises DubError `internal` when the pieces' pts are not exactly the
    film's, or when the segments do not come from one encoder with one set of settings.
    """
    clock = Fraction(1, timeline.time_base.denominator)  # what an MP4 can count in: 1001/30000 becomes 1/30000
    shown_pts = timeline.pts * timeline.time_base.numerator
    shown_for = timeline.duration * timeline.time_base.numerator
    coded, header = _coded_pts(pieces, timeline, clock)
    if len(coded) != len(timeline) or not np.array_equal(np.sort(coded), shown_pts):
        raise DubError(
            "internal",
            f"{target.name}: the segments hold {len(coded)} frames, the film {len(timeline)}, or not at the same times",
        )
    duration = shown_for[np.searchsorted(shown_pts, coded)]
    # MP4 ends where the last packet in decode order ends (media.md 7.1).
    duration[-1] = shown_pts[-1] + shown_for[-1] - coded[-1]
    times = zip(coded, dts_ladder(coded), duration, strict=True)
    packets: Packets
    if source is None:
        packets = chain.from_iterable(segment_packets(piece) for piece in pieces if isinstance(piece, Path))
    else:
        own_sets = read_header(header)[1] if header else []
        header = write_header([*source.gops.sets, *own_sets])
        packets = packets_side_by_side(pieces, timeline.index, source, own_sets)
    like = _like(pieces, source)
    with ExitStack() as files:
        template = video_stream(files.enter_context(open_media(like, TRUSTED)), like)
        muxer, options = muxer_for(codec_of(template)), exact_clock(timeline.time_base)
        output = files.enter_context(av.open(str(target), "w", format=muxer, options=options))
        # Opaque: of a decoder called otherwise than its codec (libdav1d) PyAV finds no encoder.
        stream = output.add_stream_from_template(template, opaque=True)
        stream.codec_context.extradata = header
        stream.time_base = clock
        if timeline.picture.sar[0]:  # a template does not bring what only the container says (ffv1)
            stream.codec_context.sample_aspect_ratio = Fraction(*timeline.picture.sar)
        if timeline.picture.rotation:
            stream.set_display_rotation(timeline.picture.rotation)
        for packet, (pts, dts, shown_ticks) in zip(packets, times, strict=True):
            packet.pts, packet.dts, packet.duration = int(pts), int(dts), int(shown_ticks)
            packet.time_base = clock
            packet.stream = stream
            output.mux(packet)


def _like(pieces: Sequence[Piece], source: Source | None) -> Path:
    """The file whose stream the film's is like: a segment, or the source where everything is copied."""
    segments = [piece for piece in pieces if isinstance(piece, Path)]
    return source.path if source is not None and not segments else segments[0]


def _coded_pts(pieces: Sequence[Piece], timeline: Timeline, clock: Fraction) -> tuple[I64, bytes]:
    """Every packet's pts in coded order, in units of `clock`, and the segments' header."""
    pts = array("q")  # a number a frame, not an object
    parameters = None
    for piece in pieces:
        if isinstance(piece, Copied):
            order = piece.start + np.argsort(timeline.index.coded[piece.start : piece.end])
            pts.extend((timeline.pts[order] * timeline.time_base.numerator).tolist())
            continue
        with open_media(piece, TRUSTED) as container:
            stream = video_stream(container, piece)
            own = (stream.time_base, bytes(stream.codec_context.extradata or b""))
            # The joined film has one header: with another segment's parameter sets frames decode wrong, silently.
            if own[0] != clock or own != (parameters or own):
                raise DubError("internal", f"{piece.name}: not encoded like the film's other segments; delete it")
            parameters = own
            pts.extend(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    return np.frombuffer(pts, np.int64), parameters[1] if parameters else b""
