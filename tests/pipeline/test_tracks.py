"""From a row to the tracks of its film: the container it names, or the one that holds everything."""

from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from pipeline import Config, dub
from pipeline.cli import app
from pipeline.plan import plan_films
from pipeline.report import RunReport
from pipeline.run import retry
from tests.clips import Sound, clip, ffmpeg, steady
from tests.films import manifest, speech

AUTO = {"mux": {"container": "auto"}}
SMALL = [8, 40, 8, 56]
FAST = {"encode": {"preset": "ultrafast"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Matroska film with styled subtitles and a font, a plain MP4, a dub."""
    plain = clip(tmp_path / "plain.mp4", steady(20), sounds=[Sound(0.8, language="eng")])
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,700\nGood morning\n")
    (tmp_path / "font.ttf").write_bytes(b"font")
    more = ["-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf", "-c", "copy", "-c:s", "ass"]
    ffmpeg("-i", plain, "-i", tmp_path / "s.srt", "-map", 0, "-map", 1, *more, tmp_path / "rich.mkv")
    speech(tmp_path / "dub.wav", 0.8)
    return tmp_path


def run(folder: Path, *rows: dict[str, object], **settings: object) -> RunReport:
    """Dub rows of the rich film inline."""
    base = {"video": "rich.mkv", "audio": "dub.wav", "box": SMALL}
    whole = [{**base, "id": f"f{n}", "output": f"out/{n}.mp4", **row} for n, row in enumerate(rows)]
    config = Config.model_validate({**FAST, **settings})
    return dub(str(manifest(folder / "films.jsonl", *whole)), config, str(folder / "work"))


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


def test_a_film_that_its_container_cannot_hold_goes_to_matroska_when_asked(folder: Path) -> None:
    report = run(folder, {}, {"video": "plain.mp4"}, **AUTO)
    rich, plain = report.all_films
    assert (rich.code, plain.code) == ("ok", "ok"), (rich.message, plain.message)
    assert rich.output.endswith("out/0.mkv")
    assert plain.output.endswith("out/1.mp4")
    assert kinds(folder / "out/0.mkv") == ["video", "audio", "audio", "subtitle", "attachment"]
    assert not (folder / "out/0.mp4").exists()
    [note] = [note for note in rich.notes if note.startswith("delivered as 0.mkv")]
    assert "font.ttf" in note
    assert "styles are lost" in note
    again = run(folder, {}, {"video": "plain.mp4"}, **AUTO)
    assert [f.kept for f in again.all_films] == [True, True]
    assert again.films["f0"].output == rich.output
    assert note in again.films["f0"].notes


def test_the_named_container_leaves_out_with_a_note(folder: Path) -> None:
    made = run(folder, {}).films["f0"]
    assert made.output.endswith("out/0.mp4")
    assert kinds(folder / "out/0.mp4") == ["video", "audio", "audio", "subtitle"]
    assert any("attachment track 0 (font.ttf) left out" in note for note in made.notes)


def test_no_film_is_delivered_where_another_row_is(folder: Path) -> None:
    report = run(folder, {}, {"video": "plain.mp4", "output": "out/0.mkv"}, {"output": "rich.mp4"}, **AUTO)
    assert [f.code for f in report.all_films] == ["bad_row", "ok", "bad_row"]
    assert "named by a row" in report.films["f0"].message
    config = Config.model_validate({**FAST, **AUTO})
    planned = [p.problem.split(":")[0] for p in plan_films(str(folder / "films.jsonl"), config, str(folder / "work"))]
    assert planned == ["bad_row", "", "bad_row"]


def test_two_films_are_not_delivered_as_the_same_matroska(folder: Path) -> None:
    """One would replace the other, and both would be told as delivered."""
    report = run(folder, {}, {"output": "out/0.mov", "audio_shorter": "trim"}, run={"overwrite": True}, **AUTO)
    assert [f.code for f in report.all_films] == ["bad_row", "bad_row"]
    assert "0.mkv" in report.films["f0"].message


def test_a_row_that_is_left_out_keeps_its_place(folder: Path) -> None:
    """`--only` and `retry` see some of the rows; where the others are delivered is theirs all the same."""
    rows = [{"id": "f0", "output": "out/0.mp4"}, {"id": "f1", "output": "out/0.mkv", "video": "plain.mp4"}]
    whole = [{"video": "rich.mkv", "audio": "dub.wav", "box": SMALL, **row} for row in rows]
    films, work = manifest(folder / "films.jsonl", *whole), str(folder / "work")
    config = Config.model_validate({**FAST, **AUTO, "run": {"overwrite": True}})
    report = dub(str(films), config, work, only=["f0"])
    assert [f.code for f in report.all_films] == ["bad_row"]
    again = retry(work)
    assert again is not None
    assert [f.code for f in again.all_films] == ["bad_row"]
    assert not (folder / "out/0.mkv").exists()


def test_a_strange_file_where_a_film_would_go_is_left_alone(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/0.mkv").write_text("mine")
    assert run(folder, {}, **AUTO).films["f0"].code == "bad_row"
    assert (folder / "out/0.mkv").read_text() == "mine"


def test_the_command_takes_the_container(folder: Path) -> None:
    row = {"id": "a", "video": "rich.mkv", "audio": "dub.wav", "box": SMALL, "output": "out/a.mp4"}
    rows = manifest(folder / "films.jsonl", row)
    work = ["--work", str(folder / "work"), "--executor", "inline", "--set", "encode.preset=ultrafast"]
    done = CliRunner().invoke(app, ["run", str(rows), "--container", "auto", *work])
    assert done.exit_code == 0, done.output
    assert (folder / "out/a.mkv").exists()
    assert "out/a.mkv" in done.output.replace("\n", "")
    assert "delivered as a.mkv" in done.output


def test_a_webm_is_vp9_and_opus_with_webvtt(folder: Path) -> None:
    made = run(folder, {"output": "out/a.webm"}).films["f0"]
    assert made.code == "ok", made.message
    with av.open(str(folder / "out/a.webm")) as container:
        names = [s.codec_context.name for s in container.streams]
        assert container.format.name == "matroska,webm"
    assert names == ["vp9", "opus", "webvtt"]
    assert made.sound == "encoded as libopus: players of .webm do not play pcm_s16le"
    assert any("audio track 0 (aac) left out: .webm cannot carry it" in note for note in made.notes)
    assert any("attachment track 0 (font.ttf) left out" in note for note in made.notes)


def test_a_prores_film_goes_to_mov(folder: Path) -> None:
    film = folder / "prores.mov"
    ffmpeg("-i", folder / "plain.mp4", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le", film)
    made = run(folder, {"video": "prores.mov", "output": "out/a.mov"}).films["f0"]
    assert made.code == "ok", made.message
    assert made.sound == "copied as it is (pcm_s16le)"
    with av.open(str(folder / "out/a.mov")) as container:
        assert [s.codec_context.name for s in container.streams] == ["prores", "pcm_s16le", "pcm_s16le"]
