"""A shard that cannot be painted: its film ships with the source's frames there, and says so."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import Config, dub
from pipeline.cli import app
from pipeline.job import Job
from pipeline.report import RunReport
from pipeline.rows import Row
from pipeline.run import retry
from pipeline.steps.base import Step
from pipeline.steps.composite import PaintSegment
from pipeline.steps.crops import CutCrops
from pipeline.steps.faces import FindFaces
from pipeline.steps.lips import DrawLips
from stages.errors import DubError
from tests.films import BOX, decoded, film, manifest, same_pictures, speech

Broken = dict[tuple[str, int], BaseException]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Errors by step and first frame; while one is in here, the step raises it there."""
    errors: Broken = {}

    def wrap(kind: type[Step]) -> None:
        real = kind.run

        def run(self: Step, row: Row, job: Job) -> Iterator[Row]:
            if (self.name, row.start) in errors:
                raise errors[self.name, row.start]
            yield from real(self, row, job)

        monkeypatch.setattr(kind, "run", run)

    for kind in (FindFaces, CutCrops, DrawLips, PaintSegment):
        wrap(kind)
    return errors


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, object]]:
    """Two films of three shards: frames 0-10, 10-20, 20-30."""
    speech(tmp_path / "dub.wav", 1.2)
    for name in "ab":
        film(tmp_path / f"{name}.mp4", frames=30, gop=10 if name == "a" else 5)
    return [
        {"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4", "box": BOX}
        for name in "ab"
    ]


def run(folder: Path, rows: list[dict[str, object]], **settings: object) -> RunReport:
    """Dub rows inline, lossless, in shards of ten frames."""
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}, "run": settings})
    return dub(str(manifest(folder / "films.jsonl", *rows)), config, str(folder / "work"))


def quarantined(folder: Path) -> list[dict[str, object]]:
    """What is in quarantine."""
    return [json.loads(path.read_text()) for path in sorted((folder / "work/quarantine").glob("*/*.json"))]


@pytest.mark.parametrize("step", ["crops", "lips", "composite"])
def test_a_shard_that_fails_goes_on_unpainted_and_its_film_ships(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken, step: str
) -> None:
    broken[step, 10] = RuntimeError("bad luck")
    report = run(tmp_path, rows[:1])
    [made] = report.all_films
    assert made.code == "ok_passthrough"
    [told] = made.passed_through
    assert (told["start_s"], told["end_s"], told["code"]) == (0.4, 0.8, "internal")
    assert "bad luck" in told["message"]
    assert made.painted == 20
    assert report.exit_code("any") == 2
    assert report.exit_code("all") == 0
    before, after = decoded(tmp_path / "a.mp4"), decoded(tmp_path / "out/a.mp4")
    same = [all(np.array_equal(p, q) for p, q in zip(x, y, strict=True)) for x, y in zip(before, after, strict=True)]
    assert all(same[10:20])
    assert not all(same[:10])
    assert not all(same[20:])
    [record] = quarantined(tmp_path)
    assert record["stage"] == step
    assert record["job"]["film"]["id"] == "a"  # type: ignore[index,call-overload]
    assert "raise errors[self.name, row.start]" in str(record["traceback"])
    assert set(record["versions"]) > {"dubline", "ray", "av", "python"}  # type: ignore[call-overload]


def test_other_films_are_untouched_by_it(tmp_path: Path, rows: list[dict[str, object]], broken: Broken) -> None:
    broken["lips", 20] = MemoryError()
    report = run(tmp_path, rows)
    assert {f.id: f.code for f in report.all_films} == {"a": "ok_passthrough", "b": "ok_passthrough"}
    assert {f.passed_through[0]["code"] for f in report.all_films} == {"oom"}
    shards = json.loads(Path(report.url).read_text())["shards"]
    assert sorted((s["film"], s["start"], s["code"]) for s in shards) == sorted(
        (name, start, "ok_passthrough" if start == 20 else "ok") for name in "ab" for start in (0, 10, 20)
    )
    assert all(f.shards_made == 2 for f in report.all_films)


def test_an_ordinary_second_run_keeps_the_film_and_retry_heals_it(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken
) -> None:
    whole = run(tmp_path, [{**rows[0], "output": "whole/a.mp4"}])
    assert whole.films["a"].code == "ok"
    for folder in (tmp_path / "work").iterdir():
        folder.rename(tmp_path / f"before-{folder.name}")
    broken["lips", 10] = RuntimeError("bad luck")
    first = run(tmp_path, rows)
    assert first.films["a"].code == "ok_passthrough"
    broken.clear()
    second = run(tmp_path, rows)
    assert second.films["a"].kept
    assert second.films["a"].code == "ok_passthrough"
    assert second.films["a"].passed_through == first.films["a"].passed_through
    assert second.exit_code("any") == 2
    healed = retry(str(tmp_path / "work"))
    assert healed is not None
    assert {f.id: (f.code, f.shards_made) for f in healed.all_films} == {"a": ("ok", 1), "b": ("ok", 1)}
    assert healed.films["a"].passed_through == []
    assert same_pictures(tmp_path / "out/a.mp4", tmp_path / "whole/a.mp4")
    assert not quarantined(tmp_path)
    assert retry(str(tmp_path / "work")) is None


def test_retry_of_what_fails_again_leaves_the_film_that_was_delivered(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken
) -> None:
    broken["lips", 10] = RuntimeError("bad luck")
    first = run(tmp_path, rows[:1])
    again = retry(str(tmp_path / "work"), first.run)
    assert again is not None
    assert again.films["a"].code == "ok_passthrough"
    assert len(quarantined(tmp_path)) == 1
    assert (tmp_path / "out/a.mp4").exists()


def test_retry_runs_the_films_that_failed_with_the_run_s_own_rows_and_settings(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken
) -> None:
    broken["faces", 0] = RuntimeError("bad luck")
    del rows[0]["box"]
    first = run(tmp_path, rows)
    assert {f.id: f.code for f in first.all_films} == {"a": "internal", "b": "ok"}
    [record] = quarantined(tmp_path)
    assert record["stage"] == "faces"
    broken.clear()
    (tmp_path / "films.jsonl").unlink()
    done = CliRunner().invoke(app, ["retry", str(tmp_path / "work"), "--executor", "inline"])
    assert done.exit_code == 0, done.output
    assert "1 of 1 films delivered" in done.output
    assert not quarantined(tmp_path)
    assert CliRunner().invoke(app, ["retry", str(tmp_path / "work")]).output == "every film of that run is well\n"


def test_retry_where_nothing_ever_ran_is_1(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["retry", str(tmp_path), "--run", "20260101-000000-000000-abcd"])
    assert done.exit_code == 1
    assert "20260101-000000-000000-abcd" in done.output


def test_fail_film_fails_the_film(tmp_path: Path, rows: list[dict[str, object]], broken: Broken) -> None:
    broken["lips", 10] = RuntimeError("bad luck")
    report = run(tmp_path, rows[:1], on_shard_failure="fail_film")
    assert (report.films["a"].code, report.films["a"].stage) == ("internal", "lips")
    assert not (tmp_path / "out/a.mp4").exists()
    assert len(quarantined(tmp_path)) == 1


@pytest.mark.parametrize("code", ["decode_error", "weights_missing", "unsupported"])
def test_what_is_wrong_with_the_film_or_the_set_up_fails_it(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken, code: str
) -> None:
    broken["crops", 10] = DubError(code, "damaged")
    broken["lips", 20] = RuntimeError("bad luck")
    report = run(tmp_path, rows[:1])
    assert (report.films["a"].code, report.films["a"].message) == (code, "damaged")
    assert not (tmp_path / "out/a.mp4").exists()


def test_frames_that_cannot_even_be_passed_through_fail_the_film(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken["lips", 10] = RuntimeError("bad luck")

    def write(*_: object) -> None:
        raise DubError("decode_error", "damaged")

    monkeypatch.setattr("pipeline.steps.passthrough.PassThrough.write", write)
    report = run(tmp_path, rows[:1])
    assert (report.films["a"].code, report.films["a"].stage) == ("decode_error", "passthrough")


def test_when_most_shards_fail_the_run_stops_and_nothing_ships(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken
) -> None:
    """A broken generator: no film is delivered unpainted, none is marked as done, and a later run tries again."""
    for start in (0, 10, 20):
        broken["lips", start] = RuntimeError("no such kernel")
    report = run(tmp_path, rows, breaker_last=4, breaker_share=0.75)
    assert [f.code for f in report.all_films] == ["internal", "internal"]
    assert "4 of the last 4 painted shards failed" in report.films["a"].message
    assert "no such kernel" in report.films["b"].message
    assert report.exit_code("any") == 2
    assert not list(tmp_path.glob("out/*"))
    assert not list(tmp_path.glob("work/films/*/done-*"))
    broken.clear()
    assert [f.code for f in run(tmp_path, rows).all_films] == ["ok", "ok"]


def test_a_run_that_was_killed_before_its_films_shipped_tries_the_shard_again(
    tmp_path: Path, rows: list[dict[str, object]], broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken["lips", 10] = RuntimeError("bad luck")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.steps.mux.mux_film", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, rows[:1])
    assert list(tmp_path.glob("work/films/*/passed/*/*.json"))
    broken.clear()
    assert run(tmp_path, rows[:1]).films["a"].code == "ok"
