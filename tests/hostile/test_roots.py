"""`run.roots`: a row's files lie under them, by every way that a path can be written, or the row is bad."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import Config, dub
from pipeline.film import Film
from pipeline.locate import LocationError, resolve
from pipeline.manifest import Manifest, read_manifest
from pipeline.roots import Roots
from stages.errors import DubError
from stages.media import storage
from stages.media.node_cache import localize
from tests.films import BOX, film, manifest, speech
from tests.pipeline.manifest_files import row, write_jsonl


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """`in/` is the root; `secret/` and `in-front/` lie beside it, and links lead from one to the other."""
    for name in ("in/deep", "secret", "in-front"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("in/a.mp4", "in/a.wav", "secret/a.mp4", "secret/a.wav", "in-front/a.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "in/link.mp4").symlink_to(tmp_path / "secret/a.mp4")
    (tmp_path / "in/dangling.mp4").symlink_to(tmp_path / "secret/none.mp4")
    (tmp_path / "in/door").symlink_to(tmp_path / "secret")
    (tmp_path / "in/circle.mp4").symlink_to(tmp_path / "in/circle.mp4")
    (tmp_path / "in/short.mp4").symlink_to("a.mp4")
    (tmp_path / "other_door").symlink_to(tmp_path / "in")
    return tmp_path / "in"


def read(root: Path, **columns: object) -> Manifest:
    return read_manifest(write_jsonl(root / "m.jsonl", [row(**columns)]), [str(root)])


@pytest.mark.parametrize("column", ["video", "audio", "output"])
@pytest.mark.parametrize(
    "value",
    [
        "{out}/secret/a.mp4",
        "file://{out}/secret/a.mp4",
        "../secret/a.mp4",
        "deep/../../secret/a.mp4",
        "{out}/in/../secret/a.mp4",
        "{out}/in-front/a.mp4",
        "link.mp4",
        "dangling.mp4",
        "door/a.mp4",
        "door/new.mp4",
        "door/../a.mp4",
        "circle.mp4",
        "a.mp4/b.mp4",
        "{out}/other_door/a.mp4",
        "s3://bucket/a.mp4",
        "memory://a.mp4",
    ],
)
def test_nothing_leaves_the_roots(allowed: Path, column: str, value: str) -> None:
    bad = read(allowed, **{column: value.format(out=allowed.parent)})
    assert bad.films == []
    assert [(p.id, p.column) for p in bad.problems] == [("a", column)]


@pytest.mark.parametrize("column", ["video", "audio", "output"])
@pytest.mark.parametrize(
    "value",
    [
        "zip://a.mp4::file:///etc/passwd.mp4",
        "simplecache::file:///etc/passwd.mp4",
        "filecache::s3://bucket/a.mp4",
        "local:///etc/passwd.mp4",
        "reference://a.mp4",
        "dask://a.mp4",
        "sftp://host/a.mp4",
        "github://a:b@main/a.mp4",
        "jupyter://host/a.mp4",
        "file://localhost/etc/a.mp4",
        "file:/etc/a.mp4",
    ],
)
def test_chained_and_foreign_protocols_are_refused_with_and_without_roots(
    tmp_path: Path, column: str, value: str
) -> None:
    for roots in ([], ["/"], [str(tmp_path)]):
        bad = read_manifest(write_jsonl(tmp_path / "m.jsonl", [row(**{column: value})]), roots)
        assert [(p.id, p.column) for p in bad.problems] == [("a", column)]


def test_what_lies_under_a_root_goes_through(allowed: Path) -> None:
    for values in ({}, {"video": "short.mp4"}, {"video": str(allowed / "a.mp4")}, {"output": "new/folder/b.mp4"}):
        assert read(allowed, **values).problems == []
    linked = str(allowed.parent / "other_door")
    through = write_jsonl(allowed / "m.jsonl", [row(video=f"{linked}/a.mp4")])
    assert read_manifest(through, [linked]).problems == []  # a root may itself be a link
    assert read_manifest(write_jsonl(allowed / "m.jsonl", [row(video="link.mp4")])).problems == []  # no roots, no limit


PARTS = ("..", ".", "", "deep", "door", "a.mp4", "link.mp4", "short.mp4", "in", "secret", "other_door", "~", "file:")


@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=7), rooted=st.booleans(), write=st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_let_through_is_really_below_the_root(
    allowed: Path, parts: list[str], rooted: bool, write: bool
) -> None:
    value = "/".join([str(allowed.parent), *parts] if rooted else parts)
    try:
        location = resolve(value, str(allowed), write=write)
        Roots([str(allowed)]).check(location)
    except LocationError:
        return
    assert Path(os.path.realpath(location)).is_relative_to(allowed)
    if Path(location).exists():
        assert Path(location).resolve(strict=True).is_relative_to(allowed)


@pytest.mark.parametrize(
    ("root", "inside", "outside"),
    [
        ("s3://films/in", "s3://films/in/a.mp4", "s3://films/in-front/a.mp4"),
        ("s3://films/in/", "s3://films/in/a.mp4", "s3://films/a.mp4"),
        ("s3://films", "s3://films/a.mp4", "s3://films2/a.mp4"),
        ("gs://films", "gcs://films/a.mp4", "s3://films/a.mp4"),
        ("abfs://box", "az://box/a.mp4", "az://box2/a.mp4"),
        ("memory://in", "memory:///in/a.mp4", "memory://out/a.mp4"),
        ("https://host/in", "https://HOST:443/in/a.mp4?sig=1", "https://host/in/%2e%2e/a.mp4"),
        ("https://host/in", "https://host/in/a%20b.mp4", "https://host/in/%252e%252e/a.mp4"),
        ("https://host/in", "https://host/in/a.mp4", "http://host/in/a.mp4"),
        ("https://host/in", "https://host/in/a.mp4", "https://host:8443/in/a.mp4"),
        ("https://host/in", "https://host/in/a.mp4", "https://host@evil.example/in/a.mp4"),
        ("https://host/in", "https://host/in/a.mp4", "https://host/in/..\\a.mp4"),
        ("https://host/in", "https://host/in/a.mp4", "https://host.evil.example/in/a.mp4"),
        ("/films", "/films/a.mp4", "s3://films/a.mp4"),
    ],
)
def test_a_prefix_of_urls_is_a_root(root: str, inside: str, outside: str) -> None:
    roots = Roots([root])
    roots.check(inside)
    with pytest.raises(LocationError):
        roots.check(outside)


def test_the_worker_asks_again_with_its_own_links(allowed: Path) -> None:
    """Between the manifest's reading and the work, or on another machine, a folder may have become a link."""
    one = Film(id="a", video=str(allowed / "a.mp4"), audio=str(allowed / "a.wav"), output=str(allowed / "deep/o.mp4"))
    roots = Roots([str(allowed)])
    roots.check_film(one)
    (allowed / "deep").rmdir()
    (allowed / "deep").symlink_to(allowed.parent / "secret")
    with pytest.raises(DubError, match="a: output lies outside") as caught:
        roots.check_film(one)
    assert caught.value.code == "bad_row"


def test_a_run_keeps_to_its_roots(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "out").mkdir(parents=True)
    film(inside / "a.mp4", frames=6)
    speech(inside / "a.wav", 0.2)
    (inside / "door").symlink_to(tmp_path)
    base = {"video": "a.mp4", "audio": "a.wav", "box": BOX}
    rows = manifest(
        inside / "m.jsonl",
        {**base, "id": "good", "output": "out/good.mp4"},
        {**base, "id": "away", "output": "door/away.mp4"},
    )
    config = Config.model_validate({"run": {"roots": [str(inside)]}, "encode": {"preset": "ultrafast"}})
    report = dub(str(rows), config, str(tmp_path / "work"))
    assert {f.id: f.code for f in report.all_films} == {"good": "ok", "away": "bad_row"}
    assert "output lies outside of run.roots" in report.bad_rows[0].message
    assert not (tmp_path / "away.mp4").exists()


def test_roots_are_folders_and_prefixes_of_what_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config.model_validate({"run": {"roots": ["films"]}}).run.roots == [os.fspath(tmp_path / "films")]
    for wrong in ("", "zip://a.zip", "local:///x"):
        with pytest.raises(ValidationError, match="is not a folder"):
            Config.model_validate({"run": {"roots": [wrong]}})


@pytest.mark.parametrize(
    "url", ["local:///etc/x", "zip://a::file:///b.zip", "reference://x", "github://a:b@c/d", "x://"]
)
def test_nothing_else_is_opened_wherever_a_url_comes_from(url: str) -> None:
    """Work folder, weights and manifests too: fsspec has protocols that unpack archives and that run programs."""
    for use in (storage.read_bytes, storage.exists, storage.open_read, storage.identity, localize):
        with pytest.raises(DubError, match="is not opened") as caught:
            use(url)
        assert caught.value.code == "unsupported"
