"""Everything on object storage: manifest, media, weights, work folder and outputs, over the real S3 protocol, from a
server that answers 503 to one in ten requests and hangs up on one in fifty."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as parquet
import pytest

from pipeline import Config, dub
from pipeline.report import RunReport
from stages.media import ranges, remote, storage
from stages.media.node_cache import localize
from tests.bucket import NIGHT, put_manifest, row
from tests.faulty import Faults, s3_server
from tests.films import manifest, same_pictures
from tests.poisoned import environment, poison

HIDDEN = "hidden0word"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faults]:
    """The bucket s3://night, this node's copies in a folder of their own."""
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    # All is left to the retries of this package, which do not wait long here; `make soak` has the libraries' own too.
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"retries": {"total_max_attempts": 1}}})
    monkeypatch.setattr(remote, "_FIRST_S", 0.1)
    faults = Faults(busy=0, cut=0)
    with s3_server(monkeypatch, faults):
        fsspec.filesystem("s3").mkdir("night")
        yield faults
    kind.clear_instance_cache()


def told(report: RunReport) -> dict[str, str]:
    return {name: made.code or made.message for name, made in report.films.items()}


@pytest.mark.soak
def test_two_nights_on_a_faulty_bucket(bucket: Faults, tmp_path: Path, wav2lip_file: Path) -> None:
    """Films, dubs and weights are on S3, outputs and reports go there; the second night dubs only what is new."""
    rows = [row(name, tmp_path) for name in "ab"]
    rows[0]["generator"] = "wav2lip"
    storage.file_system(NIGHT)[0].put_file(str(wav2lip_file), "night/weights/wav2lip.pth")
    lips = {"wav2lip": {"weights": f"{NIGHT}/weights/wav2lip.pth"}}
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.24}, "lips": lips})
    bucket.busy, bucket.cut = 0.1, 0.02
    first = dub(put_manifest(rows), config, f"{NIGHT}/work")
    assert told(first) == {"a": "ok", "b": "ok"}
    assert first.exit_code("any") == 0
    rows += [row(name, tmp_path) for name in "cd"]
    second = dub(put_manifest(rows), config, f"{NIGHT}/work")
    assert told(second) == dict.fromkeys("abcd", "ok")
    assert {name for name, made in second.films.items() if made.kept} == set("ab")
    assert sum(made.shards_made for made in second.films.values()) == 4
    bucket.busy = bucket.cut = 0
    print(dict(bucket.done))
    assert storage.names(f"{NIGHT}/out") == [f"{name}.mp4" for name in "abcd"]
    assert not [path for path in storage.file_system(NIGHT)[0].find("night/out") if "lease" in path]
    for name in "abcd":
        mine = localize(f"{NIGHT}/out/{name}.mp4", tmp_path / "tmp")
        assert not same_pictures(tmp_path / f"{name}.mp4", mine)
    stored = json.loads(storage.read_bytes(second.url))
    assert [made["code"] for made in stored["films"]] == ["ok"] * 4
    assert bucket.done["busy"] > 20
    assert bucket.done["cut before"] + bucket.done["cut after"] > 3


def test_a_bucket_that_goes_away_fails_the_film_and_ships_nothing_unpainted(
    bucket: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code is not one of those that let a shard go on as it is."""
    from pipeline.steps.crops import CutCrops

    rows = [row("a", tmp_path)]
    url = put_manifest(rows)
    monkeypatch.setattr(remote, "TRIES", 1)
    real = CutCrops.run

    def away(*args: object) -> object:
        try:
            storage.persist(f"{NIGHT}/in/a.mp4", lambda: (_ for _ in ()).throw(ConnectionResetError("cut")))
        finally:
            monkeypatch.setattr(CutCrops, "run", real)

    monkeypatch.setattr(CutCrops, "run", away)
    report = dub(url, Config(), f"{NIGHT}/work")
    assert told(report) == {"a": "unreachable"}
    assert report.exit_code("any") == 2
    assert storage.names(f"{NIGHT}/out") == []
    assert told(dub(url, Config(), f"{NIGHT}/work")) == {"a": "ok"}


def test_a_machine_that_did_not_index_a_film_reads_the_parts_it_works_on(
    bucket: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine indexes a film, for a sample; another makes another sample."""

    def machine(name: str) -> None:
        (tmp_path / name).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
        storage._kept_identity.cache_clear()
        bucket.read.clear()

    monkeypatch.setattr(ranges, "BLOCK", 1 << 13)
    monkeypatch.setattr(ranges, "LEAST", 1 << 13)
    config = Config.model_validate({"encode": {"codec": "ffv1"}})
    rows = [row("a", tmp_path, frames=100)]
    size, film = (tmp_path / "a.mp4").stat().st_size, "/night/in/a.mp4"
    edges = 2 * min(size, 1 << 16)
    machine("one")
    assert told(dub(put_manifest(rows), config, f"{NIGHT}/work", excerpt=(0.0, 0.2))) == {"a": "ok"}
    assert bucket.read[film] == size + edges, "once"
    machine("two")
    assert told(dub(put_manifest(rows), config, f"{NIGHT}/work", excerpt=(2.0, 2.5))) == {"a": "ok"}
    assert bucket.read[film] - edges < 0.6 * size, "the film is short: head, index and half a second are half of it"
    here = str(manifest(tmp_path / "here.jsonl", {**rows[0], "video": "a.mp4", "audio": "a.wav", "output": "a.mkv"}))
    assert told(dub(here, config, str(tmp_path / "work"), excerpt=(2.0, 2.5))) == {"a": "ok"}
    sample = localize(f"{NIGHT}/out/a.00m02s-00m02.5s.mp4", tmp_path / "two")
    assert same_pictures(sample, tmp_path / "a.00m02s-00m02.5s.mkv")


def test_passwords_and_signatures_are_nowhere_to_be_found(
    bucket: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film that is dubbed, one that is not there and one whose shard gives up, all by URLs with passwords."""
    host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    web = f"http://{HIDDEN}:{HIDDEN}@{host}/night/in"
    rows = [row(name, tmp_path) for name in ("good", "none", "bad")]
    for each in rows:
        each["output"] = str(tmp_path / "out" / f"{each['id']}.mp4")
        each["video"] = f"{web}/{each['id']}.mp4?X-Amz-Signature={HIDDEN}"
    rows[1]["video"] = f"{web}/missing.mp4?X-Amz-Signature={HIDDEN}"
    bad = {"id": "refused", "video": f"gopher://{HIDDEN}:{HIDDEN}@x/a.mp4", "audio": "a.wav", "output": "b.mp4"}
    poison(tmp_path / "poison", {"lips-bad-0": "raise"})
    work = tmp_path / "work"
    put_manifest([*rows, bad])
    command = [sys.executable, "-m", "pipeline", "run", f"{NIGHT}/films.jsonl", "--work", str(work)]
    command += ["--executor", "inline", "--set", "run.on_shard_failure=fail_film"]
    ran = subprocess.run(command, env=environment(tmp_path / "poison"), capture_output=True, timeout=200)
    said = ran.stdout.decode() + ran.stderr.decode()
    assert ran.returncode == 2, said
    [report] = work.glob("runs/*/report.json")
    codes = {made["id"]: made["code"] for made in json.loads(report.read_text())["films"]}
    assert codes == {"good": "ok", "none": "not_found", "bad": "internal", "refused": "bad_row"}, said
    assert list(work.glob("quarantine/*/*.json"))
    assert "missing.mp4?***" in said
    assert HIDDEN not in said
    looked = 0
    for folder in (work, tmp_path / "out", tmp_path / "tmp"):
        for path in folder.rglob("*"):
            assert HIDDEN not in str(path)
            if path.is_file() and path.suffix not in (".mp4", ".pth"):
                text = path.read_bytes().decode("latin-1")
                text += str(parquet.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
                assert HIDDEN not in text, path
                looked += 1
    assert looked > 10
    again = [sys.executable, "-m", "pipeline", "retry", str(work), "--executor", "inline"]
    ran = subprocess.run(again, env=environment(tmp_path / "poison"), capture_output=True, timeout=200)
    assert ran.returncode == 1
    assert b"never kept" in ran.stderr


@pytest.mark.soak
def test_a_night_on_ray_on_a_faulty_bucket(bucket: Faults, tmp_path: Path) -> None:
    """Workers of a Ray that the command starts; waits are as long as they are for users."""
    put_manifest([row(f"film{number}", tmp_path, frames=50) for number in range(6)])
    bucket.busy, bucket.cut = 0.1, 0.02
    command = [sys.executable, "-m", "pipeline", "run", f"{NIGHT}/films.jsonl", "--work", f"{NIGHT}/work"]
    own = {**environment(tmp_path / "poison"), "RAY_TMPDIR": "/tmp"}  # TMPDIR here is too long for a socket's path
    ran = subprocess.run(command, env=own, capture_output=True, timeout=900)
    print(dict(bucket.done))
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
    bucket.busy = bucket.cut = 0
    assert storage.names(f"{NIGHT}/out") == [f"film{number}.mp4" for number in range(6)]
