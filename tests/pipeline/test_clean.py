"""What `dubline clean` removes from a work folder, and what it leaves alone."""

import os
import shutil
import time
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from pipeline import Config, dub
from pipeline.clean import clean, parse_age
from pipeline.cli import app
from stages.errors import DubError
from tests.films import film, manifest, same_pictures, speech

DAY = 86400.0


def aged(folder: Path, days: float) -> None:
    """Make every file of a folder that many days old."""
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def files(folder: Path) -> set[str]:
    """Every file, relative."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with two finished films in a work folder, and their manifests; and a copy of it."""
    folder = tmp_path_factory.mktemp("night")
    night = folder / "now"
    night.mkdir()
    film(night / "a.mp4", frames=16)
    film(night / "b.mp4", frames=15)
    speech(night / "dub.wav", 0.64)
    speech(night / "other.wav", 0.6, seed=2)
    for name, sound in (("a", "dub.wav"), ("b", "other.wav")):
        row = {"id": name, "video": f"{name}.mp4", "audio": sound, "output": f"{name}.out.mp4"}
        assert run(manifest(night / f"{name}.jsonl", row)) == "ok"
    shutil.copytree(night, folder / "then")
    return night, folder / "then"


@pytest.fixture
def night(made: tuple[Path, Path]) -> Path:
    """The folder as it was made, at its own place: outputs are known by their path."""
    now, then = made
    shutil.rmtree(now)
    shutil.copytree(then, now)
    return now


def run(rows: Path) -> str:
    """Dub a manifest of one film; its code. `auto` looks at what can be copied, and keeps that too."""
    config = Config.model_validate({"encode": {"preset": "ultrafast", "render": "auto"}, "split": {"shard_s": 0.4}})
    return next(iter(dub(str(rows), config, str(rows.parent / "work")).films.values())).code


@pytest.mark.parametrize(("text", "seconds"), [("14d", 14 * DAY), ("36 h", 1.5 * DAY), ("2w", 14 * DAY), ("0s", 0)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "14", "d", "-1d", "1.5d", "14 days", "1y"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ValueError, match="is not an age"):
        parse_age(text)


def test_young_work_stays(night: Path) -> None:
    before = files(night)
    assert not clean(str(night / "work"), DAY).files
    assert files(night) == before


def test_old_work_goes_and_the_films_stay_ours(night: Path) -> None:
    aged(night / "work", 20)
    size = sum(path.stat().st_size for path in (night / "work").rglob("*") if path.is_file())
    counted = clean(str(night / "work"), 14 * DAY, dry_run=True)
    assert sum(path.stat().st_size for path in (night / "work").rglob("*") if path.is_file()) == size
    cleaned = clean(str(night / "work"), 14 * DAY)
    assert (counted.files, counted.bytes) == (cleaned.files, cleaned.bytes)
    left = files(night / "work")
    assert {Path(name).name.split("-")[0] for name in left} == {"begun", "done"}
    assert sum(cleaned.bytes.values()) == size - sum((night / "work" / name).stat().st_size for name in left)
    assert {path.name for path in (night / "work").iterdir()} == {"films"}, "empty folders go too"
    stamp = (night / "a.out.mp4").stat().st_mtime_ns
    assert run(night / "a.jsonl") == "ok", "a film that is there is known as ours"
    assert (night / "a.out.mp4").stat().st_mtime_ns == stamp


def test_what_says_that_an_output_is_ours_goes_with_the_output(night: Path) -> None:
    aged(night / "work", 20)
    (night / "a.out.mp4").unlink()
    clean(str(night / "work"), 14 * DAY)
    assert len(files(night / "work")) == 2  # begun and done of b
    assert run(night / "a.jsonl") == "ok"


def test_a_film_that_a_run_asked_for_again_keeps_what_it_hangs_on(night: Path) -> None:
    aged(night / "work", 20)
    assert run(night / "a.jsonl") == "ok"
    cleaned = clean(str(night / "work"), 14 * DAY)
    assert cleaned.files["segments"] == 2 * 2, "b's: two segments and their markers"
    assert cleaned.files["index"] == cleaned.files["faces"] == 1
    assert run(night / "a.jsonl") == "ok"
    first = files(night / "work")
    assert sum(name.startswith("segments/") for name in first) == 2 * 2


def test_an_unfinished_film_keeps_what_it_needs_unless_told(night: Path) -> None:
    for done in (night / "work").glob("films/*/done-*"):
        if "b.out.mp4" in done.read_text():
            done.unlink()
    aged(night / "work", 400)
    left = clean(str(night / "work"), 14 * DAY)
    segments = {path.name for path in (night / "work").glob("segments/*/*.mp4")}
    assert len(segments) == 2
    assert left.files["speech"] == 2
    (night / "b.out.mp4").rename(night / "b.first.mp4")
    work = dub(
        str(night / "b.jsonl"),
        Config.model_validate({"encode": {"preset": "ultrafast"}, "split": {"shard_s": 0.4}}),
        str(night / "work"),
    )
    assert (work.films["b"].shards_made, work.films["b"].cells_detected) == (0, 0)
    assert same_pictures(night / "b.out.mp4", night / "b.first.mp4")
    for done in (night / "work").glob("films/*/done-*"):
        if "b.out.mp4" in done.read_text():
            done.unlink()
    aged(night / "work", 400)
    clean(str(night / "work"), 14 * DAY, unfinished=True)
    assert not list((night / "work").glob("segments/*/*"))


def test_what_is_not_ours_stays(night: Path) -> None:
    """Files of other names in our folders, folders of other names, links and what they lead to."""
    work = night / "work"
    outside = night / "elsewhere"
    (outside / "films" / ("a" * 20)).mkdir(parents=True)
    (outside / "films" / ("a" * 20) / "plan.json").write_text("{}")
    video = next((work / "segments").iterdir())
    strangers = [
        work / "thesis.docx",
        work / "cache/notes.txt",
        work / "films/holiday.mp4",
        video / "cut.mp4",
        video / f"{'a' * 20}.mp4.bak",
        work / "runs/2024/report.json",
        next((work / "films").iterdir()) / "PLAN.JSON",
        work / f"cache/faces/{video.name}/deep/{'0' * 8}-{'0' * 8}-{'a' * 20}.npz",
        work / ".0123456789abcdef0123456789abcdef.partial",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (work / "films" / ("b" * 20)).symlink_to(outside / "films" / ("a" * 20))
    (work / "quarantine").symlink_to(outside)
    link = video / f"{'c' * 20}.mp4"
    link.symlink_to(night / "a.mp4")
    aged(work, 400)
    aged(outside, 400)
    clean(str(work), 14 * DAY, unfinished=True)
    assert all(path.read_text() == "mine" for path in strangers)
    assert (outside / "films" / ("a" * 20) / "plan.json").exists()
    assert link.is_symlink()
    assert (night / "a.mp4").exists()


def test_partials_of_killed_processes_go(night: Path) -> None:
    work = night / "work"
    video = next((work / "segments").iterdir())
    for folder in (video, work / "cache/speech", work / "runs", work / "films"):
        (folder / f".{'0' * 32}.partial.mp4").write_bytes(bytes(1000))
    aged(work, 2)
    cleaned = clean(str(work), DAY)
    assert (cleaned.files["partials"], cleaned.bytes["partials"]) == (4, 4000)
    assert not list(work.rglob("*.partial*"))


@pytest.mark.parametrize("inside", [[], ["films/holiday.mp4", "cache/x"], [f"cache/index/{'a' * 20}.npz"]])
def test_a_folder_that_is_no_work_folder_is_refused(tmp_path: Path, inside: list[str]) -> None:
    for name in inside:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    aged(tmp_path, 400)
    before = files(tmp_path)
    with pytest.raises(DubError, match="is not a work folder"):
        clean(str(tmp_path), DAY)
    assert files(tmp_path) == before


def test_an_old_plan_that_somebody_wrote_over_is_no_reason_to_stop(night: Path) -> None:
    for plan in (night / "work").glob("films/*/plan.json"):
        plan.write_text('{"shards": [1, {"key": 7}, null]}')
    aged(night / "work", 20)
    for done in (night / "work").glob("films/*/done-*"):
        done.unlink()
    before = files(night / "work")
    freed = clean(str(night / "work"), 14 * DAY)
    assert sum(freed.files.values()) == len(before - files(night / "work")) > 0


def test_in_a_bucket_too(night: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(night / "work") + "/", "/cleaned/work/", recursive=True)
    url = "memory://cleaned/work"
    there = len(fs.find("/cleaned/work"))
    assert not clean(url, DAY).files
    later = time.time() + 20 * DAY
    cleaned = clean(url, 14 * DAY, now=later)
    assert sum(cleaned.files.values()) == there - len(fs.find("/cleaned/work"))
    assert {name.rpartition("/")[2].split("-")[0] for name in fs.find("/cleaned/work")} == {"begun", "done"}
    fs.rm("/cleaned", recursive=True)


def test_the_command_says_how_many_bytes_went(night: Path) -> None:
    aged(night / "work", 20)
    would = CliRunner().invoke(app, ["clean", str(night / "work"), "--older-than", "14d", "--dry-run"])
    assert "would go: " in would.output
    went = CliRunner().invoke(app, ["clean", str(night / "work"), "--older-than", "14d"])
    assert went.exit_code == 0, went.output
    assert went.output.replace("removed", "would go") == would.output
    assert CliRunner().invoke(app, ["clean", str(night / "work"), "--older-than", "soon"]).exit_code != 0
    assert CliRunner().invoke(app, ["clean", str(night / "nowhere"), "--older-than", "1d"]).exit_code == 1
