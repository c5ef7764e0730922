"""Shard + patches -> segment file: one thread decodes, some blend, the encoder has its own."""

import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
from av.video.frame import VideoFrame

from stages.composite.blend import paint
from stages.composite.settings import CompositeSettings
from stages.crops.types import FaceStack
from stages.media.encode import EncodeSettings, SegmentWriter, check_segment
from stages.media.mapped import read_mapped
from stages.media.parallel import ahead, map_ordered
from stages.media.planes import RegionColour
from stages.media.ranges import MediaSource
from stages.media.seam import Seam
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline

STAGE_VERSION = 1
_DECODED_AHEAD = 4  # a frame of 4K in 10 bit is 25 MB


@dataclass(frozen=True)
class Segment:
    """A finished segment."""

    frames: int
    painted: int


class Composite:
    """Paints a shard's patches into its frames and encodes the segment.

    One call is one shard; memory is a few frames per thread, whatever the shard's length. Frames without a patch
    reach the encoder as they were decoded.
    """

    def __init__(self, settings: CompositeSettings, encode: EncodeSettings, media: MediaSettings) -> None:
        self._settings, self._encode, self._media = settings, encode, media
        cv2.setNumThreads(1)  # the parallel part is our threads (media.md 7.6: 2.1 times against 1.1)

    def __call__(
        self,
        video: MediaSource,
        timeline: Timeline,
        start: int,
        end: int,
        patches: FaceStack | None,
        target: Path,
        suffix: str = ".mp4",
        seam: Seam | None = None,
    ) -> Segment:
        """Write the output frames [start, end) to `target`, a segment of a film that is delivered as `suffix`.

        `seam`: of a film of which other parts are copied.
        """
        items = {} if patches is None else {int(frame): k for k, frame in enumerate(patches.frames)}
        own = threading.local()

        def painted(numbered: tuple[int, VideoFrame]) -> VideoFrame:
            number, frame = numbered
            item = items.get(number)
            if item is not None and patches is not None:
                if not hasattr(own, "colour"):
                    own.colour = RegionColour(timeline.picture, self._media)
                x0, y0, x1, y1 = (int(v) for v in patches.boxes[item])
                paint(
                    frame,
                    patches.pixels[item],
                    (x0, y0, x1, y1),
                    patches.landmarks[item],
                    own.colour,
                    self._settings,
                    float(patches.weight[item]),
                    None if patches.masks is None else patches.masks[item],
                )
            return frame

        with (
            SegmentWriter(target, timeline.picture, timeline.time_base, self._encode, suffix, seam) as writer,
            # Closed here and not when the garbage collector comes by: after an error no thread may go on decoding.
            closing(ahead(read_mapped(video, timeline, start, end, self._media), _DECODED_AHEAD)) as decoded,
            closing(map_ordered(painted, decoded, self._settings.threads)) as frames,
        ):
            for frame in frames:
                writer.write(frame)
        check_segment(target, timeline.pts[start:end], timeline.time_base)
        return Segment(frames=end - start, painted=len(items))
