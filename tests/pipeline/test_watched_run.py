"""A run on a real Ray as its metrics and its workers' logs tell it, beside its report."""

import json
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from pipeline import Config, dub
from pipeline.metrics import METRICS
from pipeline.report import RunReport, how_made
from tests.films import manifest
from tests.poisoned import poison, two_shards

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Series = Counter[tuple[str, ...]]
SETTINGS = {
    "encode": {"codec": "ffv1"},
    "split": {"shard_s": 0.4},
    "run": {"workers": 1, "max_attempts": 2, "log": "json"},
}


def exported() -> str:
    """The Prometheus text of this machine's Ray."""
    import ray

    [port] = [node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def series(text: str, metric: str, *labels: str, **where: str) -> Series:
    """A metric's value by its `labels`, summed over the machine's processes, of series that are as `where` says."""
    found: Series = Counter()
    for told, value in re.findall(rf"^{metric}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
        of = dict(re.findall(r'(\w+)="([^"]*)"', told))
        if all(of[name] == wanted for name, wanted in where.items()):
            found[tuple(of[name] for name in labels)] += float(value)  # type: ignore[assignment]
    return +found


def settled(run: str, films: int) -> str:
    """The metrics once the run's are there: workers and driver tell them every second."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        text = exported()
        if series(text, "ray_dubline_films_total", "run", run=run).total() == films:
            time.sleep(2.5)  # the workers' last ones
            return exported()
        time.sleep(0.3)
    raise AssertionError(f"the metrics of {run} never came: {text[-3000:]}")


def gauges(run: str) -> dict[str, float]:
    """The run's last gauges, which Ray keeps for 20 s."""
    names, found = [metric.exported for metric in METRICS if metric.kind == "gauge"], dict[str, float]()
    ends = time.monotonic() + 30
    while time.monotonic() < ends and len(found) < len(names):
        text = exported()
        for name in names:
            for told, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
                if f'run="{run}"' in told:
                    found[name] = float(value)
        time.sleep(0.2)
    assert len(found) == len(names), (found, [line for line in text.splitlines() if "dubline_run" in line])
    return found


def frames_and_shards(report: RunReport) -> tuple[Series, Series]:
    shards: Series = Counter()
    frames: Series = Counter()
    for shard in report.shards():
        shards[shard["code"], how_made(shard)] += 1
        frames[shard["code"], how_made(shard)] += shard.get("frames", 0)
    return +shards, +frames


@pytest.mark.soak
def test_metrics_and_logs_of_a_run_say_what_its_report_says(
    tmp_path: Path, poisoned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One film is well, one passes a shard through, one's worker is killed once, one is not there, one is no film."""
    rows = two_shards(tmp_path, ["good", "raise", "kill"], found=True)
    gone = {**rows[0], "id": "gone", "video": "gone.mp4", "output": "out/gone.mp4"}
    poison(poisoned, {"lips-raise-10": "raise", "crops-kill-0": "kill later"})
    config = Config.model_validate(SETTINGS)
    path = manifest(tmp_path / "films.jsonl", *rows, gone, {"id": "bad"})
    before = exported()
    reports: list[RunReport] = []
    real = RunReport.__exit__
    with monkeypatch.context() as patch:  # its shards are gone when it is closed
        patch.setattr(RunReport, "__exit__", lambda self, *_: reports.append(self))
        report = dub(str(path), config, str(tmp_path / "work"), executor="ray")
    codes = {"good": "ok", "raise": "ok_passthrough", "kill": "ok", "gone": "not_found", "bad": "bad_row"}
    assert {film.id: film.code for film in report.all_films} == codes
    text = settled(report.run, len(report.all_films))

    own = {"run": report.run}
    assert series(text, "ray_dubline_films_total", "code", **own) == Counter((film.code,) for film in report.all_films)
    shards, frames = frames_and_shards(report)
    real(reports[0])
    assert shards == {("ok", "made"): 5, ("ok_passthrough", "made"): 1}
    assert series(text, "ray_dubline_shards_total", "code", "how", **own) == shards
    assert series(text, "ray_dubline_frames_total", "code", "how", **own) == frames
    assert frames["ok_passthrough", "made"] == 10

    def grew(metric: str, *labels: str) -> Series:
        now = series(text, metric, *labels)
        now.subtract(series(before, metric, *labels))
        return +now

    stage_rows = grew("ray_dubline_stage_rows_total", "stage", "code")
    assert stage_rows["composite", "ok"] == 5
    assert stage_rows["passthrough", "ok"] == 1
    assert stage_rows["lips", "internal"] == 1
    assert stage_rows["split", "not_found"] == 1
    assert grew("ray_dubline_stage_frames_total", "stage")["composite",] == 50
    worked_on = Counter[tuple[str, ...]]()
    for (stage, _), count in stage_rows.items():
        worked_on[stage,] += count
    assert grew("ray_dubline_stage_queued_total", "stage") == worked_on, "a queue is left"
    assert grew("ray_dubline_stage_retries_total", "stage") == {("crops",): 1}
    assert grew("ray_dubline_stage_idle_seconds_total", "stage")["lips",] > 0
    cache = grew("ray_dubline_cache_total", "cache", "result")
    assert cache["faces", "miss"] == sum(film.cells_detected for film in report.films.values())
    told_now = gauges(report.run)
    assert told_now["ray_dubline_run_active"] == 0, "it is over"
    assert told_now["ray_dubline_run_films"] == 4
    assert abs(time.time() - told_now["ray_dubline_run_started_timestamp_seconds"]) < 600
    assert told_now["ray_dubline_work_free_bytes"] > 0
    counters = [metric.exported for metric in METRICS if metric.kind == "counter"]
    assert not [name for name in counters if f"# HELP {name} " not in text]

    told = worker_records(report.run)
    done = {(record["film"], record.get("shard"), record["stage"]) for record in told if "seconds" in record}
    assert {("good", "0-10", "composite"), ("good", "10-20", "composite"), ("raise", "10-20", "passthrough")} <= done
    [failed] = [record for record in told if record.get("code") == "internal"]
    identity = {"run": report.run, "film": "raise", "shard": "10-20", "stage": "lips", "level": "warning"}
    assert identity.items() <= failed.items()
    assert failed["node"]
    [again] = [record for record in told if "its worker died 1 times" in record["message"]]
    assert (again["film"], again["shard"], again["stage"]) == ("kill", "0-10", "crops")


def worker_records(run: str) -> list[dict[str, str]]:
    """What the workers of a run logged; every line of ours is one JSON object."""
    import ray

    [socket] = [node["RayletSocketName"] for node in ray.nodes() if node["Alive"]]
    lines = [
        line
        for file in (Path(socket).parent.parent / "logs").glob("worker-*.err")
        for line in file.read_text(errors="replace").splitlines()
        if f'"run": "{run}"' in line
    ]
    assert lines
    return [json.loads(line) for line in lines]
