"""Segments: encoded pictures in an MP4 that keeps every pts, so that segments of one film join by packets."""

import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from pydantic import Field

from stages.arrays import I64
from stages.errors import DubError
from stages.media.chroma import UNSPECIFIED
from stages.media.encoders import ENCODERS, encoder_options
from stages.media.index import UNTAGGED, Picture
from stages.media.ladder import dts_ladder
from stages.media.open import open_media, video_stream
from stages.media.planes import FORMATS, PLAIN_NAMES, fill, planes, range_of
from stages.media.priority import kept_priority
from stages.media.ranges import MediaSource
from stages.media.seam import Seam
from stages.media.settings import TRUSTED
from stages.settings import Settings

_FAMILY = {encoder.codec: name for name, encoder in ENCODERS.items()}


class EncodeSettings(Settings):
    """How segments are encoded. One film's segments all use the same."""

    codec: Literal["auto", "libx264", "libx265", "libvpx-vp9", "libsvtav1", "prores_ks", "ffv1"] = "auto"
    """`auto`: the source's family where the delivery's players expect it (H.264 and HEVC; ProRes in .mov; VP9 and AV1
    in .webm), else libvpx-vp9 in .webm and libx264 everywhere else. ffv1 is lossless."""
    crf: float = Field(18.0, ge=0, le=51)
    """Constant rate factor on x264's scale: lower is better and larger. 18 is hard to tell from the source. VP9 and
    AV1 get the like of it on theirs (times 63/51); ffv1 and ProRes have none."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        "medium"
    )
    """Encoder effort, in x264's words for every encoder that has one. At 1080p the encoder is what a CPU spends its
    time on: `veryfast` is 2.5 times faster."""
    threads: int = Field(2, ge=1, le=64)
    """Encoder threads of one worker. It changes the encoder's picture (media.md 7.2), so it is a setting, not the
    machine's core count."""
    gop_s: float = Field(10.0, gt=0, le=60)
    """Longest distance of keyframes in seconds."""
    render: Literal["full", "smart", "auto"] = "full"
    """`full` encodes the whole film. `smart` copies H.264 in which nothing is painted, whole groups of pictures, and
    checks that it still decodes to the same pictures; a film of which nothing can be copied is `unsupported`.
    `auto` copies where that is possible and worth it, and encodes the film in full elsewhere; the report says why."""
    copy_min_s: float = Field(1.0, ge=0)
    """Shortest stretch that smart rendering copies, in seconds. Each costs the encoded part a keyframe, about as much
    as a second of slides."""
    odd_size: Literal["unsupported", "pad"] = "unsupported"
    """For pictures of odd width or height that the encoder refuses: `unsupported` fails the film; `pad` repeats the
    last column or row once, and the report says so."""


def encoder_for(codec: str, settings: EncodeSettings, suffix: str) -> str:
    """The encoder for a source of `codec` (FFmpeg's canonical name) that is delivered as `suffix` (.mp4, .webm ...)."""
    if settings.codec != "auto":
        return settings.codec
    own = _FAMILY.get(codec)
    if own is not None and suffix in ENCODERS[own].kept_in:
        return own
    return "libvpx-vp9" if suffix == ".webm" else "libx264"


@dataclass(frozen=True)
class Coded:
    """What an encoder is given for a picture."""

    encoder: str
    width: int
    height: int
    pix_fmt: str


def coded_as(picture: Picture, settings: EncodeSettings, suffix: str) -> Coded:
    """How a source's pictures go into its delivery's encoder."""
    name = encoder_for(picture.codec, settings, suffix)
    pix_fmt = picture.pix_fmt if picture.pix_fmt in _takes(name) else PLAIN_NAMES.get(picture.pix_fmt, picture.pix_fmt)
    width, height = picture.width, picture.height
    layout = FORMATS.get(pix_fmt)
    if layout is not None and settings.odd_size == "pad" and ENCODERS[name].even:
        width += width % (1 << layout.shift_x)
        height += height % (1 << layout.shift_y)
    return Coded(name, width, height, pix_fmt)


def check_encodable(source: MediaSource, picture: Picture, settings: EncodeSettings, suffix: str) -> list[str]:
    """Refuse before any work what the encoder would refuse at the first frame: DubError `unsupported`.

    Returns what a reader of the report must know of the delivered picture.
    """
    coded = coded_as(picture, settings, suffix)
    encoder = ENCODERS[coded.encoder]
    if suffix not in encoder.suffixes:
        raise DubError(
            "unsupported",
            f"{source}: {suffix} cannot carry {encoder.codec}; set encode.codec to auto, or deliver as "
            f"{' or '.join(sorted(encoder.suffixes))}",
        )
    if coded.pix_fmt not in _takes(coded.encoder):
        advice = _advice(picture, coded.pix_fmt, suffix)
        raise DubError("unsupported", f"{source}: {coded.encoder} does not encode {picture.pix_fmt}; {advice}")
    _check_size(source, picture, coded, suffix)
    _check_range(source, picture, coded)
    if (coded.width, coded.height) == (picture.width, picture.height):
        return []
    return [
        f"the picture is {coded.width}x{coded.height} and not {picture.width}x{picture.height}, "
        f"its last column or row repeated: {coded.encoder} takes no odd sizes"
    ]


def _advice(picture: Picture, pix_fmt: str, suffix: str) -> str:
    """Which encoders take a picture that another one refuses."""
    others = [
        name
        for name, other in ENCODERS.items()
        if suffix in other.suffixes and pix_fmt in _takes(name) and min(picture.width, picture.height) >= other.least_px
    ]
    return f"set encode.codec to {' or '.join(others)}" if others else "deliver it in another container"


def _check_size(source: MediaSource, picture: Picture, coded: Coded, suffix: str) -> None:
    encoder, layout = ENCODERS[coded.encoder], FORMATS.get(coded.pix_fmt)
    size = f"{picture.width}x{picture.height}"
    cut = layout is not None and (coded.width % (1 << layout.shift_x) or coded.height % (1 << layout.shift_y))
    if encoder.even and cut:
        raise DubError(
            "unsupported",
            f"{source}: {coded.encoder} refuses the odd size {size} in {picture.pix_fmt}; "
            "set encode.odd_size to pad, or encode.codec to ffv1",
        )
    if min(coded.width, coded.height) < encoder.least_px:
        raise DubError(
            "unsupported",
            f"{source}: {coded.encoder} refuses the size {size}, no side may be shorter than {encoder.least_px} px; "
            + _advice(picture, coded.pix_fmt, suffix),
        )


def _check_range(source: MediaSource, picture: Picture, coded: Coded) -> None:
    encoder = ENCODERS[coded.encoder]
    tagged = encoder.lone_tags or UNTAGGED not in {picture.matrix, picture.primaries, picture.transfer}
    full = range_of(picture.color_range, picture.pix_fmt) == ColorRange.JPEG
    if full and not (encoder.full_range and tagged):
        # Taken for limited range, the film would come out with less contrast or more than it had.
        raise DubError(
            "unsupported",
            f"{source}: {coded.encoder} cannot say full range here; set encode.codec to libx264 or libx265",
        )


def _takes(encoder: str) -> set[str]:
    """Names of the pixel formats that this build of an encoder takes."""
    return {f.name for f in av.Codec(encoder, "w").video_formats or ()}


def muxer_for(codec: str) -> str:
    """FFmpeg's muxer for a segment of a codec (canonical name): MP4 for all that it has a name for."""
    return "mov" if codec == "prores" else "mp4"


def exact_clock(time_base: Fraction) -> dict[str, str]:
    """Options of the MP4 muxer under which every pts comes out as it went in.

    Without the first a start offset is rounded to 1 ms (reference media.md 7.1); without the second a clock of fewer
    than 10,000 ticks a second, such as Matroska's, is multiplied.
    """
    ticks = str(time_base.denominator)
    return {"movie_timescale": ticks, "video_track_timescale": ticks}


class SegmentWriter:
    """Writes one segment. Frames keep their pts in the source's time base; tags are copied from the source.

    `suffix` is that of the film's delivery: it says what `settings.codec` auto stands for. `seam`: of a film of which
    parts are copied.

    A context manager: the file is whole when the block ends without an error, and closed in any case. B-frame delays
    and durations are put right when the segments are joined.
    """

    def __init__(
        self,
        path: Path,
        picture: Picture,
        time_base: Fraction,
        settings: EncodeSettings,
        suffix: str = ".mp4",
        seam: Seam | None = None,
    ) -> None:
        self._coded = coded_as(picture, settings, suffix)
        muxer = muxer_for(ENCODERS[self._coded.encoder].codec)
        self._container = av.open(str(path), "w", format=muxer, options=exact_clock(time_base))
        try:
            self._stream = _add_video(self._container, picture, self._coded, time_base, settings, seam)
        except BaseException:
            self._container.close()
            raise
        self._time_base = time_base  # the stream's changes when the header is written
        self._muxed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._flush()
            finally:
                self._container.close()
            return
        with suppress(av.error.FFmpegError):  # the file is lost anyway, and the error that lost it is on its way
            self._container.close()

    def write(self, frame: VideoFrame) -> None:
        """Encode the next frame."""
        # The source's choice of I, P and B frames is not the encoder's.
        frame.pict_type = PictureType.NONE
        frame = _fitted(frame, self._coded)
        frame.time_base = self._time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
            self._muxed += 1

    def _flush(self) -> None:
        packets = self._stream.encode(None)
        if not self._muxed:
            # Fewer frames than the encoder's delay: x265 gives such packets no usable dts (seen with two frames).
            ladder = dts_ladder(np.array([packet.pts for packet in packets], np.int64))
            for packet, dts in zip(packets, ladder.tolist(), strict=True):
                packet.dts = dts
        self._container.mux(packets)


def check_segment(path: Path, pts: I64, time_base: Fraction) -> None:
    """Hold a finished segment to its frames: one packet for each of `pts` [n] ascending, and none besides.

    A segment that lost a frame must not get its marker. Nothing is decoded. Raises DubError `internal`.
    """
    with open_media(path, TRUSTED) as container:
        stream = video_stream(container, path)
        clock = Fraction(stream.time_base or 0)
        there = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None and packet.size)
    if len(there) != len(pts):
        raise DubError("internal", f"{path.name}: the encoder wrote {len(there)} frames of {len(pts)}; run it again")
    if any(at * clock != int(wanted) * time_base for at, wanted in zip(there, pts, strict=True)):
        raise DubError("internal", f"{path.name}: the encoder wrote frames at other times than the film's")


def _add_video(
    container: av.container.OutputContainer,
    picture: Picture,
    coded: Coded,
    time_base: Fraction,
    settings: EncodeSettings,
    seam: Seam | None,
) -> VideoStream:
    most = ENCODERS[coded.encoder].most_fps
    rate = Fraction(*picture.rate)
    told = min(rate, Fraction(most)) if most else rate
    stream = container.add_stream(coded.encoder, rate=told)
    assert isinstance(stream, VideoStream)
    stream.time_base = time_base
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = coded.width, coded.height, coded.pix_fmt
    context.time_base = time_base
    context.framerate = told
    context.thread_count = settings.threads
    # The tag says it where the name does not any more; what was untagged stays so.
    context.color_range = ColorRange.JPEG if picture.pix_fmt in PLAIN_NAMES else picture.color_range
    context.colorspace = picture.matrix
    context.color_primaries = picture.primaries
    context.color_trc = picture.transfer
    if picture.sar[0]:
        context.sample_aspect_ratio = Fraction(*picture.sar)
    if coded.encoder not in ("ffv1", "prores_ks"):
        context.gop_size = max(1, round(settings.gop_s * rate))
    options = encoder_options(coded.encoder, settings.crf, settings.preset, settings.threads)
    if picture.chroma not in (UNSPECIFIED, "left"):  # players take what says nothing for `left`
        options["chroma_sample_location"] = picture.chroma
    context.options = seam.narrowed(options, settings.preset) if seam is not None else options
    if coded.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes a page to stderr for every segment
    with kept_priority():
        context.open()
    return stream


def _fitted(frame: VideoFrame, coded: Coded) -> VideoFrame:
    """The frame as the encoder takes it: itself, or a copy under another name of the format, or with repeated edges."""
    if (frame.width, frame.height, frame.format.name) == (coded.width, coded.height, coded.pix_fmt):
        return frame
    out = av.VideoFrame(coded.width, coded.height, coded.pix_fmt)
    fill(out, planes(frame))
    out.pts = frame.pts
    return out
