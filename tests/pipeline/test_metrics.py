"""What a row counts, without Ray."""

import time
from pathlib import Path

import pytest

from pipeline import Config, dub, metrics
from pipeline.flow import bound_for
from pipeline.metrics import METRICS, RunMeter, Sample, StepMeter, of_step
from pipeline.report import RunReport
from pipeline.rows import Row
from pipeline.steps.cast import MakeCast
from pipeline.steps.faces import FindFaces
from tests.films import BOX, film, manifest, speech

SHARD = Row("shard", "a", "{}", start=0, end=250, facts={"painted": 1})


def counted(samples: list[Sample]) -> dict[tuple[str, ...], float]:
    """Sums by name and labels."""
    sums: dict[tuple[str, ...], float] = {}
    for sample in samples:
        key = (sample.metric.name, *sample.labels)
        sums[key] = sums.get(key, 0) + sample.value
    return sums


def test_a_cast_queues_its_shards_and_tells_kept_ones_from_missing_ones() -> None:
    cell = Row("cell", "a", "{}", start=0, end=100, ready=True)
    kept = Row("shard", "a", "{}", code="ok", facts={"kept": True, "frames": 5})
    copied = Row("shard", "a", "{}", code="ok", facts={"copied": True, "frames": 5})
    made = [cell.with_facts(), SHARD, Row("shard", "a", "{}", facts={"painted": 0}), kept, copied]
    told = counted(list(of_step("cast", cell, made[1:], 2.5, lambda row: bound_for(row, MakeCast))))
    assert told["dubline_stage_queued", "crops"] == 1
    assert told["dubline_stage_queued", "composite"] == 1, "nothing to paint in it"
    assert told["dubline_cache", "segments", "hit"] == 1
    assert told["dubline_cache", "segments", "miss"] == 2
    assert told["dubline_stage_rows", "cast", "ok"] == 1
    assert told["dubline_stage_seconds", "cast"] == 2.5


def test_a_failed_shard_counts_by_its_code_and_without_its_frames() -> None:
    failed = Row("shard", "a", "{}", start=0, end=250, code="oom", stage="lips", facts={"painted": 1})
    told = counted(list(of_step("lips", SHARD, [failed], 1.0, lambda row: "")))
    assert told["dubline_stage_rows", "lips", "oom"] == 1
    assert told["dubline_stage_frames", "lips"] == 0


def test_the_cell_that_lands_last_is_bound_for_the_cast_and_no_other() -> None:
    assert bound_for(Row("cell", "a", "{}", ready=True), FindFaces) == "cast"
    assert bound_for(Row("cell", "a", "{}", code="ok"), FindFaces) == ""


def test_time_between_rows_is_idle_and_time_at_a_row_is_work() -> None:
    clock, sent = iter([100.0, 103.0, 110.0, 111.5, 112.0]), list[Sample]()
    meter = StepMeter("lips", lambda row: "", waits=True, emit=sent.extend, clock=lambda: next(clock))
    for retried in (False, True):
        meter.begun(retried)
        meter.ended(SHARD, [SHARD])
    told = counted(sent)
    assert told["dubline_stage_idle_seconds", "lips"] == 3.0 + 1.5
    assert told["dubline_stage_seconds", "lips"] == 7.0 + 0.5
    assert told["dubline_stage_retries", "lips"] == 1


def test_a_task_is_never_idle() -> None:
    sent = list[Sample]()
    StepMeter("mux", lambda row: "", waits=False, emit=sent.extend).begun(retried=False)
    assert sent == []


def test_a_shard_that_gave_up_for_good_counts_when_the_run_is_over(tmp_path: Path) -> None:
    sent = list[Sample]()
    with RunReport("r", {}, passes_through=True) as report:
        report.expect(next(iter(_films(tmp_path))))
        meter = RunMeter(report, str(tmp_path), emit=sent.extend, now=lambda: 1000.0)
        row = Row("shard", "a", "{}", start=0, end=10, code="oom", stage="lips", facts={"painted": 1})
        report.add(row)
        meter.add(row)
        assert ("dubline_shards", "r", "oom", "made") not in counted(sent)
        report.films["a"].code = "crashed"
        meter.close()
        told = counted(sent)
    assert told["dubline_shards", "r", "oom", "made"] == 1
    assert told["dubline_films", "r", "crashed"] == 1
    assert told["dubline_work_free_bytes", "r"] > 0


def test_gauges_are_told_again_while_nothing_comes_because_ray_forgets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list[Sample]()
    monkeypatch.setattr(metrics, "_AGAIN_S", 0.01)
    with RunReport("r", {}) as report:
        report.expect(next(iter(_films(tmp_path))))
        meter = RunMeter(report, str(tmp_path / "not there"), emit=sent.extend)
        over = time.monotonic() + 60
        while len(sent) < 5 * 4:
            assert time.monotonic() < over
            time.sleep(0.01)
        meter.close()
    gauges = {metric for metric in METRICS if metric.kind == "gauge"}
    assert {sample.metric for sample in sent} == gauges - {metrics.WORK_FREE}
    assert [sample.value for sample in sent if sample.metric == metrics.ACTIVE][-2:] == [1, 0]


def test_a_run_in_this_process_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_of_ray", lambda metric: pytest.fail(f"{metric.name} was told"))
    path = manifest(tmp_path / "m.jsonl", {**_row(tmp_path), "box": BOX})
    assert dub(str(path), Config(), str(tmp_path / "work")).films["a"].code == "ok"


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("dubline_"), metric
        assert not metric.name.endswith("_total"), "Ray appends it"
        assert metric.tells.endswith("."), metric


def _row(folder: Path) -> dict[str, object]:
    film(folder / "a.mp4", frames=5)
    speech(folder / "dub.wav", 0.2)
    return {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4"}


def _films(folder: Path):  # type: ignore[no-untyped-def]
    from pipeline.manifest import read_manifest

    return read_manifest(str(manifest(folder / "m.jsonl", _row(folder)))).films
