"""From a row's columns to the sound of its film: copied, changed, mixed, and what the report says of it."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.plan import plan_films
from pipeline.report import RunReport
from stages.arrays import F32
from tests.clips import Sound, audio, ffmpeg, heard
from tests.films import BOX, film, manifest, same_pictures, speech
from tests.mux.test_mux_copy import payloads
from tests.speech import sounds

FAST = {"encode": {"preset": "ultrafast"}}


def run(folder: Path, *rows: dict[str, object], work: str = "work", **settings: object) -> RunReport:
    """Dub rows of one small film inline."""
    base = {"video": "a.mp4", "audio": "dub.wav", "box": BOX}
    whole = [{**base, "id": f"f{n}", "output": f"out/{n}.mp4", **row} for n, row in enumerate(rows)]
    config = Config.model_validate({**FAST, **settings})
    return dub(str(manifest(folder / "films.jsonl", *whole)), config, str(folder / work))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A film of a second with a sound, and a dub."""
    film(tmp_path / "silent.mp4", frames=25)
    speech(tmp_path / "dub.wav", 1.0, rate=48000)
    original = audio(tmp_path / "original.m4a", Sound(1.0))
    ffmpeg("-i", tmp_path / "silent.mp4", "-i", original, "-map", 0, "-map", 1, "-c", "copy", tmp_path / "a.mp4")
    return tmp_path


def music(path: Path, seconds: float = 1.0, level: float = 0.2, rate: int = 48000, channels: int = 2) -> F32:
    """A stereo file of two tones; what it holds."""
    t = np.arange(round(seconds * rate)) / rate
    sound = np.stack([level * np.sin(2 * np.pi * f * t) for f in (200, 300, 400, 500, 600, 700)[:channels]], 1)
    sounds.write(path, sounds.Sound(sound.astype(np.float32), rate))
    return sound.astype(np.float32)


def channels(path: Path) -> tuple[F32, int]:
    """float32 [n, channels] of a film's first track, and its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", stream.layout.name, stream.rate)
        parts = [out.to_ndarray() for f in container.decode(stream) for out in resampler.resample(f)]
    return np.concatenate(parts, 1).T, stream.rate


def test_the_report_says_how_the_dub_came_in_and_how_loud_everything_is(folder: Path) -> None:
    audio(folder / "dub.m4a", Sound(1.0))
    rows = [{}, {"audio": "dub.m4a"}, {"audio": None, "text": "Hello there"}]
    report = run(folder, *rows, mux={"container": "named"})
    assert [f.code for f in report.all_films] == ["ok"] * 3, [f.message for f in report.all_films]
    encoded, copied, spoken = report.all_films
    assert encoded.sound == "encoded as aac: players of .mp4 do not play pcm_s16le"
    assert copied.sound == "copied as it is (aac)"
    assert spoken.sound == "encoded as aac: it was spoken here"
    assert payloads(folder / "out/1.mp4") == payloads(folder / "dub.m4a")
    for made in (encoded, copied, spoken):
        assert set(made.loudness) == {"source", "dub", "delivered"}
        assert all(-40 < made.loudness[name]["integrated_lufs"] < 0 for name in made.loudness)
    kept = run(folder, *rows, mux={"container": "named"})
    assert [f.loudness for f in kept.all_films] == [f.loudness for f in report.all_films]
    assert all(f.kept for f in kept.all_films)
    assert json.loads(Path(kept.url).read_text())["films"][1]["sound"] == copied.sound


def test_another_loudness_paints_nothing_anew(folder: Path) -> None:
    run(folder, {})
    report = run(folder, {}, mux={"loudness": -23}, run={"overwrite": True})
    made = report.films["f0"]
    assert made.shards_made == 0
    assert made.loudness["delivered"]["integrated_lufs"] == pytest.approx(-23, abs=0.5)
    matched = run(folder, {}, mux={"loudness": "match"}, run={"overwrite": True}).films["f0"]
    wanted = matched.loudness["source"]["integrated_lufs"]
    got = matched.loudness["delivered"]["integrated_lufs"]
    assert got == pytest.approx(wanted, abs=0.5) or any("not at" in note for note in matched.notes)


def test_a_background_is_added_to_the_dub_and_no_mouth_hears_it(folder: Path) -> None:
    quiet = music(folder / "music.wav", level=0.1)
    lossless = {"encode": {"codec": "ffv1"}, "mux": {"audio_codec": "flac"}}
    report = run(folder, {}, {"background": "music.wav"}, **lossless)
    assert [f.code for f in report.all_films] == ["ok"] * 2, [f.message for f in report.all_films]
    assert report.films["f1"].shards_made == 0, "the same pictures as without it"
    assert same_pictures(folder / "out/0.mp4", folder / "out/1.mp4")
    (alone, rate), (mix, mix_rate) = channels(folder / "out/0.mp4"), channels(folder / "out/1.mp4")
    assert (rate, mix_rate, mix.shape[1]) == (48000, 48000, 2)
    wanted = quiet + alone[: len(quiet)] * np.sqrt(0.5)  # mono in the middle of two speakers, as loud as before
    assert np.abs(mix[: len(wanted)] - wanted).max() < 2e-4, "the exact sum: the limiter has nothing to do"
    assert report.films["f1"].sound.startswith("encoded as flac")


def test_both_sounds_keep_their_own_clocks_and_the_longer_one_its_end(folder: Path) -> None:
    """A background that begins at 0.3 s and a dub that ends at 0.6 s, in files with clocks of their own."""
    speech(folder / "short.wav", 0.6, rate=48000)
    audio(folder / "late.mka", Sound(0.7, starts_s=0.3, codec="flac", hertz=700))
    report = run(folder, {"audio": "short.wav", "background": "late.mka"}, mux={"audio_codec": "flac"})
    assert report.films["f0"].code == "ok", report.films["f0"].message
    mix, _ = channels(folder / "out/0.mp4")
    assert len(mix) == pytest.approx(48000, abs=480)
    dub_alone = channels(folder / "short.wav")[0]
    assert np.abs(mix[:14000, 0] - dub_alone[:14000, 0]).max() < 2e-4
    late = Sound(0.7, hertz=700).samples()
    assert np.abs(mix[29000:47000, 0] - late[29000 - 14400 : 47000 - 14400]).max() < 2e-4


def test_a_mix_does_not_clip(folder: Path) -> None:
    music(folder / "loud.wav", level=0.95)
    t = np.arange(48000) / 48000
    sounds.write(
        folder / "tone.wav", sounds.Sound((0.95 * np.sin(2 * np.pi * 200 * t))[:, None].astype(np.float32), 48000)
    )
    report = run(folder, {"audio": "tone.wav", "background": "loud.wav"}, mux={"audio_codec": "flac"})
    assert report.films["f0"].code == "ok", report.films["f0"].message
    assert np.abs(channels(folder / "out/0.mp4")[0]).max() <= 0.9


def test_the_loudness_that_is_asked_for_is_the_mix_s(folder: Path) -> None:
    music(folder / "music.wav", level=0.05)
    report = run(folder, {"background": "music.wav"}, mux={"loudness": -30})
    assert report.films["f0"].code == "ok", report.films["f0"].message
    loudness = report.films["f0"].loudness
    assert loudness["delivered"]["integrated_lufs"] == pytest.approx(-30, abs=0.5)
    assert loudness["mix"]["integrated_lufs"] > loudness["dub"]["integrated_lufs"]


def test_a_background_of_six_channels_and_opus(folder: Path) -> None:
    music(folder / "six.wav", channels=6)
    settings = {"mux": {"audio_codec": "libopus"}}
    report = run(folder, {"background": "six.wav", "output": "out/0.mkv"}, **settings)
    assert report.films["f0"].code == "ok", report.films["f0"].message
    with av.open(str(folder / "out/0.mkv")) as container:
        assert container.streams.audio[0].channels == 6


def test_a_bad_background_ends_its_row_before_any_work(folder: Path) -> None:
    (folder / "text.wav").write_text("I am not music.\n" * 100)
    music(folder / "long.wav", 3.0)
    rows = [
        {"background": "nowhere.wav"},
        {"background": "text.wav"},
        {"background": "silent.mp4"},
        {"background": "long.wav"},
        {"background": "long.wav", "audio_longer": "trim"},
    ]
    report = run(folder, *rows)
    assert [f.code for f in report.all_films] == ["not_found", "decode_error", "no_audio", "audio_longer", "ok"]
    assert all(f.stage == "split" for f in report.all_films[:4])
    assert not list((folder / "work/cache").glob("faces/*"))
    assert len(heard(folder / "out/4.mp4")[0]) == pytest.approx(48000, abs=2048)
    planned = list(plan_films(str(folder / "films.jsonl"), Config(), str(folder / "work")))
    assert [p.problem.split(":")[0] for p in planned] == ["not_found", "decode_error", "no_audio", "audio_longer", ""]


def test_another_background_under_the_same_name_is_another_film(folder: Path) -> None:
    music(folder / "music.wav", level=0.1)
    run(folder, {"background": "music.wav"})
    assert run(folder, {"background": "music.wav"}).films["f0"].kept
    music(folder / "music.wav", level=0.2)
    again = run(folder, {"background": "music.wav"}, run={"overwrite": True}).films["f0"]
    assert not again.kept
    assert again.shards_made == 0


def test_a_dub_with_a_third_of_its_packets_damaged_is_delivered_with_silence_there(folder: Path) -> None:
    """ffmpeg's own limit of errors must not be stricter than ours."""
    path = sounds.write(folder / "worn.mp4", sounds.Sound(sounds.noise(1.0, 48000), 48000, "flac"))
    data = bytearray(path.read_bytes())
    hurt = slice(len(data) // 2, len(data) * 6 // 7)
    data[hurt] = b"\xff" * len(data[hurt])
    path.write_bytes(data)
    film_report = run(folder, {"audio": "worn.mp4"}).films["f0"]
    assert film_report.code == "ok", film_report.message
    assert any("damaged packets" in note for note in film_report.notes)
    samples, rate = channels(folder / "out/0.mp4")
    assert np.abs(samples[: rate // 4]).max() > 0.1
    assert np.abs(samples[int(0.6 * rate) : int(0.8 * rate)]).max() < 1e-3
    kept = run(folder, {"audio": "worn.mp4"}).films["f0"]
    assert kept.kept
    assert sorted(kept.notes) == sorted(film_report.notes)
