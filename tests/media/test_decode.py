"""Exactly the frames of a range, identical to a decode of the whole; or an error, never another picture."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import DubError
from stages.media import decode
from stages.media.decode import check_supported, first_frame, read_frames
from stages.media.index import VideoIndex, index_video
from stages.media.planes import Plane, planes
from stages.media.settings import MediaSettings
from tests.clips import clip, damage, ffmpeg, is_open, noise, number_of, same, shown, steady, uneven

COUNT = 40
MS = {"time_base": Fraction(1, 1000)}
TS = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}
KINDS = {
    "x264 closed.mp4": {"options": {"g": "12", "sc_threshold": "0"}},
    "x264 open.mp4": {"options": {"g": "12", "sc_threshold": "0", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
    "x264 pyramid.mkv": {"options": {"g": "9", "bf": "7", "x264-params": "b-adapt=0:b-pyramid=normal"}, **MS},
    "x264 long.mp4": {"options": {"g": "250"}},
    "x265 closed.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:min-keyint=12:no-open-gop=1"}},
    "x265 open.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=4"}},
    "x265 open.mkv": {"codec": "libx265", "options": {"x265-params": "keyint=10:min-keyint=10:bframes=4"}, **MS},
    "intra refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}, "time_base": Fraction(1, 25)},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "lag-in-frames": "8", "auto-alt-ref": "1"}, **MS},
    "vp9.mkv": {"codec": "libvpx-vp9", "options": {"g": "12"}, **MS},
    "x264.ts": {"options": {"g": "12", "sc_threshold": "0"}, **TS},
    "x264 open.ts": {"options": {"g": "12", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}, **TS},
    "x265.ts": {"codec": "libx265", "options": {"x265-params": "keyint=12:bframes=3"}, **TS},
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "6"}, **MS},
}


class Film:
    """A clip, its index, and what a plain decode of the whole gives."""

    def __init__(self, path: Path) -> None:
        self.path, self.index = path, index_video(str(path))
        self.frames = [picture for _, picture in shown(path)]

    def read(self, start: int, end: int, threads: int = 2) -> list[int]:
        """Read a range and hold its pictures to the whole's; the numbers of what came."""
        numbers = []
        settings = MediaSettings(decode_threads=threads)
        for number, frame in read_frames(self.path, self.index, start, end, settings):
            assert frame.pts == self.index.pts[number]
            assert same(planes(frame), self.frames[number]), number
            numbers.append(number)
        return numbers


def make(folder: Path, name: str) -> Film:
    options = dict(KINDS[name])
    clock = options.get("time_base", Fraction(1, 12800))
    pts = steady(COUNT, 945_000 if name.endswith(".ts") else 0, int(Fraction(1, 25) / clock))
    return Film(clip(folder / name, pts, **options))


@pytest.fixture(scope="module", params=list(KINDS))
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return make(tmp_path_factory.mktemp("films"), request.param)


def test_the_clip_is_what_its_name_says(film: Film) -> None:
    """Every frame spells its number; there are several keyframes, but for the long group of pictures."""
    assert [number_of(picture[0]) for picture in film.frames] == list(range(COUNT))
    assert (len(film.index.keyframes) == 1) == ("long" in film.path.name)
    if "open" in film.path.name:
        later = film.index.keyframes[1]
        coded = np.argsort(film.index.dts, kind="stable").tolist()
        assert min(coded[coded.index(later) :]) < later, "no picture is coded after the keyframe it precedes"


def test_any_range_of_any_kind_is_the_whole_film_s(film: Film) -> None:
    """Every start at every distance from a keyframe; short, long, and to the end."""
    for start in range(COUNT):
        end = min(COUNT, start + 1 + start % 5)
        assert film.read(start, end) == list(range(start, end))
    assert film.read(0, COUNT) == list(range(COUNT))
    assert film.read(COUNT - 7, COUNT) == list(range(COUNT - 7, COUNT))


def test_decoding_begins_at_the_nearest_keyframe(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a group of pictures earlier, not at the film's beginning; but for intra refresh, whose keyframes are none."""
    tried: list[int | None] = []
    real = decode._frames_from

    def counted(container: object, stream: object, index: VideoIndex, entry: int | None, start: int) -> object:
        tried.append(entry)
        return real(container, stream, index, entry, start)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "_frames_from", counted)
    keyframes = film.index.keyframes
    for start in range(COUNT):
        tried.clear()
        assert film.read(start, start + 1) == [start]
        nearest = keyframes[keyframes <= start][-1]
        if "intra refresh" in film.path.name:
            assert len(tried) <= 3
        else:
            assert tried == [nearest]


def test_the_number_of_threads_changes_no_pixel(film: Film) -> None:
    for threads in (1, 3):
        assert film.read(5, 22, threads) == list(range(5, 22))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Variable frame rate, cut in the middle of a group of pictures by an edit list."""
    folder = tmp_path_factory.mktemp("odd")
    whole = clip(folder / "whole.mp4", uneven(60, 6400), options={"g": "17", "x264-params": "open-gop=1:bframes=3"})
    ffmpeg("-ss", 1.0, "-i", whole, "-c", "copy", folder / "cut.mp4")
    return Film(folder / "cut.mp4")


@given(ends=st.tuples(st.integers(0, 200), st.integers(0, 200)))
def test_any_range_of_a_film_with_hidden_packets(odd: Film, ends: tuple[int, int]) -> None:
    low, high = sorted(end % (len(odd.index) + 1) for end in ends)
    if low == high:
        with pytest.raises(ValueError, match="range"):
            next(read_frames(odd.path, odd.index, low, high))
    else:
        assert odd.read(low, high) == list(range(low, high))


def test_ranges_outside_the_film_are_refused(odd: Film) -> None:
    for start, end in ((-1, 3), (0, len(odd.index) + 1), (5, 5)):
        with pytest.raises(ValueError, match="range"):
            next(read_frames(odd.path, odd.index, start, end))


def test_leaving_early_closes_the_file(odd: Film) -> None:
    frames = read_frames(odd.path, odd.index, 0, 20)
    next(frames)
    assert is_open(odd.path)
    frames.close()
    assert not is_open(odd.path)


def outcome(path: Path, index: VideoIndex, start: int, end: int) -> tuple[dict[int, list[Plane]], str]:
    """The frames that came out, and the code of the error that ended them."""
    got: dict[int, list[Plane]] = {}
    try:
        for number, frame in read_frames(path, index, start, end):
            got[number] = [plane.copy() for plane in planes(frame)]
    except DubError as error:
        return got, error.code
    return got, ""


# What decoders notice: HEVC's and VP9's take half a packet for a whole one, Matroska's demuxer goes on after a hole.
LOSSES = [
    ("x264 closed.mp4", 0.0),
    ("x264 closed.mp4", 0.4),
    ("x264 open.mp4", 0.0),
    ("x264 open.mp4", 0.4),
    ("x264 long.mp4", 0.0),
    ("x264 open.ts", 0.0),
    ("x265 closed.mp4", 0.0),
    ("x265.ts", 0.0),
    ("mpeg4.mp4", 0.4),
    ("mpeg4.avi", 0.0),
]


@pytest.mark.parametrize(("name", "keep"), LOSSES)
def test_what_a_lost_packet_leaves_is_an_error_and_never_another_picture(
    tmp_path: Path, name: str, keep: float
) -> None:
    """Also of the B-frames that come out before the lost picture and are predicted from it."""
    film = make(tmp_path, name)
    for lost in (16, 17, 18, 19):
        broken = damage(film.path, tmp_path / f"broken{film.path.suffix}", lost, keep)
        at = int(np.flatnonzero(film.index.coded == lost)[0])
        codes = []
        for start, end in ((0, COUNT), (at, at + 1), (at - 3, at), (at + 1, at + 4), (0, 5), (COUNT - 3, COUNT)):
            got, code = outcome(broken, film.index, start, end)
            for number, picture in got.items():
                assert same(picture, film.frames[number]), f"frame {number} of [{start}, {end}) is another picture"
            assert code == ("" if len(got) == end - start else "decode_error")
            codes.append(code)
        assert codes[0] == codes[1] == "decode_error"
        assert codes[4] == ""


@pytest.mark.parametrize("name", ["x264.ts", "x264 open.ts", "x265.ts"])
def test_a_hole_in_a_transport_stream_is_no_shorter_film(tmp_path: Path, name: str) -> None:
    film = make(tmp_path, name)
    broken = damage(film.path, tmp_path / "broken.ts", 17)
    assert len(shown(broken)) < COUNT, "a plain decode does not notice"
    with pytest.raises(DubError) as caught:
        index_video(str(broken))
    assert caught.value.code == "decode_error"


def test_a_transport_stream_joined_from_pieces_is_one_film(tmp_path: Path) -> None:
    """As players of HTTP streams save them: every piece counts its packets from 0 again."""
    one = clip(tmp_path / "a.ts", steady(20, 90000, 3600), **TS)
    other = clip(tmp_path / "b.ts", steady(20, 90000 + 20 * 3600, 3600), **TS)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    film = Film(both)
    assert len(film.index) == 40
    assert [number_of(picture[0]) for picture in film.frames] == [*range(20), *range(20)]
    assert film.read(0, 40) == list(range(40))
    assert film.read(17, 23) == list(range(17, 23))


@pytest.mark.parametrize("options", [{"g": "12"}, {"g": "12", "x264-params": "slices=4"}])
def test_half_a_picture_is_an_error(tmp_path: Path, options: dict[str, str]) -> None:
    """H.264 paints over what it cannot decode, with what was there before, and goes on."""
    path = clip(tmp_path / "a.mp4", steady(24), picture=noise, options=options)
    index, whole = index_video(str(path)), [picture for _, picture in shown(path)]
    broken = damage(path, tmp_path / "b.mp4", 6, keep=0.7)
    assert len(shown(broken)) == 24, "a plain decode does not notice"
    got, code = outcome(broken, index, 0, 24)
    assert code == "decode_error"
    assert all(same(picture, whole[number]) for number, picture in got.items())
    assert outcome(broken, index, 12, 24)[1] == ""


def test_a_film_that_lost_its_end_after_it_was_indexed_is_an_error(tmp_path: Path) -> None:
    film = make(tmp_path, "x264.ts")
    data = film.path.read_bytes()
    film.path.write_bytes(data[: len(data) // 2])
    got, code = outcome(film.path, film.index, 0, COUNT)
    assert code == "decode_error"
    assert 5 < len(got) < COUNT
    assert all(same(picture, film.frames[at]) for at, picture in got.items())
    assert outcome(film.path, film.index, 0, 5)[1] == ""


def test_a_file_that_claims_an_absurd_order_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Were all frames said to need the last one, all of them would be held."""
    film = make(tmp_path, "x264 long.mp4")
    coded = np.roll(np.arange(COUNT), -1)
    index = replace(film.index, coded=coded)
    assert index.needs.tolist() == [COUNT - 1] * COUNT
    fed: list[int] = []

    def frames() -> Iterator[tuple[int, str]]:
        for number in range(COUNT):
            fed.append(number)
            yield number, "frame"

    for number, _ in decode._sound(frames(), index):  # type: ignore[arg-type]
        assert len(fed) <= number + 17
    assert len(fed) == COUNT


def test_another_film_under_the_same_name_is_an_error(tmp_path: Path) -> None:
    film = make(tmp_path, "x264 closed.mp4")
    clip(film.path, steady(COUNT, 7))
    assert outcome(film.path, film.index, 10, 20) == ({}, "decode_error")


def test_a_picture_that_changes_size_midway_is_refused(tmp_path: Path) -> None:
    small = clip(tmp_path / "small.ts", steady(5, 90000, 3600), **TS)
    large = clip(tmp_path / "large.ts", steady(5, 180000, 3600), size=(80, 64), **TS)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    index = index_video(str(both))
    got, code = outcome(both, index, 0, len(index))
    assert (len(got), code) == (5, "unsupported")


def supported(path: Path) -> str:
    try:
        index = index_video(str(path))
        check_supported(path, index, first_frame(path, index))
    except DubError as error:
        return f"{error.code}: {error.message.partition(': ')[2]}"
    return ""


DEEP = {"pix_fmt": "yuv420p10le", "codec": "libx265"}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_with_the_way_to_sdr(tmp_path: Path, suffix: str, transfer: int, name: str) -> None:
    path = clip(tmp_path / f"a{suffix}", steady(3), **DEEP, tags={"color_trc": transfer, "colorspace": 9})
    said = supported(path)
    assert said.startswith("unsupported: frame 0 is HDR") or said.startswith("unsupported: HDR")
    assert f"({name})" in said
    assert "tonemap" in said


def test_dolby_vision_is_refused_though_it_is_tagged_as_nothing(tmp_path: Path) -> None:
    """No encoder here writes its metadata; this is how PyAV hands them over."""
    path = clip(tmp_path / "a.mp4", steady(3), **DEEP)
    index = index_video(str(path))
    for kind in ("DOVI_METADATA", "DOVI_RPU_BUFFER"):
        with pytest.raises(DubError, match="Dolby Vision; dub the SDR version"):
            check_supported(path, index, SimpleNamespace(side_data={kind: b""}))  # type: ignore[arg-type]


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_colours_that_nothing_here_converts_are_refused(tmp_path: Path, matrix: int) -> None:
    path = clip(tmp_path / "a.mp4", steady(3), **DEEP, tags={"colorspace": matrix})
    assert "convert it to BT.709 first" in supported(path)


def test_sdr_of_bt_2020_in_10_bit_is_read(tmp_path: Path) -> None:
    tags = {"color_trc": 14, "colorspace": 9, "color_primaries": 9}
    assert supported(clip(tmp_path / "a.mp4", steady(3), **DEEP, tags=tags)) == ""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_interlaced_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    more = TS if suffix == ".ts" else {}
    path = clip(tmp_path / f"a{suffix}", steady(3, 90_000, 3600), **more, options={"flags": "+ildct+ilme"})
    assert "interlaced; deinterlace it first (ffmpeg -i IN -vf bwdif" in supported(path)


@pytest.mark.parametrize("codec", ["mpeg4", "ffv1"])
@pytest.mark.parametrize("order", [2, 3])
def test_interlacing_that_only_the_header_tells_is_believed(tmp_path: Path, codec: str, order: int) -> None:
    path = clip(tmp_path / "a.mkv", steady(3), tags={"field_order": order}, codec=codec)
    assert "interlaced, by its header; deinterlace it first" in supported(path)


def test_what_is_progressive_by_its_header_is_read(tmp_path: Path) -> None:
    assert supported(clip(tmp_path / "a.mov", steady(3), tags={"field_order": 1})) == ""


def test_a_film_that_turns_interlaced_is_refused_where_it_does(tmp_path: Path) -> None:
    """Archive material between new scenes: the first frame and the header know nothing of it."""
    new = clip(tmp_path / "new.ts", steady(5, 90000, 3600), **TS)
    old = clip(tmp_path / "old.ts", steady(5, 180000, 3600), options={"flags": "+ildct+ilme"}, **TS)
    both = tmp_path / "both.ts"
    both.write_bytes(new.read_bytes() + old.read_bytes())
    assert supported(both) == ""
    index = index_video(str(both))
    with pytest.raises(DubError, match="frame 5 is interlaced; deinterlace it first") as caught:
        list(read_frames(both, index, 0, len(index)))
    assert caught.value.code == "unsupported"


def test_formats_that_are_not_painted_are_refused_with_those_that_are(tmp_path: Path) -> None:
    assert supported(clip(tmp_path / "plain.mp4", steady(3))) == ""
    ffmpeg("-i", tmp_path / "plain.mp4", "-c:v", "png", "-pix_fmt", "rgb24", tmp_path / "rgb.mov")
    assert supported(tmp_path / "rgb.mov").startswith("unsupported: pictures in rgb24 are not painted; encode it in")
