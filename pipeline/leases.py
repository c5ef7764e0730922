"""One run at a time delivers a film: leases beside the outputs, alive as long as the run that holds them.

A run says that it is alive by a file in its work folder that it writes again and again (`Alive`). A film's lease is a
hidden file beside its output that names this file, so that also runs with different work folders see each other. Who
finds a lease asks whether its run is still alive: a run whose file is gone has ended, and one whose file is older than
it promised, by the clock of the storage itself, has died. A dead run's lease is not replaced but followed by the next
number, created exclusively: of all who see that it is dead, one gets it.

A lease keeps work from being done twice. What keeps a film whole is that it appears in one step: a process that was
stopped for longer than it promised, and goes on between its last look at the lease and publishing, replaces a whole
film by a whole film.
"""

import json
import os
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.ledger import RUN_ID, WorkFolder, read_json, write_json
from pipeline.processes import born
from stages.errors import DubError
from stages.media import storage
from stages.media.exclusive import create
from stages.settings import digest
from stages.urls import without_secrets

_LONGEST_NAME = 200  # bytes; file systems take 255, and the lease's own letters and number come on top
_OUT_OF_SIGHT_S = 86400.0
"""A lease whose run's work folder cannot be seen from here (another machine's disk) is believed for a day."""


class Alive:
    """Says that a run is going on, from entering to leaving: its file is written every quarter of `lease_s`."""

    def __init__(self, work: WorkFolder, run: str, lease_s: float) -> None:
        self._url = work.run(run, "alive.json")
        self._told = {"lease_s": lease_s, "process": _process()}
        self._every_s = lease_s / 4
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="alive", daemon=True)

    def __enter__(self) -> "Alive":
        write_json(self._url, self._told)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        storage.remove(self._url)

    def _go_on(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                write_json(self._url, self._told)
            except (OSError, DubError):  # the storage is away, maybe for less than the lease: the next turn may tell it
                continue


class Lease:
    """The right of a run to deliver to one output."""

    def __init__(self, work: WorkFolder, run: str, output: str) -> None:
        self._work, self._run, self._output = work, run, output
        folder, _, name = output.rpartition("/")
        # A legal name may be as long as names can be: then it is told by its digest.
        shown = name if len(name.encode()) <= _LONGEST_NAME else digest(name)
        self._stem = f"{folder}/.{shown}.lease-"

    def take(self) -> str:
        """Get the lease, or keep it. Empty when this run has it; else who does, in words."""
        while True:
            number, last = self._last()
            if last is not None and last["run"] == self._run:
                return ""
            holder = self._living(number, last)
            if holder:
                return holder
            if create(self._url(number + 1), json.dumps(self._own()).encode()):
                # Whoever held it may have ended, and a third run begun from number one, since it was looked at.
                if number == 0 or self._read(number) == last:
                    return ""
                storage.remove(self._url(number + 1))

    def holder(self) -> str:
        """Which other run has the lease, in words; empty: none that is alive."""
        number, last = self._last()
        return "" if last is not None and last["run"] == self._run else self._living(number, last)

    def give_back(self) -> None:
        """Let others have it, if this run has it."""
        number, last = self._last()
        if last is not None and last["run"] == self._run:
            for each in range(1, number + 1):  # the last one holds until the others are gone
                storage.remove(self._url(each))

    def _own(self) -> dict[str, str]:
        work = self._work.root
        return {"run": self._run, "work": without_secrets(work)}

    def _url(self, number: int) -> str:
        return f"{self._stem}{number}"

    def _read(self, number: int) -> dict[str, Any] | None:
        url = self._url(number)
        told: dict[str, Any] | None = read_json(url, "run", "work")
        if told is None and storage.exists(url):  # not one of ours, or half of one
            return {"run": "", "work": ""}
        return told

    def _last(self) -> tuple[int, dict[str, Any] | None]:
        """The lease that holds: the one with the highest number. (0, None): there is none."""
        number, last = 0, None
        while (told := self._read(number + 1)) is not None:
            number, last = number + 1, told
        return number, last

    def _living(self, number: int, lease: dict[str, Any] | None) -> str:
        """Who holds a lease; empty when there is none, or its run is over or dead."""
        if lease is None:
            return ""
        holder = f"run {lease['run'] or '?'} (work folder {lease['work'] or '?'})"
        if not RUN_ID.fullmatch(str(lease["run"])):
            return self._if_young(number, holder)
        work = WorkFolder(lease["work"])
        alive = work.run(lease["run"], "alive.json")
        try:
            told = read_json(alive, "lease_s", "process")
            written = storage.modified(alive) if told is not None else None
            if told is None or written is None:
                # Its record stays when a run ends.
                there = storage.exists(work.run(lease["run"], "job.json"))
                return "" if there else self._if_young(number, holder)
            if _dead(str(told["process"])):
                return ""
            # By its own clock where both share a work folder; a lease is no reason to write into another's.
            age_s = _now(self._work.runs) - written
            return holder if age_s <= float(told["lease_s"]) else ""
        except (DubError, OSError, ValueError, TypeError):  # another's work folder, which this one may not read
            return self._if_young(number, holder)

    def _if_young(self, number: int, holder: str) -> str:
        written = storage.modified(self._url(number))
        if written is None or time.time() - written > _OUT_OF_SIGHT_S:
            return ""
        return f"{holder}, which cannot be seen from here; if it is over, remove {self._url(number)}"


def _now(folder: str) -> float:
    """The time by the clock of the storage; by this machine's where nothing may be written."""
    probe = storage.join(folder, f".{uuid.uuid4().hex}.partial")
    try:
        storage.write_bytes(probe, b"")
        written = storage.modified(probe)
        storage.remove(probe)
    except (DubError, OSError):
        written = None
    return time.time() if written is None else written


def _machine() -> str:
    """This machine since it was started, and where its processes are numbered: containers count for themselves."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""


def _process() -> str:
    return f"{_machine()} {os.getpid()} {born(os.getpid())}"


def _dead(process: str) -> bool:
    """Whether a process is known to be gone: it was one of this machine's."""
    machine, _, rest = process.partition(" ")
    pid, _, started = rest.partition(" ")
    return bool(started) and machine == _machine() and pid.isdecimal() and born(int(pid)) != started
