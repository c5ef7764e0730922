"""Odd clocks from the manifest to the delivery: every frame at its own time, and none lost."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame

from stages.composite import composite as stage
from stages.media import encode
from stages.media.index import index_video
from stages.mux import mux
from tests.clips import Sound, clip, ffmpeg, seconds, shown, steady, times, uneven
from tests.odd import SIZE, deliver, picture_of

FACE = {"size": SIZE, "picture": picture_of()}
NTSC, MS = Fraction(1, 30000), Fraction(1, 1000)


def held(film: Path, made: Path) -> None:
    """The delivery has the source's frames at the source's times, and ends with it."""
    was, now = index_video(str(film)), index_video(str(made))
    assert [at * now.time_base for at in now.pts.tolist()] == [at * was.time_base for at in was.pts.tolist()]
    assert abs(now.end_pts * now.time_base - was.end_pts * was.time_base) <= Fraction(1, 1000)
    assert times(made) == seconds(was.pts.tolist(), was.time_base), "what a player decodes"


@pytest.mark.parametrize(
    ("pts", "time_base", "rate", "suffix"),
    [
        (steady(20, 0, 1001), Fraction(1, 24000), Fraction(24000, 1001), ".mp4"),
        (steady(20, 0, 1001), NTSC, Fraction(30000, 1001), ".mov"),
        (steady(20, 0, 1), Fraction(1, 50), Fraction(50), ".mp4"),
        (steady(20, 0, 1001), Fraction(1, 60000), Fraction(60000, 1001), ".mov"),
        (uneven(20), Fraction(1, 12800), Fraction(25), ".mp4"),
        (uneven(20, 6401), Fraction(1, 12800), Fraction(25), ".mov"),
        (steady(20, 30030, 1001), NTSC, Fraction(30000, 1001), ".mp4"),
        ([0, 1, 2, 3, 60, 61, 62, 120], Fraction(1, 60), Fraction(60), ".mov"),
        ([0], Fraction(1, 25), Fraction(25), ".mp4"),
        ([3, 4], Fraction(1, 25), Fraction(25), ".mov"),
    ],
    ids=["23.976", "29.97", "50", "59.94", "vfr", "vfr late", "29.97 late", "gaps", "one frame", "two frames"],
)
def test_every_frame_at_its_own_time(
    tmp_path: Path, pts: list[int], time_base: Fraction, rate: Fraction, suffix: str
) -> None:
    film = clip(tmp_path / "a.mp4", pts, time_base=time_base, rate=rate, **FACE)
    made, report = deliver(film, f"o{suffix}", encode={"preset": "ultrafast"})
    assert (report.code, report.painted) == ("ok", len(pts)), report.message
    held(film, made)


def test_a_long_last_frame_stays_as_long(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", uneven(12), end=12800 * 9, **FACE)
    made, report = deliver(film, encode={"preset": "ultrafast"})
    assert report.code == "ok", report.message
    held(film, made)
    assert index_video(str(made)).duration_s == pytest.approx(9, abs=0.001)


@pytest.mark.parametrize("late", ["picture", "sound"])
def test_streams_that_begin_apart_stay_apart(tmp_path: Path, late: str) -> None:
    """An empty edit in front of the picture, or a sound that begins later: neither is moved to 0."""
    start = 12800 * 2 // 5 if late == "picture" else 0
    sound = Sound(0.8, starts_s=0.3 if late == "sound" else 0.0)
    film = clip(tmp_path / "a.mp4", steady(16, start), sounds=[sound], **FACE)
    made, report = deliver(film, encode={"preset": "ultrafast"})
    assert report.code == "ok", report.message
    held(film, made)
    with av.open(str(film)) as was, av.open(str(made)) as now:
        before, after = was.streams.audio[0], now.streams.audio[1]
        first = [float(next(c.demux(s)).pts * s.time_base) for c, s in ((was, before), (now, after))]
    assert first[1] == pytest.approx(first[0], abs=0.001)


def test_pictures_that_an_edit_list_hides_are_not_delivered(tmp_path: Path) -> None:
    """A cut without encoding: the hidden ones have negative times."""
    whole = clip(tmp_path / "whole.mp4", steady(40), options={"g": "20"}, **FACE)
    ffmpeg("-ss", 0.52, "-i", whole, "-c", "copy", tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert min(packet.pts for packet in container.demux(video=0) if packet.pts is not None) < 0
    made, report = deliver(tmp_path / "a.mp4", encode={"preset": "ultrafast"})
    assert report.code == "ok", report.message
    held(tmp_path / "a.mp4", made)
    assert len(shown(made)) == len(shown(tmp_path / "a.mp4")) < 40


def test_a_transport_stream_s_clock_is_kept(tmp_path: Path) -> None:
    film = clip(
        tmp_path / "a.ts",
        steady(20, 126_000, 3003),
        time_base=Fraction(1, 90000),
        rate=Fraction(30000, 1001),
        mux={"mpegts_copyts": "1"},
        **FACE,
    )
    made, report = deliver(film, encode={"preset": "ultrafast"})
    assert report.code == "ok", report.message
    held(film, made)
    assert any("clock begins at 1.400 s" in note for note in report.notes)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_matroska_s_milliseconds_are_kept(tmp_path: Path, suffix: str) -> None:
    """29.97 in whole milliseconds, as Matroska has it, is variable frame rate."""
    film = clip(tmp_path / "a.mkv", [round(k * 1001 / 30) for k in range(20)], time_base=MS, **FACE)
    made, report = deliver(film, f"o{suffix}", encode={"preset": "ultrafast"})
    assert report.code == "ok", report.message
    held(film, made)


def test_a_clock_that_runs_over_is_refused_in_words(tmp_path: Path) -> None:
    """A transport stream counts to 26.5 hours; what was recorded just before comes out with negative times."""
    start = 2**33 - 5 * 3600
    film = clip(
        tmp_path / "a.ts",
        steady(12, start, 3600),
        time_base=Fraction(1, 90000),
        mux={"mpegts_copyts": "1"},
        **FACE,
    )
    _, report = deliver(film)
    assert report.code == "unsupported", report.message
    assert "begins before 0 of its clock; remux it first (ffmpeg" in report.message
    ffmpeg("-i", film, "-map", 0, "-c", "copy", tmp_path / "b.mkv")  # what the message says
    _, report = deliver(tmp_path / "b.mkv")
    assert (report.code, report.frames) == ("ok", 12), report.message


def test_b_frames_without_times_are_refused_in_words(tmp_path: Path) -> None:
    """H.264 in AVI, which counts coded pictures and knows no order."""
    film = tmp_path / "a.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=160x120:r=25", "-c:v", "libx264", "-bf", 2, "-an", film)
    _, report = deliver(film)
    assert report.code == "unsupported", report.message
    assert "B-frames without timestamps; encode it anew first (ffmpeg" in report.message


def test_avi_is_delivered_where_its_order_is_known(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.avi", steady(12, 0, 1), time_base=Fraction(1, 25), codec="mpeg4", **FACE)
    made, report = deliver(film, encode={"preset": "ultrafast"})
    assert (report.code, report.painted) == ("ok", 12), report.message
    held(film, made)


def losing(lost: int) -> Callable[[encode.SegmentWriter, VideoFrame], None]:
    """`SegmentWriter.write` that lets one frame of the film fall."""
    real = encode.SegmentWriter.write

    def write(self: encode.SegmentWriter, frame: VideoFrame) -> None:
        if frame.pts != lost:
            real(self, frame)

    return write


def test_a_writer_that_loses_a_frame_fails_its_segment_and_never_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = clip(tmp_path / "a.mp4", steady(20), **FACE)
    monkeypatch.setattr(encode.SegmentWriter, "write", losing(7 * 512))
    made, report = deliver(film)
    assert report.code == "internal", report.message
    assert "the encoder wrote" in report.message
    assert not made.exists()
    lost = [path for path in (tmp_path / "work/segments").rglob("*.json") if '"start": 0' in path.read_text()]
    assert not lost, "a segment that lost a frame has a marker"


def test_a_segment_that_lost_a_frame_since_never_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the first check were not there: the join counts again."""
    film = clip(tmp_path / "a.mp4", steady(20), **FACE)
    monkeypatch.setattr(encode.SegmentWriter, "write", losing(7 * 512))
    monkeypatch.setattr(stage, "check_segment", lambda *_: None)
    made, report = deliver(film)
    assert report.code == "internal", report.message
    assert not made.exists()


def test_a_film_that_loses_a_frame_in_the_mux_never_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check is made on the finished file itself."""
    film = clip(tmp_path / "a.mp4", steady(20), **FACE)
    real = mux.run

    def losing_run(command: list[str], *more: object) -> object:
        place = next(n for n, word in enumerate(command) if word.startswith("setts="))
        command[place] += ",noise=drop=eq(n\\,7)"
        return real(command, *more)

    monkeypatch.setattr(mux, "run", losing_run)
    made, report = deliver(film)
    assert report.code == "internal", report.message
    assert "the finished film has 19 frames, the timeline 20" in report.message
    assert not made.exists()
