"""The map from output frames to source frames, and the frames it shows."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import DubError
from stages.media import mapped as module
from stages.media.decode import read_frames
from stages.media.index import VideoIndex, index_video
from stages.media.mapped import read_mapped
from stages.media.planes import planes
from stages.media.timeline import Timeline, fit
from tests.clips import CLOCK, STEP, clip, number_of, steady, uneven

MOST = 100_000


def grid(durations: Sequence[int], first: int = 0, zero_s: float = 0.0) -> VideoIndex:
    """A film that was never encoded: frames shown for `durations` on a clock of 1/12800 s."""
    shown_for = np.array(durations, np.int64)
    pts = first + np.cumsum(shown_for) - shown_for
    there = np.arange(len(pts))
    keyframe = there % 5 == 0
    return VideoIndex(pts, pts, there, shown_for, keyframe, CLOCK, zero_s, None)  # type: ignore[arg-type]


def seconds_of(index: VideoIndex, dub: int) -> Fraction:
    """A dub that ends `dub` ticks behind the film's beginning."""
    return (int(index.pts[0]) + dub) * CLOCK - Fraction(index.zero_s).limit_denominator(1_000_000)


films = st.builds(
    grid,
    st.lists(st.integers(1, 4 * STEP), min_size=1, max_size=40),
    st.integers(0, 3 * STEP),
    st.sampled_from([0.0, 0.5, 1.4]),
)
lengths = st.integers(1, 200 * STEP)


@given(films, lengths, st.sampled_from(["keep", "trim"]), st.sampled_from(["error", "trim", "freeze", "pingpong"]))
def test_every_map_is_a_film(index: VideoIndex, dub: int, shorter: str, longer: str) -> None:
    dub_s = seconds_of(index, dub)
    zero_s = Fraction(index.zero_s).limit_denominator(1_000_000)
    line = fit(index, dub_s, shorter, longer, 10**7)  # type: ignore[arg-type]
    assert len(line.source) == len(line.pts) == len(line) >= 1
    assert (np.diff(line.pts) > 0).all()
    assert line.end_pts > line.pts[-1]
    assert line.duration.sum() == line.end_pts - line.pts[0]
    assert line.source.min() >= 0
    assert line.source.max() < len(index)
    assert np.array_equal(line.times, line.pts * float(CLOCK) - index.zero_s)
    own = min(len(index), len(line))
    assert line.unchanged(0, own), "the film's own frames stay what they were"
    long = dub > index.end_pts - index.pts[0]
    if long and longer in ("freeze", "pingpong"):
        assert 0 <= line.end_pts * CLOCK - zero_s - dub_s < CLOCK, "the film ends where the dub does"
    elif not long and shorter == "trim":
        assert line.end_pts <= index.end_pts
    else:
        assert line.identity
        assert np.array_equal(line.times, index.times)


@given(films, st.integers(1, 300 * STEP))
def test_ping_pong_is_the_film_to_and_fro(index: VideoIndex, more: int) -> None:
    whole = int(index.end_pts - index.pts[0])
    line = fit(index, seconds_of(index, whole + more), "keep", "pingpong", 10**7)
    n = len(index)
    cycle = max(1, 2 * (n - 1))
    place = np.arange(len(line)) % cycle
    assert np.array_equal(line.source, np.minimum(place, cycle - place) if n > 1 else np.zeros(len(line)))
    # All but the last are on screen for as long as in the film, whichever way it runs, and the last at least half.
    shown_for, own = line.duration, index.duration[line.source]
    assert np.array_equal(shown_for[n:-1], own[n:-1])
    if len(line) > n:
        assert 2 * shown_for[-1] >= own[-1]


@given(films, st.integers(1, 300 * STEP))
def test_freezing_repeats_the_last_frame_at_the_usual_distance(index: VideoIndex, more: int) -> None:
    whole = int(index.end_pts - index.pts[0])
    line = fit(index, seconds_of(index, whole + more), "keep", "freeze", 10**7)
    n = len(index)
    assert (line.source[n:] == n - 1).all()
    usual = max(1, round(float(np.median(index.duration[:-1] if n > 1 else index.duration))))
    if len(line) > n + 1:
        assert set(np.diff(line.pts[n:]).tolist()) == {usual}
        assert usual <= 2 * line.duration[-1] <= 3 * usual


@given(films, lengths, st.sampled_from(["keep", "freeze", "pingpong"]), st.floats(0, 10), st.floats(0, 10))
def test_a_cut_shows_what_the_whole_shows_there(
    index: VideoIndex, dub: int, longer: str, one: float, other: float
) -> None:
    line = fit(index, seconds_of(index, dub), "keep", longer, 10**7)  # type: ignore[arg-type]
    start, end = sorted((one, other))
    inside = np.flatnonzero((line.times >= start - 1e-6) & (line.times < end - 1e-6))
    if not len(inside):
        with pytest.raises(ValueError, match="no frame between"):
            line.cut(start, end)
        return
    cut = line.cut(start, end)
    assert np.array_equal(cut.source, line.source[inside])
    assert np.array_equal(cut.duration, line.duration[inside])
    assert np.array_equal(cut.times, line.times[inside]), "to the last bit: the same speech is looked up"
    assert cut.pts[0] == 0
    assert cut.excerpt
    np.testing.assert_allclose(cut.pts * float(CLOCK) - cut.zero_s, cut.times, atol=1e-9)


def test_the_film_as_it_is(tmp_path: Path) -> None:
    index = grid([STEP] * 10, first=400, zero_s=0.25)
    line = Timeline.of(index)
    assert line.identity
    assert np.array_equal(line.times, index.times)
    assert np.array_equal(line.keyframes, index.keyframes)
    assert (line.end_pts, line.duration_s, line.zero_s) == (index.end_pts, index.duration_s, index.zero_s)


def test_trimming_keeps_what_begins_before_the_dub_ends() -> None:
    index = grid([STEP] * 10)
    line = fit(index, Fraction(17, 100), "trim", "error", MOST)
    assert line.source.tolist() == [0, 1, 2, 3, 4]
    assert line.end_pts * CLOCK == Fraction(17, 100)


def test_a_dub_of_one_sample_leaves_one_frame() -> None:
    line = fit(grid([STEP] * 10), Fraction(1, 16000), "trim", "error", MOST)
    assert (len(line), line.end_pts) == (1, 1)


def test_a_dub_that_ends_before_the_picture_begins_leaves_one_frame_its_time() -> None:
    line = fit(grid([STEP] * 10, first=40 * STEP), Fraction(1), "trim", "error", MOST)
    assert (line.pts.tolist(), line.end_pts) == ([40 * STEP], 41 * STEP)


def test_a_film_of_one_frame_goes_to_and_fro_by_standing_still() -> None:
    line = fit(grid([STEP]), Fraction(1), "keep", "pingpong", MOST)
    assert line.source.tolist() == [0] * 25
    assert np.array_equal(line.pts, np.arange(25) * STEP)


@pytest.mark.parametrize("longer", ["freeze", "pingpong"])
def test_a_long_dub_over_frames_of_a_tick_does_not_fill_the_memory(longer: str) -> None:
    with pytest.raises(DubError, match=r"media\.limits\.max_frames") as caught:
        fit(grid([1, 1, 1]), Fraction(7200), "keep", longer, 5_000_000)  # type: ignore[arg-type]
    assert caught.value.code == "unsupported"


def test_a_dub_a_little_longer_than_the_picture_adds_no_frame_of_a_moment() -> None:
    line = fit(grid([STEP] * 10), Fraction(10 * STEP + STEP // 3, 12800), "keep", "freeze", MOST)
    assert (len(line), line.duration.tolist()[-1]) == (10, STEP + STEP // 3)


# What is read through a map.


def numbers(path: Path, line: Timeline, start: int, end: int) -> list[int]:
    """The source numbers that the frames [start, end) spell; each is spoiled once it is read, as by painting."""
    found = []
    for at, (number, frame) in enumerate(read_mapped(path, line, start, end), start):
        assert number == at
        assert frame.pts == line.pts[at]
        found.append(number_of(planes(frame)[0]))
        frame.make_writable()
        for plane in planes(frame):
            plane[:] = 0
    return found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": "25", "bf": "3"}
    return clip(tmp_path_factory.mktemp("film") / "a.mp4", uneven(60), options=options)


@pytest.mark.parametrize("longer", ["freeze", "pingpong"])
def test_frames_come_as_the_map_says_wherever_a_shard_begins(film: Path, longer: str) -> None:
    index = index_video(str(film))
    line = fit(index, Fraction(index.end_pts) * CLOCK * Fraction(27, 10), "keep", longer, MOST)  # type: ignore[arg-type]
    assert len(line) > 130
    assert numbers(film, line, 0, len(line)) == line.source.tolist()
    for start, end in ((50, 64), (61, 62), (55, 130), (100, 131)):
        assert numbers(film, line, start, end) == line.source[start:end].tolist()


def test_the_film_as_it_is_is_read_in_one_pass(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_video(str(film))
    asked = []

    def counted(path: Path, grid: VideoIndex, start: int, end: int, settings: object) -> object:
        asked.append((start, end))
        return read_frames(path, grid, start, end)

    monkeypatch.setattr(module, "read_frames", counted)
    plain = [(n, f.pts, [p.tobytes() for p in planes(f)]) for n, f in read_frames(film, index, 7, 50)]
    through = [(n, f.pts, [p.tobytes() for p in planes(f)]) for n, f in read_mapped(film, Timeline.of(index), 7, 50)]
    assert through == plain
    assert asked == [(7, 50)]


def test_a_frozen_frame_is_decoded_once(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_video(str(film))
    line = fit(index, Fraction(30), "keep", "freeze", MOST)
    asked = []

    def counted(path: Path, grid: VideoIndex, start: int, end: int, settings: object) -> object:
        asked.append((start, end))
        return read_frames(path, grid, start, end)

    monkeypatch.setattr(module, "read_frames", counted)
    pixels = {planes(frame)[0].tobytes() for _, frame in read_mapped(film, line, 100, 400)}
    assert len(pixels) == 1
    assert asked == [(59, 60)]


def test_no_more_than_16_frames_are_held_to_run_backwards(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_video(str(film))
    line = fit(index, Fraction(index.end_pts) * CLOCK * 2, "keep", "pingpong", MOST)
    asked = []

    def counted(path: Path, grid: VideoIndex, start: int, end: int, settings: object) -> object:
        asked.append((start, end))
        return read_frames(path, grid, start, end)

    monkeypatch.setattr(module, "read_frames", counted)
    assert numbers(film, line, 60, 119) == list(range(58, -1, -1))
    assert asked == [(43, 59), (27, 43), (11, 27), (0, 11)]


def test_a_copy_brings_its_tags_and_leaves_the_first_alone(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(3), pix_fmt="yuv420p10le", tags={"color_range": 1, "colorspace": 9})
    index = index_video(str(film))
    line = fit(index, Fraction(1), "keep", "freeze", MOST)
    frames: list[av.VideoFrame] = [frame for _, frame in read_mapped(film, line, 0, 12)]
    assert {(f.color_range, f.colorspace, f.format.name) for f in frames} == {(1, 9, "yuv420p10le")}
    before = planes(frames[-1])[0].copy()
    planes(frames[4])[0][:] = 0
    assert np.array_equal(planes(frames[-1])[0], before)
