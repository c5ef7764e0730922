"""The crash ledger: who is working on which row, so that a row that kills its workers is found out.

Ray runs the row of a dead worker again, for ever (reference ray.md 3.7). So a worker writes a record before it works on
a row and removes it when the work ends, however it ends; a record that stays is a worker that died. Dead machines are
preemption and no fault of the row, and another run's records are another run's matter.
"""

import faulthandler
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, NoReturn

from pipeline.job import Job
from pipeline.ledger import WorkFolder, read_json, write_json
from pipeline.processes import born
from pipeline.rows import Row
from stages.media import storage

_BACKSTOP_S = 30.0
"""How long after the deadline code that never lets go of the GIL, so that no thread of ours runs, is ended."""
_STDERR = 2  # of the process: Ray puts objects without a file in the place of sys.stderr
_BROKEN = ("CUDA error", "CUDA failure", "cuDNN error")  # torch, ONNX Runtime, cuDNN


@dataclass(frozen=True)
class Attempt:
    """One worker's try at one row."""

    step: str
    node: str
    """Ray's id of the machine."""
    host: str
    pid: int
    born: str
    """When the process began, in the kernel's ticks: tells it from a later one with the same pid."""
    started: float
    """Seconds since 1970."""
    deadline_s: float
    fate: Literal["", "hung", "broken"] = ""
    """Why the process ended itself: past its deadline, or with a GPU that no later call in it can use."""
    told: str = ""
    """The stacks of a process that hung, the error of one that is broken."""


_FIELDS = tuple(field.name for field in fields(Attempt))


class Attempts:
    """The records of one worker process.

    `node` is the id of its machine; `living` asks for the ids of those that are alive, and is called only when an
    earlier attempt is on record.
    """

    def __init__(self, work: WorkFolder, node: str, living: Callable[[], Collection[str]]) -> None:
        self._work, self._node, self._living = work, node, living

    def died(self, step: str, row: Row, job: Job) -> list[Attempt]:
        """Earlier tries of this run at this step of this row that ended their process, oldest first."""
        folder = self._work.attempts(job.turn, row.film)
        mine = [name for name in storage.names(folder) if name.startswith(_prefix(step, row))]
        read = [read_json(storage.join(folder, name), *_FIELDS) for name in mine]
        found = [
            Attempt(**{name: record[name] for name in _FIELDS}) for record in read if record
        ]  # others ended meanwhile
        if not found:
            return []
        living = self._living()
        dead = [attempt for attempt in found if attempt.node in living and not self._goes_on(attempt)]
        return sorted(dead, key=lambda attempt: attempt.started)

    def _goes_on(self, attempt: Attempt) -> bool:
        """Whether the process is at work now: another film's, with the same shard. Of other machines we cannot see it,
        and Ray runs a row elsewhere only when its first worker is gone."""
        other = attempt.node == self._node and attempt.pid != os.getpid()
        return other and born(attempt.pid) == attempt.born != ""

    @contextmanager
    def under_way(self, step: str, row: Row, job: Job, deadline_s: float) -> Iterator[None]:
        """On record while the block runs, which ends the process when it takes longer than `deadline_s`.

        An error after which the process is of no use ends it too; Ray then starts a fresh one.
        """
        attempt = Attempt(
            step, self._node, socket.gethostname(), os.getpid(), born(os.getpid()), time.time(), deadline_s
        )
        url = storage.join(self._work.attempts(job.turn, row.film), f"{_prefix(step, row)}{uuid.uuid4().hex}.json")
        write_json(url, asdict(attempt))

        def end(fate: Literal["hung", "broken"], told: str) -> NoReturn:
            try:
                write_json(url, asdict(replace(attempt, fate=fate, told=told)))
            finally:
                os._exit(1)

        def hung() -> None:
            faulthandler.dump_traceback(_STDERR, all_threads=True)
            end("hung", _stacks())

        watchdog = threading.Timer(deadline_s, hung)
        watchdog.daemon = True
        watchdog.start()
        faulthandler.dump_traceback_later(deadline_s + _BACKSTOP_S, exit=True, file=_STDERR)
        try:
            yield
        except Exception as error:
            if breaks_process(error):
                traceback.print_exc()
                end("broken", f"{type(error).__name__}: {error}")
            raise
        finally:
            watchdog.cancel()
            faulthandler.cancel_dump_traceback_later()
            storage.remove(url)


def verdict(attempts: list[Attempt], row: Row) -> tuple[str, str]:
    """(code, message) of a row that ended its process in each of `attempts`."""
    last = attempts[-1]
    what = f"{row.film}: {last.step} of {row.kind} {row.start}-{row.end}"
    times = f"{len(attempts)} times, last on {last.host}"
    if last.fate == "broken":
        return "internal", f"{what} left the GPU unusable {times}: {last.told}"
    # A process that held the GIL was ended by the backstop, which leaves no word.
    if last.fate == "hung" or time.time() - last.started > last.deadline_s + _BACKSTOP_S:
        return "timeout", (
            f"{what} did not end within {last.deadline_s:.0f} s, {times}; where slow work is expected raise "
            "run.deadline_base_s, run.deadline_per_s or, for whole films, run.deadline_film_s"
        )
    return "crashed", (
        f"{what} ended its worker process {times}: a crash in a library, or killed for memory; the worker's log has "
        "its last words"
    )


def breaks_process(error: BaseException | None) -> bool:
    """Whether an error says that CUDA is broken for the rest of the process (every later call would fail too)."""
    while error is not None:
        # By name: torch is not imported where there is no network.
        named = any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__)
        if named or any(words in str(error) for words in _BROKEN):
            return True
        error = error.__cause__ or error.__context__
    return False


def _prefix(step: str, row: Row) -> str:
    return f"{step}-{row.kind}-{row.start:08d}-{row.end:08d}-"


def _stacks() -> str:
    """Every thread's stack, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame)[-12:])}")
    return "\n".join(parts)
