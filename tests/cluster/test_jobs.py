"""Jobs on a real head with token authentication: their exit status, what a second submission does, who may ask."""

import subprocess
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import joined
from cluster.jobs import Jobs, exit_code
from cluster.upload import Upload
from stages.errors import DubError
from tests.cluster.head import Head
from tests.films import BOX, film, manifest, speech


@pytest.mark.parametrize(
    ("state", "driver", "status"),
    [
        ("PENDING", None, None),
        ("RUNNING", None, None),
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 1, 1),
        ("FAILED", 130, 130),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_the_status_is_the_drivers_own(state: str, driver: int | None, status: int | None) -> None:
    assert exit_code(state, driver) == status


@pytest.fixture
def jobs(head: Head, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")  # of other work: --address counts
    return Jobs(head.address)


def shell(command: str, asked: str = "") -> Upload:
    return Upload(command, {}, asked or command)


@pytest.mark.ray
def test_a_job_that_failed_is_tried_again_and_one_that_ended_well_is_not(jobs: Jobs, tmp_path: Path) -> None:
    said: list[str] = []
    flag = tmp_path / "flag"
    command = shell(f"echo at work; test -e {flag} || exit 1")
    first = jobs.submit("night", command)
    assert (first.job, first.how) == ("night", "new")
    assert jobs.follow(first.job, said.append) == 1
    assert "".join(said).count("at work\n") == 1
    flag.touch()
    second = jobs.submit("night", command)
    assert (second.job, second.how) == ("night-2", "again")
    assert jobs.follow(second.job, said.append) == 0
    third = jobs.submit("night", command)
    assert (third.job, third.how) == ("night-2", "done")
    with pytest.raises(DubError, match="asked for something else"):
        jobs.submit("night", shell("true"))
    assert jobs.find("night").id == "night-2"


@pytest.mark.ray
def test_two_who_submit_at_once_start_one_job_and_a_stopped_one_is_130(jobs: Jobs, tmp_path: Path) -> None:
    command = shell(f"echo x >> {tmp_path}/starts; sleep 600")
    made = []
    both = [threading.Thread(target=lambda: made.append(jobs.submit("twice", command))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(one.how for one in made) == ["new", "running"]
    assert {one.job for one in made} == {"twice"}
    codes: list[int] = []
    follower = threading.Thread(target=lambda: codes.append(jobs.follow("twice", len)))
    follower.start()
    over = time.monotonic() + 60
    while not (tmp_path / "starts").exists():
        assert time.monotonic() < over
        time.sleep(0.1)
    assert jobs.stop("twice")
    follower.join()
    assert codes == [130]
    assert (tmp_path / "starts").read_text() == "x\n"
    assert not jobs.stop("twice")


@pytest.mark.ray
@pytest.mark.parametrize("given", ["", "0" * 64])
def test_a_wrong_token_is_refused_and_never_printed(
    head: Head, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = CliRunner().invoke(joined(), ["status", "--address", head.address])
    assert done.exit_code == 1
    assert ("refuses the token" if given else "wants a token") in done.output
    assert "RAY_AUTH_TOKEN" in done.output
    assert "0" * 64 not in done.output


@pytest.mark.ray
def test_a_job_that_is_not_there_is_1(jobs: Jobs) -> None:
    for command in ("status", "stop"):
        done = CliRunner().invoke(joined(), [command, "nothing", "--address", jobs.address])
        assert done.exit_code == 1
        assert "there is no job nothing" in done.output


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A manifest with relative paths: one film that can be dubbed, and one that is not there."""
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    good = {"id": "good", "video": "a.mp4", "audio": "dub.wav", "output": "good.mp4", "box": BOX}
    return manifest(tmp_path / "night.jsonl", good, {**good, "id": "gone", "video": "b.mp4", "output": "b2.mp4"})


@pytest.mark.ray
@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.soak)])
def test_a_night_is_submitted_followed_and_its_failed_film_is_exit_status_2(
    head: Head, night: Path, executor: str
) -> None:
    work = night.parent / "work"
    asked = [
        "--work",
        work,
        "--submission-id",
        f"night-{executor}",
        "--set",
        "encode.preset=ultrafast",
        "--set",
        "run.workers=1",
    ]
    done = head.dubline("submit", night, *asked, "--", "--executor", executor)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "1 of 2 films delivered" in done.stdout
    assert (night.parent / "good.mp4").stat().st_size > 0
    assert head.token not in done.stdout + done.stderr
    told = head.dubline("status", f"night-{executor}")
    assert told.returncode == 0
    assert "some film failed" in told.stdout


@pytest.mark.ray
@pytest.mark.soak
def test_a_job_that_cannot_start_is_1(head: Head, tmp_path: Path) -> None:
    done = head.dubline("submit", "memory://nothing.jsonl", "--work", tmp_path / "work")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing.jsonl" in done.stdout


@pytest.mark.ray
@pytest.mark.soak
def test_a_stopped_night_is_130_has_its_report_and_goes_on_when_it_is_submitted_again(
    head: Head, jobs: Jobs, tmp_path: Path
) -> None:
    film(tmp_path / "a.mp4", frames=200, gop=25)
    speech(tmp_path / "dub.wav", 8.0)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    rows = manifest(tmp_path / "night.jsonl", row)
    asked = [rows, "--work", tmp_path / "work", "--submission-id", "stopped"]
    asked += ["--set", "split.shard_s=1", "--set", "run.workers=1"]
    followed: list[subprocess.CompletedProcess[str]] = []
    follower = threading.Thread(target=lambda: followed.append(head.dubline("submit", *asked)))
    follower.start()
    over = time.monotonic() + 200
    while not (made := [*tmp_path.glob("work/segments/*/*.json")]):
        assert time.monotonic() < over
        time.sleep(0.1)
    assert head.dubline("stop", "stopped").returncode == 0
    follower.join()
    assert [done.returncode for done in followed] == [130]
    assert "*** SIG" not in followed[0].stdout  # the stack of Ray's core
    assert len([*tmp_path.glob("work/runs/*/report.json")]) == 1
    stamps = {path: path.stat().st_mtime_ns for path in made}
    again = head.dubline("submit", *asked)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stopped-2: submitted again" in again.stdout
    assert (tmp_path / "o.mp4").exists()
    assert {path: path.stat().st_mtime_ns for path in made} == stamps


@pytest.mark.ray
@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.soak)])
def test_the_literal_ray_job_submit_works_from_a_checkout(head: Head, night: Path, executor: str) -> None:
    only = [
        "--executor",
        executor,
        "--only",
        "good",
        "--set",
        "encode.preset=ultrafast",
        "--config",
        "configs/wav2lip.yaml",
    ]
    command = ["python", "-m", "pipeline", "run", str(night), "--work", str(night.parent / "work"), *only]
    command += ["--config", "configs/wav2lip.yaml", "--set", "lips.generator=mouthwarp"]
    done = head.ray_job_submit(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 films delivered" in done.stdout
