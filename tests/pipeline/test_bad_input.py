"""One manifest full of bad input: every row ends with its own code, and the good film is delivered."""

import wave
from pathlib import Path

import av
import pytest

from pipeline import Config, dub
from pipeline.manifest import ManifestError
from stages.media.index import index_video
from tests.films import BOX, film, manifest, portrait, speech


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good film and many bad files."""
    film(tmp_path / "good.mp4", frames=20)
    speech(tmp_path / "dub.wav", 0.8)
    speech(tmp_path / "long.wav", 5.0)
    (tmp_path / "text.mp4").write_text("I am not a film.\n" * 100)
    whole = film(tmp_path / "whole.mp4", frames=60).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        with av.open(str(tmp_path / "dub.wav")) as source:
            for frame in source.decode(audio=0):
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    return tmp_path


def test_every_bad_row_has_its_code_and_the_others_are_delivered(folder: Path) -> None:
    def row(name: str, **more: object) -> dict[str, object]:
        base = {"id": name, "video": "good.mp4", "audio": "dub.wav", "output": f"out/{name}.mp4", "box": BOX}
        return {**base, **more}

    rows = manifest(
        folder / "night.jsonl",
        row("good"),
        row("missing", video="nowhere.mp4"),
        row("missing_dub", audio="nowhere.wav"),
        row("text_as_film", video="text.mp4"),
        row("cut_short", video="cut.mp4"),
        row("sound_only", video="sound.mp4"),
        row("playlist", video="playlist.mp4"),
        row("concat", video="concat.mp4"),
        row("no_samples", audio="empty.wav"),
        row("too_long", audio="long.wav"),
        row("trimmed", audio="long.wav", audio_longer="trim"),
        row("no_voice", audio=None, text="Hallo", voice="nobody"),
        row("wrong_types", box="left"),
        row("twin"),
        row("twin", output="out/twin2.mp4"),
        row("same_output_1", output="out/same.mp4"),
        row("same_output_2", output="out/same.mp4"),
        row("onto_itself", output="good.mp4"),
        row("odd_column", colour="red"),
        row("last"),
    )
    original = (folder / "good.mp4").read_bytes()
    report = dub(str(rows), Config.model_validate({"encode": {"preset": "ultrafast"}}), str(folder / "work"))
    codes = {film.id: film.code for film in report.all_films}
    assert codes == {
        "good": "ok",
        "missing": "not_found",
        "missing_dub": "not_found",
        "text_as_film": "decode_error",
        "cut_short": "decode_error",
        "sound_only": "no_video",
        "playlist": "decode_error",
        "concat": "decode_error",
        "no_samples": "no_audio",
        "too_long": "audio_longer",
        "trimmed": "ok",
        "no_voice": "bad_row",
        "wrong_types": "bad_row",
        "twin": "bad_row",
        "same_output_1": "bad_row",
        "same_output_2": "bad_row",
        "onto_itself": "bad_row",
        "odd_column": "bad_row",
        "last": "ok",
    }
    assert report.exit_code("any") == 2
    assert report.exit_code("all") == 0
    assert (folder / "good.mp4").read_bytes() == original
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["good.mp4", "last.mp4", "trimmed.mp4"]
    assert len(index_video(str(folder / "out/last.mp4"))) == 20
    for failed in report.failed:
        assert failed.message, failed.id
        assert failed.stage, failed.id
    lines = {film.id: film.message for film in report.bad_rows}
    assert "box" in lines["wrong_types"]
    assert "colour" in lines["odd_column"]


def test_a_manifest_without_one_good_row_does_not_start(folder: Path) -> None:
    rows = manifest(folder / "night.jsonl", {"id": "a"}, {"video": 3})
    with pytest.raises(ManifestError, match="line 1") as error:
        dub(str(rows), Config(), str(folder / "work"))
    assert "line 2" in str(error.value)
    assert not (folder / "work").exists()


def test_a_picture_of_a_face_in_no_known_pixel_format_is_unsupported(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "grey.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "gray"
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(portrait(k), "bgr24").reformat(format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    speech(tmp_path / "dub.wav", 0.2)
    rows = manifest(
        tmp_path / "m.jsonl", {"id": "g", "video": "grey.mkv", "audio": "dub.wav", "output": "g.mp4", "box": BOX}
    )
    report = dub(str(rows), Config(), str(tmp_path / "work"))
    assert report.films["g"].code == "unsupported"
    assert "gray" in report.films["g"].message
