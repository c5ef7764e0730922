"""Other tracks, languages, chapters and tags: kept, or named."""

from pathlib import Path

import av
import pytest

from stages.media.language import iso639_2
from tests.clips import (
    Sound,
    clip,
    ffmpeg,
    numbered,
    steady,
)
from tests.mux.pieces import MS, assert_copied, deliver, dispositions


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
        "attachment track 0 (font.ttf) left out: .mp4 cannot carry it",
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


def covered(folder: Path, suffix: str) -> Path:
    """A film with a cover in front of its picture, where the container allows it."""
    film, cover = clip(folder / "a.mp4", steady(12)), folder / "cover.png"
    numbered(1, (32, 32)).reformat(format="rgb24").save(str(cover))
    out = folder / f"covered{suffix}"
    if suffix == ".mkv":
        more = ["-attach", cover, "-metadata:s:t", "mimetype=image/png", "-metadata:s:t", "filename=front.png"]
        ffmpeg("-i", film, "-c", "copy", *more, out)
    else:
        ffmpeg("-i", cover, "-i", film, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic", out)
    return out


@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_a_cover_comes_along_as_the_container_keeps_covers(tmp_path: Path, source: str) -> None:
    film = covered(tmp_path, source)
    for name in ("o.mp4", "o.mkv"):
        made = deliver(film, name=name)
        with av.open(str(made.path)) as container:
            picture, cover = container.streams.video
            assert picture.codec_context.name == "h264"
            assert cover.disposition & av.stream.Disposition.attached_pic
            assert next(container.decode(cover)).width == 32
            if name == "o.mkv":
                assert cover.metadata["filename"] == ("front.png" if source == ".mkv" else "cover.png")
        assert made.notes == ""
    assert "cover track 0 (png) left out: .mov cannot carry it" in deliver(film, name="o.mov").notes


def test_a_second_picture_is_named(tmp_path: Path) -> None:
    one, other = clip(tmp_path / "a.mp4", steady(12)), clip(tmp_path / "b.mp4", steady(12))
    both = tmp_path / "both.mp4"
    ffmpeg("-i", one, "-i", other, "-map", 0, "-map", 1, "-c", "copy", both)
    assert deliver(both).notes == "video track 1 (h264) left out: a film has one picture"


def test_the_picture_s_language_stays(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mkv", steady(12, step=40), **MS)
    ffmpeg("-i", film, "-c", "copy", "-metadata:s:v:0", "language=ger", tmp_path / "b.mkv")
    for name in ("o.mp4", "o.mkv"):
        assert dispositions(deliver(tmp_path / "b.mkv", name=name).path)[0][1] in ("deu", "ger")
