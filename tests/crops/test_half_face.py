"""Crops whose boxes follow the landmarks, and the squares round them: each from its own frame, whatever the shard."""

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from stages.arrays import F32, U8
from stages.cast.types import Cast
from stages.crops import crops as module
from stages.crops.boxes import context_boxes, half_face_boxes
from stages.crops.crops import Crops, Cut
from stages.crops.landmarks.onnx68 import Onnx68
from stages.crops.landmarks.settings import LandmarksSettings
from stages.crops.landmarks.template import Template, place
from stages.crops.landmarks.types import Landmarker
from stages.crops.settings import CropsSettings
from stages.crops.track import LandmarkCache
from stages.crops.types import CONTEXT_PX, CropWish, FaceStack, HalfFace
from stages.media.decode import read_frames
from stages.media.index import VideoIndex, index_video
from stages.media.planes import Region, RegionColour, planes
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline, fit
from tests.clips import clip, noise, steady, uneven
from tests.faces.portraits import astronaut

SIZE = (160, 120)
COUNT = 48
CUT = 30
"""The frame that begins the second shot, in which the other of the two people is chosen."""
FACELESS = {*range(4), 16, 17, 18, *range(44, COUNT)}
FACE = np.array([-14, -16, 14, 16])
RULE = HalfFace(shift=0.05, margin=0.1)
WISH = CropWish(32, RULE, context=True)


def people(number: int) -> list[tuple[float, float]]:
    """The middles of two faces: the first walks to the right edge, the second stays at the left; they swap places."""
    walking, standing = (60 + 3.3 * number, 50 + 0.7 * number), (30.0, 80 - 0.6 * number)
    return [walking, standing] if number < CUT else [(130.0, 40.0), (44 + 0.9 * (number - CUT), 70.0)]


def scene(number: int, size: tuple[int, int], pix_fmt: str) -> VideoFrame:
    """Two bright discs on a texture of the frame's own, so that no other frame's pixels pass for it."""
    frame = av.VideoFrame(*size, pix_fmt)
    random = np.random.default_rng(number)
    luma, *chroma = planes(frame)
    for plane in chroma:
        plane[:] = random.integers(100, 156, plane.shape)
    rows, columns = np.arange(size[1])[:, None], np.arange(size[0])[None]
    luma[:] = random.integers(20, 70, luma.shape)
    for x, y in people(number):
        luma[:] = np.where(np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 6, 200, luma)
    return frame


class Finder:
    """A `Landmarker` that needs pixels: a mean face round what is bright in the box."""

    needs_pixels = True
    room = 0.25

    def __init__(self) -> None:
        self.located = 0

    def locate(self, regions: Sequence[U8], boxes: F32, points: F32) -> F32:
        self.located += len(regions)
        return np.stack([self._one(region, box) for region, box in zip(regions, boxes, strict=True)])

    def _one(self, region: U8, box: F32) -> F32:
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        left, top = max(0, x0), max(0, y0)
        rows, columns = np.nonzero(region[top:y1, left:x1, 1] > 130)
        middle = np.array([columns.mean() + 0.5 + left, rows.mean() + 0.5 + top])
        return place((np.tile(middle, 2) + FACE)[None].astype(np.float32))[0]


def cast_of(tremble: float = 1.5) -> Cast:
    """Boxes round the chosen person, trembling and clipped by nothing; none in the faceless frames."""
    numbers = np.arange(COUNT)
    shown = ~np.isin(numbers, list(FACELESS))
    middle = np.array([people(n)[0 if n < CUT else 1] for n in numbers])
    boxes = np.tile(middle, 2) + FACE + np.random.default_rng(0).uniform(-tremble, tremble, (COUNT, 4))
    runs = np.select([numbers < 16, numbers < CUT], [0, 1], 2)
    return Cast(
        np.where(shown[:, None], boxes, np.nan).astype(np.float32),
        np.full((COUNT, 5, 2), np.nan, np.float32),
        (numbers >= CUT).astype(np.int32),
        np.where(shown, runs, -1).astype(np.int32),
        np.ones(COUNT, np.float32),
    )


class Bench:
    """A film, its cast, and a stage to run over any range with any cache."""

    def __init__(self, folder: Path) -> None:
        options = {"g": "16", "crf": "1", "preset": "ultrafast"}
        self.film = clip(folder / "film.mp4", uneven(COUNT), size=SIZE, picture=scene, options=options)
        self.index: VideoIndex = index_video(str(self.film))
        self.line, self.cast, self.folder = Timeline.of(self.index), cast_of(), folder

    def run(
        self,
        start: int = 0,
        end: int = COUNT,
        cache: str = "cache",
        wish: CropWish = WISH,
        finder: Landmarker | None = None,
        **landmarks: Any,
    ) -> Cut:
        settings = CropsSettings(landmarks=LandmarksSettings(provider="fan", **landmarks))
        stage = Crops(settings, MediaSettings(), finder or Finder(), wish)
        return stage(self.film, self.line, self.cast, start, end, LandmarkCache(str(self.folder / cache), "key"))

    def whole(self) -> dict[int, U8]:
        """Every frame in one piece, BGR."""
        colour, size = RegionColour(self.index.picture, MediaSettings()), self.index.picture.upright.size
        read = read_frames(self.film, self.index, 0, COUNT, MediaSettings())
        return {number: colour.to_bgr(frame, (0, 0, *size)) for number, frame in read}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def arrays(stack: FaceStack) -> dict[str, np.ndarray]:
    given = {field.name: getattr(stack, field.name) for field in fields(stack)}
    return {name: array for name, array in given.items() if array is not None}


def joined(stacks: Sequence[FaceStack]) -> FaceStack:
    return FaceStack(**{name: np.concatenate([arrays(s)[name] for s in stacks]) for name in arrays(stacks[0])})


def assert_equal(one: FaceStack, other: FaceStack) -> None:
    assert arrays(one).keys() == arrays(other).keys()
    for name, array in arrays(one).items():
        assert array.dtype == arrays(other)[name].dtype
        assert np.array_equal(array, arrays(other)[name]), name


def stack_of(cut: Cut) -> FaceStack:
    assert cut.stack is not None
    return cut.stack


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames that the stage decodes, as they go by."""
    numbers: list[int] = []
    real = module.read_frames

    def counted(video: Path, index: VideoIndex, start: int, end: int, media: MediaSettings) -> object:
        for number, frame in real(video, index, start, end, media):
            numbers.append(number)
            yield number, frame

    monkeypatch.setattr(module, "read_frames", counted)
    return numbers


def test_faceless_frames_never_shift_their_neighbours(bench: Bench) -> None:
    """musetalk.md 9.1, 4: box, crop and square of every frame are that frame's own, round the person who is chosen.

    Faceless at the start, in the middle and at the end; two people; a face that leaves by the right edge; a hard cut.
    """
    stack = stack_of(bench.run(cache="own", smooth_s=0))
    assert stack.frames.tolist() == [n for n in range(COUNT) if n not in FACELESS]
    assert stack.context is not None
    assert stack.context_boxes is not None
    assert stack.context.shape == (len(stack.frames), CONTEXT_PX, CONTEXT_PX, 3)
    frames, finder = bench.whole(), Finder()
    for item, number in enumerate(stack.frames.tolist()):
        own = bench.cast.boxes[number : number + 1]
        points = finder.locate([frames[number]], own, own)
        assert np.abs(stack.landmarks[item] - points[0]).max() < 1e-3
        box = half_face_boxes(points, own, RULE, *SIZE)
        assert np.array_equal(stack.boxes[item], box[0])
        x0, y0, x1, y1 = box[0]
        content, shrinks = frames[number][y0:y1, x0:x1], max(x1 - x0, y1 - y0) > WISH.px
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        assert np.array_equal(stack.pixels[item], cv2.resize(content, (32, 32), interpolation=how))
        square = context_boxes(box)[0]
        assert np.array_equal(stack.context_boxes[item], square)
        framed = cv2.copyMakeBorder(frames[number], 200, 200, 200, 200, cv2.BORDER_CONSTANT)
        x0, y0, x1, y1 = square + 200
        assert np.array_equal(stack.context[item], cv2.resize(framed[y0:y1, x0:x1], (CONTEXT_PX, CONTEXT_PX)))
    assert (stack.boxes[:, 2] == SIZE[0]).any(), "a face at the right edge"
    assert (stack.context_boxes[:, 2] > SIZE[0]).any()


@pytest.mark.parametrize("stride", [1, 4])
def test_shards_and_caches_leave_no_trace(bench: Bench, stride: int) -> None:
    how = {"stride": stride, "smooth_s": 0.1}
    whole = stack_of(bench.run(cache=f"whole-{stride}", **how))
    assert_equal(stack_of(bench.run(cache=f"whole-{stride}", **how)), whole)
    for ends in ([7, 19, 31], [30], [5, 16, 20, 43]):
        for cache in (f"{stride}-{ends[0]}", f"whole-{stride}", None):
            cuts = [
                bench.run(start, end, cache or f"{stride}-{ends}-{start}", **how)
                for start, end in itertools.pairwise([0, *ends, COUNT])
            ]
            assert_equal(joined([cut.stack for cut in cuts if cut.stack is not None]), whole)


def test_frames_are_decoded_twice_only_where_landmarks_are_missing(bench: Bench, decoded: list[int]) -> None:
    faces = COUNT - len(FACELESS)
    first = bench.run(cache="passes")
    # Two passes from the first face to the last, decoded through the gaps.
    assert (first.located, len(decoded)) == (faces, 2 * len(range(4, 44)))
    decoded.clear()
    again = bench.run(cache="passes")
    assert (again.located, len(decoded)) == (0, len(range(4, 44)))
    assert_equal(stack_of(again), stack_of(first))
    decoded.clear()
    assert bench.run(finder=Template()).located == 0
    assert len(decoded) == len(range(4, 44)), "landmarks that need no pixels"
    decoded.clear()
    bench.run(cache="one pass", wish=CropWish(32, None, context=True))
    assert len(decoded) == len(range(4, 44)), "boxes that follow nothing"


def test_whoever_wishes_no_surroundings_gets_the_same_crops_without(bench: Bench) -> None:
    for half_face in (None, RULE):
        plain = stack_of(bench.run(cache=f"plain {half_face}", wish=CropWish(32, half_face)))
        more = stack_of(bench.run(cache=f"more {half_face}", wish=CropWish(32, half_face, context=True)))
        assert plain.context is None
        assert plain.context_boxes is None
        assert_equal(replace(more, context=None, context_boxes=None), plain)


def test_a_frame_is_converted_once_for_its_crop_and_its_surroundings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Region] = []
    real = RegionColour.to_bgr

    def counted(self: RegionColour, frame: VideoFrame, region: Region) -> U8:
        converted.append(region)
        return real(self, frame, region)

    monkeypatch.setattr(RegionColour, "to_bgr", counted)
    bench.run(finder=Template())
    assert len(converted) == COUNT - len(FACELESS)


@pytest.mark.parametrize("longer", ["freeze", "pingpong"])
def test_frames_that_are_shown_again_come_with_their_surroundings(bench: Bench, tmp_path: Path, longer: Any) -> None:
    line = fit(bench.index, Fraction(bench.index.duration_s) * 5 / 2, "keep", longer, 10_000)
    cast = bench.cast.at(line.source, np.ones(len(line), np.float32))
    own = stack_of(bench.run(cache="shown again"))
    place_of = {int(frame): item for item, frame in enumerate(own.frames)}
    settings = CropsSettings(landmarks=LandmarksSettings(provider="fan"))
    stage, cache = Crops(settings, MediaSettings(), Finder(), WISH), LandmarkCache(str(tmp_path), "key")
    for start, end in itertools.pairwise([0, COUNT - 9, COUNT + 11, len(line)]):
        stack = stage(bench.film, line, cast, start, end, cache).stack
        if stack is None:
            assert longer == "freeze", "the last frame has no face"
            continue
        items = [place_of[int(line.source[frame])] for frame in stack.frames]
        for name in ("pixels", "boxes", "landmarks", "context", "context_boxes"):
            assert np.array_equal(arrays(stack)[name], arrays(own)[name][items]), name


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("size", [(64, 48), (63, 49)])
def test_a_turned_film_is_cut_upright_also_beyond_its_edges(
    tmp_path: Path, rotation: int, size: tuple[int, int]
) -> None:
    """Squares that hang over every corner; pictures of even and of odd size."""
    film = clip(tmp_path / "a.mkv", steady(4), size=size, picture=noise, pix_fmt="yuv444p", rotation=rotation)
    index = index_video(str(film))
    width, height = index.picture.upright.size
    boxes = np.float32(
        [[0, 0, 20, 24], [width - 20, 0, width, 24], [0, height - 24, 20, height], [0, 0, width, height]]
    )
    boxes += np.float32([[1, 2, 1, 2], [-1, 2, -1, 2], [1, -2, 1, -2], [0, 0, 0, 0]])
    zeros = np.zeros(4, np.int32)
    cast = Cast(boxes, np.full((4, 5, 2), np.nan, np.float32), zeros, zeros, np.ones(4, np.float32))
    stage = Crops(CropsSettings(), MediaSettings(), Template(), WISH)
    stack = stage(film, Timeline.of(index), cast, 0, 4, LandmarkCache(str(tmp_path), "")).stack
    assert stack is not None
    assert stack.context is not None
    assert np.array_equal(stack.boxes, half_face_boxes(place(boxes), boxes, RULE, width, height))
    squares = context_boxes(stack.boxes)
    assert ((squares[:, :2] < 0) | (squares[:, 2:] > (width, height))).any(axis=1).all()
    colour = RegionColour(index.picture, MediaSettings())
    for number, frame in read_frames(film, index, 0, 4, MediaSettings()):
        whole = cv2.copyMakeBorder(colour.to_bgr(frame, (0, 0, width, height)), 100, 100, 100, 100, cv2.BORDER_CONSTANT)
        x0, y0, x1, y1 = squares[number] + 100
        assert np.array_equal(stack.context[number], cv2.resize(whole[y0:y1, x0:x1], (CONTEXT_PX, CONTEXT_PX)))


def test_a_payload_keeps_the_surroundings(bench: Bench) -> None:
    stack = stack_of(bench.run(4, 9, "payload"))
    assert_equal(FaceStack.from_bytes(stack.to_bytes()), stack)


def test_a_box_follows_a_walking_face_smoothly_between_looks(bench: Bench) -> None:
    """With a look at every fifth frame the box is within 2 px of the one from every frame, and steps as evenly."""
    calm = Bench.__new__(Bench)
    calm.__dict__.update(bench.__dict__)
    calm.cast = cast_of(tremble=0.3)  # the cast's boxes are smoothed
    wish = CropWish(32, RULE)
    every, fifth = (stack_of(calm.run(cache=f"stride {n}", wish=wish, stride=n, smooth_s=0.05)) for n in (1, 5))
    assert np.abs(every.boxes - fifth.boxes).max() <= 2
    run = (every.frames >= 4) & (every.frames < 16)
    for boxes in (every.boxes[run], fifth.boxes[run]):
        assert (np.diff(boxes[:, 0]) >= 2).all(), "it walks 3.3 px a frame and never stops or turns back"
        assert np.abs(np.diff(boxes, 2, axis=0)).max() <= 2


def test_the_box_of_a_still_head_trembles_by_half_a_px_at_most(tmp_path: Path, weights_dir: Path) -> None:
    """A real network on a real face under the noise of a camera, its box as a detector's, half a px off at random."""
    portrait, count = astronaut()[20:240, 130:320], 40

    def grainy(number: int, size: tuple[int, int], pix_fmt: str) -> VideoFrame:
        noise = np.random.default_rng(number).normal(0, 5, portrait.shape)
        pixels = np.clip(portrait + noise, 0, 255).astype(np.uint8)
        return av.VideoFrame.from_ndarray(pixels, "bgr24").reformat(format=pix_fmt)

    film = clip(tmp_path / "a.mp4", steady(count), size=(190, 220), picture=grainy, options={"crf": "10"})
    tremble = np.random.default_rng(0).normal(0, 0.5, (count, 4))
    boxes = (np.array([51, 46, 137, 159]) + tremble).astype(np.float32)
    points, zeros = np.full((count, 5, 2), np.nan, np.float32), np.zeros(count, np.int32)
    cast = Cast(boxes, points, zeros, zeros, np.ones(count, np.float32))
    settings = CropsSettings(landmarks=LandmarksSettings(provider="onnx"))
    stage = Crops(settings, MediaSettings(), Onnx68(weights_dir / "pfld_68.onnx", 112, 0.1), CropWish(32, RULE))
    cache = LandmarkCache(str(tmp_path), "key")
    found = stack_of(stage(film, Timeline.of(index_video(str(film))), cast, 0, count, cache)).boxes
    assert found.std(axis=0).max() <= 0.5
