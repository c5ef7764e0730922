"""What is counted while a run goes on, for Prometheus: every metric is named here, and what a row adds to which.

Stages know nothing of this: the guard tells a `StepMeter`, the driver a `RunMeter`. Both send through
`ray.util.metrics`, and exist only on Ray: a run in one process counts nothing.

Counters of the driver carry the run's id and are exact: at the end they are the report's own numbers. Those of the
workers carry no run, because a standing cluster would keep the series of every night on every machine; look at their
rates. Ray keeps a counter when its process is gone; a gauge it drops 20 s after it was set last, whether its process
lives or not (measured on Ray 2.60): the driver sets its gauges again and again.
Seconds are counters, no histogram: Ray's node agent rebuilds a histogram from the middles of its buckets, so that its
sum is wrong, and each bucket is a series.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from pipeline.report import RunReport
from pipeline.rows import Row
from stages.media import storage


@dataclass(frozen=True)
class Metric:
    """One metric; `exported` is its name in Prometheus."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    tells: str

    @property
    def exported(self) -> str:
        """With what Ray puts round it."""
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"


@dataclass(frozen=True)
class Sample:
    """An amount to add to a counter, or the value of a gauge."""

    metric: Metric
    value: float
    labels: tuple[str, ...]
    """In the order of the metric's."""


Emit = Callable[[Iterable[Sample]], None]

ACTIVE: Final = Metric("dubline_run_active", "gauge", ("run",), "1 while the run's driver works, 0 when it is done.")
STARTED: Final = Metric("dubline_run_started_timestamp_seconds", "gauge", ("run",), "When the run began.")
PROGRESS: Final = Metric(
    "dubline_run_progress_timestamp_seconds", "gauge", ("run",), "When the driver last saw a row come out."
)
EXPECTED: Final = Metric("dubline_run_films", "gauge", ("run",), "Films that the run is to deliver.")
WORK_FREE: Final = Metric(
    "dubline_work_free_bytes", "gauge", ("run",), "Room left in the work folder, where it is on a disk or a mount."
)
FILMS: Final = Metric("dubline_films", "counter", ("run", "code"), "Films that ended, bad rows included, by code.")
SHARDS: Final = Metric(
    "dubline_shards",
    "counter",
    ("run", "code", "how"),
    "Shards that ended, by code, and how: made, kept from an earlier run, or copied from the source.",
)
FRAMES: Final = Metric(
    "dubline_frames", "counter", ("run", "code", "how"), "Frames of those shards; ok_passthrough: passed through."
)
STAGE_ROWS: Final = Metric(
    "dubline_stage_rows", "counter", ("stage", "code"), "Films, cells or shards a stage has worked on; ok: went on."
)
STAGE_FRAMES: Final = Metric(
    "dubline_stage_frames", "counter", ("stage",), "Frames of the cells and shards among them."
)
STAGE_SECONDS: Final = Metric(
    "dubline_stage_seconds", "counter", ("stage",), "Seconds the stage's workers worked, loading models included."
)
STAGE_IDLE: Final = Metric(
    "dubline_stage_idle_seconds",
    "counter",
    ("stage",),
    "Seconds the stage's actors waited for a row, told when it comes: of lips and enhance, what GPUs wait.",
)
STAGE_QUEUED: Final = Metric(
    "dubline_stage_queued", "counter", ("stage",), "Rows made for a stage; less those it worked on: its queue."
)
STAGE_RETRIES: Final = Metric(
    "dubline_stage_retries", "counter", ("stage",), "Rows begun again because their worker process had died."
)
CACHE: Final = Metric(
    "dubline_cache",
    "counter",
    ("cache", "result"),
    "hit or miss, of cells (faces) and of shards (segments) that an earlier run or film may have made.",
)
METRICS: Final = (
    *(ACTIVE, STARTED, PROGRESS, EXPECTED, WORK_FREE, FILMS, SHARDS, FRAMES),
    *(STAGE_ROWS, STAGE_FRAMES, STAGE_SECONDS, STAGE_IDLE, STAGE_QUEUED, STAGE_RETRIES, CACHE),
)
_AGAIN_S = 5.0  # Ray forgets a gauge after 20 s


def send(samples: Iterable[Sample]) -> None:
    """Hand samples to the Ray this process is connected to."""
    for sample in samples:
        metric, labels = sample.metric, dict(zip(sample.metric.labels, sample.labels, strict=True))
        if metric.kind == "gauge":
            _of_ray(metric).set(sample.value, labels)
        elif sample.value > 0:  # Ray refuses to add nothing
            _of_ray(metric).inc(sample.value, labels)


@cache
def _of_ray(metric: Metric) -> Any:
    from ray.util.metrics import Counter, Gauge

    kind = Gauge if metric.kind == "gauge" else Counter
    return kind(metric.name, description=metric.tells, tag_keys=metric.labels)


class StepMeter:
    """Counts what one worker does at one step.

    `bound_for` names the stage a row that comes out is work for, or nothing. `waits`: the worker exists only for this
    step, so that the time between its rows is idle. `clock` gives seconds.
    """

    def __init__(
        self,
        stage: str,
        bound_for: Callable[[Row], str],
        waits: bool,
        emit: Emit = send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._bound_for, self._waits, self._emit, self._clock = stage, bound_for, waits, emit, clock
        self._since = clock()

    def begun(self, retried: bool) -> None:
        """The worker has taken up a row; `retried`: one whose worker had died."""
        now = self._clock()
        if self._waits:
            self._emit([Sample(STAGE_IDLE, now - self._since, (self._stage,))])
        if retried:
            self._emit([Sample(STAGE_RETRIES, 1, (self._stage,))])
        self._since = now

    def ended(self, row: Row, made: Sequence[Row]) -> None:
        """The rows `made` have come out for it."""
        now = self._clock()
        self._emit(of_step(self._stage, row, made, now - self._since, self._bound_for))
        self._since = now


def of_step(
    stage: str, row: Row, made: Sequence[Row], seconds: float, bound_for: Callable[[Row], str]
) -> Iterator[Sample]:
    """What a row that a stage took counts, with the rows that came out for it."""
    failed = next((out for out in made if out.failed and out.stage == stage), None)
    yield Sample(STAGE_ROWS, 1, (stage, failed.code if failed is not None else "ok"))
    yield Sample(STAGE_SECONDS, seconds, (stage,))
    if row.kind != "film":
        yield Sample(STAGE_FRAMES, row.end - row.start if failed is None else 0, (stage,))
    for out in made:
        bound = bound_for(out)
        if bound:
            yield Sample(STAGE_QUEUED, 1, (bound,))
        if out.kind == "film" and "cells_kept" in out.facts:
            yield Sample(CACHE, out.facts["cells_kept"], ("faces", "hit"))
        elif out.kind == "cell" and stage == "faces" and "cache_hit" in out.facts:
            yield Sample(CACHE, 1, ("faces", "hit" if out.facts["cache_hit"] else "miss"))
        elif out.kind == "shard" and stage == "cast" and (out.waits or out.facts.get("kept")):
            yield Sample(CACHE, 1, ("segments", "hit" if out.facts.get("kept") else "miss"))


class RunMeter:
    """Counts what the driver sees of a run, until `close`. At its end the counters are the numbers of the report.

    `now` gives seconds since 1970.
    """

    def __init__(self, report: RunReport, work: str, emit: Emit = send, now: Callable[[], float] = time.time) -> None:
        self._report, self._emit, self._now, self._run = report, emit, now, (report.run,)
        self._disk = storage.local_path(work) if storage.is_local(work) else None
        self._films: set[str] = set()
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        self._began = self._progress = now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="gauges", daemon=True)
        self._thread.start()

    def add(self, row: Row) -> None:
        """A row of the flow, which the report has already."""
        self._progress = self._now()
        self._emit([*self._shards(), *self._ended(row.film)])

    def close(self) -> None:
        """The run is over, and the report holds what there is to tell."""
        for film in self._report.films:
            self._emit(self._ended(film))
        self._emit(Sample(FILMS, 1, (*self._run, row.code)) for row in self._report.bad_rows)
        self._emit(self._shards())
        self._emit(Sample(SHARDS, 1, (*self._run, row.code, "made")) for row in self._report.given_up)
        self._over.set()
        self._thread.join()
        self._emit(self._gauges(active=0))

    def _go_on(self) -> None:
        self._emit(self._gauges(active=1))
        while not self._over.wait(_AGAIN_S):
            self._emit(self._gauges(active=1))

    def _gauges(self, active: int) -> Iterator[Sample]:
        yield Sample(ACTIVE, active, self._run)
        yield Sample(STARTED, self._began, self._run)
        yield Sample(PROGRESS, self._progress, self._run)
        yield Sample(EXPECTED, len(self._report.films), self._run)
        if self._disk is not None:
            with suppress(OSError):  # a mount that is away: the next turn may tell it
                yield Sample(WORK_FREE, shutil.disk_usage(self._disk).free, self._run)

    def _ended(self, film: str) -> list[Sample]:
        code = self._report.films[film].code
        if not code or film in self._films:
            return []
        self._films.add(film)
        return [Sample(FILMS, 1, (*self._run, code))]

    def _shards(self) -> Iterator[Sample]:
        for (code, how), (shards, frames) in self._report.tally.items():
            before = self._told.get((code, how), (0, 0))
            if before != (shards, frames):
                self._told[code, how] = (shards, frames)
                yield Sample(SHARDS, shards - before[0], (*self._run, code, how))
                yield Sample(FRAMES, frames - before[1], (*self._run, code, how))
