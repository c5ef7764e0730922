"""Two nights on a head with token authentication: manifest, films, dubs, weights, work folder and outputs on S3."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as parquet
import pytest

from stages.media import storage
from stages.media.index import index_video
from tests.bucket import NIGHT, put_manifest, row
from tests.cluster.head import Head, ray_head
from tests.faulty import Faults, s3_server
from tests.films import decoded
from tests.lips.wav2lip.checkpoints import write

pytestmark = [pytest.mark.ray, pytest.mark.soak]

SECRET = "hidden0word"
WORK = f"{NIGHT}/work"
FRAMES = 50
SETTINGS = {"lips.wav2lip.weights": f"{NIGHT}/weights/wav2lip.pth", "split.shard_s": "1", "run.workers": "2"}
OPTIONS = ["--config", "configs/wav2lip.yaml", "--work", WORK]
OPTIONS += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The bucket s3://night on a server without faults; what is read of it is counted."""
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    faults = Faults(busy=0, cut=0)
    with s3_server(monkeypatch, faults):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        fsspec.filesystem("s3").mkdir("night")
        yield faults
    kind.clear_instance_cache()


@pytest.fixture
def head(bucket: Faults, tmp_path: Path) -> Iterator[Head]:
    """One whose machines have the credentials, and a disk of their own."""
    (tmp_path / "disk").mkdir()
    with ray_head(cpus=12, environment={"TMPDIR": str(tmp_path / "disk"), "RAY_TMPDIR": "/tmp"}) as started:
        yield started


def reported() -> dict[str, dict[str, Any]]:
    """The films of the last run's report."""
    last = storage.names(f"{WORK}/runs")[-1]
    page = storage.read_bytes(f"{WORK}/runs/{last}/report.html").decode()
    films = {told["id"]: told for told in json.loads(storage.read_bytes(f"{WORK}/runs/{last}/report.json"))["films"]}
    assert parquet.read_table(io.BytesIO(storage.read_bytes(f"{WORK}/runs/{last}/report.parquet"))).num_rows == len(
        films
    )
    for name, told in films.items():
        assert name in page
        assert told["code"] in page
    return films


def delivered() -> dict[str, Any]:
    """When each film was put to its output."""
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    return {Path(path).stem: fs.info(path)["LastModified"] for path in fs.find("night/out")}


def written(folder: Path) -> str:
    """All text that the runs have left: in the bucket, and in the logs of drivers and workers."""
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    found = [path for path in fs.find("night/work") if Path(path).suffix in (".json", ".jsonl", ".html")]
    logs = [*folder.glob("session_2*/logs/job-driver*"), *folder.glob("session_2*/logs/worker-*")]
    tables = [path for path in fs.find("night/work") if path.endswith(".parquet")]
    assert min(len(found), len(logs), len(tables)) > 2
    texts = [fs.cat_file(path).decode() for path in found] + [path.read_text(errors="replace") for path in logs]
    return "\n".join(texts + [str(parquet.read_table(io.BytesIO(fs.cat_file(path))).to_pylist()) for path in tables])


def test_a_night_is_submitted_its_failure_seen_and_the_second_delivers_what_is_new(
    head: Head, bucket: Faults, tmp_path: Path
) -> None:
    weights = write(tmp_path / "wav2lip.pth")
    fsspec.filesystem("s3").put_file(str(weights), "night/weights/wav2lip.pth")
    rows = [row(name, tmp_path, FRAMES, box=None) for name in ("a", "b", "c")]
    rows[1]["generator"] = "mouthwarp"
    gone = {**rows[0], "id": "gone", "video": "in/nowhere.mp4", "output": "out/gone.mp4"}
    manifest = put_manifest([*rows, gone])

    first = head.ray_job_submit("python", "-m", "pipeline", "run", manifest, *OPTIONS)
    assert first.returncode == 1, first.stdout + first.stderr  # Ray makes 1 of every failure
    assert "3 of 4 films delivered" in first.stdout
    told = reported()
    assert {name: film["code"] for name, film in told.items()} == {**dict.fromkeys("abc", "ok"), "gone": "not_found"}
    assert [told[name]["shards_made"] for name in "abc"] == [2, 2, 2]
    assert min(told[name]["cells_detected"] for name in "abc") > 0
    assert min(told[name]["painted"] for name in "abc") > FRAMES // 2
    once = delivered()
    assert set(once) == set("abc")
    # Who loads them looks at their head and tail, 128 KiB.
    assert bucket.read["/night/weights/wav2lip.pth"] < 1.1 * weights.stat().st_size, "each worker has fetched them"

    again = head.dubline("submit", manifest, *OPTIONS, "--submission-id", "night-1")
    assert again.returncode == 2, again.stdout + again.stderr
    told = reported()
    assert [name for name, film in told.items() if film["kept"]] == [*"abc"]
    assert {film["shards_made"] + film["cells_detected"] for film in told.values()} == {0}

    rows += [row(name, tmp_path, FRAMES, box=None) for name in ("d", "e")]
    rows[4]["generator"] = "mouthwarp"
    second = head.dubline("submit", put_manifest(rows), *OPTIONS, "--submission-id", "night-2")
    assert second.returncode == 0, second.stdout + second.stderr
    told = reported()
    assert {name: film["code"] for name, film in told.items()} == dict.fromkeys("abcde", "ok")
    assert {name: film["shards_made"] for name, film in told.items()} == dict.fromkeys("abc", 0) | {"d": 2, "e": 2}
    assert [name for name, film in told.items() if film["cells_detected"]] == ["d", "e"]
    assert [name for name, film in told.items() if not film["kept"]] == ["d", "e"]
    now = delivered()
    assert set(now) == set("abcde")
    assert {name: now[name] for name in "abc"} == once
    assert bucket.read["/night/weights/wav2lip.pth"] < 1.1 * weights.stat().st_size, "they were fetched again"

    (tmp_path / "out").mkdir()
    for name in "abcde":
        mine = tmp_path / "out" / f"{name}.mp4"
        fsspec.filesystem("s3").get_file(f"night/out/{name}.mp4", str(mine))
        source = index_video(str(tmp_path / f"{name}.mp4"))
        assert [*index_video(str(mine)).pts] == [*source.pts]
        changed = [
            bool(abs(one[0].astype(int) - other[0])[120:190].max() > 40)
            for one, other in zip(decoded(tmp_path / f"{name}.mp4"), decoded(mine), strict=True)
        ]
        assert sum(changed) > FRAMES // 4, f"{name}: no mouth opens"
    said = written(head.folder) + "".join(run.stdout + run.stderr for run in (first, again, second))
    assert SECRET not in said
    assert head.token not in said
