"""Speaks one text with espeak-ng and ends: `python -m stages.speech.say OUT.wav LANGUAGE VOICE < text`.

A process of its own because espeak-ng gives the same signal for the same text only the first time it speaks
(media.md 7.9). Writes a WAV and, on standard output, one line of JSON: what was spoken, or the error.
"""

import ctypes
import json
import sys
import wave
from typing import Any, Final

import espeakng_loader

from stages.errors import DubError
from stages.speech.voices import Voice, choose_voice

# Values of espeak-ng's speak_lib.h.
_SYNCHRONOUS: Final = 2
_DO_NOT_EXIT: Final = 0x8000
_UTF8: Final = 1
_BY_CHARACTER: Final = 1
_OK: Final = 0
_SEED: Final = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """espeak_VOICE of speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class Speaker:
    """espeak-ng, loaded. Good for one text."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        data = str(espeakng_loader.get_data_path()).encode()
        self.rate: int = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
        """Samples a second of what it speaks."""
        if self.rate <= 0:
            raise DubError("internal", "espeak-ng does not start; reinstall espeakng-loader")
        # It begins with the time of day as the seed of its breath noise.
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))

    def voices(self) -> list[Voice]:
        """Every voice."""
        return self._listed(None)

    def variants(self) -> list[Voice]:
        """Every variant, which changes the tone of any voice."""
        like = _Voice(languages=ctypes.cast(ctypes.c_char_p(b"variant"), ctypes.c_void_p))
        return self._listed(ctypes.byref(like))

    def say(self, text: str, voice: str, path: str) -> int:
        """Speak into a 16-bit mono WAV; the number of samples. Raises DubError, and OSError of writing."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != _OK:
            raise DubError("bad_row", f"espeak-ng does not take its voice {voice!r}")
        failure: list[OSError] = []
        samples = 0
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)

            def write(wav: Any, count: int, _events: Any) -> int:
                nonlocal samples
                # Exceptions do not cross C: they are kept and the synthesis is told to stop.
                try:
                    if wav and count > 0:
                        file.writeframesraw(ctypes.string_at(wav, 2 * count))
                        samples += count
                except OSError as error:
                    failure.append(error)
                return len(failure)

            callback = _Callback(write)
            self._lib.espeak_SetSynthCallback(callback)
            data = text.encode() + b"\0"
            status = self._lib.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, _BY_CHARACTER, 0, _UTF8, None, None)
            self._lib.espeak_Synchronize()
        if failure:
            raise failure[0]
        if status != _OK:
            raise DubError("internal", f"espeak-ng ended with {status}")
        return samples

    def _listed(self, like: Any) -> list[Voice]:
        array = self._lib.espeak_ListVoices(like)
        found: list[Voice] = []
        while array[len(found)]:
            listed = array[len(found)].contents
            found.append(Voice(listed.name.decode(), listed.identifier.decode(), _languages(listed.languages)))
        return found


def _languages(address: int) -> tuple[tuple[int, str], ...]:
    """Pairs of a priority byte and a zero-ended tag, the list itself ended by priority 0."""
    found: list[tuple[int, str]] = []
    while priority := ctypes.c_ubyte.from_address(address).value:
        tag = ctypes.string_at(address + 1)
        found.append((priority, tag.decode().lower()))
        address += len(tag) + 2
    return tuple(found)


def main() -> None:
    """Speak standard input as the arguments say."""
    path, language, voice = sys.argv[1:4]
    answer: dict[str, Any]
    try:
        text = sys.stdin.buffer.read().decode()
        speaker = Speaker()
        chosen = choose_voice(speaker.voices(), speaker.variants(), language, voice)
        answer = {"voice": chosen, "rate": speaker.rate, "samples": speaker.say(text, chosen, path)}
    except DubError as error:
        answer = {"error": error.code, "message": error.message}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
