"""How the dub is heard: decoding, the mel spectrogram, text-to-speech."""

from typing import Literal

from pydantic import Field

from stages.settings import Settings


class WhisperSettings(Settings):
    """The speech encoder that MuseTalk hears with."""

    weights: str | None = None
    """Folder of openai/whisper-tiny: config.json, and model.safetensors or pytorch_model.bin; or a folder that has it
    as `whisper/`. Empty: the weights folder, where `dubline weights fetch musetalk-1.5` puts it."""
    overlap_s: float = Field(10.0, ge=0, le=20)
    """Seconds that neighbouring pieces of 30 s share, so that what a frame hears does not change abruptly where one
    ends. 0 is the official cutting (parity); a dub of up to 30 s is one piece in any case."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the encoder. Another number may change single values by a rounding."""


class SpeechSettings(Settings):
    """From an audio file or a text to what a generator hears."""

    resampler: Literal["HQ", "VHQ"] = "HQ"
    """Quality of the soxr resampler that brings a dub to 16 kHz. `HQ` is what librosa takes (parity)."""
    max_dub_s: float = Field(12 * 3600.0, gt=0)
    """Longest dub that is decoded, in seconds; beyond it the row ends with `unsupported`."""
    mel_padding: Literal["zeros", "reflect"] = "zeros"
    """What lies beyond both ends of the dub for the spectrogram: `zeros` as librosa since 0.9, `reflect`
    as the 2020 original. Only the dub's first and last two columns (25 ms) differ."""
    whisper: WhisperSettings = WhisperSettings()
    """What MuseTalk hears with."""
    language: str = Field("en", min_length=1)
    """Language (BCP-47) in which a row's `text` is spoken when the row names neither language nor voice."""
    max_text_chars: int = Field(200_000, gt=0)
    """Longest text one row may have spoken, in characters (200,000: about four hours)."""
    tts_timeout_s: float = Field(300.0, gt=0)
    """Longest a text may take to be spoken, in seconds; raise it together with max_text_chars."""
