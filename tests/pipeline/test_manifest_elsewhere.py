"""Manifests in memory, over HTTP and on S3 are read as those on disk."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.manifest import ManifestError, read_manifest
from tests.pipeline.manifest_files import WRITERS, every_format, only, row, said, write_jsonl


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


@every_format
def test_http_manifest_is_read_and_outputs_are_written_in_full(tmp_path: Path, suffix: str):
    rows = [row("a", output="/out/a.mp4"), row("b"), *(row(f"c{i}", output=f"/out/{i}.mp4") for i in range(2000))]
    WRITERS[suffix](tmp_path / f"m.{suffix}", rows)
    handler = functools.partial(RangedHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        manifest = read_manifest(f"{address}/m.{suffix}?signature=secret")
        server.shutdown()
    assert "(b): output is relative to the manifest, and http:// cannot be written" in only(manifest)
    assert len(manifest.films) == 2001
    assert manifest.films[0].video == f"{address}/a.mp4"


class RangedHandler(http.server.SimpleHTTPRequestHandler):
    """Python's file server, which knows no ranges, with ranges."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        if not asked:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        start, _, end = asked.removeprefix("bytes=").partition("-")
        piece = data[int(start) : int(end) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{int(start) + len(piece) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


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
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "env", done.stderr
