"""Two runs at one output: one delivers, the other waits or leaves it, and a dead one is succeeded."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from pipeline import Config, dub
from pipeline.leases import Alive, Lease
from pipeline.ledger import WorkFolder, write_json
from stages.media import storage
from stages.media.exclusive import create
from tests.films import BOX, film, manifest, same_pictures, speech
from tests.poisoned import environment

ONE, OTHER, THIRD = (f"20261121-19000{number}-000000-abcd" for number in range(3))


def work_folder(root: str, *runs: str) -> WorkFolder:
    """A work folder with the records of runs."""
    work = WorkFolder(root)
    for run in runs:
        write_json(work.run(run, "job.json"), {})
    return work


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    return str(tmp_path) if request.param == "local" else "memory://bucket"


def test_a_living_run_keeps_its_lease_and_an_ended_one_does_not(root: str) -> None:
    work = work_folder(f"{root}/work", ONE, OTHER)
    one, other = (Lease(work, run, f"{root}/out/a.mp4") for run in (ONE, OTHER))
    with Alive(work, ONE, 60):
        assert one.take() == ""
        assert one.take() == "", "a step that is tried again"
        assert ONE in other.take()
        assert ONE in other.holder()
    assert other.take() == "", "that run is over"
    with Alive(work, OTHER, 60):
        assert OTHER in one.take()
        assert OTHER in one.holder()
        other.give_back()
        assert one.holder() == ""
        assert one.take() == ""
    one.give_back()
    assert storage.names(f"{root}/out") == []
    assert not list(Path(root).glob("out/.*"))


def test_a_run_that_gives_no_sign_of_life_is_succeeded_once(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another machine: only its file's age by the storage's clock says that it is dead."""
    monkeypatch.setattr("pipeline.leases._process", lambda: "another machine 1 1")
    work = work_folder(f"{root}/work", ONE, OTHER, THIRD)
    one, other, third = (Lease(work, run, f"{root}/out/a.mp4") for run in (ONE, OTHER, THIRD))
    write_json(work.run(ONE, "alive.json"), {"lease_s": 0.3, "process": "another machine 1 1"})
    assert one.take() == ""
    assert ONE in other.take()
    time.sleep(0.5)
    with Alive(work, OTHER, 60):
        assert other.take() == ""
        assert OTHER in third.take()
        assert OTHER in one.take(), "who seemed dead and is not, leaves it"
        other.give_back()
    assert third.take() == ""


def test_a_run_whose_work_folder_cannot_be_seen_is_believed_for_a_day(tmp_path: Path) -> None:
    work = work_folder(str(tmp_path / "work"), ONE)
    lease = Lease(work, ONE, str(tmp_path / "a.mp4"))
    elsewhere = {"run": OTHER, "work": "/disk/of/another/machine"}
    hidden = tmp_path / ".a.mp4.lease-1"
    for text in (json.dumps(elsewhere), json.dumps({**elsewhere, "run": "../../x"}), "rubbish"):
        hidden.write_text(text)
        assert "cannot be seen from here" in lease.take()
        assert str(hidden) in lease.take()
    os.utime(hidden, (time.time() - 90_000,) * 2)
    assert lease.take() == ""


def _race(root: str, number: int, barrier: object, out: object) -> None:
    barrier.wait()
    out.put([film for film in range(20) if create(f"{root}/{film}", f"process {number}".encode())])


def test_of_processes_that_create_a_file_at_once_one_succeeds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(str(tmp_path), n, barrier, out)) for n in range(2)]
    for racer in racers:
        racer.start()
    taken = sorted(number for _ in racers for number in out.get(timeout=60))
    for racer in racers:
        racer.join(60)
    assert taken == list(range(20))
    assert len(list(tmp_path.iterdir())) == 20, "nothing half is left"


def test_a_disk_without_links_has_exclusive_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert create(str(tmp_path / "a"), b"me")
    assert create(str(tmp_path / "a"), b"me")
    assert not create(str(tmp_path / "a"), b"you")


def driver(folder: Path, work: str, *settings: str) -> subprocess.Popen[bytes]:
    """`dubline run` of the folder's manifest, lossless."""
    command = [sys.executable, "-m", "pipeline", "run", str(folder / "films.jsonl"), "--work", str(folder / work)]
    command += ["--executor", "inline", "--set", "encode.codec=ffv1", *settings]
    log = (folder / f"log-{work}").open("wb")
    return subprocess.Popen(command, env=environment(folder / "poison"), stdout=log, stderr=log)


def two_films(folder: Path) -> list[Path]:
    """A manifest of two films to be dubbed in lossless shards."""
    speech(folder / "dub.wav", 0.8)
    rows = [
        {"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4", "box": BOX}
        for name in "ab"
    ]
    manifest(folder / "films.jsonl", *rows)
    return [film(folder / f"{name}.mp4", frames=20) for name in "ab"]


def waited_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a driver holds a lease."""
    end = time.monotonic() + 60
    while not list(folder.glob("out/.*.lease-1")):
        assert process.poll() is None, "it ended without a lease"
        assert time.monotonic() < end
        time.sleep(0.01)


def reported(folder: Path, work: str) -> dict[str, dict[str, object]]:
    """The films of the last run's report."""
    last = sorted(folder.glob(f"{work}/runs/*/report.json"))[-1]
    return {told["id"]: told for told in json.loads(last.read_text())["films"]}


def test_of_two_overlapping_runs_one_delivers_and_the_other_leaves_or_waits(tmp_path: Path) -> None:
    """The first is stopped while it holds a lease, goes on after the second one has left, and a third one waits."""
    sources = two_films(tmp_path)
    first = driver(tmp_path, "work")
    waited_for(tmp_path, first)
    os.kill(first.pid, signal.SIGSTOP)
    held = next(path.name[1:2] for path in tmp_path.glob("out/.*.lease-1"))
    try:
        second = driver(tmp_path, "work2", "--set", "run.lease_wait_s=0")
        assert second.wait(100) == 2, (tmp_path / "log-work2").read_text()
        told = reported(tmp_path, "work2")
        assert told[held]["code"] == "held"
        assert "another run is at work on" in str(told[held]["message"])
        third = driver(tmp_path, "work", "--set", "run.lease_wait_s=60")
        time.sleep(0.5)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.wait(100)
    assert third.wait(100) in (0, 2), (tmp_path / "log-work").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"], "films, and no leases"
    for source in sources:
        assert not same_pictures(source, tmp_path / "out" / source.name)


def test_a_killed_run_is_succeeded_at_once_on_its_machine(tmp_path: Path) -> None:
    two_films(tmp_path)
    first = driver(tmp_path, "work")
    waited_for(tmp_path, first)
    first.kill()
    first.wait()
    began = time.monotonic()
    second = driver(tmp_path, "work2")  # with a work folder of its own: what is at the outputs is no film of ours yet
    assert second.wait(100) == 0, (tmp_path / "log-work2").read_text()
    assert time.monotonic() - began < 100, "no lease was waited for"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]
    assert {told["code"] for told in reported(tmp_path, "work2").values()} == {"ok"}


def test_a_run_waits_for_another_one_and_keeps_what_it_delivered(tmp_path: Path) -> None:
    """In one process: the other run is over while this one waits."""
    two_films(tmp_path)
    work = work_folder(str(tmp_path / "work"), ONE)
    output = str(tmp_path / "out/a.mp4")
    alive = Alive(work, ONE, 60)
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "run": {"lease_wait_s": 30, "lease_s": 1}})
    alive.__enter__()
    assert Lease(work, ONE, output).take() == ""
    rows: list[str] = []

    def on_row(row: object) -> None:
        rows.append(f"{row.film} {row.code}")
        if rows[-1] == "a held":
            alive.__exit__(None, None, None)

    report = dub(str(tmp_path / "films.jsonl"), config, work.root, on_row=on_row)
    assert "a held" in rows
    assert {name: told.code for name, told in report.films.items()} == {"a": "ok", "b": "ok"}
    assert any(ONE in note for note in report.films["a"].notes)
    assert not list(tmp_path.glob("out/.*"))
