"""Small upright BGR pictures of frames, for detectors."""

from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from stages.arrays import U8
from stages.media.planes import matrix_of, range_of
from stages.media.upright import Upright


class Shrinker:
    """Frames of one film shrunk to a working width in one step with the colour conversion.

    Never enlarges; `width_px` None keeps the full size. Not shared between threads.
    """

    def __init__(self, width_px: int | None, untagged_matrix: str = "auto") -> None:
        self._width_px = width_px
        self._untagged = untagged_matrix
        self._reformatter = VideoReformatter()  # kept: one a frame costs twice as much (media.md 7.5)

    def bgr(self, frame: VideoFrame) -> U8:
        """The frame as uint8 [h, w, 3] BGR, upright; h follows from the picture's own shape."""
        upright = Upright.of(frame)
        across = min(upright.size[0], self._width_px or upright.size[0])
        down = max(1, round(upright.size[1] * across / upright.size[0]))
        width, height = Upright(across, down, upright.rotation).size  # of the same picture before it is turned
        out = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="bgr24",
            src_colorspace=int(matrix_of(frame.colorspace, frame.height, self._untagged)),
            src_color_range=int(range_of(frame.color_range, frame.format.name)),
            # AREA averages what it drops; at full size nothing is dropped and the default is OpenCV's picture.
            interpolation=int(Interpolation.AREA) if width < frame.width else None,
            threads=1,
        )
        return upright.turn(out.to_ndarray())  # type: ignore[arg-type]
