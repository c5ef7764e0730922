"""A painted shard: the patch where it belongs, and every other sample of every frame the decoded source's."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stages.arrays import U8
from stages.composite import composite as module
from stages.composite.composite import Composite
from stages.composite.settings import CompositeSettings
from stages.crops.landmarks.template import place
from stages.crops.types import FaceStack
from stages.errors import DubError
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import index_video
from stages.media.planes import FORMATS, Plane, even_region
from stages.media.settings import MediaSettings
from stages.media.timeline import Timeline
from tests.clips import clip, damage, is_open, same, seconds, shown, steady, times

SIZE = (96, 80)
BOX = (23, 15, 70, 74)
LOSSLESS = EncodeSettings(codec="ffv1", threads=1)
B_FRAMES = {"g": "60", "bf": "5", "x264-params": "b-adapt=0:b-pyramid=normal:ref=4"}


def stack(frames: list[int], box: tuple[int, int, int, int] = BOX, px: int = 32) -> FaceStack:
    """Patches of strong colours, another one for every frame."""
    boxes = np.array([box] * len(frames), np.int32)
    pixels = np.stack([patch(frame, px) for frame in frames])
    return FaceStack(
        np.array(frames, np.int64), pixels, boxes, place(boxes.astype(np.float32)), np.ones(len(frames), np.float32)
    )


def patch(number: int, px: int = 32) -> U8:
    low = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return np.kron(low, np.ones((px // 4, px // 4, 1), np.uint8))


def paint(
    film: Path,
    patches: FaceStack | None,
    start: int = 0,
    end: int | None = None,
    encode: EncodeSettings = LOSSLESS,
    **settings: object,
) -> list[list[Plane]]:
    """A shard painted, written and decoded."""
    index = index_video(str(film))
    target = film.with_name("segment.mp4")
    stage = Composite(CompositeSettings(**settings), encode, MediaSettings())
    end = len(index) if end is None else end
    made = stage(film, Timeline.of(index), start, end, patches, target)
    assert (made.frames, made.painted) == (end - start, 0 if patches is None else len(patches.frames))
    assert times(target) == seconds(index.pts[start:end], index.time_base)
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "map"))} == set()
    assert not is_open(film)
    assert not is_open(target)
    return [picture for _, picture in shown(target)]


def pictures(film: Path) -> list[list[Plane]]:
    return [picture for _, picture in shown(film)]


def region_of(plane: Plane, luma: Plane, box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """The part of a plane that may change: the box on even coordinates, and 4 px round it."""
    height, width = luma.shape
    x0, y0, x1, y1 = even_region(box, 4, width, height)
    across, down = -(-width // plane.shape[1]), -(-height // plane.shape[0])
    return slice(y0 // down, -(-y1 // down)), slice(x0 // across, -(-x1 // across))


def assert_only_the_box(
    painted: list[Plane], source: list[Plane], box: tuple[int, int, int, int] = BOX, changed: bool = True
) -> None:
    for now, was in zip(painted, source, strict=True):
        inside = region_of(now, painted[0], box)
        assert changed == (not np.array_equal(now[inside], was[inside]))
        outside = now.copy()
        outside[inside] = was[inside]
        assert np.array_equal(outside, was)


@pytest.mark.parametrize("pix_fmt", [name for name in FORMATS if not name.startswith("yuvj")])
@pytest.mark.parametrize("blend", ["feather", "seamless", "paste"])
def test_outside_the_face_every_sample_is_the_source_s(tmp_path: Path, blend: str, pix_fmt: str) -> None:
    film = clip(tmp_path / "a.mp4", steady(5), size=SIZE, pix_fmt=pix_fmt)
    painted = paint(film, stack([1, 2, 4]), blend=blend)
    for number, (now, was) in enumerate(zip(painted, pictures(film), strict=True)):
        if number in (1, 2, 4):
            assert_only_the_box(now, was)
        else:
            assert same(now, was)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p"])
@pytest.mark.parametrize("blend", ["feather", "seamless", "paste"])
@pytest.mark.parametrize("size", [(95, 79), (96, 80)])
def test_a_face_in_any_corner_of_a_picture_of_any_size(
    tmp_path: Path, size: tuple[int, int], blend: str, pix_fmt: str
) -> None:
    film = clip(tmp_path / "a.mp4", steady(2), size=size, pix_fmt=pix_fmt, codec="ffv1")
    width, height = size
    for box in ((0, 0, 41, 50), (width - 41, height - 50, width, height), (0, height - 50, 41, height), (0, 0, *size)):
        painted, source = paint(film, stack([1], box), blend=blend), pictures(film)
        assert same(painted[0], source[0])
        assert_only_the_box(painted[1], source[1], box)


def test_a_face_of_a_few_pixels(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(2), size=SIZE)
    for blend in ("feather", "seamless", "paste"):
        for box in ((10, 10, 12, 12), (11, 11, 14, 13), (0, 0, 2, 3)):
            painted, source = paint(film, stack([1], box), blend=blend), pictures(film)
            for now, was in zip(painted[1], source[1], strict=True):
                inside = region_of(now, painted[1][0], box)
                now[inside] = was[inside]
            assert same(painted[1], source[1])


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv420p10le"),
        ("libx265", "yuv420p"),
        ("libx265", "yuv420p10le"),
        ("mpeg4", "yuv420p"),
    ],
)
def test_painting_one_frame_leaves_those_predicted_from_it_alone(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    """Decoders go on using the frames they hand out: painted in place, dozens of others go wrong (media.md 7.5)."""
    options = {"libx264": B_FRAMES, "libx265": {"x265-params": "bframes=4:keyint=60"}, "mpeg4": {"bf": "2", "g": "60"}}
    film = clip(tmp_path / "a.mp4", steady(40), size=SIZE, pix_fmt=pix_fmt, codec=codec, options=options[codec])
    source = pictures(film)
    for number in (0, 7, 8, 9):
        painted = paint(film, stack([number]), blend="paste", threads=1)
        assert [n for n in range(40) if not same(painted[n], source[n])] == [number]


def test_without_patches_nothing_changes(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(20, 6400), size=SIZE)
    for start, end in ((0, 20), (7, 13)):
        for now, was in zip(paint(film, None, start, end), pictures(film)[start:end], strict=True):
            assert same(now, was)


@pytest.mark.parametrize("blend", ["feather", "seamless"])
def test_shards_and_threads_leave_no_trace(tmp_path: Path, blend: str) -> None:
    film = clip(tmp_path / "a.mp4", steady(30), size=SIZE, options=B_FRAMES)
    chosen = [n for n in range(30) if n % 7]
    whole = paint(film, stack(chosen), blend=blend, threads=1)
    for threads in (2, 4):
        for now, was in zip(paint(film, stack(chosen), blend=blend, threads=threads), whole, strict=True):
            assert same(now, was)
    parts = []
    for start, end in ((0, 1), (1, 4), (4, 19), (19, 30)):
        inside = [n for n in chosen if start <= n < end]
        parts += paint(film, stack(inside) if inside else None, start, end, blend=blend, threads=2)
    assert all(same(now, was) for now, was in zip(parts, whole, strict=True))


def test_threads_change_no_byte_of_the_segment(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(20), size=SIZE)
    files = []
    for threads in (1, 4, 4):
        paint(film, stack(list(range(20))), encode=EncodeSettings(preset="veryfast", threads=2), threads=threads)
        files.append((tmp_path / "segment.mp4").read_bytes())
    assert files[0] == files[1] == files[2]


def failing(film: Path, patches: FaceStack | None, error: type[BaseException], match: str) -> None:
    """A shard that fails: the error surfaces, and no thread or file is left, even while the error is held."""
    index, target = index_video(str(film)), film.with_name("segment.mp4")
    stage = Composite(CompositeSettings(blend="paste"), LOSSLESS, MediaSettings())
    with pytest.raises(error, match=match) as caught:
        stage(film, Timeline.of(index), 0, len(index), patches, target)
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "map"))} == set()
    assert not is_open(film)
    assert not is_open(target)
    assert caught.value is not None


def test_an_error_while_painting_surfaces_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = clip(tmp_path / "a.mp4", steady(60), size=SIZE)
    real, painted = module.paint, []

    def breaks(frame: av.VideoFrame, *others: object) -> object:
        painted.append(frame.pts)
        if frame.pts == 9 * 512:
            raise ArithmeticError("frame 9")
        return real(frame, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "paint", breaks)
    failing(film, stack(list(range(60))), ArithmeticError, "frame 9")
    assert max(painted) < 25 * 512, "the rest of the shard is not painted for nothing"


def test_an_error_while_decoding_surfaces(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(40), size=SIZE, options={"g": "10"})
    index = index_video(str(film))
    broken = damage(film, tmp_path / "b.mp4", 25)
    stage = Composite(CompositeSettings(), LOSSLESS, MediaSettings())
    with pytest.raises(DubError) as caught:
        stage(broken, Timeline.of(index), 0, 40, stack([3]), tmp_path / "segment.mp4")
    assert caught.value.code == "decode_error"
    assert not is_open(broken)


def test_an_error_while_encoding_surfaces_and_stops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = clip(tmp_path / "a.mp4", steady(60), size=SIZE)
    written = []

    def full(self: SegmentWriter, frame: av.VideoFrame) -> None:
        written.append(frame.pts)
        if len(written) == 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "write", full)
    failing(film, None, OSError, "No space left")
    assert len(written) == 5


@pytest.mark.parametrize("threads", [1, 3])
def test_few_frames_are_held_however_long_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    film = clip(tmp_path / "a.mp4", steady(120), size=(32, 32))
    real_read, real_write = module.read_mapped, SegmentWriter.write
    decoded, written, most = 0, 0, 0

    def reads(*arguments: object) -> Iterator[tuple[int, av.VideoFrame]]:
        nonlocal decoded, most
        for entry in real_read(*arguments):  # type: ignore[arg-type]
            decoded += 1
            most = max(most, decoded - written)
            yield entry

    def writes(self: SegmentWriter, frame: av.VideoFrame) -> None:
        nonlocal written
        real_write(self, frame)
        written += 1

    monkeypatch.setattr(module, "read_mapped", reads)
    monkeypatch.setattr(SegmentWriter, "write", writes)
    paint(film, None, threads=threads)
    assert (decoded, written) == (120, 120)
    # Waiting, on the way into the queue and out of it, and two a thread.
    assert most <= 4 + 2 + 2 * threads


def test_a_shard_on_an_odd_clock(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mkv", [7, 40, 74, 107, 140, 640], time_base=Fraction(1, 1000), size=SIZE)
    painted, source = paint(film, stack([4]), blend="paste"), pictures(film)
    assert [same(now, was) for now, was in zip(painted, source, strict=True)] == [True] * 4 + [False, True]
