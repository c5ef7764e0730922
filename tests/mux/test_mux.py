"""The delivered film: pictures and every sound at their own times, nothing lost without a word, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from stages.arrays import F32
from stages.errors import DubError
from stages.media.index import index_video
from stages.media.language import iso639_2
from stages.mux.mux import Delivery, Dub, mux_film
from stages.mux.settings import MuxSettings
from stages.mux.tracks import check_deliverable
from stages.speech.samples import Samples
from stages.speech.track import decode_dub
from tests.clips import (
    STEP,
    Sound,
    audio,
    clip,
    ffmpeg,
    heard,
    lag_s,
    numbered,
    same,
    seconds,
    shown,
    steady,
    times,
    uneven,
)
from tests.mux.pieces import cut, pictures

VOICE = Sound(1.0, codec="pcm_s16le", hertz=300)
NTSC = {"time_base": Fraction(1, 30000), "rate": Fraction(30000, 1001)}
MS = {"time_base": Fraction(1, 1000)}
TS = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}


@dataclass
class Made:
    """A delivery and what it was made of."""

    path: Path
    delivery: Delivery
    film: Path
    segments: list[Path]

    @property
    def notes(self) -> str:
        return "\n".join(self.delivery.notes)


def deliver(
    film: Path,
    dub: Path | Sound = VOICE,
    name: str = "out.mp4",
    *,
    ends: Sequence[int] = (11,),
    codec: str = "libx264",
    language: str | None = None,
    track: int = 0,
    trim: bool = False,
    **settings: object,
) -> Made:
    """Cut a film into segments, mux them with a dub; a Sound becomes a WAV."""
    if isinstance(dub, Sound):
        dub = audio(film.with_name("dub.wav"), dub)
    index, segments = cut(film, [end for end in ends if end < len(index_video(str(film)))], codec)
    out = film.parent / name
    made = mux_film(segments, index, film, Dub(dub, track, language, trim), str(out), MuxSettings(**settings))
    return Made(out, made, film, segments)


def assert_copied(old: Path, number: int, new: Path, place: int, sound: Sound) -> None:
    """A track was copied, not encoded again: the same samples, all of them, within the clocks' rounding (1 ms)."""
    (was, was_at, rate), (now, now_at, _) = heard(old, number), heard(new, place)
    shift = round(lag_s(was, now, rate) * rate)
    assert abs((now_at[0] + shift) - was_at[0]) <= rate / 1000
    length = round(sound.seconds * sound.rate) - 2048
    assert np.array_equal(was[2048:length], now[2048 + shift : length + shift])


def on_clock(path: Path, track: int = 0, length_s: float = 0.0) -> tuple[F32, int]:
    """A track laid out on the file's own clock from 0: silence where it has no samples."""
    values, places, rate = heard(path, track)
    line = np.zeros(max(int(places[-1]) + 1, round(length_s * rate)), np.float32)
    line[places[places >= 0]] = values[places >= 0]
    return line, rate


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_picture_and_sounds_keep_their_own_times(tmp_path: Path, suffix: str) -> None:
    """A picture that comes 0.5 s after the sound: the dub begins with the film, the old sound where it was."""
    film = clip(tmp_path / "a.mp4", steady(25, 6400), sounds=[Sound(0.8), Sound(0.8, starts_s=0.3)])
    made = deliver(film, name=f"out{suffix}", audio_codec="flac")
    assert float(times(made.path)[0]) == 0.5
    dub, places, _ = heard(made.path, 0)
    assert places[0] == 0
    assert np.abs(dub[: len(VOICE.samples())] - VOICE.samples()).max() < 1e-4
    for number in (0, 1):
        assert_copied(film, number, made.path, number + 1, Sound(0.8))


def test_a_transport_stream_s_dub_begins_where_its_clock_does(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.ts", steady(25, 945_000, 3600), sounds=[Sound(1.0, 10.2)], **TS)
    zero_s = index_video(str(film)).zero_s
    assert zero_s > 10
    made = deliver(film, audio_codec="flac")
    _, places, rate = heard(made.path, 0)
    assert places[0] / rate == pytest.approx(zero_s, abs=1 / rate)
    assert_copied(film, 0, made.path, 1, Sound(1.0))
    assert f"begins at {zero_s:.3f} s" in made.notes


SOUND_CODECS = {
    ".mp4": ["aac", "libopus", "flac", "alac", "pcm_s16le"],
    ".mov": ["aac", "alac", "pcm_s16le"],
    ".mkv": ["aac", "libopus", "flac", "alac", "pcm_s16le"],
}


@pytest.mark.parametrize(
    ("suffix", "codec"), [(suffix, codec) for suffix, all_ in SOUND_CODECS.items() for codec in all_]
)
def test_no_sample_of_the_dub_is_cut(tmp_path: Path, suffix: str, codec: str) -> None:
    """Encoders add silence in front and blocks behind; what the studio sent is all there and in its place."""
    film = clip(tmp_path / "a.mp4", steady(25))
    made = deliver(film, Sound(0.987, codec="pcm_s16le"), f"out{suffix}", audio_codec=codec)
    got, places, rate = heard(made.path, 0)
    sent = Sound(0.987, rate=rate).samples()
    off = np.abs(places - places[0] - np.arange(len(places))).max()
    assert off <= (rate / 1000 if suffix == ".mkv" else 0), "a hole, or an overlap"
    assert -0.001 <= places[0] / rate <= 0.001
    assert len(got) >= len(sent)
    assert lag_s(sent, got, rate) == pytest.approx(0, abs=1e-4)
    for part in (np.s_[: rate // 20], np.s_[len(sent) - rate // 20 : len(sent)]):
        strength = np.sqrt(np.mean(got[part] ** 2) / np.mean(sent[part] ** 2))
        assert 0.85 < strength < 1.15
    if codec in ("flac", "alac", "pcm_s16le"):
        assert len(got) == len(sent)
        assert np.abs(got - sent).max() < 1e-4


@pytest.mark.parametrize(("trim", "length_s"), [(True, 1.0), (False, 1.5)])
@pytest.mark.parametrize("start", [0, 6400])
def test_a_longer_dub_ends_with_the_picture_only_where_that_is_asked_for(
    tmp_path: Path, trim: bool, length_s: float, start: int
) -> None:
    film = clip(tmp_path / "a.mp4", steady(25 - start // STEP, start), sounds=[Sound(0.9)])
    made = deliver(film, Sound(1.5, codec="pcm_s16le"), trim=trim, audio_codec="flac")
    _, places, rate = heard(made.path, 0)
    assert places[0] == 0
    assert (places[-1] + 1) / rate == pytest.approx(length_s + (start % STEP) / 12800, abs=0.021)
    assert times(made.path) == times(film)


def test_a_longer_dub_is_trimmed_on_a_clock_that_began_before(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.ts", steady(25, 945_000, 3600), **TS)
    index = index_video(str(film))
    for trim, expected_s in ((True, 1.0), (False, 1.5)):
        _, places, rate = heard(deliver(film, Sound(1.5, codec="pcm_s16le"), trim=trim, audio_codec="flac").path, 0)
        assert places[0] / rate == pytest.approx(index.zero_s, abs=1e-4)
        assert (places[-1] + 1 - places[0]) / rate == pytest.approx(expected_s, abs=1e-3)


DUBS = {
    "dub.wav": {"codec": "pcm_s16le"},
    "dub.flac": {"codec": "flac"},
    "dub.mp3": {"codec": "libmp3lame"},
    "dub.ogg": {"codec": "libopus"},
    "dub.m4a": {"codec": "aac"},
    "late.mp4": {"codec": "aac", "starts_s": 0.25},
    "late.mkv": {"codec": "libopus", "starts_s": 0.25},
    "hole.mkv": {"codec": "pcm_s16le", "hole_s": (0.3, 0.7)},
    "hole.mp4": {"codec": "aac", "hole_s": (0.3, 0.7)},
    "stream.ts": {"codec": "aac", "starts_s": 10.0},
}


@pytest.mark.parametrize("name", DUBS)
def test_the_film_s_sound_is_what_its_mouths_were_drawn_to(tmp_path: Path, name: str) -> None:
    """Priming, late tracks, holes, clocks that begin anywhere: the delivered sound against `decode_dub`'s samples."""
    sound = Sound(1.5, **DUBS[name])
    dub = tmp_path / name
    audio(tmp_path / name, sound)
    decode_dub(dub, str(tmp_path / "heard.npy"))
    samples = Samples.open(tmp_path / "heard.npy")
    drawn_to = samples.read(0, len(samples))
    made = deliver(clip(tmp_path / "film.mp4", steady(30)), dub, audio_codec="flac")
    line, rate = on_clock(made.path)
    assert rate % 16000 == 0
    thin = line[:: rate // 16000]
    assert len(thin) == pytest.approx(len(drawn_to), abs=16000 * 0.05)
    assert lag_s(drawn_to, np.pad(thin, (0, 16000)), 16000) == pytest.approx(0, abs=0.002)
    if "hole" in name:
        assert np.abs(line[int(0.4 * rate) : int(0.65 * rate)]).max() < 0.01
        places = heard(made.path)[1]
        assert np.array_equal(places, np.arange(len(places))), "a hole is silence: players skip what is missing"


def dispositions(path: Path) -> list[tuple[str, str | None, bool]]:
    with av.open(str(path)) as container:
        default = av.stream.Disposition.default
        return [(s.type, s.language, bool(s.disposition & default)) for s in container.streams if s.type != "data"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_dub_comes_first_and_the_source_s_sounds_stay(tmp_path: Path, suffix: str) -> None:
    sounds = [Sound(1.0, language="eng", title="Director"), Sound(1.0, language="fra", hertz=700)]
    film = clip(tmp_path / "a.mkv", steady(25, step=40), sounds=sounds, **MS)
    made = deliver(film, name=f"out{suffix}", language="de")
    tracks = [entry for entry in dispositions(made.path) if entry[0] == "audio"]
    german = "deu" if suffix == ".mp4" else "ger"
    french = "fre" if suffix == ".mkv" else "fra"
    assert tracks == [("audio", german, True), ("audio", "eng", False), ("audio", french, False)]
    for number in (0, 1):
        assert_copied(film, number, made.path, number + 1, sounds[number])
    if suffix == ".mkv":
        with av.open(str(made.path)) as container:
            assert container.streams.audio[1].metadata["title"] == "Director"


def test_without_the_source_s_sound_its_metadata_stay(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(25), sounds=[Sound(1.0)], metadata={"title": "Lecture 7"})
    made = deliver(film, keep_original_audio=False)
    with av.open(str(made.path)) as container:
        assert len(container.streams.audio) == 1
        assert container.metadata["title"] == "Lecture 7"
    assert made.delivery.notes == []


def test_a_silent_film_s_metadata_stay(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(25), metadata={"title": "Фильм", "comment": "first cut"})
    for suffix in (".mp4", ".mkv", ".mov"):
        with av.open(str(deliver(film, name=f"out{suffix}").path)) as container:
            found = {key.lower(): value for key, value in container.metadata.items()}
        assert (found["title"], found["comment"]) == ("Фильм", "first cut")


def test_languages_that_containers_do_not_know_are_named(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(12))
    for tag, code, note in (
        ("de", "deu", ""),
        ("pt-BR", "por", "'pt-BR' is stored as 'por'"),
        ("xx", None, "'xx' has no ISO 639 code"),
        ("not a tag", None, "'not a tag' has no ISO 639 code"),
        (None, None, ""),
    ):
        made = deliver(film, language=tag)
        assert dispositions(made.path)[1][1] in ((code,) if code else (None, "und"))
        assert note in made.notes
        assert bool(note) == bool(made.notes)


def test_tags_become_three_letters() -> None:
    known = {"de": "deu", "pt-BR": "por", "zh-Hant-TW": "zho", "cmn": "cmn", "sr-Latn": "srp", "en_US": "eng"}
    assert {tag: iso639_2(tag) for tag in known} == known
    assert [iso639_2(tag) for tag in ("xx", "q", "", "12", "not a tag", "de-", "日本")] == [None] * 7


def rich(folder: Path, subtitles: str = "srt") -> Path:
    """A Matroska film with everything: two sounds, subtitles, chapters, an attachment, tags."""
    film = clip(folder / "plain.mkv", steady(50, step=40), sounds=[Sound(2.0), Sound(2.0, codec="pcm_u8")], **MS)
    (folder / "s.srt").write_text(
        "1\n00:00:00,200 --> 00:00:00,900\nGood morning\n\n2\n00:00:01,000 --> 00:00:01,800\nall\n"
    )
    (folder / "font.ttf").write_bytes(b"font")
    (folder / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=Everything\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    out = folder / "rich.mkv"
    inputs = ["-i", film, "-i", folder / "s.srt", "-i", folder / "chapters.txt", "-attach", folder / "font.ttf"]
    tags = ["-metadata:s:t", "mimetype=font/ttf", "-metadata:s:s:0", "language=fre", "-disposition:s:0", "default"]
    ffmpeg(*inputs, "-map", 0, "-map", 1, "-map_metadata", 2, "-c", "copy", "-c:s", subtitles, *tags, out)
    return out


def test_matroska_to_matroska_loses_nothing(tmp_path: Path) -> None:
    film = rich(tmp_path, "ass")
    made = deliver(film, name="out.mkv", language="de")
    with av.open(str(film)) as old, av.open(str(made.path)) as new:
        kinds = [(s.type, s.codec_context.name if s.codec_context else None) for s in new.streams]
        assert kinds[2:] == [(s.type, s.codec_context.name if s.codec_context else None) for s in old.streams][1:]
        assert [c["metadata"]["title"] for c in new.chapters()] == ["One", "Two"]
        assert new.metadata["title"] == "Everything"
        subtitle = new.streams.subtitles[0]
        assert subtitle.language in ("fre", "fra")
        assert subtitle.disposition & av.stream.Disposition.default
        assert new.streams.attachments[0].metadata["filename"] == "font.ttf"
        lines = [(float(p.pts * p.time_base), bytes(p)) for p in new.demux(subtitle) if p.size]
    assert [at for at, _ in lines] == [0.2, 1.0]
    assert b"Good morning" in lines[0][1]
    assert made.delivery.notes == []


def test_what_mp4_cannot_carry_is_named(tmp_path: Path) -> None:
    made = deliver(rich(tmp_path, "ass"), name="out.mp4")
    assert made.delivery.notes == [
        "audio track 1 (pcm_u8) left out: .mp4 cannot carry it",
        "subtitle track 0 (ass): its styles are lost in .mp4",
        "attachment track 0 (unknown) left out: .mp4 cannot carry it",
    ]
    with av.open(str(made.path)) as container:
        assert len(container.streams.audio) == 2
        subtitle = container.streams.subtitles[0]
        assert subtitle.codec_context.name == "mov_text"
        assert subtitle.language in ("fre", "fra")
        assert [c["metadata"]["title"] for c in container.chapters()] == ["One", "Two"]
        assert container.metadata["title"] == "Everything"
        texts = {float(p.pts * p.time_base): bytes(p) for p in container.demux(subtitle) if p.size > 2}
    assert b"Good morning" in texts[0.2]


def test_chapters_of_an_mp4_are_not_written_twice(tmp_path: Path) -> None:
    """They also show as a data track (media.md 7.3)."""
    first = deliver(rich(tmp_path), name="first.mp4").path
    for name in ("second.mp4", "second.mkv", "second.mov"):
        made = deliver(first, name=name)
        with av.open(str(made.path)) as container:
            assert [c["metadata"]["title"] for c in container.chapters()] == ["One", "Two"]
            assert len(container.streams.subtitles) == 1
            assert len(container.streams.data) <= 1
        assert made.delivery.notes == []


def test_sounds_that_only_matroska_carries(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mkv", steady(25, step=40), **MS)
    source = tmp_path / "b.mkv"
    ffmpeg("-i", film, "-f", "lavfi", "-i", "sine=d=1", "-map", 0, "-map", 1, "-c:v", "copy", "-c:a", "wmav2", source)
    for suffix, tracks in ((".mp4", 1), (".mov", 1), (".mkv", 2)):
        made = deliver(source, name=f"out{suffix}")
        assert len([entry for entry in dispositions(made.path) if entry[0] == "audio"]) == tracks
        left_out = f"audio track 0 (wmav2) left out: {suffix} cannot carry it"
        assert (left_out in made.notes) == (tracks == 1)


def test_languages_of_the_source_s_tracks_are_kept_or_named(tmp_path: Path) -> None:
    """QuickTime has a table of its own: no Swedish as the others write it, German only as «ger»."""
    sounds = [Sound(0.5, language=code) for code in ("ger", "swe", "chi", "cmn")]
    film = clip(tmp_path / "a.mkv", steady(12, step=40), sounds=sounds, **MS)
    for suffix, kept in ((".mp4", "deu swe zho cmn"), (".mkv", "ger swe chi cmn"), (".mov", "ger None chi None")):
        made = deliver(film, name=f"out{suffix}", language="nb")
        found = [str(language) for kind, language, _ in dispositions(made.path) if kind == "audio"]
        assert found[1:] == kept.split()
        lost = [number for number, code in enumerate(kept.split()) if code == "None"]
        assert [f"audio track {n + 1} is without" in made.notes for n in range(4)] == [n in lost for n in range(4)]


def test_other_pictures_are_named(tmp_path: Path) -> None:
    film, cover = clip(tmp_path / "a.mp4", steady(12)), tmp_path / "cover.png"
    numbered(1, (32, 32)).reformat(format="rgb24").save(str(cover))
    both = tmp_path / "both.mp4"
    ffmpeg("-i", cover, "-i", film, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic", both)
    assert "video track 0 (png) left out" in deliver(both).notes


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


def test_the_picture_s_language_stays(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mkv", steady(12, step=40), **MS)
    ffmpeg("-i", film, "-c", "copy", "-metadata:s:v:0", "language=ger", tmp_path / "b.mkv")
    for name in ("o.mp4", "o.mkv"):
        assert dispositions(deliver(tmp_path / "b.mkv", name=name).path)[0][1] in ("deu", "ger")


def test_a_dub_may_be_a_track_of_the_film_itself(tmp_path: Path) -> None:
    sounds = [Sound(1.0, hertz=300, language="eng"), Sound(1.0, hertz=900, language="deu")]
    film = clip(tmp_path / "a.mp4", steady(25), sounds=sounds)
    made = deliver(film, film, track=1, language="de", audio_codec="flac")
    assert [entry[1:] for entry in dispositions(made.path)[1:]] == [("deu", True), ("eng", False), ("deu", False)]
    wanted, got = heard(film, 1)[0][:47000], heard(made.path, 0)[0][:47000]
    assert np.abs(got - wanted).max() < 1e-3


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
    assert failed(tmp_path, track=5) == "internal"
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
        ("a.mp4", "x", "libopus"),
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
    made = mux_film(segments, index, film, dub, "memory://bucket/films/out.mp4", MuxSettings())
    data = fsspec.filesystem("memory").cat_file("/bucket/films/out.mp4")
    assert len(data) == made.size
    (tmp_path / "back.mp4").write_bytes(data)
    assert times(tmp_path / "back.mp4") == seconds(index.pts, index.time_base)
