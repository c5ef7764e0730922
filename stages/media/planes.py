"""Decoded pictures as numpy planes, and the way between a region of them and BGR.

Whole frames are never converted: one trip through RGB changes 96 % of all luma samples (reference media.md 3.1).
Only the region round a face goes to BGR, with the source's own matrix and range.
"""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from stages.arrays import F32, U8
from stages.media.index import Picture
from stages.media.settings import MediaSettings

Plane = NDArray[Any]
"""[h, w] uint8, or uint16 for more than 8 bits."""
Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 px of the whole picture; half-open."""

_BT601_LINES = 720  # untagged pictures of fewer lines are taken for SD (media.md 3.6)
PLAIN_NAMES = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}
"""Formats that say full range by their name, which only some encoders know, and what the same samples are called."""
# H.273 matrix number -> swscale's name for it. 8-bit RGB of BT.2020 SDR material uses its own coefficients.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
# Unbiased to 1e-3 of a code there and back; the defaults lose 1.5 codes of luma (measured on a real clip).
_ACCURATE = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


SEES_PX = 4
"""How far a pixel's colour is made from: bicubic interpolation of chroma looks two samples to each side."""


@dataclass(frozen=True)
class PlaneFormat:
    """Layout of a planar YCbCr pixel format."""

    shift_x: int
    """log2 of how many luma columns share a chroma sample."""
    shift_y: int
    bits: int


FORMATS = {
    "yuv420p": PlaneFormat(1, 1, 8),
    "yuv422p": PlaneFormat(1, 0, 8),
    "yuv444p": PlaneFormat(0, 0, 8),
    "yuvj420p": PlaneFormat(1, 1, 8),
    "yuvj422p": PlaneFormat(1, 0, 8),
    "yuvj444p": PlaneFormat(0, 0, 8),
    "yuv420p10le": PlaneFormat(1, 1, 10),
    "yuv422p10le": PlaneFormat(1, 0, 10),
    "yuv444p10le": PlaneFormat(0, 0, 10),
}
"""Pixel formats that are painted."""


def planes(frame: VideoFrame) -> list[Plane]:
    """Y, Cb, Cr of a frame as writable views, [h, w] each (chroma at its own size), without a copy.

    Call `frame.make_writable()` before writing: the decoder still refers to its frames (media.md 7.5).
    """
    bits = FORMATS[frame.format.name].bits
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    views = []
    for plane in frame.planes:
        stride = plane.line_size // dtype.itemsize
        views.append(np.frombuffer(plane, dtype).reshape(plane.height, stride)[:, : plane.width])  # type: ignore[call-overload]
    return views


def region_planes(frame: VideoFrame, region: Region) -> list[Plane]:
    """The views of `planes`, cut to an even-aligned region."""
    layout = FORMATS[frame.format.name]
    x0, y0, x1, y1 = region
    luma, *chroma = planes(frame)
    sx, sy = layout.shift_x, layout.shift_y
    # -(-v >> s) rounds up: pictures of odd width have half a chroma sample at the edge.
    return [luma[y0:y1, x0:x1], *(c[y0 >> sy : -(-y1 >> sy), x0 >> sx : -(-x1 >> sx)] for c in chroma)]


def fill(frame: VideoFrame, sources: list[Plane]) -> None:
    """Write planes into a frame that is as large or larger; what it has more are their last column and row."""
    for target, source in zip(planes(frame), sources, strict=True):
        rows, columns = source.shape
        target[:rows, :columns] = source
        target[rows:, :columns] = source[-1]
        target[:, columns:] = target[:, columns - 1 : columns]


def even_region(box: tuple[float, float, float, float], margin: int, width: int, height: int) -> Region:
    """The smallest region that holds a box and `margin` px round it, on even coordinates, inside the picture."""
    x0, y0, x1, y1 = box
    left = max(0, int(np.floor(x0)) - margin) & ~1
    top = max(0, int(np.floor(y0)) - margin) & ~1
    right = min(width, -(-(int(np.ceil(x1)) + margin) // 2) * 2)
    bottom = min(height, -(-(int(np.ceil(y1)) + margin) // 2) * 2)
    return left, top, right, bottom


def matrix_of(tag: int, height: int, untagged: str) -> Colorspace:
    """The matrix for pictures tagged `tag` (H.273); `untagged`: see MediaSettings.untagged_matrix."""
    known = _MATRICES.get(tag)
    if known is not None:
        return known
    if untagged == "auto":
        return Colorspace.ITU709 if height >= _BT601_LINES else Colorspace.ITU601
    return Colorspace.ITU709 if untagged == "bt709" else Colorspace.ITU601


def range_of(tag: int, pix_fmt: str) -> ColorRange:
    """The range of samples tagged `tag` (FFmpeg's color_range) in a pixel format; untagged ones are limited."""
    return ColorRange.JPEG if tag == ColorRange.JPEG or pix_fmt in PLAIN_NAMES else ColorRange.MPEG


class RegionColour:
    """Converts regions of one film's pictures to upright BGR and back. Not shared between threads."""

    def __init__(self, picture: Picture, settings: MediaSettings) -> None:
        self._matrix = int(matrix_of(picture.matrix, picture.height, settings.untagged_matrix))
        self._range = int(range_of(picture.color_range, picture.pix_fmt))
        self._flags = int(_ACCURATE) if settings.conversion == "accurate" else None
        self._format = picture.pix_fmt
        self._upright = picture.upright
        self._to_bgr = VideoReformatter()
        self._from_bgr = VideoReformatter()

    def region(self, box: tuple[float, float, float, float], margin: int) -> Region:
        """The smallest upright region round an upright box that is even-aligned in the planes: see `even_region`."""
        upright = self._upright
        return upright.shown(even_region(upright.coded(box), margin, upright.width, upright.height))

    def to_bgr(self, frame: VideoFrame, region: Region) -> U8:
        """The pixels of an upright region, uint8 [h, w, 3] BGR; `SEES_PX` inside it they do not depend on its size."""
        region = self._upright.coded(region)
        x0, y0, x1, y1 = region
        width, height = x1 - x0, y1 - y0
        # Even, for pictures of odd size: swscale spreads the chroma of an odd one over its width.
        part = av.VideoFrame(width + width % 2, height + height % 2, self._format)
        fill(part, region_planes(frame, region))
        out = self._to_bgr.reformat(
            part,
            format="bgr24",
            src_colorspace=self._matrix,
            src_color_range=self._range,
            interpolation=self._flags,
            threads=1,
        )
        return self._upright.turn(out.to_ndarray()[:height, :width])  # type: ignore[arg-type]

    def planes(self, frame: VideoFrame, region: Region) -> list[Plane]:
        """Y, Cb, Cr of an upright region as writable views, as they lie in the frame."""
        return region_planes(frame, self._upright.coded(region))

    def turned_back(self, mask: F32) -> F32:
        """A mask of an upright region, [h, w], as the region lies in the frame."""
        return self._upright.turn_back(mask)

    def from_bgr(self, pixels: U8) -> list[Plane]:
        """Upright uint8 [h, w, 3] BGR as Y, Cb, Cr planes in the film's own pixel format, as they lie in the frame."""
        pixels = self._upright.turn_back(pixels)
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        out = self._from_bgr.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "bgr24"),
            format=self._format,
            dst_colorspace=self._matrix,
            src_color_range=int(ColorRange.JPEG),
            dst_color_range=self._range,
            interpolation=self._flags,
            threads=1,
        )
        luma, *chroma = planes(out)
        layout = FORMATS[self._format]
        rows, columns = -(-height >> layout.shift_y), -(-width >> layout.shift_x)
        return [luma[:height, :width], *(plane[:rows, :columns] for plane in chroma)]
