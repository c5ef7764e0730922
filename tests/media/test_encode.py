"""Segments: every pts, tag and pixel format as the source has them, from one frame up."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from stages.errors import DubError
from stages.media.encode import EncodeSettings, SegmentWriter, check_encodable
from stages.media.index import Picture, index_video
from stages.media.planes import planes
from tests.clips import (
    CLOCK,
    SIZE,
    STEP,
    clip,
    flat,
    is_open,
    noise,
    number_of,
    numbered,
    same,
    seconds,
    shown,
    steady,
    times,
    uneven,
)

CODECS = ("libx264", "libx265", "ffv1")
OF_WEBM = ("libvpx-vp9", "libsvtav1")
QUICK = {"preset": "ultrafast", "threads": 1}


def picture(size: tuple[int, int] = SIZE, pix_fmt: str = "yuv420p", **tags: object) -> Picture:
    plain = {"sar": (0, 1), "color_range": 0, "matrix": 2, "primaries": 2, "transfer": 2}
    return Picture(
        "h264",
        *size,
        pix_fmt,
        rate=(25, 1),
        language="",
        container="mov",
        interlaced=False,
        chroma="unspecified",
        rotation=0,
        **{**plain, **tags},
    )


def segment(
    path: Path,
    pts: Sequence[int],
    codec: str = "libx264",
    *,
    time_base: Fraction = CLOCK,
    of: Picture | None = None,
    draw: Callable[..., VideoFrame] = numbered,
    **settings: object,
) -> Path:
    of = of or picture()
    with SegmentWriter(path, of, time_base, EncodeSettings(codec=codec, **{**QUICK, **settings})) as writer:
        for number, at in enumerate(pts):
            frame = draw(number, (of.width, of.height), of.pix_fmt)
            frame.pts = at
            writer.write(frame)
    return path


@pytest.mark.parametrize("codec", [*CODECS, *OF_WEBM])
@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (CLOCK, uneven(12)),
        (CLOCK, uneven(12, 6401)),
        (Fraction(1, 30000), steady(12, 1001 * 17, 1001)),
        (Fraction(1, 1000), [7, 40, 73, 107, 140, 173]),
        (Fraction(1, 600), steady(8, 25, 25)),
        (Fraction(1, 25), steady(8, 3, 1)),
        (Fraction(1, 90000), steady(8, 95_443 * 90_000 + 1, 3003)),
        (Fraction(1001, 30000), steady(8, 5, 1)),
    ],
)
def test_every_pts_is_exact(tmp_path: Path, codec: str, time_base: Fraction, pts: list[int]) -> None:
    """Variable, 29.97, a clock of few ticks, a clock that began 26 hours ago, an AVI's."""
    path = segment(tmp_path / "a.mp4", pts, codec, time_base=time_base)
    assert times(path) == seconds(pts, time_base)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_segments_of_a_few_frames_are_whole(tmp_path: Path, codec: str, count: int) -> None:
    for start, preset in ((0, "ultrafast"), (70_001, "medium")):
        path = segment(tmp_path / "a.mp4", steady(count, start), codec, preset=preset)
        assert times(path) == seconds(steady(count, start))
        assert [number_of(frame[0]) for _, frame in shown(path)] == list(range(count))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("size", [SIZE, (65, 49), (321, 35)])
def test_ffv1_keeps_every_sample(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    path = segment(tmp_path / "a.mp4", steady(4), "ffv1", of=picture(size, pix_fmt), draw=noise, threads=2)
    for number, (_, frame) in enumerate(shown(path)):
        assert same(frame, planes(noise(number, size, pix_fmt)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_what_a_stream_says_of_its_colours_and_shape_is_kept(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    tagged = picture(pix_fmt=pix_fmt, sar=(16, 11), color_range=1, matrix=9, primaries=9, transfer=14)
    found = index_video(str(segment(tmp_path / "a.mp4", steady(3), codec, of=tagged))).picture
    for name in ("pix_fmt", "sar", "color_range", "matrix", "primaries", "transfer"):
        assert getattr(found, name) == getattr(tagged, name), name
    untagged = index_video(str(segment(tmp_path / "b.mp4", steady(3), codec, of=picture(pix_fmt=pix_fmt)))).picture
    assert (untagged.matrix, untagged.primaries, untagged.transfer) == (2, 2, 2)
    assert (untagged.sar[0] in (0, 1), untagged.color_range) == (
        True,
        0 if codec != "libx265" else untagged.color_range,
    )


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_full_range_stays_full(tmp_path: Path, codec: str) -> None:
    found = index_video(str(segment(tmp_path / "a.mp4", steady(3), codec, of=picture(color_range=2)))).picture
    assert found.color_range == 2 or found.pix_fmt == "yuvj420p"


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("threads", [1, 2])
def test_segments_of_any_content_share_one_header(tmp_path: Path, codec: str, threads: int) -> None:
    """Joined films have one set of parameters: with another, frames decode wrong without a word."""
    headers = set()
    for name, draw in (("flat", flat), ("noise", noise), ("numbered", numbered)):
        for count in (1, 12):
            path = segment(
                tmp_path / f"{name}.mp4", steady(count), codec, draw=draw, threads=threads, preset="veryfast"
            )
            with av.open(str(path)) as container:
                headers.add(bytes(container.streams.video[0].codec_context.extradata))
    assert len(headers) == 1


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_segment_stands_alone_and_begins_with_a_keyframe(tmp_path: Path, codec: str) -> None:
    """x265 opens its groups of pictures by default: pictures before a keyframe would need the one before it."""
    index = index_video(str(segment(tmp_path / "a.mp4", steady(40), codec, gop_s=0.4, preset="medium")))
    assert index.keyframes[0] == 0
    assert len(index.keyframes) >= 4
    for keyframe in index.keyframes:
        behind = index.coded > index.coded[keyframe]
        assert (np.flatnonzero(behind) > keyframe).all()


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    for codec in CODECS:
        once = segment(tmp_path / "a.mp4", uneven(20), codec, threads=2).read_bytes()
        assert segment(tmp_path / "b.mp4", uneven(20), codec, threads=2).read_bytes() == once


def test_the_source_s_frame_types_do_not_bind_the_encoder(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", steady(20), options={"g": "1"})
    with (
        SegmentWriter(tmp_path / "b.mp4", picture(), CLOCK, EncodeSettings(**QUICK)) as writer,
        av.open(str(source)) as container,
    ):
        for frame in container.decode(video=0):
            writer.write(frame)
    assert index_video(str(tmp_path / "b.mp4")).keyframes.tolist() == [0]


def write_and_fail(path: Path, frames: int) -> None:
    with SegmentWriter(path, picture(), CLOCK, EncodeSettings(codec="ffv1", **QUICK)) as writer:
        for at in range(frames):
            writer.write(_at(at))
        assert is_open(path) or not frames
        raise KeyError("mine")


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_an_error_while_writing_surfaces_and_closes_the_file(tmp_path: Path, frames: int) -> None:
    with pytest.raises(KeyError, match="mine"):
        write_and_fail(tmp_path / "a.mp4", frames)
    assert not is_open(tmp_path / "a.mp4")


def test_times_that_do_not_ascend_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(av.error.FFmpegError):
        segment(tmp_path / "a.mp4", [0, STEP, STEP, 2 * STEP], "ffv1")
    assert not is_open(tmp_path / "a.mp4")


def refusal(of: Picture, suffix: str = ".mp4", **settings: object) -> str:
    try:
        check_encodable(Path("film.mp4"), of, EncodeSettings(**settings), suffix)
    except DubError as error:
        return f"{error.code}: {error.message}"
    return ""


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(
    ("size", "pix_fmt", "refused"),
    [
        ((64, 48), "yuv420p", False),
        ((65, 48), "yuv420p", True),
        ((64, 49), "yuv420p", True),
        ((65, 48), "yuv422p", True),
        ((64, 49), "yuv422p", False),
        ((65, 49), "yuv444p", False),
    ],
)
def test_sizes_are_refused_in_words_and_only_where_the_encoder_does(
    tmp_path: Path, codec: str, size: tuple[int, int], pix_fmt: str, refused: bool
) -> None:
    of = picture(size, pix_fmt)
    said = refusal(of, codec=codec)
    assert bool(said) == refused
    if refused:
        assert f"{size[0]}x{size[1]}" in said
        assert "ffv1" in said
        with pytest.raises(av.error.FFmpegError):
            segment(tmp_path / "a.mp4", steady(2), codec, of=of)
    else:
        assert shown(segment(tmp_path / "a.mp4", steady(2), codec, of=of))[1][1][0].shape == (size[1], size[0])
    assert refusal(of, codec="ffv1") == ""


def test_formats_an_encoder_has_not_are_refused_with_those_that_do() -> None:
    deep = picture(pix_fmt="yuv422p10le")
    assert refusal(deep, codec="libsvtav1") == (
        "unsupported: film.mp4: libsvtav1 does not encode yuv422p10le; set encode.codec to libx264 or libx265 or ffv1"
    )
    assert refusal(deep, codec="libx264") == ""


def _at(pts: int) -> VideoFrame:
    frame = numbered(0)
    frame.pts = pts
    return frame
