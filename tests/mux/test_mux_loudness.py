"""Loudness by EBU R128: measured for every film, changed where that is asked for."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stages.mux.ffmpeg import media_input
from stages.mux.loudness import Loudness, measure
from stages.mux.settings import MuxSettings
from tests.clips import Sound, audio, clip, heard, steady
from tests.mux.pieces import Made, deliver
from tests.speech import sounds


def tone(path: Path, dbfs: float, seconds: float = 3.0, rate: int = 48000, peak_dbfs: float | None = None) -> Path:
    """A mono sine of 997 Hz, which BS.1770 puts 3 LU below its level; `peak_dbfs`: one click in it."""
    t = np.arange(round(seconds * rate)) / rate
    sound = 10 ** (dbfs / 20) * np.sin(2 * np.pi * 997 * t)
    if peak_dbfs is not None:
        sound[rate] = 10 ** (peak_dbfs / 20)
    return sounds.write(path, sounds.Sound(sound[:, None].astype(np.float32), rate))


def lufs(made: Made, what: str = "delivered") -> float | None:
    return made.delivery.loudness[what]["integrated_lufs"]


def measured(path: Path) -> Loudness:
    return measure({"it": media_input(path)["a:0"]}, 60)["it"]


def test_a_sine_is_as_loud_as_the_standard_says(tmp_path: Path) -> None:
    """EBU Tech 3341: a sine of -23 dBFS in both channels measures -23 LUFS, in one channel 3 dB less."""
    found = measured(tone(tmp_path / "a.wav", -20.0))
    assert found.integrated_lufs == pytest.approx(-23.0, abs=0.15)
    assert found.true_peak_dbtp == pytest.approx(-20.0, abs=0.2)


def test_every_film_s_sounds_are_measured(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(75), sounds=[Sound(3.0)])
    made = deliver(film, tone(tmp_path / "dub.wav", -30))
    assert lufs(made, "dub") == pytest.approx(-33, abs=0.2)
    assert lufs(made) == pytest.approx(-33, abs=0.2)
    assert lufs(made, "source") == measured(film).integrated_lufs
    copied = deliver(film, audio(tmp_path / "dub.m4a", Sound(3.0)))
    assert copied.delivery.loudness["delivered"] == copied.delivery.loudness["dub"]


def test_silence_and_missing_sound_are_null_and_never_nan(tmp_path: Path) -> None:
    silent = sounds.write(tmp_path / "dub.wav", sounds.Sound(np.zeros((48000, 1), np.float32), 48000))
    film = clip(tmp_path / "a.mp4", steady(25))
    for loudness in ("keep", "match", -23):
        made = deliver(film, silent, loudness=loudness)
        facts = json.loads(json.dumps(made.delivery.loudness, allow_nan=False))
        assert facts["source"] is None
        assert facts["dub"] == {"integrated_lufs": None, "true_peak_dbtp": None, "range_lu": None}
        assert facts["delivered"]["integrated_lufs"] is None
    assert "the dub is silent" in made.notes
    assert "no sound to match" in deliver(film, tone(tmp_path / "loud.wav", -20), loudness="match").notes


def test_a_sound_shorter_than_the_measure_s_window_is_null(tmp_path: Path) -> None:
    made = deliver(clip(tmp_path / "a.mp4", steady(10)), tone(tmp_path / "dub.wav", -20, 0.3), loudness=-23)
    assert lufs(made) is None


@pytest.mark.parametrize(("wanted", "target"), [(-23, -23.0), (-31.5, -31.5), ("match", None)])
def test_the_dub_is_delivered_at_the_loudness_that_was_asked_for(
    tmp_path: Path, wanted: str | float, target: float | None
) -> None:
    """Measured on the finished film; a plain gain, so that nothing else about the sound has changed."""
    film = clip(tmp_path / "a.mp4", steady(75), sounds=[Sound(3.0)])
    dub = tone(tmp_path / "dub.wav", -15)
    made = deliver(film, dub, loudness=wanted, audio_codec="flac")
    target = measured(film).integrated_lufs if target is None else target
    assert target is not None
    assert made.delivery.loudness["target_lufs"] == target
    if wanted != "match":
        assert made.delivery.loudness["normalization"] == "linear"
        assert made.notes == ""
        was, now = heard(dub)[0], heard(made.path)[0]
        assert len(now) == len(was)
        gain = 10 ** ((target - lufs(made, "dub")) / 20)
        assert np.abs(now - gain * was).max() < 1e-3
        assert measured(made.path).integrated_lufs == pytest.approx(target, abs=0.5)
    assert lufs(made) == measured(made.path).integrated_lufs


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "auto"), (".mkv", "libopus")])
def test_a_compressed_dub_keeps_its_loudness_through_the_encoder(tmp_path: Path, suffix: str, codec: str) -> None:
    dub = audio(tmp_path / "dub.m4a", Sound(3.0))
    made = deliver(clip(tmp_path / "a.mp4", steady(75)), dub, f"out{suffix}", loudness=-27, audio_codec=codec)
    assert made.delivery.sound.startswith("encoded")
    assert lufs(made) == pytest.approx(-27, abs=0.5)
    assert measured(made.path).integrated_lufs == pytest.approx(-27, abs=0.5)


def test_peaks_without_room_are_compressed_and_the_report_says_so(tmp_path: Path) -> None:
    dub = tone(tmp_path / "dub.wav", -30, peak_dbfs=-3)
    made = deliver(clip(tmp_path / "a.mp4", steady(75)), dub, loudness=-16)
    assert made.delivery.loudness["normalization"] == "dynamic"
    assert "compressed" in made.notes
    assert heard(made.path)[2] == 48000, "loudnorm's own 192 kHz"
    assert len(heard(made.path)[0]) == pytest.approx(3 * 48000, abs=4096)


def test_a_dub_that_is_as_loud_as_it_should_be_is_copied(tmp_path: Path) -> None:
    dub = audio(tmp_path / "dub.m4a", Sound(3.0))
    made = deliver(clip(tmp_path / "a.mp4", steady(75)), dub, loudness=measured(dub).integrated_lufs)
    assert made.delivery.sound.startswith("copied")
    assert "target_lufs" not in made.delivery.loudness


def test_samples_that_are_no_numbers_are_silent_in_the_delivery(tmp_path: Path) -> None:
    """An encoder refuses them, and a file may hold them: the mouths were drawn to silence there."""
    sound = sounds.noise(2.0, 48000)
    sound[30000:30100] = math.nan
    sound[50000] = math.inf
    dub = sounds.write(tmp_path / "dub.wav", sounds.Sound(sound, 48000))
    film = clip(tmp_path / "a.mp4", steady(50))
    made = deliver(film, dub, not_finite=True, audio_codec="flac")
    got = heard(made.path)[0]
    assert np.abs(got[30000:30100]).max() == 0
    assert np.abs(got[:29000] - sound[:29000, 0]).max() < 1e-3
    assert lufs(made) == pytest.approx(measured(made.path).integrated_lufs)
    assert deliver(film, dub, not_finite=True).delivery.sound.endswith("no numbers")


def test_loudness_is_keep_match_or_a_number() -> None:
    assert [MuxSettings(loudness=v).loudness for v in ("keep", "match", -23, -23.5)] == ["keep", "match", -23, -23.5]
    for wrong in ("loud", -71, 0, math.nan, True, None, [1]):
        with pytest.raises(ValidationError, match="keep, match or a number"):
            MuxSettings(loudness=wrong)
