"""JSON lines and plain ones: whose they are, and what never stands in them."""

import json
import logging
import subprocess
import sys
import threading
from contextvars import copy_context
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.logs import JsonLines, PlainLines, about, redacted, style_of
from tests.films import BOX, film, manifest, speech


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("stages.lips", logging.WARNING, "x.py", 1, message, arguments, None)
    made.__dict__.update(more)
    return made


def test_a_record_says_whose_it_is() -> None:
    with about(run="r", film="a"), about(shard="0-250", stage="lips"):
        told = json.loads(JsonLines().format(record("%d frames", 3, facts={"seconds": 1.5})))
        plain = PlainLines().format(record("%d frames", 3))
    assert {"run": "r", "film": "a", "shard": "0-250", "stage": "lips", "seconds": 1.5}.items() <= told.items()
    assert (told["message"], told["level"], told["logger"]) == ("3 frames", "warning", "stages.lips")
    assert "run=r film=a shard=0-250 stage=lips 3 frames" in plain
    assert "film" not in json.loads(JsonLines().format(record("later")))


def test_a_message_of_several_lines_and_odd_letters_is_one_line() -> None:
    line = JsonLines().format(record("«Käse»\nzwei"))
    assert "\n" not in line
    assert json.loads(line)["message"] == "«Käse»\nzwei"


def test_a_traceback_is_told_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    try:
        raise OSError("denied for wJalrXUtnFEMI/K7MDENG")
    except OSError as error:
        told = record("failed", exc_info=(type(error), error, error.__traceback__))
    for formatter in (JsonLines(), PlainLines()):
        assert "wJalr" not in formatter.format(told)
        assert "denied for ***" in formatter.format(told)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:secret@host/a.mp4", "https://***@host/a.mp4"),
        ("s3://key:word@bucket/a", "s3://***@bucket/a"),
        ("https://h/a?X-Amz-Signature=abc123&x=1", "https://h/a?***"),
        ("https://h/a?sv=2024&sig=Zm9v%3D", "https://h/a?***"),
        ("token hunter2hunter2 used", "token *** used"),
        ("signed with /7MDENGbPxRfi", "signed with ***"),
        ("AccountName=a;AccountKey=b", "***"),
        ("s3://bucket/film@2x.mp4", "s3://bucket/film@2x.mp4"),
        ("me@example.org of /data/films", "me@example.org of /data/films"),
    ],
)
def test_secrets_stay_out(text: str, clean: str) -> None:
    environment = {
        "MY_API_TOKEN": "hunter2hunter2",
        "RAY_AUTH_TOKEN_PATH": "/data/films",
        "TOKEN_USED": "1",
        "AWS_SECRET_ACCESS_KEY": "/7MDENGbPxRfi",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=b",
    }
    assert redacted(text, environment) == clean


@pytest.mark.parametrize(("value", "style"), [("json", "json"), (" JSON ", "json"), ("", "plain"), ("plain", "plain")])
def test_the_environment_asks_for_json(value: str, style: str) -> None:
    assert style_of({"DUBLINE_LOG": value}) == style
    assert style_of({}) == "plain"


def test_what_is_about_a_row_is_not_about_another_thread() -> None:
    seen: list[str] = []
    with about(film="a"):
        bare = threading.Thread(target=lambda: seen.append(JsonLines().format(record("x"))))
        same = threading.Thread(target=copy_context().run, args=[lambda: seen.append(JsonLines().format(record("x")))])
        for thread in (bare, same):
            thread.start()
            thread.join()
    assert ["film" in json.loads(line) for line in seen] == [False, True]


@pytest.mark.parametrize("asked", ["option", "environment"])
def test_every_line_of_a_run_is_json_when_asked(tmp_path: Path, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.mp4", frames=12)
    speech(tmp_path / "dub.wav", 0.4)
    good = {"id": "good", "video": "a.mp4", "audio": "dub.wav", "output": "good.mp4", "box": BOX}
    rows = manifest(tmp_path / "m.jsonl", good, {**good, "id": "gone", "video": "b.mp4", "output": "b2.mp4"})
    command = [
        "run",
        str(rows),
        "--work",
        str(tmp_path / "work"),
        "--executor",
        "inline",
        "--set",
        "run.progress_s=0.1",
    ]
    if asked == "option":
        command += ["--log", "json"]
    else:
        monkeypatch.setenv("DUBLINE_LOG", "json")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2, done.output
    told = [json.loads(line) for line in done.stdout.splitlines()]
    [run] = {record["run"] for record in told if "film" in record}
    assert (tmp_path / "work/runs" / run).is_dir()
    ended = {
        record["film"]: record["code"]
        for record in told
        if record["logger"] == "pipeline.terminal" and "film" in record
    }
    assert ended == {"good": "ok", "gone": "not_found"}
    stages = {(record["film"], record["stage"]) for record in told if record["logger"] == "dubline.rows"}
    assert {("good", "lips"), ("good", "composite"), ("good", "mux"), ("gone", "split")} <= stages
    progress = [record for record in told if record["logger"] == "pipeline.progress"]
    assert progress
    assert all(record["run"] == run for record in progress)


WORKER = """
import sys
from pipeline.config import Config
from pipeline.film import Film
from pipeline.flow import _make
from pipeline.guard import guarded
from pipeline.job import Job
from pipeline.rows import Row
from pipeline.steps.split import Split
folder, style = sys.argv[1:]
step = _make(Split, Config.model_validate({"run": {"log": style}}).model_dump_json(), f"{folder}/work")
film = Film(id="a", video=f"{folder}/gone.mp4", audio=f"{folder}/gone.wav", output=f"{folder}/out.mp4")
job = Job(film=film, run="r", generator="mouthwarp").model_dump_json()
print([row.code for row in guarded(step, Row("film", "a", job))])
"""


@pytest.mark.parametrize("style", ["json", "plain"])
def test_a_worker_logs_to_its_standard_error(tmp_path: Path, style: str) -> None:
    done = subprocess.run([sys.executable, "-c", WORKER, str(tmp_path), style], capture_output=True, text=True)
    assert done.stdout == "['not_found']\n", done.stderr
    [line] = done.stderr.splitlines()
    if style == "json":
        told = json.loads(line)
        assert {
            "run": "r",
            "film": "a",
            "stage": "split",
            "code": "not_found",
            "level": "warning",
        }.items() <= told.items()
        assert told["node"]
    else:
        assert "warning run=r film=a stage=split not_found: " in line
