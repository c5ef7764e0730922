"""What the report counts, and what the progress line says."""

import io
import json
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.film import Film
from pipeline.progress import Progress
from pipeline.report import RunReport
from pipeline.report_html import exit_meaning
from pipeline.report_tables import write_films, write_shards
from pipeline.rows import Row
from stages.errors import DubError

FILM = Film(id="a", video="/a.mp4", output="/b.mp4", audio="/a.wav", consent="contract 7")


def shard(code: str = "ok", frames: int = 25, **facts: object) -> Row:
    """A finished shard of film a."""
    return Row("shard", "a", "{}", 0, frames, count=2, code=code, facts={"frames": frames, **facts})


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


def test_a_report_read_back_is_the_report(tmp_path: Path) -> None:
    with RunReport("run", {"encode": {"crf": 18}}) as report:
        report.expect(FILM)
        report.refuse(4, "b", "line 4: «no» video")
        report.add(shard(s={"lips": 1.25}, notes=["batch halved"]))
        report.add(Row("film", "a", "{}", code="ok", facts={"frames": 50, "painted_s": [[0.0, 1.5]]}))
        file = io.StringIO()
        report.write(file)
        with RunReport.read(io.StringIO(file.getvalue()), "here") as again:
            assert again.all_films == report.all_films
            assert list(again.shards()) == list(report.shards())
            same = io.StringIO()
            again.write(same)
    assert same.getvalue() == file.getvalue()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"run": 1,\n "shards": [\n', "\0", '{\n "shards": [\n'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(DubError, match="here: is not the report of a run"):
        RunReport.read(io.StringIO(text), "here")


def test_a_report_has_no_nan(tmp_path: Path) -> None:
    """JSON has none, and the loudness of silence is one."""
    facts = {"s": {"lips": float("nan")}, "notes": [], "painted_s": [[0.0, float("inf")]]}
    with RunReport("run", {"x": float("-inf")}) as report:
        report.expect(FILM)
        report.add(shard(level=float("nan"), **{"s": {}}))
        report.add(Row("film", "a", "{}", code="ok", facts=facts))
        file = io.StringIO()
        report.write(file)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    told = json.loads(file.getvalue(), parse_constant=refuse)
    assert told["films"][0]["seconds"] == {"lips": None}
    assert told["shards"][0]["level"] is None


def test_parquet_has_a_row_a_film_and_a_row_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.report_tables._ROWS", 2)  # written in several batches
    with RunReport("run", {}) as report:
        report.expect(FILM)
        report.refuse(4, "b", "line 4: no video")
        for _ in range(5):
            report.add(shard(s={"lips": 1.25}, painted=20, kept=False))
        report.add(Row("film", "a", "{}", code="ok", facts={"frames": 125, "painted_s": [[0.0, 1.5]]}))
        write_films(report, tmp_path / "films.parquet")
        write_shards(report, tmp_path / "shards.parquet")
    films, shards = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("films", "shards"))
    assert films["id"].to_pylist() == ["a", "b"]
    assert films["code"].to_pylist() == ["ok", "bad_row"]
    assert films["painted_s"].to_pylist() == [[[0.0, 1.5]], []]
    assert dict(films["seconds"][0].as_py()) == {"lips": 6.25}
    assert films["consent"].to_pylist() == ["contract 7", None]
    assert shards.num_rows == 5
    assert shards["faces"].to_pylist() == [20] * 5
    assert dict(shards["s"][4].as_py()) == {"lips": 1.25}


def test_a_run_nobody_finished_says_how_to_go_on() -> None:
    with RunReport("run", {"run": {"fail_on": "never"}}) as report:
        report.expect(FILM)
        assert exit_meaning(report)[0] == 130
        report.add(Row("film", "a", "{}", code="timeout", message="too slow", stage="mux"))
        assert exit_meaning(report) == (0, "1 film not delivered; tolerated by --fail-on never")


def test_progress_counts_from_when_the_workers_work() -> None:
    now = [0.0]
    progress = Progress(2, Console(file=io.StringIO()), every_s=5, clock=lambda: now[0])
    assert progress.line() == "films 0/2 · workers are starting · 0:00 passed"
    now[0] = 20
    progress.add(Row("film", "b", "{}", facts={"frames": 50, "cells": 0, "cells_kept": 0}))
    assert progress.line() == "films 0/2 · first shards under way · 0:20 passed"
    progress.add(Row("film", "a", "{}", facts={"frames": 50, "cells": 1, "cells_kept": 0}))
    assert progress.line() == "films 0/2 · cells 0/1 · 0:20 passed"
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
