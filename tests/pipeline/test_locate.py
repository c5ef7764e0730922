"""Paths and URLs of a manifest: what they stand for, which are refused, which are one file."""

from pathlib import Path

import pytest

from pipeline.locate import LocationError, SameFile, base_of, resolve
from tests.pipeline.manifest_files import ROW, only, read, row


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
def test_location_that_is_not_followed(tmp_path: Path, value: str, column: str):
    manifest = read(tmp_path, {**row(), column: value})
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
        ("m.jsonl", str(Path.cwd())),
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


def test_output_that_is_a_link_to_the_source_is_refused(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "copy.mp4").symlink_to("a.mp4")
    assert "would overwrite the video of this row" in only(read(tmp_path, {**ROW, "output": "copy.mp4"}))
