"""What is logged while a run goes on: plain lines, or JSON lines that say which run, film, shard, stage and machine.

The driver logs to its standard output (the job's log on a cluster), workers to their standard error (Ray keeps it in
`worker-*.err` of the session's log folder on their machine). Secrets go into neither.
"""

import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal

from pipeline.job import Job
from pipeline.rows import Row
from stages.urls import HIDDEN, is_secret, without_secrets

Style = Literal["plain", "json"]
LOGGERS: Final = ("pipeline", "stages", "dubline")
"""Whose records are told."""
rows: Final = logging.getLogger("dubline.rows")
"""What became of each row, told by the guard: not a part of `pipeline`, whose lines are for the terminal."""
rows.addHandler(logging.NullHandler())  # in the user's own process nobody listens, and Python would print warnings
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - never changed in place
_SHORTEST_SECRET = 8  # a shorter value of such a variable is a switch, and stands in every other word


@contextmanager
def about(**facts: str) -> Iterator[None]:
    """While the block runs, records of this thread carry `facts`: run, film, shard, stage."""
    token = _about.set({**_about.get(), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def facts_of(stage: str, row: Row, job: Job) -> dict[str, str]:
    """What identifies a row's work in a record; a cell or shard is named by its frames."""
    part: dict[str, str] = {} if row.kind == "film" else {row.kind: f"{row.start}-{row.end}"}
    return {"run": job.run, "film": row.film, **part, "stage": stage}


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Text without passwords in URLs, signatures of signed URLs, and values of variables with secret names."""
    text = without_secrets(text)
    environment = os.environ if environment is None else environment
    for name, value in environment.items():
        if len(value) >= _SHORTEST_SECRET and is_secret(name, value):
            text = text.replace(value, HIDDEN)
    return text


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, node, what `about` says, and what `extra` adds."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
            "node": socket.gethostname(),
            **_about.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            told["error"] = redacted("".join(traceback.format_exception(*record.exc_info)))
        return json.dumps(told, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """Time, level, what `about` says, message."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        names = " ".join(f"{name}={value}" for name, value in _about.get().items())
        told = " ".join(filter(None, (when, record.levelname.lower(), names, redacted(record.getMessage()))))
        return told + (
            "\n" + redacted("".join(traceback.format_exception(*record.exc_info))) if record.exc_info else ""
        )


class Printed(logging.Handler):
    """Each record through `write`, a line each."""

    def __init__(self, formatter: logging.Formatter, write: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(formatter)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:  # noqa: D102
        self._write(self.format(record))


def log_worker(style: Style) -> None:
    """Have this process, a Ray worker, log to its standard error. Once is enough; again changes nothing."""
    formatter = JsonLines() if style == "json" else PlainLines()
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # Ray's own handler would print it again
        logger.handlers = [Printed(formatter, lambda line: print(line, file=sys.stderr, flush=True))]  # noqa: T201


def style_of(environment: Mapping[str, str] | None = None) -> Style:
    """What $DUBLINE_LOG asks for; whatever is not `json` is plain."""
    environment = os.environ if environment is None else environment
    return "json" if environment.get("DUBLINE_LOG", "").strip().lower() == "json" else "plain"
