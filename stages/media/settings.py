"""How media is opened and decoded."""

from typing import Final, Literal

from pydantic import Field

from stages.settings import Settings


class MediaLimits(Settings):
    """Caps on what an input may ask of a worker; checked before anything is decoded."""

    max_pixels: int = Field(8192 * 4352, gt=0, le=2**31 - 1)
    """Largest picture that is decoded, width x height in px. Raise it for sources beyond 8K."""
    max_frames: int = Field(5_000_000, gt=0)
    """Most frames a film may have (5 million: 46 hours at 30 fps)."""
    max_streams: int = Field(64, gt=0)
    """Most streams a file may carry."""
    max_channels: int = Field(32, gt=0)
    """Most channels an audio track may have."""
    open_timeout_s: float = Field(60.0, gt=0)
    """Longest wait for a file to open or to deliver its next packet, in seconds."""


TRUSTED: Final = MediaLimits(max_pixels=2**31 - 1, max_frames=10**12)
"""Limits for our own files, and for sources whose own limits let them through earlier."""


class MediaSettings(Settings):
    """Decoding, for every stage that needs pixels."""

    limits: MediaLimits = MediaLimits()
    """Caps on what an input may ask of a worker."""
    decode_threads: int = Field(2, ge=1, le=64)
    """Decoder threads of one worker. The pixels do not depend on it."""
    still_rate: float = Field(25.0, ge=1, le=120)
    """Frames a second of the film that a picture as `video` becomes."""
    untagged_matrix: Literal["auto", "bt601", "bt709"] = "auto"
    """YCbCr matrix taken for sources that carry none; auto: bt709 from 720 lines up, else bt601.
    `bt601` is what OpenCV and ffmpeg take (parity). The output's tags stay as the source's."""
    conversion: Literal["accurate", "fast"] = "accurate"
    """How face regions go to BGR and back: `accurate` interpolates chroma and rounds without bias;
    `fast` is swscale's default, pixel for pixel what OpenCV's reader gives (parity)."""
