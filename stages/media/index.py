"""A film's frame grid: every frame's presentation time, from one pass over the packets."""

import json
import math
import re
from array import array
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from pydantic import TypeAdapter

from stages.arrays import F64, I64, Bool, check_shapes, pack, unpack
from stages.errors import DubError
from stages.media.chroma import UNSPECIFIED, chroma_location
from stages.media.node_cache import localize
from stages.media.open import open_media, video_stream
from stages.media.settings import MediaLimits
from stages.media.upright import Upright, check_turn, rotation_of
from stages.media.whole import check_whole

_LATEST_S = 10**10
"""Latest moment of a file's clock in seconds, three hundred years: up to it seconds in float64 are exact to 2 µs."""
_GRID = ("pts", "dts", "coded", "duration")
UNTAGGED = 2
"""What matrix, primaries and transfer are where nobody says them (H.273)."""
_PROGRESSIVE = 1  # of FFmpeg's field orders: 0 is unknown, those above are interlaced
_CLOCK = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)")


@dataclass(frozen=True)
class Picture:
    """What the pictures of a stream are, and how they are tagged (numbers as in ITU-T H.273)."""

    codec: str
    width: int
    height: int
    pix_fmt: str
    sar: tuple[int, int]
    """Sample aspect ratio; (0, 1) when the source says none."""
    color_range: int
    """0 unspecified, 1 limited, 2 full."""
    matrix: int
    primaries: int
    transfer: int
    rate: tuple[int, int]
    """Average frames a second, only a hint for encoders."""
    language: str
    container: str
    interlaced: bool
    """Whether the stream's header says so; single frames may without it."""
    chroma: str
    """Where the chroma samples of 4:2:0 lie, as `stages.media.chroma` names it."""
    rotation: int
    """How far players turn the pictures counter-clockwise, by the display matrix: 0, 90, 180 or 270 degrees."""

    @property
    def upright(self) -> Upright:
        """Between these pictures and what players show."""
        return Upright(self.width, self.height, self.rotation)


@dataclass(frozen=True)
class VideoIndex:
    """Every frame that the source shows, in the order it is shown."""

    pts: I64
    """[n] ascending, in `time_base` units."""
    dts: I64
    """[n] of the packet that holds the frame."""
    coded: I64
    """[n] place of that packet among the film's packets: with B-frames pictures are coded before earlier ones."""
    duration: I64
    """[n] until the next frame's pts; the last one's time on screen."""
    keyframe: Bool
    """[n] whether decoding may begin at the frame's packet (not every one is a safe place: see decode)."""
    time_base: Fraction
    """Seconds of one unit of pts."""
    zero_s: float
    """The moment of the container's clock at which the dub begins, in seconds."""
    picture: Picture

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def times(self) -> F64:
        """[n] seconds of each frame since the dub began."""
        return np.asarray(self.pts * float(self.time_base) - self.zero_s, np.float64)

    @property
    def end_pts(self) -> int:
        """Where the last frame leaves the screen."""
        return int(self.pts[-1] + self.duration[-1])

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the last one's end, in seconds."""
        return float((self.end_pts - int(self.pts[0])) * self.time_base)

    @cached_property
    def needs(self) -> I64:
        """[n] the last frame on screen that may be a reference of this one: itself, or a later one coded before it."""
        shown = np.argsort(self.coded)
        return np.maximum.accumulate(shown)[self.coded]

    @property
    def keyframes(self) -> I64:
        """Frame numbers of the keyframes."""
        return np.flatnonzero(self.keyframe)

    def to_bytes(self) -> bytes:
        """The cache file."""
        facts = {
            "time_base": [self.time_base.numerator, self.time_base.denominator],
            "zero_s": self.zero_s,
            "picture": asdict(self.picture),
        }
        return pack(
            {
                "pts": self.pts,
                "dts": self.dts,
                "coded": self.coded,
                "duration": self.duration,
                "keyframe": self.keyframe,
                "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "VideoIndex":
        """Read a cache file. Raises ValueError when it is not one."""
        arrays = unpack(data)
        check_shapes(
            arrays, {**dict.fromkeys(_GRID, (np.int64, "n")), "keyframe": (np.bool_, "n"), "facts": (np.uint8, "f")}
        )
        try:
            facts = json.loads(arrays.pop("facts").tobytes())
            index = cls(
                **arrays,  # type: ignore[arg-type]
                time_base=Fraction(*facts["time_base"]),
                zero_s=float(facts["zero_s"]),
                picture=TypeAdapter(Picture).validate_python(facts["picture"]),
            )
        except (KeyError, TypeError, ZeroDivisionError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a packet index: {error}") from error
        if not (len(index) and index.time_base > 0 and math.isfinite(index.zero_s)):
            raise ValueError("a packet index without frames or without a clock")
        if not np.array_equal(np.sort(index.coded), np.arange(len(index))) or index.duration.min() < 0:
            raise ValueError("a packet index whose frames are not in order")
        if (np.diff(index.pts) <= 0).any():
            raise ValueError("a packet index whose times do not ascend")
        return index


def index_video(url: str, limits: MediaLimits | None = None) -> VideoIndex:
    """The frame grid of a film at a path or fsspec URL.

    Packets that an edit list hides are left out, so the sorted pts are those of the frames a player shows
    (reference media.md 7.4). One picture is decoded, for its display matrix. Raises DubError: `not_found`, `no_video`,
    `decode_error` (damaged, cut short), `unsupported` (no timestamps, too many frames, a mirrored picture).
    """
    path = localize(url)
    limits = limits or MediaLimits()
    with open_media(path, limits) as container:
        if container.format.name == "avi" or "matroska" in container.format.name:
            check_whole(path)
        stream = video_stream(container, path)
        rows = _packets(container, stream, path, limits)
        if not len(rows):
            raise DubError("no_video", f"{path}: its video stream has no frames")
        return _grid(path, rows, stream, container, limits)


def _packets(container: InputContainer, stream: VideoStream, path: Path, limits: MediaLimits) -> I64:
    """[n, 4] pts, dts, duration, keyframe of the packets that are shown, in coded order."""
    rows = array("q")  # four numbers a frame, not four objects
    packets = flagged = 0
    for packet in container.demux(stream):
        if packet.size == 0 and packet.dts is None:
            continue  # the flush at the end
        packets += 1
        # Transport streams: something is missing behind the packet after a flagged one. Where two were joined, only
        # the count of their packets jumps, and a keyframe follows.
        flagged = packets if packet.is_corrupt else 0 if packet.is_keyframe else flagged
        if flagged and packets - flagged == 2:
            raise DubError("decode_error", f"{path}: packets are lost near frame {packets}; copy it again")
        if packet.is_discard:
            continue
        if packet.pts is None:
            raise DubError(
                "unsupported",
                f"{path}: frames without timestamps; remux it first (ffmpeg -fflags +genpts -i IN -c copy OUT.mp4)",
            )
        dts = packet.pts if packet.dts is None else packet.dts
        rows.extend((packet.pts, dts, packet.duration or 0, packet.is_keyframe))
        if len(rows) > 4 * limits.max_frames:
            raise DubError("unsupported", f"{path}: more than {limits.max_frames} frames (media.limits.max_frames)")
    if flagged and container.format.name != "mpegts":
        raise DubError("decode_error", f"{path}: cut short in the middle of frame {packets}; copy it again")
    # An AVI states its ticks: where a recorder dropped a picture, an empty packet stands that nobody gets to see.
    if stream.frames > packets and container.format.name != "avi":
        raise DubError(
            "decode_error", f"{path}: cut short, {packets} of {stream.frames} frames are there; copy it again"
        )
    table = np.frombuffer(rows, np.int64).reshape(-1, 4)
    return _from_first_keyframe(table) if container.format.name == "mpegts" else table


def _from_first_keyframe(rows: I64) -> I64:
    """A recording begins anywhere: what it holds of its first group of pictures, nobody can decode or show."""
    if not rows[:, 3].any():
        return rows
    first = int(rows[:, 3].argmax())
    shown = rows[first:, 0] >= rows[first, 0]
    return np.asarray(rows[first:][shown], np.int64)


def _grid(path: Path, rows: I64, stream: VideoStream, container: InputContainer, limits: MediaLimits) -> VideoIndex:
    time_base = stream.time_base
    if time_base is None:
        raise DubError("unsupported", f"{path}: its video stream has no time base")
    coded = np.argsort(rows[:, 0], kind="stable")
    table = rows[coded]
    pts = table[:, 0]
    gaps = np.diff(pts)
    if max(abs(int(pts[0])), abs(int(pts[-1]))) * time_base > _LATEST_S:
        raise DubError(
            "unsupported", f"{path}: its clock runs to {float(pts[-1] * time_base):.3g} s; remux it first, from 0"
        )
    if len(gaps) and gaps.min() <= 0:
        raise DubError("unsupported", f"{path}: two frames share one timestamp; remux it first")
    if pts[0] < 0:  # a transport stream whose clock of 26.5 hours runs over; no delivery could show those frames
        raise DubError(
            "unsupported",
            f"{path}: it begins before 0 of its clock; remux it first (ffmpeg -i IN -map 0 -c copy OUT.mkv)",
        )
    # AVI has no times: FFmpeg counts coded pictures, and where it cannot put B-frames in their order nobody knows it.
    if (
        "avi" in container.format.name
        and stream.codec_context.has_b_frames
        and len(gaps) > 1
        and (coded[1:] > coded[:-1]).all()
    ):
        raise DubError(
            "unsupported", f"{path}: B-frames without timestamps; encode it anew first (ffmpeg -i IN -crf 12 OUT.mp4)"
        )
    # Containers without frame durations, and those that round them, still give the gaps exactly.
    last = _last_duration(rows, coded, stream, time_base)
    return VideoIndex(
        pts=pts.copy(),
        dts=table[:, 1].copy(),
        coded=coded,
        duration=np.append(gaps, last).astype(np.int64),
        keyframe=table[:, 3].astype(np.bool_),
        time_base=Fraction(time_base),
        # A transport stream's clock starts anywhere; a film with its picture delayed starts at 0 all the same.
        zero_s=max(0, container.start_time or 0) / av.time_base,
        picture=_picture(path, stream, container, limits),
    )


def _last_duration(rows: I64, coded: I64, stream: VideoStream, time_base: Fraction) -> int:
    """How long the last frame stays, in `time_base` units, where anything says so; else the usual distance.

    A packet's duration is the distance to the next packet's dts. With B-frames the last packet is seldom the last
    picture's, but its duration is what reaches to the film's end: without it a closing slide of 5 s would be lost.
    """
    shown, last = rows[coded[-1]], rows[-1]
    to_end = int(last[0] + last[2] - shown[0])
    usual = int(np.median(np.diff(rows[coded, 0]))) if len(rows) > 1 else 0
    own = to_end if to_end > 0 and last[2] else int(shown[2]) or usual
    own = own or max(1, round(1 / (stream.average_rate or 25) / time_base))
    tag = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska's statistics
    if tag is None:
        return own
    hours, minutes, seconds = (Fraction(part) for part in tag.groups())
    # Some writers count it from the first frame: it can only add.
    return max(own, round((hours * 3600 + minutes * 60 + seconds) / time_base) - int(shown[0]))


def _picture(path: Path, stream: VideoStream, container: InputContainer, limits: MediaLimits) -> Picture:
    context = stream.codec_context
    if context is None or context.pix_fmt is None:
        raise DubError("unsupported", f"{path}: no decoder for its video codec")
    sar = stream.sample_aspect_ratio or context.sample_aspect_ratio  # players believe the container first
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return Picture(
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        pix_fmt=context.pix_fmt,
        sar=(sar.numerator, sar.denominator) if sar else (0, 1),
        color_range=int(context.color_range),
        matrix=int(context.colorspace),
        primaries=int(context.color_primaries),
        transfer=int(context.color_trc),
        rate=(rate.numerator, rate.denominator),
        language=stream.language or "",
        container=container.format.name,
        interlaced=context.field_order > _PROGRESSIVE,
        chroma=chroma_location(path, stream.index, limits) if "420p" in context.pix_fmt else UNSPECIFIED,
        rotation=_rotation(path, stream, container),
    )


def _rotation(path: Path, stream: VideoStream, container: InputContainer) -> int:
    """Of the first picture that can be decoded; where none can, reading will say so."""
    container.seek(0)
    try:
        frame = next(iter(container.decode(stream)), None)
    except av.error.InvalidDataError:
        frame = None
    if frame is None:
        return 0
    try:
        check_turn(frame)
    except DubError as error:
        raise DubError(error.code, f"{path}: {error.message}") from error
    return rotation_of(frame)
