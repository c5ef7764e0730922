"""The frame grid: what a player shows, when, and until when, for every kind of clock."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stages.errors import DubError
from stages.media.index import VideoIndex, index_video
from stages.media.settings import MediaLimits
from tests.clips import CLOCK, STEP, Sound, clip, ffmpeg, numbered, seconds, steady, times, uneven

NTSC = Fraction(1, 30000)
TS = Fraction(1, 90000)


def refused(path: Path, limits: MediaLimits | None = None) -> str:
    with pytest.raises(DubError) as caught:
        index_video(str(path), limits)
    assert path.name in caught.value.message
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "pts", "options"),
    [
        ("25.mp4", steady(25), {"time_base": CLOCK}),
        ("29.97.mp4", steady(25, step=1001), {"time_base": NTSC, "rate": Fraction(30000, 1001)}),
        ("vfr.mp4", uneven(25), {}),
        ("delayed.mp4", steady(25, 6400), {}),
        ("no b-frames.mp4", steady(25), {"options": {"bf": "0"}}),
        ("many b-frames.mp4", steady(40), {"options": {"bf": "8", "b-pyramid": "normal"}}),
        ("hevc.mp4", uneven(25), {"codec": "libx265"}),
        ("mpeg4.mp4", steady(25), {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("quicktime.mov", steady(25, step=24), {"time_base": Fraction(1, 600)}),
        ("25.mkv", steady(25, step=40), {"time_base": Fraction(1, 1000)}),
        ("vp9.webm", steady(25, 120, 40), {"time_base": Fraction(1, 1000), "codec": "libvpx-vp9"}),
        ("clock.ts", steady(25, 900_000, 3600), {"time_base": TS, "mux": {"mpegts_copyts": "1"}}),
        ("divx.avi", steady(25, step=1), {"time_base": Fraction(1, 25), "codec": "mpeg4"}),
        ("one.mp4", [0], {}),
        ("two.mp4", [0, 700], {}),
        ("fragments.mp4", steady(25), {"mux": {"movflags": "frag_keyframe+empty_moov"}, "options": {"bf": "0"}}),
    ],
)
def test_every_frame_s_time_is_the_decoder_s(tmp_path: Path, name: str, pts: list[int], options: dict) -> None:
    path = clip(tmp_path / name, pts, **options)
    index = index_video(str(path))
    assert seconds(index.pts, index.time_base) == times(path)
    assert len(index) == len(pts)
    assert np.array_equal(index.duration[:-1], np.diff(index.pts))
    assert index.duration[-1] > 0
    assert index.keyframe[0]
    assert np.allclose(index.times, [float(t) - index.zero_s for t in times(path)], atol=1e-9)


def test_keyframes_are_where_the_encoder_put_them(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", steady(40), options={"g": "12", "sc_threshold": "0"})
    assert index_video(str(path)).keyframes.tolist() == [0, 12, 24, 36]


def test_packets_hidden_by_an_edit_list_are_not_in_the_film(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4", steady(60), options={"g": "20", "sc_threshold": "0"})
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", 1.0, "-i", whole, "-t", 0.8, "-c", "copy", cut)
    index = index_video(str(cut))
    assert seconds(index.pts, index.time_base) == times(cut)
    assert not index.keyframe[0], "the film begins in the middle of a group of pictures"


@pytest.mark.parametrize("count", [9, 10, 11])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_last_frame_stays_as_long_as_the_file_says(tmp_path: Path, codec: str, count: int) -> None:
    """A closing slide of 5 s. With B-frames the last packet seldom holds the last frame."""
    for start in (0, 6400):
        end = start + (count - 1) * STEP + 64000
        index = index_video(str(clip(tmp_path / "a.mp4", steady(count, start), codec=codec, end=end)))
        assert index.end_pts == end
        assert index.duration_s == pytest.approx((end - start) / 12800, abs=1e-12)


def test_the_last_frame_s_time_survives_a_muxer_that_counts_milliseconds(tmp_path: Path) -> None:
    pts = steady(25, step=1001)
    own = {"time_base": NTSC, "rate": Fraction(30000, 1001), "mux": {}}
    assert index_video(str(clip(tmp_path / "a.mp4", pts, **own))).end_pts == 25 * 1001
    held = index_video(str(clip(tmp_path / "b.mp4", pts, end=24 * 1001 + 45000, **own)))
    assert abs(held.end_pts - (24 * 1001 + 45000)) <= 30, "1 ms"


def test_matroska_keeps_the_last_frame_s_time(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", steady(25), end=24 * STEP + 64000)
    ffmpeg("-i", source, "-c", "copy", tmp_path / "a.mkv")
    index = index_video(str(tmp_path / "a.mkv"))
    assert index.end_pts * index.time_base == Fraction(24, 25) + 5


def test_a_single_frame_has_a_time_on_screen(tmp_path: Path) -> None:
    assert index_video(str(clip(tmp_path / "a.mp4", [0], end=3 * 12800))).duration_s == 3.0
    alone = index_video(str(clip(tmp_path / "a.mkv", [0], time_base=Fraction(1, 1000))))
    assert alone.duration_s == pytest.approx(0.04, abs=0.002)


def test_the_dub_begins_where_the_film_s_clock_does(tmp_path: Path) -> None:
    sound = Sound(1.0)
    delayed = index_video(str(clip(tmp_path / "a.mp4", steady(25, 6400), sounds=[sound])))
    assert (delayed.zero_s, delayed.times[0]) == (0.0, 0.5)
    late_sound = index_video(str(clip(tmp_path / "b.mp4", steady(25), sounds=[Sound(0.5, starts_s=0.5)])))
    assert (late_sound.zero_s, late_sound.times[0]) == (0.0, 0.0)
    own = {"time_base": TS, "mux": {"mpegts_copyts": "1"}}
    stream = clip(tmp_path / "c.ts", steady(25, 945_000, 3600), sounds=[Sound(1.0, 10.0)], **own)
    index = index_video(str(stream))
    assert index.zero_s == pytest.approx(10.0, abs=0.03)  # MPEG-TS has AAC's priming before it
    assert index.times[0] == pytest.approx(10.5 - index.zero_s, abs=1e-6)


def test_a_cover_image_is_not_the_film(tmp_path: Path) -> None:
    film, cover, both = clip(tmp_path / "a.mp4", steady(10)), tmp_path / "cover.png", tmp_path / "both.mp4"
    numbered(1, (32, 32)).reformat(format="rgb24").save(str(cover))
    ffmpeg("-i", cover, "-i", film, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic", both)
    index = index_video(str(both))
    assert (len(index), index.picture.width) == (10, 64)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-i", cover, "-map", 0, "-map", 1, "-c:v", "copy", tmp_path / "song.mp3")
    assert refused(tmp_path / "song.mp3") == "no_video"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    sound = tmp_path / "a.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", sound)
    assert refused(sound) == "no_video"


@pytest.mark.parametrize("missing", ["half", "tenth", "byte"])
@pytest.mark.parametrize("name", ["moov first.mp4", "moov last.mp4", "a.mkv", "a.webm"])
def test_a_file_that_was_cut_short_is_no_shorter_film(tmp_path: Path, name: str, missing: str) -> None:
    """An upload that broke."""
    path = tmp_path / name
    if path.suffix == ".mp4":
        clip(path, steady(60), mux={"movflags": "faststart"} if "first" in name else {})
    else:
        codec = "libx264" if path.suffix == ".mkv" else "libvpx-vp9"
        clip(path, steady(60, step=40), time_base=Fraction(1, 1000), codec=codec)
    data = path.read_bytes()
    assert len(index_video(str(path))) == 60
    cut = {"half": len(data) // 2, "tenth": len(data) // 10, "byte": 1}[missing]
    path.write_bytes(data[:-cut])
    if (name, missing) == ("moov last.mp4", "byte"):
        assert len(index_video(str(path))) == 60, "that byte was of a tag's text"
    else:
        assert refused(path) == "decode_error"


def test_a_live_recording_without_a_length_is_read(tmp_path: Path) -> None:
    path = clip(tmp_path / "live.mkv", steady(25, step=40), time_base=Fraction(1, 1000), mux={"live": "1"})
    assert len(index_video(str(path))) == 25


@pytest.mark.parametrize("params", ["scenecut=0", "open-gop=1:bframes=3:b-adapt=0:scenecut=0"])
def test_a_recording_begins_with_the_first_picture_that_can_be_shown(tmp_path: Path, params: str) -> None:
    options = {"g": "12", "x264-params": params}
    path = clip(tmp_path / "a.ts", steady(40, 90000, 3600), time_base=TS, mux={"mpegts_copyts": "1"}, options=options)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 5 :])
    index = index_video(str(path))
    assert 12 <= len(index) < 36
    assert seconds(index.pts, TS) == times(path)


def test_more_frames_than_allowed_are_refused(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", steady(11))
    assert len(index_video(str(path), MediaLimits(max_frames=11))) == 11
    assert refused(path, MediaLimits(max_frames=10)) == "unsupported"


def test_the_picture_is_what_the_stream_says(tmp_path: Path) -> None:
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 14}
    path = clip(tmp_path / "a.mkv", steady(5, step=40), time_base=Fraction(1, 1000), pix_fmt="yuv422p10le", tags=tags)
    picture = index_video(str(path)).picture
    assert (picture.codec, picture.pix_fmt, picture.width, picture.height) == ("h264", "yuv422p10le", 64, 48)
    assert (picture.color_range, picture.matrix, picture.primaries, picture.transfer) == (1, 9, 9, 14)
    assert picture.container == "matroska,webm"
    plain = index_video(str(clip(tmp_path / "b.mp4", steady(5)))).picture
    assert (plain.color_range, plain.matrix, plain.primaries, plain.transfer) == (0, 2, 2, 2)
    assert (plain.sar, plain.rate) == ((0, 1), (25, 1))


def test_the_container_s_aspect_ratio_is_believed_before_the_stream_s(tmp_path: Path) -> None:
    inner = clip(tmp_path / "a.mp4", steady(5), tags={"sample_aspect_ratio": Fraction(4, 3)})
    assert index_video(str(inner)).picture.sar == (4, 3)
    ffmpeg("-i", inner, "-c", "copy", "-aspect", "64:24", tmp_path / "b.mp4")
    assert index_video(str(tmp_path / "b.mp4")).picture.sar == (2, 1)


def test_an_index_comes_back_from_its_cache_as_it_was(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", uneven(25, 6400), tags={"sample_aspect_ratio": Fraction(4, 3)})
    index = index_video(str(path))
    again = VideoIndex.from_bytes(index.to_bytes())
    for name in ("pts", "dts", "duration", "keyframe"):
        one, other = getattr(index, name), getattr(again, name)
        assert (one.dtype, one.tolist()) == (other.dtype, other.tolist())
    assert (again.time_base, again.zero_s, again.picture) == (index.time_base, index.zero_s, index.picture)


def test_what_is_no_index_is_said_to_be_none(tmp_path: Path) -> None:
    data = index_video(str(clip(tmp_path / "a.mp4", steady(5)))).to_bytes()
    random = np.random.default_rng(0)
    for k in range(300):
        broken = bytearray(data)
        if k % 3:
            broken[random.integers(len(data))] = random.integers(256)
        else:
            del broken[random.integers(len(data)) :]
        try:
            VideoIndex.from_bytes(bytes(broken))
        except ValueError:
            continue
        assert k % 3, "a piece of an index is not an index"


def test_an_avi_whose_recorder_dropped_pictures_is_whole(tmp_path: Path) -> None:
    """Its header counts them, and they are no packets: the film was taken for one that was cut short."""
    at = [k for k in range(48) if k % 5 != 3]
    path = clip(tmp_path / "a.avi", at, time_base=Fraction(1, 25), codec="mpeg4")
    index = index_video(str(path))
    assert index.pts.tolist() == at
    for keep in (0.5, 0.9, 0.999):
        (tmp_path / "cut.avi").write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        with pytest.raises(DubError, match="cut short"):
            index_video(str(tmp_path / "cut.avi"))
