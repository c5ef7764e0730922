"""Rows of a manifest: good ones become films, every problem is named with its line and column."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.film import Film
from pipeline.manifest import read_manifest
from tests.pipeline.manifest_files import ROW, WRITERS, every_format, only, read, row, said


@every_format
def test_row_with_every_column(tmp_path: Path, suffix: str):
    full = row(
        "talk-01.de_final",
        language="pt-br",
        face="largest",
        box=[10, 200, 5, 150],
        audio_shorter="keep",
        audio_longer="trim",
        generator="wav2lip",
        consent="https://example.com/consent/7",
        audio_track=1,
    )
    spoken = row("b", audio=None, text="Guten Tag,\n«zusammen».", language="de", voice="de+f3")
    url = WRITERS[suffix](tmp_path / f"night.{suffix}", [full, spoken])
    manifest = read_manifest(url)
    assert said(manifest) == []
    assert manifest.films == [
        Film(
            id="talk-01.de_final",
            video=f"{tmp_path}/talk-01.de_final.mp4",
            output=f"{tmp_path}/out/talk-01.de_final.mp4",
            audio=f"{tmp_path}/talk-01.de_final.wav",
            language="pt-BR",
            box=(10, 200, 5, 150),
            audio_longer="trim",
            generator="wav2lip",
            consent="https://example.com/consent/7",
            audio_track=1,
        ),
        Film(
            id="b",
            video=f"{tmp_path}/b.mp4",
            output=f"{tmp_path}/out/b.mp4",
            text="Guten Tag,\n«zusammen».",
            language="de",
            voice="de+f3",
        ),
    ]


@every_format
def test_good_rows_survive_bad_ones_and_keep_their_order(tmp_path: Path, suffix: str):
    rows = [row("c"), row("bad", audio_longer="loop"), row("a"), row("worse", language="german"), row("b")]
    manifest = read_manifest(WRITERS[suffix](tmp_path / f"m.{suffix}", rows))
    assert [film.id for film in manifest.films] == ["c", "a", "b"]
    first = 2 if suffix == "csv" else 1
    assert [(p.line, p.id, p.column) for p in manifest.problems] == [
        (first + 1, "bad", "audio_longer"),
        (first + 3, "worse", "language"),
    ]


def test_film_travels_as_json():
    film = Film(id="a", video="/v.mp4", output="/o.mp4", audio="/a.wav", box=(1, 2, 3, 4), audio_track="ger")
    assert Film.model_validate_json(film.model_dump_json()) == film


def test_film_itself_wants_one_kind_of_speech():
    with pytest.raises(ValidationError, match="audio is missing, and so is text"):
        Film(id="a", video="/v.mp4", output="/o.mp4")
    with pytest.raises(ValidationError, match="text and audio are both given"):
        Film(id="a", video="/v.mp4", output="/o.mp4", audio="/a", text="b")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"id": None}, "id is missing"),
        ({"video": None}, "video is missing"),
        ({"output": None}, "output is missing"),
        ({"audio": None}, "audio is missing, and so is text"),
        ({"text": "hello"}, "text and audio are both given"),
        ({"audio": None, "text": " \n"}, "text is empty"),
        ({"audio": None, "text": "x" * 100_001}, "text has 100001 characters; the most is 100000"),
        ({"audio": None, "text": "a\0b"}, "text has a NUL"),
        ({"audio": None, "text": "\ud800"}, "text is not valid Unicode"),
        ({"voice": "f3"}, "voice is for rows with text"),
        ({"audio": None, "text": "t", "audio_track": 1}, "audio_track is for rows with audio"),
        ({"audio": None, "text": "t", "voice": "a\nb"}, "voice has a control character"),
        ({"language": "german"}, "language 'german' is not a language tag"),
        ({"language": "de_DE"}, "language 'de_DE' is not a language tag"),
        ({"language": "d"}, "is not a language tag"),
        ({"language": ""}, "is not a language tag"),
        ({"language": 5}, "language must be text, not a number"),
        ({"face": "speaking"}, "face 'speaking' is not built yet: use largest"),
        ({"face": "track:3"}, "face 'track:3' is not built yet"),
        ({"face": "https://example.com/me.png"}, "is not built yet"),
        ({"face": 3}, "face must be text, not a number"),
        ({"audio_shorter": "loop"}, "audio_shorter must be keep or trim, not 'loop'"),
        ({"audio_longer": "keep"}, "audio_longer must be error or trim or freeze or pingpong, not 'keep'"),
        ({"generator": "wav2lib"}, "generator must be mouthwarp or wav2lip or musetalk, not 'wav2lib'; did you mean"),
        ({"generator": True}, "generator must be text, not true or false"),
        ({"box": "true"}, "box must be [top, bottom, left, right]"),
        ({"box": True}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3]}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3, 4.0]}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3, True]}, "box must be [top, bottom, left, right]"),
        ({"box": [-1, 2, 3, 4]}, "must have 0 <= top < bottom"),
        ({"box": [9, 2, 3, 4]}, "must have 0 <= top < bottom"),
        ({"box": [1, 2, 3, 10**30]}, "must have 0 <= top < bottom"),
        ({"audio_track": -1}, "audio_track must be the track's number, from 0, its title or its language"),
        ({"audio_track": True}, "audio_track must be the track's number"),
        ({"audio_track": "first\n"}, "audio_track has a control character"),
        ({"consent": ""}, "consent is empty"),
        ({"spans": [[1, 0]]}, "spans span 0, [1, 0]: must have 0 <= start_s < end_s"),
        ({"spans": 1}, "spans must be [[start_s, end_s], ...], or the path or URL of a subtitle"),
        ({"background": "a.mkv", "output": "./a.mkv"}, "output would overwrite the background of this row"),
        ({"enhance": "codeformer"}, "enhance must be none or gfpgan, not 'codeformer'"),
        ({"vidio": "x"}, "vidio is not a column of a manifest: did you mean video?"),
        ({"Language": "de"}, "Language is not a column of a manifest: did you mean language?"),
        ({"zzz": 1}, "zzz is not a column of a manifest"),
        ({"output": "out/a.avi"}, "output has to end in .mp4, .mov, .mkv, .webm: others are not built yet"),
        ({"output": "a"}, "output has to end in .mp4, .mov, .mkv"),
        ({"output": "https://example.com/a.mp4"}, "output «https:» cannot be written to"),
        ({"output": "a.mp4"}, "output would overwrite the video of this row"),
        ({"output": "x/.././a.mp4"}, "output would overwrite the video of this row"),
        ({"audio": "a.mkv", "output": "./a.mkv"}, "output would overwrite the audio of this row"),
        ({"video": 7}, "video must be text, not a number"),
        ({"video": ["a"]}, "video must be text, not a list"),
        ({"video": {"url": "a"}}, "video must be text, not an object"),
    ],
)
def test_wrong_value_is_named_with_its_column(tmp_path: Path, columns: dict[str, Any], problem: str):
    manifest = read(tmp_path, row(**columns), row("good"))
    assert problem in only(manifest)
    assert only(manifest).startswith("line 1")
    assert [film.id for film in manifest.films] == ["good"]


@pytest.mark.parametrize("id", ["", ".a", "-a", "a/b", "a b", "ä", "a" * 101, "..", "a\n", "a\0", 5, True, ["a"]])
def test_id_that_could_not_name_a_file(tmp_path: Path, id: object):
    manifest = read(tmp_path, {**ROW, "id": id})
    assert manifest.films == []
    assert manifest.problems[0].column == "id"
    assert str(manifest.problems[0]).isprintable()


@pytest.mark.parametrize("id", ["a", "_a", "9", "a.b-c_d", "A" * 100])
def test_id_that_names_a_file(tmp_path: Path, id: str):
    assert [film.id for film in read(tmp_path, {**ROW, "id": id}).films] == [id]


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("de", "de"),
        ("DE-de", "de-DE"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sr-latn", "sr-Latn"),
        ("zh-cmn-hans-cn", "zh-cmn-Hans-CN"),
        ("de-1996", "de-1996"),
        ("sl-rozaj-biske", "sl-rozaj-biske"),
        ("en-us-u-ca-gregory-x-Twain", "en-US-u-ca-gregory-x-twain"),
    ],
)
def test_language_tags_are_written_one_way(tmp_path: Path, tag: str, canonical: str):
    assert read(tmp_path, row(language=tag)).films[0].language == canonical


def test_every_mistake_of_a_row_is_named_at_once(tmp_path: Path):
    manifest = read(
        tmp_path,
        {"id": "-", "video": "concat:a|b", "output": 3, "audio": "x", "text": 4, "box": 1, "face": "me", "spans": 1},
    )
    assert manifest.films == []
    assert {p.column for p in manifest.problems} == {"id", "video", "output", "text", "box", "face", "spans"}
    assert {p.line for p in manifest.problems} == {1}


def test_hundred_thousand_unknown_columns_are_counted_not_listed(tmp_path: Path):
    manifest = read(tmp_path, {**ROW, **{f"x{i}": 1 for i in range(50_000)}})
    assert len(manifest.problems) == 6
    assert "49995 more columns" in said(manifest)[-1]


def test_same_id_makes_every_such_row_bad_and_names_the_lines(tmp_path: Path):
    manifest = read(tmp_path, row("a"), row("b"), row("a", output="2.mp4"), row("a", output="3.mp4", face="me"))
    assert [film.id for film in manifest.films] == ["b"]
    assert said(manifest) == [
        "line 1 (a): id is also that of line 3, 4",
        "line 3 (a): id is also that of line 1, 4",
        "line 4 (a): face 'me' is not built yet: use largest",
        "line 4 (a): id is also that of line 1, 3",
    ]


def test_many_rows_with_one_id_name_a_few_lines(tmp_path: Path):
    manifest = read(tmp_path, *(row("a", output=f"{i}.mp4") for i in range(2000)))
    assert len(manifest.problems) == 2000
    assert said(manifest)[0] == "line 1 (a): id is also that of line 2, 3, 4, 5, 6 and 1994 more"
    assert said(manifest)[-1] == "line 2000 (a): id is also that of line 1, 2, 3, 4, 5 and 1994 more"


def test_two_rows_cannot_write_one_output(tmp_path: Path):
    manifest = read(tmp_path, row("a", output="x.mp4"), row("b", output="y/../x.mp4"), row("c"))
    assert said(manifest) == [
        "line 1 (a): output is also that of line 2",
        "line 2 (b): output is also that of line 1",
    ]
    assert [film.id for film in manifest.films] == ["c"]


def test_output_cannot_be_the_source_of_another_row(tmp_path: Path):
    manifest = read(
        tmp_path, row("a", output="b.mp4"), row("b"), row("c", output="d.mp4"), row("d", audio="d.mp4", video="v.mp4")
    )
    assert said(manifest) == [
        "line 1 (a): output would overwrite the video of line 2",
        "line 3 (c): output would overwrite the audio of line 4",
    ]
    assert [film.id for film in manifest.films] == ["b", "d"]


def test_source_of_a_bad_row_is_protected_too(tmp_path: Path):
    manifest = read(tmp_path, row("a", output="b.mp4"), row("b", language="german"))
    assert "line 1 (a): output would overwrite the video of line 2" in said(manifest)


def test_one_source_dubbed_into_two_languages_is_fine(tmp_path: Path):
    manifest = read(tmp_path, row("de", video="v.mp4", language="de"), row("fr", video="v.mp4", language="fr"))
    assert len(manifest.films) == 2
