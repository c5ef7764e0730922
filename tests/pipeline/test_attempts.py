"""The crash ledger: which tries count, and how a hang or a broken GPU ends the process."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline import Config
from pipeline.attempts import Attempt, Attempts, breaks_process, verdict
from pipeline.film import Film
from pipeline.guard import deadline_s, guarded
from pipeline.job import Job
from pipeline.ledger import WorkFolder, write_json
from pipeline.rows import Row
from pipeline.steps.base import Step
from pipeline.steps.composite import PaintSegment
from pipeline.steps.enhance import EnhanceFaces
from pipeline.steps.lips import DrawLips

JOB = Job(film=Film(id="a", video="/a.mp4", output="/o.mp4", audio="/d.wav"), run="now", generator="mouthwarp")
ROW = Row("shard", "a", JOB.model_dump_json(), 0, 10, 1, "0123456789abcdef0123", facts={"painted": 10})
GONE = Attempt("composite", "here", "host", 2**22 + 1, "1", time.time(), 3600.0)  # no pid is larger than 2**22
_ROOT = Path(__file__).resolve().parents[2]


def ledger(
    folder: Path, *attempts: Attempt, job: Job = JOB, living: Callable[[], set[str]] = lambda: {"here"}
) -> Attempts:
    """The ledger of a worker on machine `here`, with attempts on record."""
    work = WorkFolder(str(folder))
    for number, attempt in enumerate(attempts):
        url = f"{work.attempts(job.turn, 'a')}/{attempt.step}-shard-00000000-00000010-{number}.json"
        write_json(url, asdict(attempt))
    return Attempts(work, "here", living)


def test_a_process_that_is_gone_counts(tmp_path: Path) -> None:
    assert ledger(tmp_path, GONE, GONE).died("composite", ROW, JOB) == [GONE, GONE]


def test_another_step_row_run_or_pass_does_not_count(tmp_path: Path) -> None:
    tried = ledger(tmp_path, GONE)
    assert not tried.died("lips", ROW, JOB)
    assert not tried.died("composite", replace(ROW, start=10, end=20), JOB)
    assert not tried.died("composite", replace(ROW, film="b"), JOB)
    assert not tried.died("composite", ROW, JOB.model_copy(update={"run": "before"}))
    assert not tried.died("composite", ROW, JOB.model_copy(update={"sweep": 1}))


def test_a_machine_that_is_gone_is_preemption(tmp_path: Path) -> None:
    assert not ledger(tmp_path, replace(GONE, node="there")).died("composite", ROW, JOB)


def test_ray_is_asked_only_when_something_is_on_record(tmp_path: Path) -> None:
    def ask() -> set[str]:
        raise AssertionError("asked")

    assert not ledger(tmp_path, living=ask).died("composite", ROW, JOB)


def test_a_process_that_is_at_work_does_not_count_and_one_with_its_old_number_does(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        born = Path(f"/proc/{other.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        alive = replace(GONE, pid=other.pid, born=born)
        assert ledger(tmp_path, alive, replace(alive, born="1")).died("composite", ROW, JOB) == [
            replace(alive, born="1")
        ]
        other.communicate(b"\n")


def test_the_record_is_gone_when_the_work_ends_however_it_ends(tmp_path: Path) -> None:
    tried = ledger(tmp_path)
    folder = Path(WorkFolder(str(tmp_path)).attempts(JOB.turn, "a"))
    with tried.under_way("composite", ROW, JOB, 60):
        [record] = folder.iterdir()
        assert json.loads(record.read_text())["pid"] == os.getpid()
    assert not list(folder.iterdir())
    with pytest.raises(KeyError), tried.under_way("composite", ROW, JOB, 60):
        raise KeyError
    assert not list(folder.iterdir())


def test_a_row_that_had_its_tries_ends_without_being_touched(tmp_path: Path) -> None:
    class Untouchable(PaintSegment):
        def run(self, row: Row, job: Job) -> None:  # type: ignore[override]
            raise AssertionError("touched")

    step = Untouchable(Config(), str(tmp_path))
    [out] = guarded(step, ROW, ledger(tmp_path, GONE, GONE, GONE))
    assert (out.code, out.stage) == ("crashed", "composite")
    assert "3 times" in out.message
    [record] = (tmp_path / "quarantine/a").iterdir()
    assert [attempt["host"] for attempt in json.loads(record.read_text())["attempts"]] == ["host"] * 3


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (GONE, "crashed"),
        (replace(GONE, fate="hung"), "timeout"),
        (replace(GONE, started=GONE.started - 4000), "timeout"),  # ended by the backstop, which leaves no word
        (replace(GONE, fate="broken", told="CUDA error: misaligned address"), "internal"),
    ],
)
def test_what_the_last_try_says_is_the_row_s_code(attempt: Attempt, code: str) -> None:
    told, message = verdict([GONE, attempt], ROW)
    assert told == code
    assert "composite of shard 0-10" in message
    assert attempt.told in message


def test_a_full_disk_is_no_fault_of_the_row_s_that_may_pass_through(tmp_path: Path) -> None:
    class Full(PaintSegment):
        def run(self, row: Row, job: Job) -> None:  # type: ignore[override]
            raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")

    [out] = guarded(Full(Config(), str(tmp_path)), ROW)
    assert out.code == "disk_full"
    assert "/scratch/x" in out.message
    assert not (tmp_path / "quarantine").exists()


def test_only_cuda_errors_break_a_process() -> None:
    class AcceleratorError(RuntimeError):
        pass

    def caused(error: Exception) -> Exception:
        error.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
        return error

    assert breaks_process(AcceleratorError("an illegal memory access"))
    assert breaks_process(RuntimeError("CUDA error: unspecified launch failure"))
    assert breaks_process(caused(ValueError()))
    assert not breaks_process(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not breaks_process(ValueError("CUDA is not available"))


WORKER = """
import ctypes, sys, time
from tests.pipeline.test_attempts import JOB, ROW, ledger
import pipeline.attempts
pipeline.attempts._BACKSTOP_S = 0.5
class AcceleratorError(RuntimeError): ...
def broken(): raise AcceleratorError("CUDA error: misaligned address")
def holds_the_gil(): ctypes.PyDLL(None).sleep(60)
with ledger(sys.argv[1]).under_way("composite", ROW, JOB, 0.5):
    eval(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("work", "fate", "told"),
    [("time.sleep(60)", "hung", "MainThread"), ("holds_the_gil()", "", ""), ("broken()", "broken", "misaligned")],
)
def test_what_hangs_or_breaks_ends_its_process_and_says_so(tmp_path: Path, work: str, fate: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path), work],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    [attempt] = ledger(tmp_path).died("composite", ROW, JOB)
    assert attempt.fate == fate
    assert told in attempt.told
    assert b"most recent call" in done.stderr


class Second:
    """An index of 25 frames."""

    duration_s = 1.0

    def __len__(self) -> int:
        return 25


@pytest.mark.parametrize(
    ("step", "device", "least_s", "most_s"),
    [
        # 75 frames at 20 s each, which two busy cores were seen to take
        (DrawLips, "cpu", 900 + 75 * 20, 2 * 3600),
        (EnhanceFaces, "cpu", 900 + 75 * 8, 3600),
        (DrawLips, "cuda", 900, 1300),
        (EnhanceFaces, "cuda", 900, 1300),
        (PaintSegment, "cpu", 900, 1300),
    ],
)
def test_a_network_that_is_slow_without_a_gpu_is_not_taken_for_one_that_hangs(
    step: type[Step], device: str, least_s: float, most_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(step, "index", lambda *_: Second())
    job = JOB.model_copy(update={"generator": "musetalk", "enhance": "gfpgan"})
    config = Config.model_validate({"lips": {"device": device}, "enhance": {"device": device}})
    row = replace(ROW, start=0, end=75)
    assert least_s <= deadline_s(step(config, str(tmp_path)), row, job) <= most_s
