"""Some films of a manifest, and some seconds of one."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline import Config, dub
from pipeline.choice import excerpt_output, parse_range
from pipeline.cli import app
from pipeline.run import retry
from tests.films import BOX, decoded, film, manifest, portrait, slide, speech

RATE = Fraction(5, 2)
SETTINGS = {"encode": {"codec": "ffv1"}, "composite": {"blend": "feather"}, "split": {"shard_s": 5}}


def dubline(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A manifest of three rows, one of them bad."""
    film(tmp_path / "a.mp4", frames=12)
    speech(tmp_path / "dub.wav", 0.4)
    good = {"id": "lecture-de", "video": "a.mp4", "audio": "dub.wav", "output": "de.mp4", "box": BOX}
    other = {**good, "id": "lecture-es", "output": "es.mp4"}
    return manifest(tmp_path / "films.jsonl", good, other, {**good, "id": "bad", "output": "bad.mp4", "box": "left"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:00-10:05", (600, 605)),
        ("1:02:03.5-1:02:05", (3723.5, 3725)),
        ("0-2.25", (0, 2.25)),
        ("600 - 605", (600, 605)),
        ("90:00-90:01", (5400, 5401)),
    ],
)
def test_ranges(text: str, expected: tuple[float, float]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize(
    "text", ["", "10:00", "5-3", "5-5", "-1-3", "a-b", "1:2:3:4-5", "1e3-1e4", "nan-inf", "٣-٥", "1-2-3"]
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range|ends before"):
        parse_range(text)


@pytest.mark.parametrize(
    ("output", "excerpt", "expected"),
    [
        ("/out/film.mp4", (600, 605), "/out/film.10m00s-10m05s.mp4"),
        ("/out.d/film.de.mkv", (3723.5, 3725.0), "/out.d/film.de.1h02m03.5s-1h02m05s.mkv"),
        ("s3://bucket/a b.mov", (0, 0.04), "s3://bucket/a b.00m00s-00m00.04s.mov"),
    ],
)
def test_an_excerpt_lies_next_to_the_output(output: str, excerpt: tuple[float, float], expected: str) -> None:
    assert excerpt_output(output, excerpt) == expected


def test_only_the_named_films_are_dubbed(rows: Path) -> None:
    work = rows.parent / "work"
    done = dubline("run", rows, "--work", work, "--executor", "inline", "--only", "lecture-es")
    assert done.exit_code == 0, done.output
    assert "1 of 1 films delivered" in done.output
    assert (rows.parent / "es.mp4").exists()
    assert not (rows.parent / "de.mp4").exists()
    both = ["--only", "lecture-es", "--only", "bad"]
    assert dubline("run", rows, "--work", work, "--executor", "inline", *both).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "lectur-de"], "did you mean lecture-de?"),
        (["--only", "zzz"], "there are lecture-de, lecture-es, bad"),
        (["--only", "lecture-de", "--only", ""], "no row has this id"),
        (["--range", "10:05-10:00"], "ends before it has begun"),
        (["--range", "soon"], "is not a range like"),
    ],
)
def test_unknown_ids_and_ranges_are_1(rows: Path, arguments: list[str], told: str) -> None:
    done = dubline("run", rows, "--work", rows.parent / "work", "--executor", "inline", *arguments)
    assert done.exit_code in (1, 2)  # 2 is click's own for usage, which `main` makes 1
    assert told in " ".join(done.output.replace("│", " ").split())
    assert not (rows.parent / "work").exists()


def test_a_range_that_another_row_would_write_to_is_refused(rows: Path) -> None:
    first, second, _ = map(json.loads, rows.read_text().splitlines())
    manifest(rows, first, {**second, "output": "de.00m00s-00m01s.mp4"})
    done = dubline("run", rows, "--work", rows.parent / "work", "--executor", "inline", "--range", "0-1")
    assert done.exit_code == 1
    assert "named by a row" in done.output


def test_a_range_behind_the_film_s_end_fails_the_film(rows: Path) -> None:
    done = dubline(
        "run", rows, "--work", rows.parent / "work", "--executor", "inline", "--only", "lecture-de", "--range", "5-6"
    )
    assert done.exit_code == 2
    assert "no frame between 5 s and 6 s" in " ".join(done.output.replace("│", " ").split())


def test_two_seconds_of_a_minute_show_what_the_whole_film_shows_there(tmp_path: Path) -> None:
    """One face for the whole film: the same pictures, of which only four are decoded and encoded."""
    film(tmp_path / "a.mp4", frames=150, rate=RATE, gop=25)
    speech(tmp_path / "dub.wav", 60.0)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    path, config = str(manifest(tmp_path / "m.jsonl", row)), Config.model_validate(SETTINGS)
    sample = dub(path, config, str(tmp_path / "work"), only=["a"], excerpt=(30.0, 32.0)).films["a"]
    assert (sample.code, sample.frames, sample.painted_s) == ("ok", 5, [[0.0, 2.0]]), sample.message
    assert not (tmp_path / "o.mp4").exists()
    assert dub(path, config, str(tmp_path / "work")).films["a"].code == "ok"
    shown, whole = decoded(tmp_path / "o.00m30s-00m32s.mp4"), decoded(tmp_path / "o.mp4")[75:80]
    assert len(shown) == 5
    assert all(np.array_equal(p, q) for x, y in zip(shown, whole, strict=True) for p, q in zip(x, y, strict=True))


def test_two_seconds_of_a_minute_detect_only_the_cells_they_touch(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=150, rate=RATE, gop=25, picture=lambda k: portrait(k) if 70 <= k < 90 else slide(0))
    speech(tmp_path / "dub.wav", 60.0)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4"}
    report = dub(
        str(manifest(tmp_path / "m.jsonl", row)),
        Config.model_validate(SETTINGS),
        str(tmp_path / "work"),
        excerpt=(30.0, 32.0),
    )
    sample = report.films["a"]
    assert (sample.code, sample.painted, sample.cells, sample.cells_detected) == ("ok", 5, 1, 1), sample.message
    assert len(list(tmp_path.glob("work/cache/faces/*/*.npz"))) == 1


def test_retrying_a_sample_makes_the_sample(rows: Path) -> None:
    (rows.parent / "a.mp4").rename(rows.parent / "gone.mp4")
    work = str(rows.parent / "work")
    assert (
        dub(str(rows), Config(), work, only=["lecture-de"], excerpt=(0.0, 0.2)).films["lecture-de"].code == "not_found"
    )
    (rows.parent / "gone.mp4").rename(rows.parent / "a.mp4")
    again = retry(work)
    assert again is not None
    assert again.films["lecture-de"].frames == 5, again.films["lecture-de"].message
    assert not (rows.parent / "de.mp4").exists()
    assert (rows.parent / "de.00m00s-00m00.2s.mp4").exists()
