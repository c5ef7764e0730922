"""Everything on object storage: manifest, film, dub, work folder and output, over the real S3 protocol."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from pipeline import Config, dub
from stages.media import storage
from tests.films import BOX, film, same_pictures, speech


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on loopback with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("night")
    yield "s3://night"
    server.stop()


def test_a_film_on_s3_is_dubbed_to_s3_and_a_second_run_keeps_it(bucket: str, tmp_path: Path) -> None:
    local = film(tmp_path / "a.mp4", frames=20)
    fs, _ = fsspec.core.url_to_fs(bucket)
    fs.put(str(local), f"{bucket}/in/a.mp4")
    fs.put(str(speech(tmp_path / "dub.wav", 0.8)), f"{bucket}/in/dub.wav")
    row = {"id": "a", "video": "in/a.mp4", "audio": "in/dub.wav", "output": "out/a.mp4", "box": BOX}
    fs.pipe(f"{bucket}/films.jsonl", json.dumps(row).encode())
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}})
    report = dub(f"{bucket}/films.jsonl", config, f"{bucket}/work")
    assert report.films["a"].code == "ok", report.films["a"].message
    assert report.films["a"].shards_made == 2
    fs.get(f"{bucket}/out/a.mp4", str(tmp_path / "out.mp4"))
    assert not same_pictures(local, tmp_path / "out.mp4")
    assert json.loads(storage.read_bytes(report.url))["films"][0]["code"] == "ok"
    again = dub(f"{bucket}/films.jsonl", config, f"{bucket}/work")
    assert again.films["a"].kept
    assert again.films["a"].shards_made == 0
