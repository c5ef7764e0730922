"""Segments: encoded pictures in an MP4 that keeps every pts, so that segments of one film join by packets."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from pydantic import Field

from stages.errors import DubError
from stages.media.index import Picture
from stages.media.ladder import dts_ladder
from stages.media.planes import FORMATS
from stages.settings import Settings

_SAME_FAMILY = {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1"}


class EncodeSettings(Settings):
    """How segments are encoded. One film's segments all use the same."""

    codec: Literal["auto", "libx264", "libx265", "ffv1"] = "auto"
    """`auto`: the source's family (H.264, HEVC), and libx264 for every other one. ffv1 is lossless."""
    crf: float = Field(18.0, ge=0, le=51)
    """Constant rate factor of x264 and x265: lower is better and larger. 18 is hard to tell from the source."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        "medium"
    )
    """Encoder effort. At 1080p the encoder is what a CPU spends its time on: `veryfast` is 2.5 times faster."""
    threads: int = Field(2, ge=1, le=64)
    """Encoder threads of one worker. It changes the encoder's picture (media.md 7.2), so it is a setting, not the
    machine's core count."""
    gop_s: float = Field(10.0, gt=0, le=60)
    """Longest distance of keyframes in seconds."""


def encoder_for(codec: str, settings: EncodeSettings) -> str:
    """The encoder for a source of `codec` (FFmpeg's canonical name)."""
    return _SAME_FAMILY.get(codec, "libx264") if settings.codec == "auto" else settings.codec


def check_encodable(path: Path, picture: Picture, settings: EncodeSettings) -> None:
    """Refuse before any work what the encoder would refuse at the first frame: DubError `unsupported`."""
    name = encoder_for(picture.codec, settings)
    formats = {f.name for f in av.Codec(name, "w").video_formats or ()}
    if picture.pix_fmt not in formats:
        raise DubError(
            "unsupported", f"{path}: {name} does not encode {picture.pix_fmt}; set encode.codec to another one"
        )
    layout = FORMATS.get(picture.pix_fmt)
    cut = layout is not None and (picture.width % (1 << layout.shift_x) or picture.height % (1 << layout.shift_y))
    if name != "ffv1" and cut:
        raise DubError(
            "unsupported",
            f"{path}: {name} refuses the odd size {picture.width}x{picture.height} in {picture.pix_fmt}; "
            "set encode.codec to ffv1, or pad the film first",
        )


def exact_clock(time_base: Fraction) -> dict[str, str]:
    """Options of the MP4 muxer under which every pts comes out as it went in.

    Without the first a start offset is rounded to 1 ms (reference media.md 7.1); without the second a clock of fewer
    than 10,000 ticks a second, such as Matroska's, is multiplied.
    """
    ticks = str(time_base.denominator)
    return {"movie_timescale": ticks, "video_track_timescale": ticks}


class SegmentWriter:
    """Writes one segment. Frames keep their pts in the source's time base; tags are copied from the source.

    A context manager: the file is whole when the block ends without an error, and closed in any case. B-frame delays
    and durations are put right when the segments are joined.
    """

    def __init__(self, path: Path, picture: Picture, time_base: Fraction, settings: EncodeSettings) -> None:
        self._container = av.open(str(path), "w", format="mp4", options=exact_clock(time_base))
        try:
            self._stream = _add_video(self._container, picture, time_base, settings)
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


def _add_video(
    container: av.container.OutputContainer, picture: Picture, time_base: Fraction, settings: EncodeSettings
) -> VideoStream:
    name = encoder_for(picture.codec, settings)
    rate = Fraction(*picture.rate)
    stream = container.add_stream(name, rate=rate)
    assert isinstance(stream, VideoStream)
    stream.time_base = time_base
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.pix_fmt
    context.time_base = time_base
    context.framerate = rate
    context.thread_count = settings.threads
    context.color_range = picture.color_range
    context.colorspace = picture.matrix
    context.color_primaries = picture.primaries
    context.color_trc = picture.transfer
    if picture.sar[0]:
        context.sample_aspect_ratio = Fraction(*picture.sar)
    gop = max(1, round(settings.gop_s * rate))
    if name != "ffv1":
        context.gop_size = gop
    context.options = _options(name, settings)
    return stream


def _options(name: str, settings: EncodeSettings) -> dict[str, str]:
    if name == "libx264":
        return {"crf": str(settings.crf), "preset": settings.preset, "x264-params": "stitchable=1"}
    if name == "libx265":
        # x265 opens GOPs by default; a segment must stand alone (media.md 3.2).
        threads = f"pools={settings.threads}:frame-threads={settings.threads}"
        params = f"crf={settings.crf}:no-open-gop=1:{threads}:log-level=error"
        return {"preset": settings.preset, "x265-params": params}
    return {"level": "3", "slicecrc": "1"}
