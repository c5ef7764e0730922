"""Text is spoken the same way every time, in the voice that was asked for or not at all."""

import importlib.util
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from stages.errors import DubError
from stages.speech.say import Speaker
from stages.speech.settings import SpeechSettings
from stages.speech.track import decode_dub
from stages.speech.tts import speak
from stages.speech.voices import Voice, choose_voice

TEXT = "Good evening, and welcome to the lecture."


def said(path: Path, text: str = TEXT, language: str | None = "en", voice: str | None = None, **options) -> bytes:
    speak(text, language, voice, str(path), **options)
    return path.read_bytes()


def refused(path: Path, text: str = TEXT, language: str | None = "en", voice: str | None = None, **options) -> DubError:
    with pytest.raises(DubError) as caught:
        speak(text, language, voice, str(path), **options)
    assert not list(path.parent.glob("*")), "a failure leaves nothing behind"
    return caught.value


def test_the_same_text_gives_the_same_bytes(tmp_path):
    assert said(tmp_path / "a.wav") == said(tmp_path / "b.wav")


def test_breath_noise_does_not_depend_on_the_time_of_day(tmp_path):
    # espeak-ng seeds it with the current second; `whisper` is noise throughout.
    first = said(tmp_path / "a.wav", voice="whisper")
    second = int(time.time())
    while int(time.time()) <= second + 1:
        assert said(tmp_path / "b.wav", voice="whisper") == first


def test_the_wav_is_speech_that_decodes(tmp_path):
    spoken = speak(TEXT, "en", None, str(tmp_path / "a.wav"))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, spoken.rate)
        assert file.getnframes() == spoken.samples
        signal = np.frombuffer(file.readframes(spoken.samples), "<i2")
    assert 1.5 < spoken.duration_s < 4
    assert np.abs(signal).max() > 5000
    dub = decode_dub(tmp_path / "a.wav", str(tmp_path / "a.npy"))
    assert dub.samples == -(-spoken.samples * 16000 // spoken.rate)


@pytest.mark.parametrize(
    ("language", "voice", "chosen"),
    [
        ("en", None, "gmw/en"),
        (None, None, "gmw/en"),
        ("en-US", None, "gmw/en-US"),
        ("de-AT", None, "gmw/de"),
        ("zh", None, "sit/cmn"),
        ("zh-Hans-CN", None, "sit/cmn"),
        ("pt-BR", None, "roa/pt-BR"),
        ("pt_br", "", "roa/pt-BR"),
        ("fr", "f3", "roa/fr+f3"),
        (None, "+Annie", "gmw/en+Annie"),
        ("de", "english (america)+female3", "gmw/en-US+f3"),
        ("de", "en", "gmw/en"),
        ("de", "es-mx", "roa/es-419"),
    ],
)
def test_language_and_voice_find_their_voice(tmp_path, language, voice, chosen):
    assert speak("Yes.", language, voice, str(tmp_path / "a.wav")).voice == chosen


def test_a_voice_is_heard_in_the_sound(tmp_path):
    sounds = {said(tmp_path / "a.wav", voice=voice) for voice in (None, "f3", "en-us", "en-us+f3")}
    assert len(sounds) == 4


@pytest.mark.parametrize(
    ("language", "voice", "hint"),
    [
        ("xx", None, "language 'xx'"),
        ("germn", None, "de (German)"),
        ("en", "englsh", "voice 'englsh'"),
        ("en", "en-uk", "en-gb"),
        ("en", "en+femal3", "female3"),
        ("en", "../../etc/passwd", "none is near it"),
    ],
)
def test_unknown_voices_are_refused_with_what_is_near(tmp_path, language, voice, hint):
    error = refused(tmp_path / "a.wav", language=language, voice=voice)
    assert error.code == "bad_row"
    assert hint in error.message


def test_every_listed_voice_and_variant_is_taken_by_espeak():
    speaker = Speaker()
    voices, variants = speaker.voices(), speaker.variants()
    assert len(voices) > 100
    assert len(variants) > 50
    for voice in voices:
        assert choose_voice(voices, variants, "xx", voice.identifier) == voice.identifier
    for variant in variants:
        assert choose_voice(voices, variants, "en", variant.name) == f"gmw/en+{variant.file}"


def test_the_best_priority_speaks_a_language():
    voices = [Voice("A", "x/a", ((5, "en"),)), Voice("B", "x/b", ((2, "en"), (1, "en-b")))]
    assert choose_voice(voices, [], "en", "") == "x/b"
    assert choose_voice(voices[:1], [], "en-b-c", "") == "x/a"


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x01", "\ud800"])
def test_texts_with_nothing_to_say_are_refused(tmp_path, text):
    assert refused(tmp_path / "a.wav", text).code == "bad_row"


def test_long_texts_are_refused_before_anything_runs(tmp_path):
    error = refused(tmp_path / "a.wav", "a" * 101, settings=SpeechSettings(max_text_chars=100))
    assert error.code == "bad_row"
    assert "101 characters" in error.message


def test_commands_in_a_text_are_not_obeyed(tmp_path):
    plain = said(tmp_path / "a.wav", "fast  450S words")
    assert said(tmp_path / "b.wav", "fast \x01450S words") == plain
    # as markup this would be half a minute of silence
    spoken = speak('<speak><break time="30s"/>Hi</speak>', "en", None, str(tmp_path / "c.wav"))
    assert spoken.duration_s < 15


def test_letters_with_combining_accents_are_letters(tmp_path):
    composed, combining = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    assert said(tmp_path / "a.wav", combining, "de") == said(tmp_path / "b.wav", composed, "de")


@pytest.mark.parametrize("text", ["--version", "-m os", "$(touch x) `id` ; exit"])
def test_a_text_is_never_an_option_or_a_command(tmp_path, text):
    assert speak(text, "en", None, str(tmp_path / "-a b.wav")).samples > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["-a b.wav"]


def test_modules_in_the_current_folder_are_not_run(tmp_path, monkeypatch):
    for name in ("json.py", "wave.py", "stages.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert speak(TEXT, "en", None, str(tmp_path / "out" / "a.wav")).samples > 1000


def test_without_the_extra_the_install_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    error = refused(tmp_path / "a.wav")
    assert error.code == "unsupported"
    assert "pip install 'dubline[speech]'" in error.message


def test_a_slow_voice_ends_with_timeout(tmp_path):
    error = refused(tmp_path / "a.wav", "One two three. " * 5000, settings=SpeechSettings(tts_timeout_s=0.05))
    assert error.code == "timeout"


@pytest.mark.parametrize(("script", "code"), [("kill -9 $$", "crashed"), ("echo broken >&2; exit 1", "internal")])
def test_a_speech_process_that_dies_is_one_failed_row(tmp_path, monkeypatch, script, code):
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    (tmp_path / "out").mkdir()
    assert refused(tmp_path / "out" / "a.wav").code == code
