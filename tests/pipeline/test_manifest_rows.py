"""JSON Lines, CSV, Parquet: rows keep their numbers, and what is no row does not stop the next."""

import json
import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import manifest_rows
from pipeline.manifest import MOST_PROBLEMS, ManifestError, read_manifest
from tests.pipeline.manifest_files import ROW, WRITERS, every_format, only, read, row, said, write_jsonl, write_parquet

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


def test_null_is_not_given(tmp_path: Path):
    assert len(read(tmp_path, {**ROW, "text": None, "spans": None, "generator": None}).films) == 1


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
    path.write_text("id,video,output,audio,enhance,voise,\na,a.mp4,oa.mp4,a.wav,,,\nb,b.mp4,ob.mp4,b.wav,gan,x,y\n")
    manifest = read_manifest(str(path))
    assert [film.id for film in manifest.films] == ["a"]
    assert said(manifest) == [
        "line 1: voise is not a column of a manifest: did you mean voice?",
        "line 3 (b): (no name) has a value in a column without a name",
        "line 3 (b): voise is not a column of a manifest: did you mean voice?",
        "line 3 (b): enhance must be none or gfpgan, not 'gan'",
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
    monkeypatch.setattr(manifest_rows, "LARGEST_FILE", 20)
    with pytest.raises(ManifestError, match="bytes; the most is 20"):
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
