"""Segments become one film on the film's own clock: every pts exact, every picture the segments'."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import DubError
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import index_video
from stages.media.timeline import Timeline
from stages.mux.join import join_segments
from tests.clips import CLOCK, STEP, clip, is_open, noise, numbered, same, seconds, shown, steady, times, uneven
from tests.mux.pieces import MS, NTSC, cut, pictures


def check(film: Path, ends: list[int], codec: str, **how: object) -> Path:
    """Cut, join, and hold the result to the source's times and the segments' pictures."""
    index, segments = cut(film, ends, codec, **how)
    target = film.with_name("joined.mp4")
    join_segments(segments, Timeline.of(index), target)
    assert times(target) == seconds(index.pts, index.time_base)
    for number, ((_, joined), piece) in enumerate(zip(shown(target), pictures(segments), strict=True)):
        assert same(joined, piece), number
    made = index_video(str(target))
    assert made.end_pts * made.time_base == index.end_pts * index.time_base
    return target


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
@pytest.mark.parametrize(
    ("name", "pts", "options"),
    [
        ("25.mp4", steady(60), {}),
        ("29.97.mp4", steady(60, step=1001), NTSC),
        ("29.97 late.mp4", steady(60, 1001 * 13, 1001), NTSC),
        ("vfr.mp4", uneven(60, 6401), {}),
        ("film.mkv", [round(k * 1000 / 23.976) for k in range(60)], MS),
        ("quicktime.mov", steady(60, step=25), {"time_base": Fraction(1, 600)}),
        ("clock.ts", steady(60, 945_000, 3600), {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}),
        ("old.avi", steady(60, step=1), {"time_base": Fraction(1001, 30000), "codec": "mpeg4"}),
    ],
)
def test_joined_films_are_exact(tmp_path: Path, codec: str, name: str, pts: list[int], options: dict) -> None:
    check(clip(tmp_path / name, pts, **options), [1, 3, 20, 41], codec, preset="veryfast")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("gaps", [(200, 2560), (2560, 200)])
def test_segments_whose_frames_are_further_apart_than_their_neighbours(
    tmp_path: Path, codec: str, gaps: tuple[int, int]
) -> None:
    """60 frames a second, then 5, and the other way: the encoders' own decode times overlap."""
    first = steady(20, 0, gaps[0])
    film = clip(tmp_path / "a.mp4", first + steady(20, first[-1] + gaps[1], gaps[1]))
    check(film, [20], codec, preset="medium")


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
def test_the_last_frame_stays_to_the_film_s_end(tmp_path: Path, codec: str) -> None:
    for count in (29, 30, 31):
        film = clip(tmp_path / "a.mp4", steady(count, 6400), end=6400 + count * STEP + 64000)
        check(film, [15], codec, preset="medium")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("start", [0, 1, 511, 1025])
def test_a_film_that_begins_a_little_late_is_not_moved_to_0(tmp_path: Path, codec: str, start: int) -> None:
    for seed in (3, 16):
        check(clip(tmp_path / "a.mp4", uneven(24, start, seed)), [], codec, preset="veryfast")


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    for codec in ("libx264", "libx265", "ffv1"):
        check(clip(tmp_path / "a.mp4", [6400], end=20_000), [], codec)


def test_colours_shape_and_codec_are_still_told(tmp_path: Path) -> None:
    tags = {
        "color_range": 1,
        "colorspace": 1,
        "color_primaries": 1,
        "color_trc": 1,
        "sample_aspect_ratio": Fraction(4, 3),
    }
    film = clip(tmp_path / "a.mp4", steady(20), pix_fmt="yuv420p10le", tags=tags)
    for codec in ("libx264", "libx265", "ffv1"):
        made, source = index_video(str(check(film, [7], codec))).picture, index_video(str(film)).picture
        for name in ("pix_fmt", "sar", "color_range", "matrix", "primaries", "transfer", "width", "height"):
            assert getattr(made, name) == getattr(source, name), (codec, name)


@settings(max_examples=15)
@given(ends=st.sets(st.integers(1, 23), max_size=6), seed=st.integers(0, 10**6), start=st.integers(0, 10**6))
def test_any_cuts_of_any_film(tmp_path_factory: pytest.TempPathFactory, ends: set[int], seed: int, start: int) -> None:
    film = clip(tmp_path_factory.mktemp("film") / "a.mp4", uneven(24, start, seed))
    check(film, sorted(ends), "libx264", preset="veryfast")


def refused(segments: list[Path], film: Path) -> str:
    with pytest.raises(DubError) as caught:
        join_segments(segments, Timeline.of(index_video(str(film))), film.with_name("joined.mp4"))
    assert caught.value.code == "internal"
    assert not any(is_open(path) for path in segments)
    return caught.value.message


def test_segments_that_are_not_the_film_are_refused(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(30))
    _, segments = cut(film, [10, 20])
    assert "20 frames, the film 30" in refused(segments[:2], film)
    assert "40 frames, the film 30" in refused([*segments, segments[0]], film)
    later = clip(tmp_path / "later.mp4", steady(30, 1))
    assert "not at the same times" in refused(segments, later)


def test_a_segment_of_other_settings_is_refused(tmp_path: Path) -> None:
    """With another segment's parameter sets its frames would decode wrong, without a word."""
    film = clip(tmp_path / "a.mp4", steady(30), picture=noise)
    index, segments = cut(film, [10, 20], preset="veryfast")
    other = EncodeSettings(codec="libx264", preset="ultrafast", threads=1)
    with SegmentWriter(segments[1], index.picture, index.time_base, other) as writer:
        for at in index.pts[10:20].tolist():
            frame = numbered(3)
            frame.pts = at
            writer.write(frame)
    assert segments[1].name in refused(segments, film)
    with SegmentWriter(segments[1], index.picture, CLOCK / 2, other) as writer:
        frame = numbered(3)
        frame.pts = 0
        writer.write(frame)
    assert segments[1].name in refused(segments, film)
