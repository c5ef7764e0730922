"""What `dubline plan` says of the room a run would take."""

import shutil
import tempfile
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from pipeline import Config, dub
from pipeline.cli import app
from pipeline.estimate import Room, disks, film_room, picture_bytes, total
from pipeline.film import Film
from pipeline.plan import plan_films
from stages.media.index import index_video
from stages.media.timeline import Timeline
from tests.films import BOX, film, manifest, speech


def a_film(folder: Path, **columns: object) -> Film:
    """A row for a.mp4 and dub.wav of a folder."""
    base = {"id": "a", "video": f"{folder}/a.mp4", "audio": f"{folder}/dub.wav", "output": f"{folder}/out.mp4"}
    return Film.model_validate({**base, **columns})


def roomed(row: Film, video: Path, config: Config, work: str) -> Room:
    """What a film of its source's length takes."""
    index = index_video(str(video))
    return film_room(row, Timeline.of(index), picture_bytes(video, index), config, work)


def taken(folder: Path, pattern: str) -> int:
    """Bytes of the files that are there."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_the_estimate_is_of_the_right_size(tmp_path: Path, codec: str) -> None:
    """Within a factor of five of what a run then takes, for lossy and lossless segments."""
    film(tmp_path / "a.mp4", frames=50)
    speech(tmp_path / "dub.wav", 2.0)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4"}
    config = Config.model_validate({"encode": {"codec": codec, "crf": 16}})
    dub(str(manifest(tmp_path / "m.jsonl", row)), config, str(tmp_path / "work"))
    room = roomed(a_film(tmp_path), tmp_path / "a.mp4", config, str(tmp_path / "work"))
    for guess, real in (
        (room.segments, taken(tmp_path / "work/segments", "*/*.mp4")),
        (room.output, (tmp_path / "out.mp4").stat().st_size),
        (room.speech, taken(tmp_path / "work/cache/speech", "*")),
    ):
        assert real / 5 < guess < 5 * real, (guess, real)
    assert room.joining == room.segments


def test_remote_files_are_copied_and_a_remote_film_is_made_here_first(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=10)
    fs = fsspec.filesystem("memory")
    fs.pipe("/room/dub.wav", speech(tmp_path / "dub.wav", 0.4).read_bytes())
    video, config = tmp_path / "a.mp4", Config()
    here = roomed(a_film(tmp_path), video, config, str(tmp_path))
    row = a_film(tmp_path, audio="memory://room/dub.wav", output="memory://room/o.mp4")
    there = roomed(row, video, config, "memory://room/work")
    assert here.copies == 0
    assert there.copies == (tmp_path / "dub.wav").stat().st_size + here.segments
    assert there.joining == here.joining + here.output


def test_only_so_many_films_are_joined_at_once() -> None:
    rooms = [Room(segments=10, joining=k) for k in range(1, 101)]
    assert total(rooms).segments == 1000
    assert total(rooms).joining == sum(range(93, 101))


def test_what_lies_on_one_disk_is_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    room = Room(segments=1000, joining=500, copies=100)
    outputs = [(f"{tmp_path}/not/there/yet/o.mp4", 300), ("s3://bucket/o.mp4", 10**18)]
    [disk] = disks(room, str(tmp_path / "work"), outputs)
    assert disk.needed == 1000 + 600 + 300
    assert set(disk.holds) == {"scratch", "work folder", "outputs"}
    assert disk.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    [scratch] = disks(room, "s3://bucket/work", [])
    assert scratch.holds == ("scratch",)


@pytest.mark.parametrize(("free", "told"), [(10**15, "fits"), (1000, "WARNING: does not fit")])
def test_the_command_warns_when_it_does_not_fit(
    tmp_path: Path, free: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "a.mp4", frames=10)
    speech(tmp_path / "dub.wav", 0.4)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": BOX}
    rows = manifest(tmp_path / "m.jsonl", row)
    usage = type(shutil.disk_usage(tmp_path))(10**15, 10**15 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    done = CliRunner().invoke(app, ["plan", str(rows), "--work", str(tmp_path / "work")])
    assert done.exit_code == 0, done.output
    assert told in done.output
    assert "work folder: about" in done.output
    assert "scratch on a node" in done.output
    assert not (tmp_path / "work").exists()


def test_a_box_outside_the_picture_is_told_before_the_night(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=5)
    speech(tmp_path / "dub.wav", 0.2)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": [0, 1080, 0, 1920]}
    [planned] = plan_films(str(manifest(tmp_path / "m.jsonl", row)), Config(), str(tmp_path / "work"))
    assert (
        planned.problem
        == "bad_row: box [0, 1080, 0, 1920] (top, bottom, left, right) is not in the picture of 320x240 px"
    )
