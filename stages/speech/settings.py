"""How the dub is heard: decoding, the mel spectrogram, text-to-speech."""

from typing import Literal

from pydantic import Field

from stages.settings import Settings


class SpeechSettings(Settings):
    """From an audio file or a text to what a generator hears."""

    resampler: Literal["HQ", "VHQ"] = "HQ"
    """Quality of the soxr resampler that brings a dub to 16 kHz. `HQ` is what librosa takes (parity)."""
    max_dub_s: float = Field(12 * 3600.0, gt=0)
    """Longest dub that is decoded, in seconds; beyond it the row ends with `unsupported`."""
    mel_padding: Literal["zeros", "reflect"] = "zeros"
    """What lies beyond both ends of the dub for the spectrogram: `zeros` as librosa since 0.9, `reflect`
    as the 2020 original. Only the dub's first and last two columns (25 ms) differ."""
    language: str = Field("en", min_length=1)
    """Language (BCP-47) in which a row's `text` is spoken when the row names neither language nor voice."""
    max_text_chars: int = Field(200_000, gt=0)
    """Longest text one row may have spoken, in characters (200,000: about four hours)."""
    tts_timeout_s: float = Field(300.0, gt=0)
    """Longest a text may take to be spoken, in seconds; raise it together with max_text_chars."""
