"""What the report counts, and what the progress line says."""

import io
import json
import threading

from rich.console import Console

from pipeline.film import Film
from pipeline.progress import Progress
from pipeline.report import RunReport
from pipeline.rows import Row, from_table, to_table

FILM = Film(id="a", video="/a.mp4", output="/b.mp4", audio="/a.wav", consent="contract 7")


def shard(code: str = "ok", frames: int = 25, **facts: object) -> Row:
    """A finished shard of film a."""
    return Row("shard", "a", "{}", 0, frames, count=2, code=code, facts={"frames": frames, **facts})


def test_a_row_survives_arrow() -> None:
    row = Row("shard", "a", "{}", 3, 9, 2, "key", True, facts={"s": {"lips": 1.5}}, payload=b"\0\1")
    assert from_table(to_table([row, Row("film", "b", "{}")])) == [row, Row("film", "b", "{}")]


def test_the_first_failure_is_the_film_s_and_stays() -> None:
    with RunReport("run", {}) as report:
        report.expect(FILM)
        report.add(Row("shard", "a", "{}", code="oom", message="too big", stage="lips"))
        report.add(Row("shard", "a", "{}", code="internal", message="other", stage="composite"))
        report.add(Row("film", "a", "{}", code="ok"))
        assert (report.films["a"].code, report.films["a"].message) == ("oom", "too big")
        assert report.exit_code("any") == 2


def test_a_film_that_never_came_back_is_unfinished() -> None:
    with RunReport("run", {}) as report:
        report.expect(FILM)
        report.add(shard())
        assert report.unfinished() == ["a"]


def test_seconds_add_up_over_shards_and_notes_are_told_once() -> None:
    with RunReport("run", {"encode": {"crf": 18}}) as report:
        report.expect(FILM)
        report.refuse(4, "b", "line 4: no video")
        for _ in range(2):
            report.add(shard(s={"lips": 1.25}, notes=["batch halved"]))
        report.add(Row("film", "a", "{}", code="ok", facts={"frames": 50, "painted": 40, "shards": 2}))
        file = io.StringIO()
        report.write(file)
    written = json.loads(file.getvalue())
    film, refused = written["films"]
    assert film["seconds"] == {"lips": 2.5}
    assert film["notes"] == ["batch halved"]
    assert film["consent"] == "contract 7"
    assert refused["code"] == "bad_row"
    assert len(written["shards"]) == 2
    assert written["settings"] == {"encode": {"crf": 18}}


def test_progress_counts_from_when_the_workers_work() -> None:
    now = [0.0]
    progress = Progress(2, Console(file=io.StringIO()), every_s=5, clock=lambda: now[0])
    assert progress.line() == "films 0/2 · shards 0/0 · workers are starting · 0:00 passed"
    now[0] = 20
    progress.add(Row("film", "a", "{}", facts={"frames": 50, "cells": 1, "cells_kept": 0}))
    now[0] = 25
    progress.add(shard(frames=10))
    line = "films 0/2 · cells 0/1 · shards 1/2 · 2.0 frames/s · about 0:45 left · 0:25 passed"
    assert progress.line() == line
    progress.add(Row("film", "a", "{}", code="ok", facts={"frames": 50}))
    assert progress.line().startswith("films 1/2")


def test_in_a_log_progress_is_plain_lines() -> None:
    said = threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            if self.getvalue().count("\n") >= 2:
                said.set()
            return super().write(text)

    log = Log()
    with Progress(1, Console(file=log, width=200), every_s=0.01):
        assert said.wait(30)
    assert all(line.startswith("films 0/1") for line in log.getvalue().splitlines())
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()
