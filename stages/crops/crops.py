"""Shard -> crops and landmarks of the chosen face."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from av.video.frame import VideoFrame

from stages.arrays import F32, I64, U8
from stages.cast.types import Cast
from stages.crops.boxes import context_boxes, half_face_boxes, whole_boxes
from stages.crops.cutting import crop, surroundings
from stages.crops.landmarks.types import Landmarker
from stages.crops.settings import CropsSettings
from stages.crops.track import BLOCK, LandmarkCache, block_frames, keyed_frames, looked_at, smoothed, support
from stages.crops.types import CONTEXT_PX, CropWish, FaceStack
from stages.media.decode import read_frames
from stages.media.index import VideoIndex
from stages.media.planes import SEES_PX, RegionColour
from stages.media.ranges import MediaSource
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline

STAGE_VERSION = 1
_BATCH = 16  # faces a landmark network gets at once, or the next multiple of its own batch; as many regions in memory
_MARGIN_PX = SEES_PX + 2  # whole boxes reach up to 2 px beyond their own; crops must not tell what room was round them
_SKIP = 100  # frames it is cheaper to decode through than to seek over
_NONE: I64 = np.empty(0, np.int64)


@dataclass(frozen=True)
class Cut:
    """What one shard gave."""

    stack: FaceStack | None
    """None when nothing is painted in the shard."""
    located: int
    """Faces whose landmarks were computed here and not taken from the cache."""


@dataclass(frozen=True)
class _Film:
    """What is cut from, on the source's own grid of frames."""

    video: MediaSource
    index: VideoIndex
    cast: Cast


class Crops:
    """Cuts the chosen face out of every painted frame of a shard, and finds its landmarks.

    Landmarks that need pixels are located on the film's own grid, kept in a cache by blocks of that grid, and
    smoothed with neighbours from beyond the shard, so that shards leave no trace.

    One decode pass does it all, with one exception: boxes of `wish.half_face` follow smoothed landmarks, so landmarks
    that are not in the cache yet are located in a pass of their own over the frames they are missing for, before the
    crops are cut. That decodes those frames twice, 1-2 ms each at 1080p: little beside the network that looks at them.
    """

    def __init__(self, settings: CropsSettings, media: MediaSettings, landmarker: Landmarker, wish: CropWish) -> None:
        self._settings, self._media = settings, media
        self._landmarker, self._wish = landmarker, wish
        own = settings.landmarks.batch_size or 1
        self._batch = -(-_BATCH // own) * own
        cv2.setNumThreads(1)

    def __call__(
        self, video: MediaSource, timeline: Timeline, cast: Cast, start: int, end: int, cache: LandmarkCache
    ) -> Cut:
        """Crops and landmarks of the output frames [start, end). `cast`: the whole output's."""
        shown = np.flatnonzero(cast.painted[start:end]) + start
        if not len(shown):
            return Cut(None, 0)
        frames, again = np.unique(timeline.source[shown], return_inverse=True)
        film = _Film(video, timeline.index, cast.on_source(timeline.source, len(timeline.index)))
        stack, located = self._cut(film, frames, cache)
        if not np.array_equal(frames, shown):  # a source frame that is shown twice is cut out once
            stack = stack.pick(again)
        return Cut(replace(stack, frames=shown, weight=cast.weight[shown]), located)

    def _cut(self, film: _Film, frames: I64, cache: LandmarkCache) -> tuple[FaceStack, int]:
        """The same for source frames, ascending, on the source's grid."""
        cast = film.cast
        if not self._landmarker.needs_pixels:
            landmarks = self._landmarker.locate([], cast.boxes[frames], cast.points[frames])
            stack = self._blank(film, frames, landmarks)
            self._decode(film, stack, _NONE)
            return stack, 0
        settings = self._settings.landmarks
        keyed = keyed_frames(cast, settings.stride)
        wanted = looked_at(support(film.index.times, cast, frames, settings.smooth_s), keyed)
        known: dict[int, F32] = {}
        missing = []
        for block in np.unique(wanted // BLOCK).tolist():
            kept = cache.read(block, cast, keyed)
            if kept is None:
                missing.append(block)
            else:
                known |= kept
        unknown = np.concatenate([_NONE, *(block_frames(block, keyed) for block in missing)])
        follows = self._wish.half_face is not None
        stack = self._blank(film, _NONE if follows else frames, None)
        located = self._decode(film, stack, unknown)
        known |= located
        for block in missing:
            cache.write(block, cast, keyed, known)
        landmarks = smoothed(film.index.times, cast, frames, keyed, known, settings.smooth_s)
        if follows:
            stack = self._blank(film, frames, landmarks)
            self._decode(film, stack, _NONE)
        return replace(stack, landmarks=landmarks), len(located)

    def _blank(self, film: _Film, frames: I64, landmarks: F32 | None) -> FaceStack:
        """The stack of some frames before their pixels are there. `landmarks`: None where no box follows them."""
        wish, size = self._wish, film.index.picture.upright.size
        own = film.cast.boxes[frames]
        if landmarks is None:
            landmarks = np.full((len(frames), 68, 2), np.nan, np.float32)
        if wish.half_face is None:
            boxes = whole_boxes(own, *size)
        else:
            boxes = half_face_boxes(landmarks, own, wish.half_face, *size)
        return FaceStack(
            frames,
            np.empty((len(frames), wish.px, wish.px, 3), np.uint8),
            boxes,
            landmarks,
            film.cast.weight[frames],
            np.empty((len(frames), CONTEXT_PX, CONTEXT_PX, 3), np.uint8) if wish.context else None,
            context_boxes(boxes) if wish.context else None,
        )

    def _decode(self, film: _Film, stack: FaceStack, unknown: I64) -> dict[int, F32]:
        """One pass: fills the stack's pictures in, and gives the landmarks of the frames `unknown`."""
        cast, settings = film.cast, self._settings
        items = {int(frame): item for item, frame in enumerate(stack.frames)}
        looks = set(unknown.tolist())
        located: dict[int, F32] = {}
        batch: list[tuple[int, U8, F32]] = []
        colour = RegionColour(film.index.picture, self._media)

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

        for number, frame in _decoded(film, np.union1d(stack.frames, unknown), self._media):
            region, picture = (0, 0, 0, 0), None
            if number in looks:
                x0, y0, x1, y1 = (float(v) for v in cast.boxes[number])
                room = self._landmarker.room * max(x1 - x0, y1 - y0)
                region = colour.region((x0, y0, x1, y1), _MARGIN_PX + round(room))
                picture = colour.to_bgr(frame, region)
                batch.append((number, picture, np.array(region[:2], np.float32)))
                if len(batch) == self._batch:
                    locate()
            if number in items:
                item = items[number]
                needed = colour.region(_reach(stack, item), SEES_PX)
                # A landmark network's region is always its own, so that what it sees does not depend on the crops.
                if picture is None or not _holds(region, needed):
                    region, picture = needed, colour.to_bgr(frame, needed)
                stack.pixels[item] = crop(picture, region, stack.boxes[item], self._wish.px, settings.resize)
                if stack.context is not None and stack.context_boxes is not None:
                    stack.context[item] = surroundings(picture, region, stack.context_boxes[item])
        if batch:
            locate()
        return located


def _reach(stack: FaceStack, item: int) -> tuple[float, float, float, float]:
    """The smallest box that holds all that is cut out of a frame."""
    squares = stack.boxes if stack.context_boxes is None else stack.context_boxes
    both = np.stack([stack.boxes[item], squares[item]])
    x0, y0, x1, y1 = (float(v) for v in (*both[:, :2].min(axis=0), *both[:, 2:].max(axis=0)))
    return x0, y0, x1, y1


def _holds(outer: tuple[int, int, int, int], inner: tuple[int, int, int, int]) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _decoded(film: _Film, wanted: I64, media: MediaSettings) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames; long gaps are seeked over."""
    if not len(wanted):
        return
    for stretch in np.split(wanted, np.flatnonzero(np.diff(wanted) > _SKIP) + 1):
        keep = set(stretch.tolist())
        for number, frame in read_frames(film.video, film.index, int(stretch[0]), int(stretch[-1]) + 1, media):
            if number in keep:
                yield number, frame
