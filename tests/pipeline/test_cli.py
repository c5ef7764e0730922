"""The command as a user types it: what it prints, and its exit status."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from pipeline import terminal
from pipeline.cli import app
from pipeline.config import load_config
from pipeline.overrides import ConfigError
from pipeline.transfer import Transfer
from stages.weights import BUNDLES, REGISTRY, Weight
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
        (["{rows}", "--set", "lips.generator=wave2lip"], "lips: generator must be mouthwarp or wav2lip"),
        (["{rows}", "--config", "{rows}"], "films.jsonl: is not YAML: expected"),
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


def test_a_row_with_two_problems_is_one_film_and_all_of_it_is_told_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "a.mp4", frames=12)
    speech(tmp_path / "dub.wav", 0.4)
    good = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    wrong = {"id": "b", "vidoe": "a.mp4", "audio": "dub.wav", "output": "b.mp4"}
    gone = {"id": "c", "video": "nowhere.mp4", "audio": "dub.wav", "output": "c.mp4"}
    rows = manifest(tmp_path / "m.jsonl", good, wrong, gone)
    monkeypatch.setattr(terminal.out, "_width", 50)
    for command in (["plan", rows], ["run", rows, "--work", tmp_path / "work", *FAST]):
        done = dubline(*command)
        assert done.exit_code == 2
        lines = done.output.splitlines()
        assert "line 2 (b): vidoe is not a column of a manifest: did you mean video?; video is missing" in lines
        assert f"c: {tmp_path}/nowhere.mp4: there is no such file" in lines
        assert "1 of 3 films" in done.output


def test_plan_warns_of_weights_that_are_not_here(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUBLINE_WEIGHTS", str(rows.parent / "no_weights"))
    told = dubline("plan", rows, "--config", "configs/wav2lip.yaml").output
    assert "WARNING: this machine lacks weights; to run from here: dubline weights fetch wav2lip_gan\n" in told
    assert "lacks weights" not in dubline("plan", rows).output
    own = rows.parent / "own.pth"  # which nobody can fetch
    told = dubline("plan", rows, "--set", "lips.generator=wav2lip", "--set", f"lips.wav2lip.weights={own}").output
    assert f"WARNING: this machine lacks weights that the config names: {own}\n" in told
    assert "dubline weights fetch" not in told


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


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A bundle `both` of two files in folders; the second one's source is not there yet."""
    (tmp_path / "first.bin").write_bytes(b"first")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"first", b"second")]
    for name, digest in zip(("first", "second"), digests, strict=True):
        url = (tmp_path / f"{name}.bin").as_uri()
        monkeypatch.setitem(REGISTRY, name, Weight(name, f"models/{name}.bin", url, digest, None, "MIT", True))
    monkeypatch.setitem(BUNDLES, "both", ("first", "second"))
    return "--weights-dir", str(tmp_path / "weights")


def test_a_bundle_is_fetched_listed_and_verified_file_by_file(tmp_path: Path, bundle: tuple[str, ...]) -> None:
    assert (
        "both (2 files, 0 B and more): nothing here: dubline weights fetch both"
        in dubline("weights", "list", *bundle).output
    )
    some = dubline("weights", "fetch", "both", *bundle)
    assert some.exit_code == 1
    assert "second was not fetched" in some.output
    assert (tmp_path / "weights/models/first.bin").read_bytes() == b"first"
    assert "missing second: dubline" in dubline("weights", "list", *bundle).output
    unverified = dubline("weights", "verify", "both", *bundle)
    assert unverified.exit_code == 1
    assert "ok   first" in unverified.output
    assert "MISS second" in unverified.output
    (tmp_path / "second.bin").write_bytes(b"second")
    assert dubline("weights", "fetch", "both", *bundle).exit_code == 0
    assert "all here" in dubline("weights", "list", *bundle).output
    assert dubline("weights", "verify", "both", "first", *bundle).output.count("ok ") == 2, "each once"


def test_one_place_is_not_taken_for_several_files(tmp_path: Path, bundle: tuple[str, ...]) -> None:
    done = dubline("weights", "fetch", "both", "--url", (tmp_path / "first.bin").as_uri(), *bundle)
    assert done.exit_code != 0
    assert "one file" in done.output
    assert not (tmp_path / "weights").exists()


def test_a_name_that_is_none_is_told_before_anything_is_fetched(tmp_path: Path, bundle: tuple[str, ...]) -> None:
    done = dubline("weights", "fetch", "first", "musetalk", *bundle)
    assert done.exit_code == 1
    assert "did you mean musetalk-1." in done.output
    assert not (tmp_path / "weights").exists()


def test_a_download_tells_how_far_it_is_every_few_seconds() -> None:
    now, told = [0.0], io.StringIO()
    with Transfer("unet", Console(file=told), lambda: now[0]) as transfer:
        for now[0], done in ((1.0, 10), (6.0, 850_000_000), (8.0, 900_000_000), (12.0, 3_400_000_000)):
            transfer.tell(done, 3_400_000_000)
        now[0] = 20.0
        transfer.tell(5, None)
    assert told.getvalue().splitlines() == [
        "unet: 850.0 MB of 3.4 GB (25 %), 6 s",
        "unet: 3.4 GB of 3.4 GB (100 %), 12 s",
        "unet: 5 B, 20 s",
    ]


def test_doctor_names_what_a_run_would_use() -> None:
    done = dubline("doctor")
    assert done.exit_code == 0, done.output
    for name in ("python", "ray", "ffmpeg", "opencv", "gpu", "yunet", "workers of composite"):
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


def test_presets_are_found_from_any_folder_and_one_s_own_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/wav2lip.yaml").lips.generator == "wav2lip"
    with pytest.raises(ConfigError, match="there is no such config file"):
        load_config("elsewhere/wav2lip.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/wav2lip.yaml").write_text("lips: {generator: musetalk}")
    assert load_config("configs/wav2lip.yaml").lips.generator == "musetalk"
