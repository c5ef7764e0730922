"""The delivered film: pictures at their own times, whole or not at all."""

from fractions import Fraction
from pathlib import Path

import av
import fsspec
import pytest

from stages.errors import DubError
from stages.media.index import index_video
from stages.media.timeline import Timeline
from stages.mux.containers import check_deliverable
from stages.mux.mux import Dub, mux_film
from stages.mux.settings import MuxSettings
from tests.clips import (
    STEP,
    Sound,
    audio,
    clip,
    same,
    seconds,
    shown,
    steady,
    times,
    uneven,
)
from tests.mux.pieces import MS, NTSC, TS, VOICE, cut, deliver, dispositions, pictures

CLOCKS = [
    ("25.mp4", steady(30), {}),
    ("29.97.mp4", steady(30, step=1001), NTSC),
    ("29.97 late.mp4", steady(30, 1001 * 13, 1001), NTSC),
    ("vfr.mp4", uneven(30, 6401), {}),
    ("slower.mp4", [*steady(15, 0, 200), *steady(15, 15 * 200, 2560)], {}),
    ("film.mkv", [round(k * 1000 / 23.976) for k in range(30)], MS),
    ("quicktime.mov", steady(30, step=25), {"time_base": Fraction(1, 600)}),
    ("stream.ts", steady(30, 945_000, 3600), TS),
]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(("name", "pts", "options"), CLOCKS)
def test_every_frame_is_the_segments_at_the_source_s_time(
    tmp_path: Path, name: str, pts: list[int], options: dict, suffix: str
) -> None:
    made = deliver(clip(tmp_path / name, pts, sounds=[Sound(1.0)], **options), name=f"out{suffix}")
    assert times(made.path) == times(made.film)
    for (_, got), piece in zip(shown(made.path), pictures(made.segments), strict=True):
        assert same(got, piece)


@pytest.mark.parametrize(("name", "pts", "options"), CLOCKS)
def test_matroska_is_exact_to_its_millisecond_and_says_so(
    tmp_path: Path, name: str, pts: list[int], options: dict
) -> None:
    made = deliver(clip(tmp_path / name, pts, **options), name="out.mkv")
    errors = [abs(a - b) for a, b in zip(times(made.path), times(made.film), strict=True)]
    assert max(errors) <= Fraction(1, 2000)
    assert ("rounded" in made.notes) == (max(errors) > 0)
    for (_, got), piece in zip(shown(made.path), pictures(made.segments), strict=True):
        assert same(got, piece)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_closing_picture_stays_to_the_film_s_end(tmp_path: Path, suffix: str, codec: str) -> None:
    film = clip(tmp_path / "a.mp4", steady(30, 6400), end=6400 + 29 * STEP + 64000)
    made = index_video(str(deliver(film, name=f"out{suffix}", codec=codec).path))
    assert abs(float(made.end_pts * made.time_base) - (0.5 + 29 / 25 + 5)) <= (0.001 if suffix == ".mkv" else 0)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_slow_ending_does_not_hold_the_last_picture(tmp_path: Path, codec: str) -> None:
    """Where frames get further apart, an MP4's distances in decode order reach past the film's end."""
    pts = [*steady(15, 0, 200), *steady(15, 15 * 200, 2560)]
    made = deliver(clip(tmp_path / "a.mp4", pts, end=pts[-1] + 512, options={"bf": "0"}), codec=codec)
    index = index_video(str(made.path))
    assert index.end_pts * index.time_base == Fraction(pts[-1] + 512, 12800)
    # What players go by: the edit list (the track's length in its header), and the packets' own durations.
    data = made.path.read_bytes()
    ticks, track = data.index(b"mvhd") + 16, data.index(b"tkhd") + 24
    length = Fraction(int.from_bytes(data[track : track + 4]), int.from_bytes(data[ticks : ticks + 4]))
    assert length == Fraction(pts[-1] + 512, 12800)
    with av.open(str(made.path)) as container:
        assert container.duration >= float(length) * 1e6


def boxes(path: Path) -> list[str]:
    """Names of an MP4's outermost boxes."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        found.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4])
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_players_find_the_header_first_and_know_hevc(tmp_path: Path, suffix: str) -> None:
    film = clip(tmp_path / "a.mp4", steady(12))
    for codec, tag in (("libx264", "avc1"), ("libx265", "hvc1")):
        made = deliver(film, name=f"out{suffix}", codec=codec)
        found = boxes(made.path)
        assert found.index("moov") < found.index("mdat")
        with av.open(str(made.path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == tag


def test_colours_and_shape_reach_the_delivery(tmp_path: Path) -> None:
    colours = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}
    film = clip(tmp_path / "a.mp4", steady(12), tags={**colours, "sample_aspect_ratio": Fraction(4, 3)})
    source = index_video(str(film)).picture
    for name, codec in (
        ("o.mp4", "libx264"),
        ("o.mkv", "libx265"),
        ("p.mp4", "ffv1"),
        ("p.mkv", "ffv1"),
        ("o.mov", "libx264"),
    ):
        made = index_video(str(deliver(film, name=name, codec=codec).path)).picture
        for field in ("pix_fmt", "sar", "color_range", "matrix", "primaries", "transfer"):
            assert getattr(made, field) == getattr(source, field), (name, field)


def failed(folder: Path, **how: object) -> str:
    """The code of a delivery that fails, and proof that it left nothing."""
    film = clip(folder / "a.mp4", steady(12))
    before = {path for path in folder.iterdir() if path.suffix != ".wav" and ".seg" not in path.name}
    with pytest.raises(DubError) as caught:
        deliver(film, **how)
    after = {path for path in folder.iterdir() if path.suffix != ".wav" and ".seg" not in path.name}
    assert after == before
    return caught.value.code


def test_a_failed_delivery_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert failed(tmp_path, track=5) == "no_audio"
    assert failed(tmp_path, timeout_s=0.001) == "timeout"
    (tmp_path / "list.dub").write_text("#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n")
    assert failed(tmp_path, dub=tmp_path / "list.dub") == "decode_error"
    assert failed(tmp_path, name="out.avi") == "unsupported"


def test_a_failed_delivery_leaves_the_older_one(tmp_path: Path) -> None:
    older = deliver(clip(tmp_path / "a.mp4", steady(12))).path.read_bytes()
    with pytest.raises(DubError):
        deliver(tmp_path / "a.mp4", track=5)
    assert (tmp_path / "out.mp4").read_bytes() == older


def test_what_a_container_cannot_carry_is_refused_before_any_work() -> None:
    good = [
        ("a.mp4", "ffv1", "flac"),
        ("a.mkv", "ffv1", "flac"),
        ("a.MOV", "libx264", "alac"),
        ("a.mp4", "libx265", "libopus"),
    ]
    for output, encoder, sound in good:
        check_deliverable(output, encoder, MuxSettings(audio_codec=sound))
    for output, encoder, sound in (
        ("a.mov", "ffv1", "aac"),
        ("a.mov", "libx264", "flac"),
        ("a.mov", "libx264", "libopus"),
        ("a.avi", "libx264", "aac"),
        ("a", "libx264", "aac"),
    ):
        with pytest.raises(DubError) as caught:
            check_deliverable(output, encoder, MuxSettings(audio_codec=sound))
        assert (caught.value.code, output in caught.value.message) == ("unsupported", True)


@pytest.mark.parametrize(
    "name", ["-y.mp4", 'it\'s "a" film.mp4', "фильм 映画.mp4", "%03d [x]{y};$z`.mp4", "a:b,c|d=e.mp4"]
)
def test_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / name.removesuffix(".mp4")
    folder.mkdir()
    film = clip(folder / name, steady(12), sounds=[Sound(0.5)])
    dub = audio(folder / f"{name}.wav", VOICE)
    made = deliver(film, dub, f"out {name}")
    assert times(made.path) == times(film)
    assert len(dispositions(made.path)) == 3


def test_a_film_goes_to_a_bucket(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(12))
    index, segments = cut(film, [5])
    dub = Dub(audio(tmp_path / "dub.wav", VOICE), 0, None, trim=False)
    fsspec.filesystem("memory").store.clear()
    made = mux_film(segments, Timeline.of(index), film, dub, "memory://bucket/films/out.mp4", MuxSettings())
    data = fsspec.filesystem("memory").cat_file("/bucket/films/out.mp4")
    assert len(data) == made.size
    (tmp_path / "back.mp4").write_bytes(data)
    assert times(tmp_path / "back.mp4") == seconds(index.pts, index.time_base)
