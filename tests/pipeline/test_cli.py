"""The command as a user types it: what it prints, and its exit status."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from tests.films import BOX, film, manifest, speech

FAST = ["--executor", "inline", "--set", "encode.preset=ultrafast", "--set", "composite.blend=feather"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A manifest of one good and one bad film."""
    film(tmp_path / "a.mp4", frames=12)
    speech(tmp_path / "dub.wav", 0.4)
    good = {"id": "good", "video": "a.mp4", "audio": "dub.wav", "output": "good.mp4", "box": BOX}
    return manifest(tmp_path / "films.jsonl", good, {**good, "id": "gone", "video": "b.mp4", "output": "b2.mp4"})


def dubline(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize(("fail_on", "status"), [("any", 2), ("all", 0), ("never", 0)])
def test_some_film_failed(rows: Path, fail_on: str, status: int) -> None:
    done = dubline("run", rows, "--work", rows.parent / "work", "--fail-on", fail_on, *FAST)
    assert done.exit_code == status, done.output
    assert "1 of 2 films delivered" in done.output
    assert "not_found" in done.output
    assert (rows.parent / "good.mp4").stat().st_size > 0


def test_every_film_delivered_is_0(rows: Path) -> None:
    only = manifest(rows.parent / "one.jsonl", json.loads(rows.read_text().splitlines()[0]))
    done = dubline("run", only, "--work", rows.parent / "work", *FAST)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["{rows}", "--set", "lips.generater=wav2lip"], "did you mean lips.generator?"),
        (["{rows}", "--set", "encode.crf=high"], "encode.crf"),
        (["{rows}", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["{rows}", "--config", "configs/wav2lip.yaml"], "dubline weights fetch wav2lip_gan"),
    ],
)
def test_a_job_that_cannot_start_is_1_and_says_why(
    rows: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUBLINE_WEIGHTS", str(rows.parent / "no_weights"))
    done = dubline("run", *(a.format(rows=rows) for a in arguments), "--work", rows.parent / "work", *FAST)
    assert done.exit_code == 1
    assert told in done.output.replace("\n", " ")
    assert not (rows.parent / "work").exists()


def test_interrupted_is_130_and_the_next_run_goes_on(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=300, gop=25)
    speech(tmp_path / "dub.wav", 12.0)
    rows = manifest(
        tmp_path / "m.jsonl", {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    )
    work = tmp_path / "work"
    arguments = [str(rows), "--work", str(work), "--executor", "inline", "--set", "split.shard_s=1"]
    command = [sys.executable, "-m", "pipeline", "run", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(work.glob("segments/*/*.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command again" in told
    assert not (tmp_path / "o.mp4").exists()
    made = len(list(work.glob("segments/*/*.json")))
    assert made < 12
    done = dubline("run", *arguments)
    assert done.exit_code == 0, done.output
    assert f"{12 - made} of 12" in done.output


def test_plan_names_every_problem_and_writes_nothing(rows: Path) -> None:
    before = sorted(rows.parent.iterdir())
    done = dubline("plan", rows)
    assert done.exit_code == 2
    assert "12" in done.output
    assert "not_found" in done.output
    assert "1 of 2 films can be dubbed: 12 frames in 1 shards" in done.output
    assert sorted(rows.parent.iterdir()) == before


def test_weights_list_fetch_and_verify(tmp_path: Path, weights_dir: Path) -> None:
    folder = ["--weights-dir", str(tmp_path)]
    assert "yunet" in dubline("weights", "list", *folder).output
    url = (weights_dir / "face_detection_yunet_2023mar.onnx").as_uri()
    assert dubline("weights", "fetch", "yunet", "--url", url, *folder).exit_code == 0
    assert "ok   yunet" in dubline("weights", "verify", *folder).output
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"something else")
    wrong = dubline("weights", "verify", "yunet", *folder)
    assert wrong.exit_code == 1
    assert "MISS yunet" in wrong.output


def test_doctor_names_what_a_run_would_use() -> None:
    done = dubline("doctor")
    assert done.exit_code == 0, done.output
    for name in ("python", "ray", "ffmpeg", "opencv", "gpu", "weights yunet", "workers of composite"):
        assert name in done.output


def test_help_shows_an_example() -> None:
    assert "dubline run night.jsonl" in dubline("run", "--help").output


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--bogus"], ["run", "x.jsonl", "--executor", "foo"]])
def test_a_usage_error_is_1_because_2_means_a_failed_film(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Usage" in done.stdout + done.stderr


def test_brackets_in_names_and_messages_are_printed_as_they_are(tmp_path: Path) -> None:
    rows = manifest(
        tmp_path / "m.jsonl",
        {"id": "a", "video": "x[/de]y[de].mp4", "audio": "b.wav", "output": "c.mp4"},
        {"id": "b", "video": "x.mp4", "audio": "b.wav", "output": "d.mp4", "box": "left"},
    )
    done = dubline("run", rows, "--work", tmp_path / "work", *FAST)
    assert done.exit_code == 2, done.output
    told = "".join(done.output.split())
    assert "x[/de]y[de].mp4" in told
    assert "[top,bottom,left,right]" in "".join(c for c in told if c not in "│┃")
