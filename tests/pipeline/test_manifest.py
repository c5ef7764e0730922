"""Manifests: the same films from every format, and every problem named with its line and column."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import manifest_rows
from pipeline.film import Film
from pipeline.locate import LocationError, SameFile, base_of, resolve
from pipeline.manifest import MOST_PROBLEMS, Manifest, ManifestError, read_manifest

ROW = {"id": "a", "video": "a.mp4", "output": "out/a.mp4", "audio": "a.wav"}


def row(id: str = "a", **columns: Any) -> dict[str, Any]:
    """A good row, its files named after `id`, with `columns` changed; None leaves a column out."""
    values = {"id": id, "video": f"{id}.mp4", "output": f"out/{id}.mp4", "audio": f"{id}.wav", **columns}
    return {name: value for name, value in values.items() if value is not None}


def write_jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for r in rows for name in r))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for r in rows:
            writer.writerow({**r, **({"box": ",".join(map(str, r["box"]))} if "box" in r else {})})
    return str(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for r in rows for name in r))
    pq.write_table(pa.table({name: [r.get(name) for r in rows] for name in names}), path)
    return str(path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], str]] = {
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}
every_format = pytest.mark.parametrize("suffix", WRITERS)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Manifest]:
    """Reads rows through a JSON Lines file in an empty folder."""
    return lambda *rows: read_manifest(write_jsonl(tmp_path / "m.jsonl", list(rows)))


def said(manifest: Manifest) -> list[str]:
    return [str(problem) for problem in manifest.problems]


def only(manifest: Manifest) -> str:
    """The one problem there is."""
    assert len(manifest.problems) == 1, said(manifest)
    return str(manifest.problems[0])


# Good rows, in every format


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


# What is wrong with one row


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
        ({"audio_shorter": "trim"}, "audio_shorter 'trim' is not built yet: use keep"),
        ({"audio_shorter": "loop"}, "audio_shorter must be keep, not 'loop'"),
        ({"audio_longer": "freeze"}, "audio_longer 'freeze' is not built yet: use error or trim"),
        ({"audio_longer": "pingpong"}, "audio_longer 'pingpong' is not built yet"),
        ({"audio_longer": "keep"}, "audio_longer must be error or trim, not 'keep'"),
        ({"generator": "musetalk"}, "generator 'musetalk' is not built yet: use mouthwarp or wav2lip"),
        ({"generator": "wav2lib"}, "generator must be mouthwarp or wav2lip, not 'wav2lib'"),
        ({"generator": True}, "generator must be text, not true or false"),
        ({"box": "true"}, "box must be [top, bottom, left, right]"),
        ({"box": True}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3]}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3, 4.0]}, "box must be [top, bottom, left, right]"),
        ({"box": [1, 2, 3, True]}, "box must be [top, bottom, left, right]"),
        ({"box": [-1, 2, 3, 4]}, "must have 0 <= top < bottom"),
        ({"box": [9, 2, 3, 4]}, "must have 0 <= top < bottom"),
        ({"box": [1, 2, 3, 10**30]}, "must have 0 <= top < bottom"),
        ({"audio_track": -1}, "audio_track must be the track's number, from 0, or its language"),
        ({"audio_track": True}, "audio_track must be the track's number"),
        ({"audio_track": "first"}, "audio_track 'first' is not a language tag"),
        ({"consent": ""}, "consent is empty"),
        ({"spans": [[0, 1]]}, "spans is not built yet"),
        ({"background": "music.wav"}, "background is not built yet"),
        ({"enhance": "gfpgan"}, "enhance is not built yet"),
        ({"vidio": "x"}, "vidio is not a column of a manifest: did you mean video?"),
        ({"Language": "de"}, "Language is not a column of a manifest: did you mean language?"),
        ({"zzz": 1}, "zzz is not a column of a manifest"),
        ({"output": "out/a.webm"}, "output has to end in .mp4, .mov, .mkv: others are not built yet"),
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
def test_wrong_value_is_named_with_its_column(read: Callable[..., Manifest], columns: dict[str, Any], problem: str):
    manifest = read(row(**columns), row("good"))
    assert problem in only(manifest)
    assert only(manifest).startswith("line 1")
    assert [film.id for film in manifest.films] == ["good"]


@pytest.mark.parametrize("id", ["", ".a", "-a", "a/b", "a b", "ä", "a" * 101, "..", "a\n", "a\0", 5, True, ["a"]])
def test_id_that_could_not_name_a_file(read: Callable[..., Manifest], id: object):
    manifest = read({**ROW, "id": id})
    assert manifest.films == []
    assert manifest.problems[0].column == "id"
    assert str(manifest.problems[0]).isprintable()


@pytest.mark.parametrize("id", ["a", "_a", "9", "a.b-c_d", "A" * 100])
def test_id_that_names_a_file(read: Callable[..., Manifest], id: str):
    assert [film.id for film in read({**ROW, "id": id}).films] == [id]


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
def test_language_tags_are_written_one_way(read: Callable[..., Manifest], tag: str, canonical: str):
    assert read(row(language=tag)).films[0].language == canonical


def test_every_mistake_of_a_row_is_named_at_once(read: Callable[..., Manifest]):
    manifest = read(
        {"id": "-", "video": "concat:a|b", "output": 3, "audio": "x", "text": 4, "box": 1, "face": "me", "spans": 1}
    )
    assert manifest.films == []
    assert {p.column for p in manifest.problems} == {"id", "video", "output", "text", "box", "face", "spans"}
    assert {p.line for p in manifest.problems} == {1}


def test_hundred_thousand_unknown_columns_are_counted_not_listed(read: Callable[..., Manifest]):
    manifest = read({**ROW, **{f"x{i}": 1 for i in range(50_000)}})
    assert len(manifest.problems) == 6
    assert "49995 more columns" in said(manifest)[-1]


# Locations


@pytest.mark.parametrize(
    "value",
    [
        "concat:a.mp4|b.mp4",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "data:video/mp4;base64,AAAA",
        "pipe:0",
        "ftp://example.com/a.mp4",
        "rtmp://example.com/a",
        "zip://a.mp4::s3://bucket/z.zip",
        "simplecache::https://example.com/a.mp4",
        "a::b.mp4",
        "C:\\films\\a.mp4",
        "crypto+file:///a.mp4",
        "hf://datasets/a/b.mp4",
        "github://a:b@main/a.mp4",
        "s3:bucket/a.mp4",
        "s3:/bucket/a.mp4",
        "://a.mp4",
        ":a.mp4",
        "a\0.mp4",
        "a\nb.mp4",
        "a\x1b[31m.mp4",
        "",
        ".",
        "..",
        "folder/",
        "/",
        "x/..",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key.mp4",
        "s3://bucket/../other/key.mp4",
        "https://",
        "https://host/folder/",
        "file://relative.mp4",
        "file://host/a.mp4",
        "a" * 5000,
        "\udcff.mp4",
    ],
)
@pytest.mark.parametrize("column", ["video", "audio", "output"])
def test_location_that_is_not_followed(read: Callable[..., Manifest], value: str, column: str):
    manifest = read({**row(), column: value})
    assert manifest.films == []
    assert {p.column for p in manifest.problems} == {column}
    assert all(str(p).isprintable() for p in manifest.problems)


@pytest.mark.parametrize(
    ("base", "value", "location"),
    [
        ("/m", "a.mp4", "/m/a.mp4"),
        ("/m", "./12:30 talk.mp4", "/m/12:30 talk.mp4"),
        ("/m", "-lead.mp4", "/m/-lead.mp4"),
        ("/m", "über «x» 'y'.mp4", "/m/über «x» 'y'.mp4"),
        ("/m", "a//b/./c.mp4", "/m/a/b/c.mp4"),
        ("/m", "/abs/a.mp4", "/abs/a.mp4"),
        ("/m", "//abs/a.mp4", "/abs/a.mp4"),
        ("/m", "~/a.mp4", "/m/~/a.mp4"),
        ("/m", "file:///abs/a b.mp4", "/abs/a b.mp4"),
        ("/m", "S3://Bucket/a//b.mp4", "s3://Bucket/a//b.mp4"),
        ("/m", "https://host:8080/a.mp4?sig=/", "https://host:8080/a.mp4?sig=/"),
        ("s3://bucket/x/y", "../a.mp4", "s3://bucket/x/a.mp4"),
        ("s3://bucket", "a/b.mp4", "s3://bucket/a/b.mp4"),
        ("s3://bucket/x", "/abs.mp4", "/abs.mp4"),
        ("gs://bucket/x", "s3://other/a.mp4", "s3://other/a.mp4"),
        ("az://box/x", "a.mp4", "az://box/x/a.mp4"),
        ("abfs://box@account.dfs.core.windows.net/x", "a.mp4", "abfs://box@account.dfs.core.windows.net/x/a.mp4"),
        ("memory://x", "a.mp4", "memory://x/a.mp4"),
        ("memory://", "a.mp4", "memory://a.mp4"),
        ("https://host/x", "a.mp4", "https://host/x/a.mp4"),
    ],
)
def test_location_is_made_absolute(base: str, value: str, location: str):
    assert resolve(value, base, write=False) == location


def test_relative_path_cannot_leave_the_bucket():
    with pytest.raises(LocationError, match="climbs out"):
        resolve("../../a.mp4", "s3://bucket/x", write=False)


def test_output_beside_a_manifest_that_can_only_be_read():
    with pytest.raises(LocationError, match=r"relative to the manifest, and https:// cannot be written"):
        resolve("a.mp4", "https://host/x", write=True)


@pytest.mark.parametrize(
    ("manifest", "base"),
    [
        ("/x/m.jsonl", "/x"),
        ("m.jsonl", os.getcwd()),
        ("file:///x/m.csv", "/x"),
        ("s3://bucket/m.csv", "s3://bucket"),
        ("https://host/x/m.csv?a=/b/c", "https://host/x"),
        ("memory://m.csv", "memory://"),
    ],
)
def test_relative_paths_begin_beside_the_manifest(manifest: str, base: str):
    assert base_of(manifest) == base


def test_link_and_parent_mean_what_the_system_says(tmp_path: Path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    assert resolve("link/../a.mp4", str(tmp_path), write=False) == str(tmp_path.resolve() / "real" / "a.mp4")


def test_same_file_by_other_names_is_seen(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.mp4").write_bytes(b"")
    (tmp_path / "other").symlink_to(tmp_path / "folder")
    (tmp_path / "link.mp4").symlink_to("folder/a.mp4")
    same = SameFile()
    paths = ("folder/a.mp4", "other/a.mp4", "link.mp4", "other/../link.mp4")
    assert len({same.key(resolve(p, str(tmp_path), write=True)) for p in paths}) == 1
    assert same.key("/folder/b.mp4") != same.key("/folder/a.mp4")
    assert same.key("memory:///a.mp4") == same.key("memory://a.mp4")
    assert same.key("abfs://box/a.mp4") == same.key("az://box/a.mp4")


def test_output_that_is_a_link_to_the_source_is_refused(read: Callable[..., Manifest], tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "copy.mp4").symlink_to("a.mp4")
    assert "would overwrite the video of this row" in only(read({**ROW, "output": "copy.mp4"}))


# Rows among each other


def test_same_id_makes_every_such_row_bad_and_names_the_lines(read: Callable[..., Manifest]):
    manifest = read(row("a"), row("b"), row("a", output="2.mp4"), row("a", output="3.mp4", face="me"))
    assert [film.id for film in manifest.films] == ["b"]
    assert said(manifest) == [
        "line 1 (a): id is also that of line 3, 4",
        "line 3 (a): id is also that of line 1, 4",
        "line 4 (a): face 'me' is not built yet: use largest",
        "line 4 (a): id is also that of line 1, 3",
    ]


def test_many_rows_with_one_id_name_a_few_lines(read: Callable[..., Manifest]):
    manifest = read(*(row("a", output=f"{i}.mp4") for i in range(2000)))
    assert len(manifest.problems) == 2000
    assert said(manifest)[0] == "line 1 (a): id is also that of line 2, 3, 4, 5, 6 and 1994 more"
    assert said(manifest)[-1] == "line 2000 (a): id is also that of line 1, 2, 3, 4, 5 and 1994 more"


def test_two_rows_cannot_write_one_output(read: Callable[..., Manifest]):
    manifest = read(row("a", output="x.mp4"), row("b", output="y/../x.mp4"), row("c"))
    assert said(manifest) == [
        "line 1 (a): output is also that of line 2",
        "line 2 (b): output is also that of line 1",
    ]
    assert [film.id for film in manifest.films] == ["c"]


def test_output_cannot_be_the_source_of_another_row(read: Callable[..., Manifest]):
    manifest = read(
        row("a", output="b.mp4"), row("b"), row("c", output="d.mp4"), row("d", audio="d.mp4", video="v.mp4")
    )
    assert said(manifest) == [
        "line 1 (a): output would overwrite the video of line 2",
        "line 3 (c): output would overwrite the audio of line 4",
    ]
    assert [film.id for film in manifest.films] == ["b", "d"]


def test_source_of_a_bad_row_is_protected_too(read: Callable[..., Manifest]):
    manifest = read(row("a", output="b.mp4"), row("b", language="german"))
    assert "line 1 (a): output would overwrite the video of line 2" in said(manifest)


def test_one_source_dubbed_into_two_languages_is_fine(read: Callable[..., Manifest]):
    manifest = read(row("de", video="v.mp4", language="de"), row("fr", video="v.mp4", language="fr"))
    assert len(manifest.films) == 2


# JSON Lines


def test_json_lines_keep_their_numbers_over_blank_lines_and_a_bom(tmp_path: Path):
    path = tmp_path / "m.JSONL"
    lines = [b"\xef\xbb\xbf" + json.dumps(row("a")).encode(), b"", b"  ", b"{", json.dumps(row("b")).encode()]
    path.write_bytes(b"\r\n".join(lines))
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["a", "b"]
    assert only(manifest).startswith("line 4: is not JSON: ")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": "a" "video"}', "is not JSON: Expecting ',' delimiter at character 12"),
        (b"[1, 2]", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"id": "\xff"}', "is not UTF-8: byte 9"),
        (b'{"id": NaN}', "is not JSON: NaN is not a number"),
        (b'{"id": "a", "id": "b"}', "is not JSON: the key 'id' is there twice"),
        (b'{"box": ' + b"[" * 100_000, "is not JSON: nested too deeply"),
        (b'{"box": ' + b"9" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"text": "' + b"x" * (1 << 20) + b'"}', "is longer than 1048576 bytes"),
    ],
)
def test_line_that_is_no_row(tmp_path: Path, line: bytes, problem: str):
    path = tmp_path / "m.jsonl"
    path.write_bytes(line + b"\n" + json.dumps(row("b")).encode())
    manifest = read_manifest(str(path))
    assert only(manifest).startswith(f"line 1: {problem}")
    assert [film.id for film in manifest.films] == ["b"]


def test_line_of_exactly_the_longest_length_is_read(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    start = json.dumps(row("a")).encode()
    path.write_bytes(start + b" " * ((1 << 20) - len(start)) + b"\n" + b" " * ((1 << 20) + 1))
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["a"]
    assert only(manifest) == "line 2: is longer than 1048576 bytes"


def test_null_is_not_given(read: Callable[..., Manifest]):
    assert len(read({**ROW, "text": None, "spans": None, "generator": None}).films) == 1


# CSV


def test_csv_cells_are_read_by_their_column(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_bytes(
        b"\xef\xbb\xbfid, video,output,audio,text,box,audio_track,spans\r\n"
        b'7,7.mp4,o7.mp4,7.wav,,"[1, 2, 3, 4]",2,\r\n'
        b",,,,,,,\r\n"
        b"\r\n"
        b'8,8.mp4,o8.mp4,,"two\r\nlines, ""quoted""","1, 2,3 ,4",,\r\n'
        b"9,9.mp4,o9.mp4,9.wav,,,ger,\r\n"
    )
    manifest = read_manifest(str(path))
    assert said(manifest) == []
    first, second, third = manifest.films
    assert (first.id, first.box, first.audio_track, first.text) == ("7", (1, 2, 3, 4), 2, None)
    assert (second.text, second.box) == ('two\nlines, "quoted"', (1, 2, 3, 4))
    assert third.audio_track == "ger"


def test_csv_rows_are_numbered_by_their_first_line(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text('id,video,output,text\n\na,a.mp4,oa.mp4,"1\n2\n3"\nb,b.mp4,,x\n"c\n",c.mp4,oc.mp4,x\nd,,d.mp4,x\n')
    manifest = read_manifest(str(path))
    assert [(p.line, p.column) for p in manifest.problems] == [(6, "output"), (7, "id"), (9, "video")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a,a.mp4,o.mp4,a.wav,extra", "has 5 cells, the header has 4"),
        ("a,a.mp4,o.mp4", "has 3 cells, the header has 4"),
        ('a,"a"b,o.mp4,a.wav', "is not CSV: ',' expected after '\"'"),
        ("a,a.mp4,o.mp4," + "x" * 200_000, "is not CSV: field larger than field limit"),
        ("a,a.mp4,o.mp4," + "x,y" * 400_000, "is longer than 1048576 bytes"),
        ("a,a.mp4,o.mp4,a\rb.wav", "is not CSV: new-line character"),
    ],
)
def test_csv_line_that_is_no_row_does_not_stop_the_next(tmp_path: Path, line: str, problem: str):
    path = tmp_path / "m.csv"
    path.write_text(f"id,video,output,audio\n{line}\nb,b.mp4,ob.mp4,b.wav\n", newline="")
    manifest = read_manifest(str(path))
    assert f"line 2: {problem}" in only(manifest).replace(" (a)", "")
    assert [film.id for film in manifest.films] == ["b"]


def test_csv_quote_that_is_never_closed_is_said(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text('id,video,output,audio\na,a.mp4,oa.mp4,a.wav\nb,"b.mp4,ob.mp4,b.wav\nc,c.mp4,oc.mp4,c.wav\n')
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["a"]
    assert only(manifest) == "line 3: is not CSV: unexpected end of data"


def test_csv_bytes_that_are_not_utf8_are_named_by_column(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"id,video,output,text\na,a.mp4,oa.mp4,f\xfcr\nb,\xfc.mp4,ob.mp4,x\nc,c.mp4,oc.mp4,x\n")
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["c"]
    assert [(p.line, p.column) for p in manifest.problems] == [(2, "text"), (3, "video")]
    assert all("is not valid Unicode" in p.message for p in manifest.problems)


def test_csv_header_names_unknown_columns_once_and_rows_that_use_them(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text("id,video,output,audio,spans,voise,\na,a.mp4,oa.mp4,a.wav,,,\nb,b.mp4,ob.mp4,b.wav,1,x,y\n")
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["a"]
    assert said(manifest) == [
        "line 1: voise is not a column of a manifest: did you mean voice?",
        "line 3 (b): has a value in a column without a name",
        "line 3 (b): spans is not built yet",
        "line 3 (b): voise is not a column of a manifest: did you mean voice?",
    ]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("a,a.mp4,oa.mp4,a.wav", "the header lacks id, video, output; its columns are: a, a.mp4, oa.mp4, a.wav"),
        ("id;video;output;audio", "Cells are separated by commas"),
        ("id,video,output,id", "the header has 'id' twice"),
        ('"id,video', "the header is not CSV"),
        ("id," + "x" * 200_000, "the header is not CSV"),
    ],
)
def test_csv_header_that_no_row_can_be_read_by(tmp_path: Path, header: str, problem: str):
    path = tmp_path / "m.csv"
    path.write_text(header + "\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(path))
    assert problem in str(caught.value)


# Parquet


def test_parquet_types_are_strict(tmp_path: Path):
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "video": pa.array([b"a.mp4", b"\xff"], pa.binary()),
            "output": ["a.mp4", "b.mp4"],
            "audio": ["a.wav", "b.wav"],
            "box": pa.array([[1.0, 2.0, 3.0, 4.0], None], pa.list_(pa.float64())),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = read_manifest(str(tmp_path / "m.parquet"))
    assert [(p.line, p.column) for p in manifest.problems] == [
        (1, "id"),
        (1, "video"),
        (1, "box"),
        (2, "id"),
        (2, "video"),
    ]


def test_parquet_text_that_is_not_utf8_spoils_its_row_only(tmp_path: Path):
    data = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\5\0\0\0\6\0\0\0"), pa.py_buffer(b"\xff.mp4b")]
    )
    table = pa.table({"id": ["a", "b"], "video": data, "output": ["oa.mp4", "ob.mp4"], "audio": ["a.wav", "b.wav"]})
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = read_manifest(str(tmp_path / "m.parquet"))
    assert [film.id for film in manifest.films] == ["b"]
    assert {(p.line, p.column) for p in manifest.problems} == {(1, "video")}


def test_parquet_with_many_batches_counts_on(tmp_path: Path):
    rows = [row(f"r{i}") for i in range(2500)]
    rows[2100]["language"] = "german"
    manifest = read_manifest(write_parquet(tmp_path / "m.parquet", rows))
    assert len(manifest.films) == 2499
    assert (manifest.problems[0].line, manifest.problems[0].id) == (2101, "r2100")


def test_parquet_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = write_parquet(tmp_path / "m.parquet", [row()])
    monkeypatch.setattr(manifest_rows, "_LARGEST_UNPACKED", 10)
    with pytest.raises(ManifestError, match="unpacks to"):
        read_manifest(url)


# The manifest as a whole


@pytest.mark.parametrize("name", ["m.txt", "m", "m.jsonl.gz", "m.xlsx", "jsonl"])
def test_other_kinds_of_file_are_refused_by_name(tmp_path: Path, name: str):
    (tmp_path / name).write_text("x")
    with pytest.raises(ManifestError, match=r"a manifest is a \.jsonl, \.ndjson, \.csv, \.parquet file"):
        read_manifest(str(tmp_path / name))


@every_format
def test_manifest_that_is_not_there(tmp_path: Path, suffix: str):
    with pytest.raises(ManifestError, match="there is no such file"):
        read_manifest(str(tmp_path / f"m.{suffix}"))


@every_format
def test_folder_or_pipe_is_no_manifest(tmp_path: Path, suffix: str):
    (tmp_path / f"m.{suffix}").mkdir()
    with pytest.raises(ManifestError, match="is a directory, not a file"):
        read_manifest(str(tmp_path / f"m.{suffix}"))
    os.mkfifo(tmp_path / f"p.{suffix}")
    with pytest.raises(ManifestError, match="not a file"):
        read_manifest(str(tmp_path / f"p.{suffix}"))


@pytest.mark.parametrize(
    ("suffix", "text"), [("jsonl", ""), ("jsonl", "\n \n"), ("csv", ""), ("csv", "id,video,output\n")]
)
def test_manifest_without_rows(tmp_path: Path, suffix: str, text: str):
    (tmp_path / f"m.{suffix}").write_text(text)
    with pytest.raises(ManifestError, match="has no rows"):
        read_manifest(str(tmp_path / f"m.{suffix}"))


def test_parquet_without_rows_or_without_parquet(tmp_path: Path):
    url = write_parquet(tmp_path / "m.parquet", [row()])
    pq.write_table(pq.read_table(url).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(ManifestError, match="has no rows"):
        read_manifest(str(tmp_path / "empty.parquet"))
    (tmp_path / "text.parquet").write_text("id,video")
    with pytest.raises(ManifestError, match="cannot be read: Arrow"):
        read_manifest(str(tmp_path / "text.parquet"))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_utf16_says_what_to_do(tmp_path: Path, suffix: str):
    (tmp_path / f"m.{suffix}").write_text("id,video,output\n", encoding="utf-16")
    with pytest.raises(ManifestError, match="is UTF-16 text: save it as UTF-8"):
        read_manifest(str(tmp_path / f"m.{suffix}"))


@every_format
def test_file_that_is_too_large_is_not_read(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch):
    url = WRITERS[suffix](tmp_path / f"m.{suffix}", [row()])
    monkeypatch.setattr(manifest_rows, "LARGEST_FILE", 50)
    with pytest.raises(ManifestError, match="bytes; the most is 50"):
        read_manifest(url)


def test_unknown_size_is_capped_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = write_jsonl(tmp_path / "m.jsonl", [row()])
    monkeypatch.setattr(manifest_rows, "LARGEST_FILE", 50)
    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "info", lambda *_, **__: {"type": "file"})
    with pytest.raises(ManifestError, match="more than 50 bytes"):
        read_manifest(url)


def test_text_file_under_a_manifest_name_is_not_a_million_problems(tmp_path: Path):
    (tmp_path / "m.jsonl").write_text("x\n" * (MOST_PROBLEMS + 10))
    with pytest.raises(ManifestError, match=f"more than {MOST_PROBLEMS} problems, the first are: line 1: is not JSON"):
        read_manifest(str(tmp_path / "m.jsonl"))


@pytest.mark.parametrize("url", ["nosuch://bucket/m.csv", "zip://m.csv::/tmp/x.zip", "s3://[/m.csv"])
def test_address_that_cannot_be_opened(url: str):
    with pytest.raises(ManifestError):
        read_manifest(url)


def test_signed_part_of_the_address_is_not_repeated():
    with pytest.raises(ManifestError) as caught:
        read_manifest("https://host/m.txt?signature=secret")
    assert "secret" not in str(caught.value)


# Elsewhere than on this disk


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    for path in fs.ls("/", detail=False):
        fs.rm(path, recursive=True)


@every_format
def test_memory_manifest_gives_the_same_films(tmp_path: Path, suffix: str, memory: Any):
    rows = [row("a"), row("b", video="../b.mp4", output="/data/b.mp4"), row("c", video="s3://bucket/c.mp4")]
    memory.put_file(WRITERS[suffix](tmp_path / f"m.{suffix}", rows), f"/nights/one/m.{suffix}")
    manifest = read_manifest(f"memory://nights/one/m.{suffix}")
    assert said(manifest) == []
    assert [film.video for film in manifest.films] == [
        "memory://nights/one/a.mp4",
        "memory://nights/b.mp4",
        "s3://bucket/c.mp4",
    ]
    assert manifest.films[0].output == "memory://nights/one/out/a.mp4"
    assert manifest.films[1].output == "/data/b.mp4"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 on this machine, with a bucket called `nights`; credentials are in the environment."""
    moto_server = pytest.importorskip("moto.server", reason="moto[server] is in the dev extra")
    pytest.importorskip("s3fs", reason="s3fs is in the dev extra")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        fsspec.filesystem("s3").mkdir("nights")
        yield f"http://{host}:{port}"
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@every_format
def test_s3_manifest_gives_the_same_films(tmp_path: Path, suffix: str, s3: str):
    fs = fsspec.filesystem("s3")
    fs.put_file(WRITERS[suffix](tmp_path / f"m.{suffix}", [row("a"), row("b", face="me")]), f"nights/1/m.{suffix}")
    manifest = read_manifest(f"s3://nights/1/m.{suffix}")
    assert only(manifest).endswith("(b): face 'me' is not built yet: use largest")
    assert [film.output for film in manifest.films] == ["s3://nights/1/out/a.mp4"]
    with pytest.raises(ManifestError, match="there is no such file"):
        read_manifest(f"s3://nights/2/m.{suffix}")


def test_s3_manifest_that_was_just_replaced_is_read_anew(s3: str, tmp_path: Path):
    fs = fsspec.filesystem("s3")
    for ids in (["a"], ["a", "b", "c"]):
        fs.put_file(write_jsonl(tmp_path / "m.jsonl", [row(i) for i in ids]), "nights/again/m.jsonl")
        assert [film.id for film in read_manifest("s3://nights/again/m.jsonl").films] == ids


def test_s3_endpoint_comes_from_the_environment(s3: str, tmp_path: Path):
    """A fresh process: fsspec reads FSSPEC_S3_* once, when it is imported."""
    fsspec.filesystem("s3").put_file(write_jsonl(tmp_path / "m.jsonl", [row("env")]), "nights/env/m.jsonl")
    code = "from pipeline.manifest import read_manifest as r; print(r('s3://nights/env/m.jsonl').films[0].id)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FSSPEC_S3_ENDPOINT_URL": s3},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "env", done.stderr


# Any input at all

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,30}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    str.strip
)
rows_of_films = st.lists(
    st.fixed_dictionaries(
        {"id": names},
        optional={
            "language": st.sampled_from(["de", "pt-BR", "zh-Hant-TW", "es-419"]),
            "box": st.tuples(st.integers(0, 99), st.integers(100, 999), st.integers(0, 99), st.integers(100, 999)).map(
                list
            ),
            "audio_longer": st.sampled_from(["error", "trim"]),
            "generator": st.sampled_from(["mouthwarp", "wav2lip"]),
            "consent": words,
            "text": words,
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda r: r["id"],
)


@settings(max_examples=60)
@given(rows=rows_of_films)
def test_any_good_rows_come_back_equal_from_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]):
    folder = tmp_path_factory.mktemp("any")
    whole = [
        {**r, "video": f"v/{r['id']}.mp4", "output": f"o/{r['id']}.mov", **({} if "text" in r else {"audio": "a.wav"})}
        for r in rows
    ]
    read = [read_manifest(write(folder / f"m.{suffix}", whole)) for suffix, write in WRITERS.items()]
    assert [said(manifest) for manifest in read] == [[]] * 4
    assert all(manifest.films == read[0].films for manifest in read)
    for film, r in zip(read[0].films, whole, strict=True):
        expected = {**r, "video": f"{folder}/{r['video']}", "output": f"{folder}/{r['output']}"}
        if "audio" in r:
            expected["audio"] = f"{folder}/a.wav"
        if "box" in r:
            expected["box"] = tuple(r["box"])
        assert film.model_dump(exclude_unset=True) == expected


junk_bytes = st.binary(max_size=300) | st.lists(
    st.sampled_from(
        [b"id", b",", b"\n", b'"', b"\r", b"video", b"output", b"audio", b"{", b"}", b"[", b":", b"\\u", b"d800", b"a",
         b"\xff", b"\xef\xbb\xbf", b"\0", b'"id":"a"', b"null", b"1e999", b"://", b"box", b"PAR1"]
    ),
    max_size=60,
).map(b"".join)  # fmt: skip


def survives(path: Path) -> None:
    """Reading gives films and printable problems, or a ManifestError; anything else fails the test."""
    with contextlib.suppress(ManifestError):
        manifest = read_manifest(str(path))
        assert all(str(problem).isprintable() for problem in manifest.problems)
        assert manifest.films or manifest.problems


@settings(max_examples=150)
@given(data=junk_bytes, suffix=st.sampled_from(sorted(WRITERS)), headed=st.booleans())
def test_any_bytes_are_films_problems_or_a_manifest_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, headed: bool
):
    path = tmp_path_factory.getbasetemp() / f"junk.{suffix}"
    path.write_bytes(b"id,video,output,audio,box\n" + data if headed else data)
    survives(path)


@settings(max_examples=100)
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), min_size=1, max_size=4))
def test_damaged_parquet_is_no_crash(tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[float, bytes]]):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    data = bytearray(Path(write_parquet(path, [row("a", box=[1, 2, 3, 4]), row("b")])).read_bytes())
    for place, new in cuts:
        start = int(place * (len(data) - 1))
        data[start : start + len(new)] = new
    path.write_bytes(data)
    survives(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(columns=st.dictionaries(st.sampled_from([*Film.model_fields, "spans"]) | st.text(max_size=6), json_values))
def test_any_json_object_is_a_film_or_printable_problems(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]
):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_jsonl(path, [{**ROW, **columns}])
    survives(path)
