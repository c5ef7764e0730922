"""Text to speech: espeak-ng, one fresh process a text, so that the same row always sounds the same."""

import importlib.util
import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import stages
from stages.errors import DubError
from stages.media.storage import publishing
from stages.speech.settings import SpeechSettings

VERSION: Final = 1
"""Raised whenever the same text gives another sound."""


@dataclass(frozen=True)
class Spoken:
    """What `speak` wrote."""

    voice: str
    """espeak-ng's name of the voice that spoke."""
    rate: int
    """Samples a second, espeak-ng's own."""
    samples: int
    """Length of the sound in samples."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate


def speak(
    text: str, language: str | None, voice: str | None, url: str, settings: SpeechSettings | None = None
) -> Spoken:
    """Speak a text into a mono 16-bit WAV at `url`, whole or not at all; the same bytes every time.

    `language` is BCP-47, `voice` a voice or variant of espeak-ng (`voices.choose_voice`); without a
    language, `settings.language` is spoken. Markup in the text is read out, not obeyed.
    Raises DubError: `bad_row` (nothing to say, too long, unknown language or voice), `unsupported` (espeak-ng
    is not installed), `timeout`, `crashed`.
    """
    settings = settings or SpeechSettings()
    if importlib.util.find_spec("espeakng_loader") is None:
        raise DubError(
            "unsupported",
            "speaking a text needs espeak-ng: run «pip install 'dubline[speech]'», or give audio",
        )
    data = _plain(text, settings)
    with publishing(url, ".wav") as partial:
        arguments = [str(partial), language or settings.language, voice or ""]
        answer = _say(data, arguments, settings.tts_timeout_s)
        if "error" in answer:
            raise DubError(answer["error"], answer["message"])
        spoken = Spoken(answer["voice"], answer["rate"], answer["samples"])
        if not spoken.samples:
            raise DubError("bad_row", f"the text gives no sound in the voice {spoken.voice}")
    return spoken


def _plain(text: str, settings: SpeechSettings) -> bytes:
    """The text as espeak-ng is to read it. Raises DubError `bad_row`."""
    if len(text) > settings.max_text_chars:
        raise DubError(
            "bad_row",
            f"the text has {len(text)} characters, at most {settings.max_text_chars} (speech.max_text_chars)",
        )
    # Control characters carry commands to espeak-ng; letters with combining accents are unknown to it.
    kept = (c if c in "\n\t" or unicodedata.category(c) != "Cc" else " " for c in text)
    plain = unicodedata.normalize("NFC", "".join(kept)).strip()
    if not plain:
        raise DubError("bad_row", "the text is empty")
    try:
        return plain.encode()
    except UnicodeEncodeError as error:
        raise DubError("bad_row", f"the text is not Unicode text ({error.reason})") from error


def _say(text: bytes, arguments: list[str], timeout_s: float) -> dict[str, Any]:
    """What `stages.speech.say` answers, in a process that finds the modules this one finds, and no others."""
    root = str(Path(stages.__path__[0]).parent)
    paths = os.pathsep.join([root, *(path for path in sys.path if path)])
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "stages.speech.say", *arguments],
            input=text,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired as error:
        raise DubError("timeout", f"speaking the text took more than {timeout_s:g} s (speech.tts_timeout_s)") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DubError(
            "crashed" if done.returncode < 0 else "internal",
            f"the speech process ended with {done.returncode}: {said[-1] if said else 'no message'}",
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
