"""A picture becomes a film of one frame, so that all behind it sees a film."""

import posixpath
import re
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image, ImageOps

from stages.arrays import U8
from stages.errors import DubError
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import Picture
from stages.media.planes import RegionColour, planes
from stages.media.settings import MediaLimits, MediaSettings

VERSION: Final = 1
"""Raised whenever the same picture gives another film."""
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""What a picture's name ends in."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_BT709: Final = 1
_LIMITED: Final = 1
_LEAST_TICKS: Final = 10_000  # a second, or MP4 counts on another clock than it is told (stages.media.encode)
_LOSSLESS: Final = EncodeSettings(codec="libx264", crf=0, preset="veryfast", threads=1)
"""And of the family that `encode.codec: auto` makes of the film."""


def is_still(url: str) -> bool:
    """Whether a path or URL names a picture."""
    path = re.split(r"[?#]", url, maxsplit=1)[0] if "://" in url else url
    return posixpath.splitext(path)[1].lower() in SUFFIXES


def write_still(path: Path, target: Path, rate: float, limits: MediaLimits) -> None:
    """Write the picture in `path` as a film of one frame, shown for 1 / `rate` s: lossless H.264 in 4:2:0, BT.709.

    It is upright as its EXIF says; what is transparent becomes black; an odd side gets its last line twice. Raises
    DubError: `decode_error`, `unsupported` for a picture beyond `limits.max_pixels` (nothing of it is decoded), an
    animation, or samples that are no colours.
    """
    pixels = _read(path, limits)
    height, width = pixels.shape[:2]
    steps = Fraction(rate).limit_denominator(1001)
    ticks = -(-_LEAST_TICKS // steps.numerator)
    time_base = Fraction(1, steps.numerator * ticks)
    picture = Picture(
        codec="h264",
        width=width,
        height=height,
        pix_fmt="yuv420p",
        sar=(1, 1),
        color_range=_LIMITED,
        matrix=_BT709,
        primaries=_BT709,
        transfer=_BT709,
        rate=(steps.numerator, steps.denominator),
        language="",
        container="mp4",
        interlaced=False,
        chroma="left",
        rotation=0,
    )
    frame = av.VideoFrame(width, height, picture.pix_fmt)
    for plane, samples in zip(planes(frame), RegionColour(picture, MediaSettings()).from_bgr(pixels), strict=True):
        plane[:] = samples
    frame.pts = 0
    with SegmentWriter(target, picture, time_base, _LOSSLESS) as writer:
        writer.write(frame)


def _read(path: Path, limits: MediaLimits) -> U8:
    """uint8 [h, w, 3] BGR, h and w even."""
    try:
        with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as image:
            warnings.simplefilter("ignore")  # of large pictures: the limit is ours
            if image.width * image.height > limits.max_pixels:
                raise _too_large(path, f"{image.width}x{image.height} px", limits)
            count = getattr(image, "n_frames", 1)
            if count > 1 and image.format != "MPO":  # as Pillow calls a JPEG of a phone, with a thumbnail behind it
                raise DubError("unsupported", f"{path}: {count} pictures in one file; make a film of them")
            rgb = _upright_rgb(path, image)
    except (DubError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "twice what Pillow opens", limits) from error
    except Exception as error:  # parsers of damaged files end with many errors, SyntaxError and struct.error too
        reason = str(error) or type(error).__name__
        raise DubError("decode_error", f"{path}: not a picture this tool reads, or damaged ({reason})") from error
    height, width = rgb.shape[:2]
    return np.ascontiguousarray(np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), "edge")[:, :, ::-1])


def _upright_rgb(path: Path, image: Image.Image) -> U8:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP:  # Pillow would clip them at 255
        grey = np.asarray(upright.convert("I"), np.int32) >> 8
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if upright.mode in ("I", "F"):
        raise DubError("unsupported", f"{path}: samples of the kind {upright.mode!r}; save it as an 8-bit picture")
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.asarray(upright.convert("RGB"), np.uint8)


def _too_large(path: Path, size: str, limits: MediaLimits) -> DubError:
    return DubError(
        "unsupported", f"{path}: a picture of {size}, at most {limits.max_pixels} px in all (media.limits.max_pixels)"
    )
