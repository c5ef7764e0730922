"""Shard -> crops and landmarks of the chosen face, in one decode pass."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame

from stages.arrays import F32, I32, I64, U8
from stages.cast.types import Cast
from stages.crops.landmarks.types import Landmarker
from stages.crops.settings import CropsSettings
from stages.crops.track import BLOCK, LandmarkCache, block_frames, keyed_frames, looked_at, smoothed, support
from stages.crops.types import FaceStack
from stages.media.decode import read_frames
from stages.media.index import VideoIndex
from stages.media.planes import SEES_PX, Region, RegionColour
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline

STAGE_VERSION = 1
_BATCH = 16  # faces a landmark network gets at once: enough for FAN, 16 regions in memory
_MARGIN_PX = SEES_PX + 2  # whole boxes reach up to 2 px beyond their own; crops must not tell what room was round them
_SKIP = 100  # frames it is cheaper to decode through than to seek over


@dataclass(frozen=True)
class Cut:
    """What one shard gave."""

    stack: FaceStack | None
    """None when nothing is painted in the shard."""
    located: int
    """Faces whose landmarks were computed here and not taken from the cache."""


class Crops:
    """Cuts the chosen face out of every painted frame of a shard, and finds its landmarks.

    Landmarks that need pixels are located on the film's own grid, kept in a cache by blocks of that grid, and
    smoothed with neighbours from beyond the shard, so that shards leave no trace.
    """

    def __init__(self, settings: CropsSettings, media: MediaSettings, landmarker: Landmarker, crop_px: int) -> None:
        self._settings, self._media = settings, media
        self._landmarker, self._crop_px = landmarker, crop_px
        cv2.setNumThreads(1)

    def __call__(self, video: Path, timeline: Timeline, cast: Cast, start: int, end: int, cache: LandmarkCache) -> Cut:
        """Crops and landmarks of the output frames [start, end). `cast`: the whole output's."""
        shown = np.flatnonzero(cast.painted[start:end]) + start
        if not len(shown):
            return Cut(None, 0)
        frames, again = np.unique(timeline.source[shown], return_inverse=True)
        stack, located = self._cut(
            video, timeline.index, cast.on_source(timeline.source, len(timeline.index)), frames, cache
        )
        if not np.array_equal(frames, shown):  # a source frame that is shown twice is cut out once
            stack = FaceStack(shown, stack.pixels[again], stack.boxes[again], stack.landmarks[again], stack.weight)
        return Cut(replace(stack, weight=cast.weight[shown]), located)

    def _cut(
        self, video: Path, index: VideoIndex, cast: Cast, frames: I64, cache: LandmarkCache
    ) -> tuple[FaceStack, int]:
        """The same for source frames, ascending, on the source's grid."""
        boxes = whole_boxes(cast.boxes[frames], *index.picture.upright.size)
        if not self._landmarker.needs_pixels:
            landmarks = self._landmarker.locate([], cast.boxes[frames], cast.points[frames])
            pixels, _ = self._decode(video, index, cast, frames, boxes, np.empty(0, np.int64))
            return FaceStack(frames, pixels, boxes, landmarks, cast.weight[frames]), 0
        settings = self._settings.landmarks
        keyed = keyed_frames(cast, settings.stride)
        wanted = looked_at(support(index.times, cast, frames, settings.smooth_s), keyed)
        known: dict[int, F32] = {}
        missing = []
        for block in np.unique(wanted // BLOCK).tolist():
            kept = cache.read(block, cast, keyed)
            if kept is None:
                missing.append(block)
            else:
                known |= kept
        unknown = np.concatenate([np.empty(0, np.int64), *(block_frames(block, keyed) for block in missing)])
        pixels, located = self._decode(video, index, cast, frames, boxes, unknown)
        known |= located
        for block in missing:
            cache.write(block, cast, keyed, known)
        landmarks = smoothed(index.times, cast, frames, keyed, known, settings.smooth_s)
        return FaceStack(frames, pixels, boxes, landmarks, cast.weight[frames]), len(located)

    def _decode(
        self, video: Path, index: VideoIndex, cast: Cast, frames: I64, boxes: I32, unknown: I64
    ) -> tuple[U8, dict[int, F32]]:
        """One pass: the crops of `frames`, and the landmarks of the frames `unknown`."""
        pixels = np.empty((len(frames), self._crop_px, self._crop_px, 3), np.uint8)
        items = {int(frame): item for item, frame in enumerate(frames)}
        looks = set(unknown.tolist())
        located: dict[int, F32] = {}
        batch: list[tuple[int, U8, F32]] = []
        colour = RegionColour(index.picture, self._media)

        def locate() -> None:
            numbers = np.array([number for number, _, _ in batch])
            shift = np.stack([origin for _, _, origin in batch])
            found = self._landmarker.locate(
                [region for _, region, _ in batch],
                cast.boxes[numbers] - np.tile(shift, 2),
                cast.points[numbers] - shift[:, None],
            )
            located.update(zip(numbers.tolist(), found + shift[:, None], strict=True))
            batch.clear()

        for number, frame in _decoded(video, index, np.union1d(frames, unknown), self._media):
            x0, y0, x1, y1 = (float(v) for v in cast.boxes[number])
            room = self._landmarker.room * max(x1 - x0, y1 - y0) if number in looks else 0.0
            region = colour.region((x0, y0, x1, y1), _MARGIN_PX + round(room))
            picture = colour.to_bgr(frame, region)
            if number in items:
                item = items[number]
                pixels[item] = crop(picture, region, boxes[item], self._crop_px, self._settings.resize)
            if number in looks:
                batch.append((number, picture, np.array(region[:2], np.float32)))
                if len(batch) == _BATCH:
                    locate()
        if batch:
            locate()
        return pixels, located


def whole_boxes(boxes: F32, width: int, height: int) -> I32:
    """Boxes rounded to whole px, at least 2 px a side, inside the picture: int32 [n, 4]."""
    rounded = np.rint(boxes).astype(np.int32)
    low = np.clip(rounded[:, :2], 0, (width - 2, height - 2))
    high = np.clip(rounded[:, 2:], low + 2, (width, height))
    return np.concatenate([low, high], axis=1).astype(np.int32)


def crop(picture: U8, region: Region, box: I32, px: int, resize: str) -> U8:
    """The box's content as uint8 [px, px, 3]; `picture` shows the region it lies in."""
    x0, y0, x1, y1 = (int(v) for v in box - np.tile(np.array(region[:2]), 2))
    shrinks = x1 - x0 > px or y1 - y0 > px
    how = cv2.INTER_AREA if resize == "area" and shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture[y0:y1, x0:x1], (px, px), interpolation=how)  # type: ignore[no-any-return]


def _decoded(video: Path, index: VideoIndex, wanted: I64, media: MediaSettings) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames; long gaps are seeked over."""
    for stretch in np.split(wanted, np.flatnonzero(np.diff(wanted) > _SKIP) + 1):
        keep = set(stretch.tolist())
        for number, frame in read_frames(video, index, int(stretch[0]), int(stretch[-1]) + 1, media):
            if number in keep:
                yield number, frame
