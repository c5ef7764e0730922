"""Which stretches of an H.264 film can be copied: its closed groups of pictures, from one pass over the packets."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from stages.arrays import I64, Bool, check_shapes, pack, unpack
from stages.media.h264 import FOREIGN, IDR, PPS, SPS, read_header, set_id, split_units, unit_type
from stages.media.index import VideoIndex
from stages.media.open import open_media, video_stream
from stages.media.settings import MediaLimits


@dataclass(frozen=True)
class Gops:
    """What of a film decodes by itself."""

    ranges: I64
    """[g, 2] frames [start, end) of its closed groups of pictures, ascending: each begins at an IDR picture, after
    which no picture refers to one before it, and is coded in one piece. Groups that are not like that are left out."""
    sets: tuple[bytes, ...]
    """Every parameter set of the film, each once."""
    length_bytes: int
    """How its packets are made, as in `stages.media.h264.split_units`."""
    problem: str = ""
    """Why nothing of it can be copied."""

    def to_bytes(self) -> bytes:
        """The cache file."""
        return pack(
            {
                "ranges": self.ranges,
                "sets": np.frombuffer(b"".join(self.sets), np.uint8),
                "set_bytes": np.array([len(unit) for unit in self.sets], np.int64),
                "length_bytes": np.array([self.length_bytes], np.int64),
                "problem": np.frombuffer(self.problem.encode(), np.uint8),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Gops":
        """Read a cache file. Raises ValueError when it is not one."""
        arrays = unpack(data)
        forms = {"ranges": (np.int64, "g 2"), "set_bytes": (np.int64, "s"), "length_bytes": (np.int64, "1")}
        check_shapes(arrays, {**forms, "sets": (np.uint8, "b"), "problem": (np.uint8, "p")})
        ends = np.cumsum(arrays["set_bytes"])
        units = np.split(arrays["sets"], ends[:-1]) if len(ends) else []
        return cls(
            ranges=arrays["ranges"].astype(np.int64),
            sets=tuple(unit.tobytes() for unit in units),
            length_bytes=int(arrays["length_bytes"][0]),
            problem=arrays["problem"].tobytes().decode(),
        )


def find_gops(path: Path, index: VideoIndex, limits: MediaLimits | None = None) -> Gops:
    """Go through the packets of a film once, without decoding.

    A container's keyframe flag is not asked: it stands on recovery points and on pictures of open groups too
    (reference media.md 7.4). Raises DubError as `open_media`.
    """
    if index.picture.codec != "h264":
        return _nothing(f"its picture is {index.picture.codec}; only H.264 is copied")
    pts, idr, spoilt = array("q"), array("b"), array("b")
    with open_media(path, limits) as container:
        stream = video_stream(container, path)
        try:
            length_bytes, listed = read_header(bytes(stream.codec_context.extradata or b""))
            known = {set_id(unit): unit for unit in listed}
            for packet in container.demux(stream):
                if packet.size == 0 or packet.pts is None:
                    continue
                units = split_units(bytes(packet), length_bytes)
                problem = _learn(units, known)
                if problem:
                    return _nothing(problem)
                pts.append(packet.pts)
                idr.append(any(unit_type(unit) == IDR for unit in units))
                spoilt.append(_hidden(packet))
        except ValueError as error:
            return _nothing(f"its H.264 is not understood: {error}")
    flags = [np.frombuffer(column, np.int8).astype(np.bool_) for column in (idr, spoilt)]
    ranges = _closed(np.frombuffer(pts, np.int64), flags[0], flags[1], index)
    return Gops(ranges, tuple(sorted(known.values(), key=unit_type)), length_bytes)


def _nothing(problem: str) -> Gops:
    return Gops(np.empty((0, 2), np.int64), (), 0, problem)


def _hidden(packet: "Packet[VideoStream]") -> bool:
    """Whether an edit list hides it, or it is damaged: its group is then not copied."""
    return bool(packet.is_discard or packet.is_corrupt)


def _learn(units: list[bytes], known: dict[tuple[int, int], bytes]) -> str:
    """Enter the parameter sets of a packet; what is wrong with it."""
    for unit in units:
        kind = unit_type(unit)
        if kind in FOREIGN:
            return f"it holds NAL units of type {kind} (partitions, layers or views)"
        if kind in (SPS, PPS) and unit not in known.values() and known.setdefault(set_id(unit), unit) != unit:
            # Which one a copied picture means would depend on where a player begins.
            return f"its parameter set {set_id(unit)[1]} changes in the middle of the film"
    return ""


def _closed(pts: I64, idr: Bool, spoilt: Bool, index: VideoIndex) -> I64:
    """The closed groups, [g, 2]: packets in coded order become frames of the index."""
    numbers = np.searchsorted(index.pts, pts).clip(0, len(index) - 1)
    spoilt = spoilt | (index.pts[numbers] != pts)
    starts = np.flatnonzero(idr)
    ranges = []
    for begin, end in zip(starts, np.append(starts[1:], len(pts)), strict=True):
        group = numbers[begin:end]
        first = int(group[0])
        # A group whose frames are shown before its IDR picture, or mixed with another's, does not stand alone.
        if not spoilt[begin:end].any() and group.min() == first and group.max() - first + 1 == len(group):
            ranges.append((first, first + len(group)))
    return np.array(ranges, np.int64).reshape(-1, 2)
