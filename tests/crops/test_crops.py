"""Crops and landmarks of the chosen face: the official crop, and the same for any shard, cache and stride."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from stages.arrays import F32, I32, U8
from stages.cast.types import Cast
from stages.crops import crops as module
from stages.crops.boxes import whole_boxes
from stages.crops.crops import Crops, Cut
from stages.crops.landmarks.settings import LandmarksSettings
from stages.crops.landmarks.template import Template, place
from stages.crops.settings import CropsSettings
from stages.crops.track import LandmarkCache
from stages.crops.types import CropWish, FaceStack
from stages.media import storage
from stages.media.index import VideoIndex, index_video
from stages.media.planes import planes
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline, fit
from tests.clips import clip, noise, steady, uneven

SIZE = (160, 120)
COUNT = 60
PX = 24
CUT = 33
"""The frame that begins the second shot, and the second run."""


def centre(number: int) -> tuple[float, float]:
    """Where the blob is: it drifts, jumps at the cut, and drifts back."""
    if number < CUT:
        return 40 + 0.7 * number, 44 + 0.5 * number
    return 118 - 0.9 * (number - CUT), 80 - 0.4 * (number - CUT)


def blob(number: int, size: tuple[int, int], pix_fmt: str) -> VideoFrame:
    """A bright disc on a dim texture; its colours change at every sample, so that crops show how they were made."""
    frame = av.VideoFrame(*size, pix_fmt)
    x, y = centre(number)
    for plane in planes(frame):
        plane[:] = np.random.default_rng(0).integers(100, 156, plane.shape)
    luma = planes(frame)[0]
    rows, columns = np.arange(size[1])[:, None], np.arange(size[0])[None]
    away = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    luma[:] = (40 + 10 * np.sin(columns * 0.4) + 170 * np.clip(7 - away, 0, 1)).astype(np.uint8)
    return frame


class BlobFinder:
    """A `Landmarker` that needs pixels: all 68 points lie round the centre of what is bright."""

    needs_pixels = True
    room = 0.25

    def __init__(self) -> None:
        self.looked: list[int] = []
        self.batches: list[int] = []

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        self.batches.append(len(regions))
        found = []
        for region, box in zip(regions, boxes, strict=True):
            x0, y0, x1, y1 = box
            room = self.room * max(x1 - x0, y1 - y0)
            assert x0 - room >= -0.6 or x0 < room, "no room at the left"
            assert region.shape[1] >= x1, "the region ends inside the box"
            assert region.shape[0] >= y1, "the region ends inside the box"
            rows, columns = np.nonzero(region[..., 1] > 120)
            middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
            found.append(middle + 0.1 * np.arange(68)[:, None] * [1, -1])
        return np.stack(found).astype(np.float32)


def cast_of(count: int = COUNT, hidden: Sequence[int] = (20, 21, 22)) -> Cast:
    """A box that follows the blob, trembling; nothing painted in `hidden`; a cut."""
    numbers = np.arange(count)
    middle = np.array([centre(n) for n in numbers])
    tremble = np.random.default_rng(0).uniform(-0.8, 0.8, (count, 4))
    boxes = np.tile(middle, 2) + np.array([-14.2, -16.4, 14.2, 17.1]) + tremble
    boxes[list(hidden)] = np.nan
    runs = np.where(numbers < min(hidden, default=0), 0, np.where(numbers < CUT, 1, 2)).astype(np.int32)
    runs[list(hidden)] = -1
    points = np.full((count, 5, 2), np.nan, np.float32)
    return Cast(boxes.astype(np.float32), points, (numbers >= CUT).astype(np.int32), runs, np.ones(count, np.float32))


class Bench:
    """A film, its cast, and a stage to run over any range with any cache."""

    def __init__(self, folder: Path, pts: list[int] | None = None) -> None:
        self.film = clip(
            folder / "film.mp4", pts or uneven(COUNT), size=SIZE, picture=blob, options={"g": "20", "crf": "1"}
        )
        self.index: VideoIndex = index_video(str(self.film))
        self.cast = cast_of()
        self.folder = folder

    def run(self, start: int = 0, end: int = COUNT, cache: str = "cache", **landmarks: object) -> Cut:
        settings = CropsSettings(landmarks=LandmarksSettings(provider="fan", **landmarks))
        self.finder = BlobFinder()
        stage = Crops(settings, MediaSettings(), self.finder, CropWish(PX))
        folder = LandmarkCache(str(self.folder / cache), "key")
        return stage(self.film, Timeline.of(self.index), self.cast, start, end, folder)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def assert_equal(one: FaceStack, other: FaceStack) -> None:
    for name in ("frames", "pixels", "boxes", "landmarks", "weight"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b), name


def joined(stacks: Sequence[FaceStack]) -> FaceStack:
    parts = {name: [getattr(s, name) for s in stacks] for name in ("frames", "pixels", "boxes", "landmarks", "weight")}
    return FaceStack(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


@pytest.mark.parametrize("px", [96, 24])
def test_the_crop_is_the_official_one(tmp_path: Path, px: int) -> None:
    """frame[y1:y2, x1:x2] of OpenCV's reader through cv2.resize (wav2lip.md 5.2, step 6), for boxes of every parity."""
    film = clip(tmp_path / "a.mp4", steady(24), size=SIZE, picture=noise)
    index = index_video(str(film))
    random = np.random.default_rng(0)
    corners = random.integers(0, (100, 70), (24, 2))
    boxes = np.concatenate([corners, corners + random.integers(2, 50, (24, 2))], axis=1)
    boxes[:3] = (0, 0, *SIZE), (0, 0, 31, 33), (129, 87, *SIZE)
    points, zeros = np.full((24, 5, 2), np.nan, np.float32), np.zeros(24, np.int32)
    cast = Cast(boxes.astype(np.float32), points, zeros, zeros, np.ones(24, np.float32))
    stage = Crops(CropsSettings(resize="bilinear"), MediaSettings(conversion="fast"), Template(), CropWish(px))
    stack = stage(film, Timeline.of(index), cast, 0, 24, LandmarkCache(str(tmp_path), "")).stack
    assert stack is not None
    assert np.array_equal(stack.boxes, boxes)
    reader = cv2.VideoCapture(str(film))
    for crop, (x1, y1, x2, y2) in zip(stack.pixels, boxes, strict=True):
        assert np.array_equal(crop, cv2.resize(reader.read()[1][y1:y2, x1:x2], (px, px)))


def test_large_faces_are_averaged_by_default(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(2), size=SIZE, picture=noise)
    cast = Cast(
        np.array([[10, 20, 110, 100], [10, 20, 22, 30]], np.float32),
        np.full((2, 5, 2), np.nan, np.float32),
        *[np.zeros(2, np.int32)] * 2,
        np.ones(2, np.float32),
    )
    stage = Crops(CropsSettings(), MediaSettings(conversion="fast"), Template(), CropWish(PX))
    stack = stage(film, Timeline.of(index_video(str(film))), cast, 0, 2, LandmarkCache(str(tmp_path), "")).stack
    assert stack is not None
    reader = cv2.VideoCapture(str(film))
    large, small = reader.read()[1][20:100, 10:110], reader.read()[1][20:30, 10:22]
    assert np.array_equal(stack.pixels[0], cv2.resize(large, (PX, PX), interpolation=cv2.INTER_AREA))
    assert np.array_equal(stack.pixels[1], cv2.resize(small, (PX, PX), interpolation=cv2.INTER_LINEAR))


def test_landmarks_are_where_the_face_is_in_the_full_frame(bench: Bench) -> None:
    stack = bench.run(cache="place", stride=1, smooth_s=0).stack
    assert stack is not None
    assert stack.frames.tolist() == [n for n in range(COUNT) if n not in (20, 21, 22)]
    for number, found in zip(stack.frames.tolist(), stack.landmarks, strict=True):
        assert np.abs(found[0] - centre(number)).max() < 0.6
        assert found[67] - found[0] == pytest.approx([6.7, -6.7], abs=1e-3)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("smooth_s", [0.0, 0.04, 0.3])
def test_shards_and_caches_leave_no_trace(bench: Bench, stride: int, smooth_s: float) -> None:
    how = {"stride": stride, "smooth_s": smooth_s}
    name = f"{stride}-{smooth_s}"
    whole = bench.run(cache=f"{name}-whole", **how)
    assert whole.stack is not None
    assert whole.located > 0
    warm = bench.run(cache=f"{name}-whole", **how)
    assert warm.stack is not None
    assert (warm.located, bench.finder.batches) == (0, [])
    assert_equal(warm.stack, whole.stack)
    for ends in ([7, 19, 34, 50], [33], [1, 2, 21, 22, 58, 59]):
        # A cache that fills as the shards go by, one that is full, and none: as when every shard goes to another node.
        for cache in (f"{name}-{ends[0]}", f"{name}-whole", None):
            stacks = []
            for number, (start, end) in enumerate(zip([0, *ends], [*ends, COUNT], strict=True)):
                cut = bench.run(start, end, cache or f"{name}-{ends}-{number}", **how).stack
                if cut is None:
                    assert set(range(start, end)) <= {20, 21, 22}
                else:
                    stacks.append(cut)
            assert_equal(joined(stacks), whole.stack)


def test_a_shard_looks_at_every_frame_of_the_grid_once(bench: Bench) -> None:
    counts = []
    for start, end in ((0, 16), (16, 40), (40, COUNT)):
        counts.append(bench.run(start, end, "once", stride=3).located)
        assert max(bench.finder.batches, default=0) <= 16
    # Multiples of 3, and both ends of the runs [0, 19], [23, 32] and [33, 59].
    looked = {n for n in range(COUNT) if n % 3 == 0 and n not in (20, 21, 22)} | {0, 19, 23, 32, 33, 59}
    assert sum(counts) == len(looked)


@pytest.mark.parametrize("stride", [1, 3])
def test_no_run_knows_of_the_other_side_of_a_cut(bench: Bench, stride: int) -> None:
    """The landmarks of a shot are the same when the other shot's face is somewhere else altogether."""
    how = {"stride": stride, "smooth_s": 0.5}
    both = bench.run(cache=f"cut-{stride}", **how).stack
    alone = Bench.__new__(Bench)
    alone.__dict__.update(bench.__dict__)
    hidden = bench.cast.boxes.copy()
    hidden[:CUT] = np.nan
    alone.cast = replace(bench.cast, boxes=hidden, runs=np.where(np.arange(COUNT) < CUT, -1, 2).astype(np.int32))
    second = alone.run(cache=f"alone-{stride}", **how).stack
    assert both is not None
    assert second is not None
    assert np.array_equal(second.landmarks, both.landmarks[both.frames >= CUT])
    at_cut = both.landmarks[both.frames == CUT][0, 0]
    assert np.hypot(*(at_cut - centre(CUT))) < 10, "half a second of the other shot would be 50 px away"


def test_between_looks_the_points_move_with_the_box(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steady(COUNT))
    middle = np.array([centre(n) for n in range(COUNT)])
    boxes = np.tile(middle, 2) + np.array([-14, -16, 14, 16])
    bench.cast = replace(bench.cast, boxes=np.where(bench.cast.runs[:, None] < 0, np.nan, boxes).astype(np.float32))
    stack = bench.run(stride=7, smooth_s=0).stack
    assert stack is not None
    for number, found in zip(stack.frames.tolist(), stack.landmarks, strict=True):
        assert np.abs(found[0] - centre(number)).max() < 0.6


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "shape", "name", "dtype"])
def test_a_damaged_cache_file_costs_a_new_look_and_nothing_else(bench: Bench, damage: str) -> None:
    cache = f"damaged-{damage}"
    good = bench.run(cache=cache).stack
    assert good is not None
    path = next((bench.folder / cache).iterdir())
    data = path.read_bytes()
    points = module.np.load(path)["points"]
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(b"PK\x03\x04" + bytes(200))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "shape":
        np.savez(path, points=points[:-1])
    elif damage == "name":
        np.savez(path, other=points)
    else:
        np.savez(path, points=points.astype(np.float64))
    again = bench.run(cache=cache)
    assert again.stack is not None
    assert again.located == COUNT - 3
    assert_equal(again.stack, good)
    assert bench.run(cache=cache).located == 0, "and the file is whole again"


def test_another_model_box_or_point_is_looked_at_anew(bench: Bench, tmp_path: Path) -> None:
    settings = CropsSettings(landmarks=LandmarksSettings(provider="fan"))

    def located(cast: Cast, key: str) -> int:
        stage = Crops(settings, MediaSettings(), BlobFinder(), CropWish(PX))
        return stage(bench.film, Timeline.of(bench.index), cast, 0, COUNT, LandmarkCache(str(tmp_path), key)).located

    every = COUNT - 3
    assert [located(bench.cast, "a"), located(bench.cast, "a")] == [every, 0]
    assert located(bench.cast, "b") == every
    boxes = bench.cast.boxes.copy()
    boxes[5, 2] += 0.25
    assert located(replace(bench.cast, boxes=boxes), "a") == every, "one block: all of it"
    points = bench.cast.points.copy()
    points[5] = 30
    assert located(replace(bench.cast, points=points), "a") == every
    assert located(bench.cast, "a") == 0


def test_landmarks_that_need_no_pixels_cost_no_look(bench: Bench, tmp_path: Path) -> None:
    stage = Crops(CropsSettings(), MediaSettings(), Template(), CropWish(PX))
    cut = stage(bench.film, Timeline.of(bench.index), bench.cast, 10, 40, LandmarkCache(str(tmp_path / "c"), ""))
    assert cut.stack is not None
    assert cut.located == 0
    assert storage.names(str(tmp_path / "c")) == []
    assert np.array_equal(cut.stack.landmarks, place(bench.cast.boxes[cut.stack.frames]))


def test_a_shard_without_a_face_decodes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_frames", None)
    assert bench.run(20, 23) == Cut(None, 0)


def test_long_stretches_without_a_face_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 260
    film = clip(tmp_path / "a.mp4", steady(count), size=(32, 32), options={"g": "10", "preset": "ultrafast"})
    shown = np.isin(np.arange(count), [3, 4, 9, 250])
    boxes = np.where(shown[:, None], np.float32([4, 4, 20, 20]), np.float32(np.nan)).astype(np.float32)
    runs = np.where(shown, np.cumsum(~shown), -1).astype(np.int32)
    cast = Cast(
        boxes, np.full((count, 5, 2), np.nan, np.float32), np.zeros(count, np.int32), runs, np.ones(count, np.float32)
    )
    ranges: list[tuple[int, int]] = []
    real = module.read_frames

    def counted(video: Path, index: VideoIndex, start: int, end: int, media: MediaSettings) -> object:
        ranges.append((start, end))
        return real(video, index, start, end, media)

    monkeypatch.setattr(module, "read_frames", counted)
    stage = Crops(CropsSettings(), MediaSettings(), Template(), CropWish(PX))
    cut = stage(film, Timeline.of(index_video(str(film))), cast, 0, count, LandmarkCache(str(tmp_path), ""))
    assert cut.stack is not None
    assert cut.stack.frames.tolist() == [3, 4, 9, 250]
    assert ranges == [(3, 10), (250, 251)]


@given(
    st.lists(st.tuples(*[st.floats(-30, 130, width=32)] * 4), min_size=1, max_size=20),
    st.tuples(st.integers(2, 120), st.integers(2, 90)),
)
def test_whole_boxes_lie_in_the_picture_and_near_their_own(
    boxes: list[tuple[float, ...]], size: tuple[int, int]
) -> None:
    wanted = np.sort(np.array(boxes, np.float32).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    found: I32 = whole_boxes(wanted, *size)
    assert found.dtype == np.int32
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= size).all()
    assert (found[:, 2:] - found[:, :2] >= 2).all()
    inside = (wanted[:, :2] >= 0).all(1) & (wanted[:, 2:] <= size).all(1) & (wanted[:, 2:] - wanted[:, :2] >= 3).all(1)
    assert np.abs(found[inside] - wanted[inside]).max(initial=0) <= 0.5


def test_a_payload_comes_back_as_it_was(bench: Bench) -> None:
    stack = bench.run(0, 12, "payload").stack
    assert stack is not None
    assert_equal(FaceStack.from_bytes(stack.to_bytes()), stack)


@pytest.mark.parametrize("longer", ["freeze", "pingpong"])
def test_frames_that_are_shown_again_are_cut_out_as_they_were(bench: Bench, tmp_path: Path, longer: str) -> None:
    """Crops and landmarks of any shard of a longer film are those of the source's own frames, located once."""
    line = fit(bench.index, Fraction(bench.index.duration_s) * 5 / 2, "keep", longer, 10_000)  # type: ignore[arg-type]
    cast = bench.cast.at(line.source, np.linspace(0.5, 1, len(line)).astype(np.float32))
    source = bench.run(cache=f"of the source, {longer}", smooth_s=0.1, stride=3)
    own = source.stack
    assert own is not None
    place_of = {int(frame): item for item, frame in enumerate(own.frames)}
    settings = CropsSettings(landmarks=LandmarksSettings(provider="fan", smooth_s=0.1, stride=3))
    stage = Crops(settings, MediaSettings(), BlobFinder(), CropWish(PX))
    cache, located = LandmarkCache(str(tmp_path), "key"), 0
    for start, end in itertools.pairwise([0, COUNT - 7, COUNT + 1, COUNT + 40, len(line)]):
        cut = stage(bench.film, line, cast, start, end, cache)
        located += cut.located
        assert cut.stack is not None
        items = [place_of[int(line.source[frame])] for frame in cut.stack.frames]
        assert np.array_equal(cut.stack.pixels, own.pixels[items])
        assert np.array_equal(cut.stack.landmarks, own.landmarks[items])
        assert np.array_equal(cut.stack.weight, cast.weight[cut.stack.frames])
    assert located == source.located
