"""Copied pieces: the packets of the source's own groups of pictures, safe between those of another encoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from av.packet import Packet
from av.video.stream import VideoStream

from stages.media.gops import Gops
from stages.media.h264 import DELIMITER, join_units, split_units, unit_type
from stages.media.index import VideoIndex
from stages.media.open import open_media, video_stream
from stages.media.settings import TRUSTED

Packets = Iterator["Packet[VideoStream]"]


@dataclass(frozen=True)
class Copied:
    """The frames [start, end) of the source, whole closed groups of pictures: their packets are taken as they are."""

    start: int
    end: int


Piece = Path | Copied
"""A segment's file, or what is copied in its place."""


@dataclass(frozen=True)
class Source:
    """Where copied pieces come from."""

    path: Path
    gops: Gops


def segment_packets(path: Path) -> Packets:
    """The packets of a segment, in coded order."""
    with open_media(path, TRUSTED) as container:
        for packet in container.demux(video_stream(container, path)):
            if packet.pts is not None:
                yield packet


def packets_side_by_side(
    pieces: Sequence[Piece], index: VideoIndex, source: Source, own_sets: Sequence[bytes]
) -> Packets:
    """The packets of segments and copied pieces; each side's parameter sets in front of its pictures.

    `own_sets`: the segments'. A header with all sets is enough for a decoder that keeps them by their ids; sets in
    front of the pictures are enough for one that lost the header.
    """
    copied = _source_packets(source, [piece for piece in pieces if isinstance(piece, Copied)], index)
    for before, piece in pairwise([None, *pieces]):
        if isinstance(piece, Path):
            yield from _announced(segment_packets(piece), own_sets)
        elif piece is not None:
            sets = source.gops.sets if isinstance(before, Path) else ()
            yield from _announced(islice(copied, piece.end - piece.start), sets)


def _announced(packets: Packets, sets: Sequence[bytes]) -> Packets:
    """The packets, parameter sets in front of the first picture."""
    first = next(packets, None)
    if first is None:
        return
    if sets:
        units = split_units(bytes(first), 4)
        place = int(unit_type(units[0]) == DELIMITER)  # nothing comes before a delimiter (H.264, 7.4.1.2.3)
        first = _remade(first, [*units[:place], *sets, *units[place:]])
    yield first
    yield from packets


def _source_packets(source: Source, copied: Sequence[Copied], index: VideoIndex) -> Packets:
    """The packets of all copied pieces, in one pass over the source, as an MP4 holds them."""
    with open_media(source.path, TRUSTED) as container:
        packets = container.demux(video_stream(container, source.path))
        for piece in copied:
            first, last = index.pts[piece.start], index.pts[piece.end - 1]
            shown = (p for p in packets if p.pts is not None and not p.is_discard and first <= p.pts <= last)
            for packet in islice(shown, piece.end - piece.start):
                if source.gops.length_bytes == 4:
                    yield packet
                else:
                    yield _remade(packet, split_units(bytes(packet), source.gops.length_bytes))


def _remade(packet: "Packet[VideoStream]", units: Sequence[bytes]) -> "Packet[VideoStream]":
    made = Packet(join_units(units))
    made.is_keyframe = packet.is_keyframe
    return made  # type: ignore[return-value]
