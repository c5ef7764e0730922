"""What a run measures, and which later run it is for."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import Config, dub
from pipeline.ledger import WorkFolder
from pipeline.rates import Rates, conditions, last_rates, write_rates
from pipeline.recipe import recipe_of
from pipeline.rows import Row
from tests.films import BOX, film, manifest, speech


def shard(frames: int = 250, painted: int = 250, **more: Any) -> Row:
    s = {"composite": 10.0, **({"crops": 2.0, "lips": 5.0} if painted else {})}
    return Row("shard", "a", "", end=frames, code="ok", facts={"frames": frames, "painted": painted, "s": s, **more})


def test_frames_without_a_face_count_too() -> None:
    rates = Rates()
    rates.add(shard())
    rates.add(shard(painted=0))
    assert rates.stages == {"crops": 0.004, "lips": 0.01, "composite": 0.04}


def test_what_was_kept_copied_cached_or_failed_tells_nothing() -> None:
    rates = Rates()
    for row in (
        shard(kept=True),
        shard(copied=True),
        Row("shard", "a", "", end=250, code="internal", facts={"frames": 250, "s": {"lips": 900.0}}),
        Row("cell", "a", "", end=750, code="ok", facts={"cache_hit": True, "s": {"faces": 0.1}}),
    ):
        rates.add(row)
    assert rates.stages == {}


def test_too_few_frames_tell_nothing() -> None:
    rates = Rates()
    rates.add(shard(frames=50))
    assert rates.stages == {}


def test_the_last_run_under_the_same_conditions_counts(tmp_path: Path) -> None:
    work, config = WorkFolder(str(tmp_path)), Config()
    wav2lip = conditions([recipe_of("wav2lip", "none", config)], config)
    warp = conditions([recipe_of("mouthwarp", "none", config)], config)
    for number, under in ((1, wav2lip), (2, wav2lip), (3, warp)):
        rates = Rates()
        for _ in range(number):
            rates.add(shard(painted=0))
        rates.add(shard())
        write_rates(work, f"run-{number}", rates, under)
    (tmp_path / "runs/run-4").mkdir()
    (tmp_path / "runs/run-4/rates.json").write_text('{"conditions":')
    found = last_rates(work, wav2lip)
    assert found is not None
    assert found.run == "run-2"
    assert last_rates(work, {**wav2lip, "devices": {"lips": "cuda"}}) is None


@pytest.mark.parametrize("stages", [{"lips": -1.0}, {"lips": "fast"}, {"lips": float("nan")}, [], {}, {"lips": 1e9}])
def test_rates_that_make_no_sense_are_none(tmp_path: Path, stages: object) -> None:
    (tmp_path / "runs/r").mkdir(parents=True)
    told = {"conditions": {}, "stages": stages}
    (tmp_path / "runs/r/rates.json").write_text(json.dumps(told))
    assert last_rates(WorkFolder(str(tmp_path)), {}) is None


def test_a_run_leaves_its_rates_for_the_next(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=210)
    speech(tmp_path / "dub.wav", 8.4)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": BOX}
    report = dub(str(manifest(tmp_path / "m.jsonl", row)), Config(), str(tmp_path / "work"))
    assert report.films["a"].code == "ok", report.films["a"].message
    (path,) = tmp_path.glob("work/runs/*/rates.json")
    told = json.loads(path.read_text())
    assert told["stages"].keys() == {"crops", "lips", "composite"}
    assert told["stages"]["composite"] == pytest.approx(report.films["a"].seconds["composite"] / 210, rel=0.01)
