"""Jobs of a cluster under names of ours: submitted once however often it is typed, followed to the driver's exit code.

Ray lets an id be used once, for ever: the tries of a job NAME are NAME, NAME-2, NAME-3 and so on. Ray adds an id or
refuses it, as one step: two who submit the same name at once start one job, and both follow it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp

from cluster.head import asking, connect, dashboard_url
from cluster.upload import Upload
from stages.errors import DubError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_log = logging.getLogger(__name__)
NAME, TRY, DIGEST = "dubline_name", "dubline_try", "dubline_asked"
"""Metadata of a job: the name it was submitted under, which try it is, what was asked for (`Upload.digest`)."""
ENDED: Final = ("SUCCEEDED", "FAILED", "STOPPED")
_POLL_S: Final = 0.5
_PATIENCE_S: Final = 120.0  # a head that is restarted with its state is back within that
_RACES: Final = 10
_AGENT_S: Final = 60.0


@dataclass(frozen=True)
class Try:
    """One job of Ray."""

    id: str
    """Its submission id."""
    name: str
    """What it was submitted as; its id where somebody else submitted it."""
    number: int
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, as Ray calls it."""
    code: int | None
    """Exit status of the driver as design section 5 has it; None: it goes on."""
    command: str
    message: str
    """Ray's."""
    digest: str
    began: float
    """Unix time in s."""
    ended: float | None


@dataclass(frozen=True)
class Submission:
    """What came of submitting."""

    job: str
    """Submission id of the try to follow."""
    how: Literal["new", "again", "running", "done"]
    """Submitted for the first time, or once more after a try that failed or was stopped; found as it runs; found as it
    ended well."""


def exit_code(state: str, driver: int | None) -> int | None:
    """The exit status of a job in a state of Ray's, whose driver ended with `driver`; None: it goes on.

    Ray itself says 0 of a stopped job and 1 of every other failure.
    """
    if state not in ENDED:
        return None
    if state == "STOPPED":
        return 130
    if driver is None:  # the driver never started, or was lost with its machine
        return 0 if state == "SUCCEEDED" else 1
    return driver if driver >= 0 else 128 - driver  # as a shell says that a signal ended it


class _Once:
    """Passes on a log that is told from its beginning over and over: every character once."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._said, self._at = write, 0, 0

    def begin(self) -> None:
        """It is told from its beginning again."""
        self._at = 0

    def add(self, text: str) -> None:
        """What comes next of it."""
        new = text[max(0, self._said - self._at) :]
        self._at += len(text)
        self._said = max(self._said, self._at)
        if new:
            self._write(new)


class Jobs:
    """The jobs of the cluster whose head is at `address`. All methods raise DubError as `cluster.head.asking` does."""

    def __init__(
        self,
        address: str,
        client: "JobSubmissionClient | None" = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.address, self._clock, self._pause = dashboard_url(address), clock, pause
        self._client = client if client is not None else connect(self.address)

    def all(self) -> list[Try]:
        """Every submitted job that the head remembers, in the order they began."""
        with asking(self.address):
            told = self._client.list_jobs()
        return sorted((_try(details) for details in told if details.submission_id), key=lambda one: one.began)

    def find(self, name: str) -> Try:
        """The last try of a name, or the job with that id. Raises DubError `not_found`."""
        known = self.all()
        if found := _last(known, name):
            return found
        others = ", ".join(one.id for one in known[-5:]) or "none"
        raise DubError("not_found", f"{self.address}: there is no job {name}; the last ones are: {others}")

    def submit(self, name: str, job: Upload) -> Submission:
        """Start the job, unless a try of this name runs or has ended well; one that failed or was stopped is followed
        by another.

        Raises DubError `bad_row` where a job of that name runs or has ended well that was asked for something else.
        """
        for _ in range(_RACES):
            known = self.all()
            last = _last(known, name)
            if last is not None and last.code in (None, 0):
                if last.digest != job.digest:
                    verb = "is going on" if last.code is None else "has ended well"
                    raise DubError(
                        "bad_row",
                        f"a job {name} {verb} that was asked for something else ({last.command}): choose another "
                        "--submission-id, one for each night",
                    )
                return Submission(last.id, "done" if last.code == 0 else "running")
            taken = {one.id for one in known}
            number, new = next(
                (number, new)
                for number in count(last.number + 1 if last is not None else 1)
                if (new := f"{name}-{number}" if number > 1 else name) not in taken
            )
            labels = {NAME: name, TRY: str(number), DIGEST: job.digest}
            try:
                self._start(new, job, labels)
            except DubError as error:
                if "already exists" not in str(error):
                    raise
                continue  # somebody else was faster
            return Submission(new, "again" if number > 1 else "new")
        raise DubError("internal", f"{self.address}: job {name}: others submit it again and again")

    def _start(self, new: str, job: Upload, labels: dict[str, str]) -> None:
        """A head that has just been started answers some seconds before it can start jobs."""
        over = self._clock() + _AGENT_S
        while True:
            try:
                with asking(self.address):
                    self._client.submit_job(
                        entrypoint=job.entrypoint, submission_id=new, runtime_env=job.runtime_env, metadata=labels
                    )
                return
            except DubError as error:
                if "No available agent" not in str(error) or self._clock() > over:
                    raise
            self._pause(_POLL_S)

    def follow(self, job: str, write: Callable[[str], object]) -> int:
        """Pass on what the driver of a try says, from its beginning, until it ends; its exit status.

        A connection that breaks is made again, and nothing said twice. Raises DubError `not_found` when the head has
        not answered for two minutes.
        """
        log, answered = _Once(write), self._clock()
        while True:
            try:
                asyncio.run(self._tail(job, log))
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                _log.debug("%s: the log's connection broke: %s", job, error)
            try:
                ended = self._ended(job)
                answered = self._clock()
            except DubError as error:
                if error.code == "unsupported" or self._clock() - answered > _PATIENCE_S:
                    raise
                ended = None
            if ended is not None and ended.code is not None:
                self._say_rest(job, log)
                if ended.state == "FAILED" and ended.message and "exit code" not in ended.message:
                    write(f"{ended.message}\n")  # the driver had no chance to say it
                return ended.code
            self._pause(_POLL_S)

    def log(self, job: str) -> str:
        """What the driver of a try has said."""
        with asking(self.address):
            return str(self._client.get_job_logs(job))

    def stop(self, job: str) -> bool:
        """Tell a try's driver to end, and wait until it has written its report and is gone; whether it still ran."""
        with asking(self.address):
            ran = bool(self._client.stop_job(job))
        while ran and self._ended(job) is None:
            self._pause(_POLL_S)
        return ran

    def _ended(self, job: str) -> Try | None:
        with asking(self.address):
            found = _try(self._client.get_job_info(job))
        return found if found.code is not None else None

    async def _tail(self, job: str, log: _Once) -> None:
        """Follow the log over one connection."""
        log.begin()
        async for chunk in self._client.tail_job_logs(job):
            log.add(chunk)

    def _say_rest(self, job: str, log: _Once) -> None:
        """What came after the connection was closed: Ray looks for new lines once a second."""
        log.begin()
        try:
            log.add(self.log(job))
        except DubError as error:  # gone with the machine; how the job ended is known
            _log.warning("%s: the end of its log cannot be read: %s", job, error)


def _last(known: list[Try], name: str) -> Try | None:
    """The last try of a name, else the job with that id."""
    tries = [one for one in known if one.name == name] or [one for one in known if one.id == name]
    return max(tries, key=lambda one: one.number, default=None)


def _try(details: Any) -> Try:
    """Out of Ray's `JobDetails`; times there are in ms."""
    labels = details.metadata or {}
    number = labels.get(TRY, "1")
    state = str(getattr(details.status, "value", details.status))
    return Try(
        id=details.submission_id,
        name=labels.get(NAME, details.submission_id),
        number=int(number) if number.isdigit() else 1,
        state=state,
        code=exit_code(state, details.driver_exit_code),
        command=details.entrypoint,
        message=details.message or "",
        digest=labels.get(DIGEST, ""),
        began=(details.start_time or 0) / 1000,
        ended=details.end_time / 1000 if details.end_time else None,
    )
