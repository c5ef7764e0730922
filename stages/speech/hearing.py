"""What a generator hears of a dub: one window of speech a frame, of the kind it was trained with."""

from pathlib import Path
from typing import Final, Literal, Protocol

from stages.arrays import F32, F64
from stages.networks import Device
from stages.settings import digest
from stages.speech.mel import MelWindows
from stages.speech.samples import Samples
from stages.speech.settings import SpeechSettings, WhisperSettings
from stages.speech.whisper import VERSION as WHISPER_VERSION
from stages.speech.whisper import Route, WhisperFeatures, WhisperWindows
from stages.speech.whisper.files import find
from stages.weights import Weights

Hears = Literal["mel", "whisper", "whisper-legacy"]
"""`mel` float32 [n, 80, 16] (`stages.speech.mel`); `whisper` float32 [n, 50, 384] as today's models hear it, and
`whisper-legacy` as MuseTalk 1.0 was trained to (`stages.speech.whisper`)."""
WHISPER_FILES: Final = ("whisper-tiny-config", "whisper-tiny")
"""What is asked of the weights folder where no other folder is named."""
_ROUTES: Final[dict[str, Route]] = {"whisper": "current", "whisper-legacy": "legacy"}


class Windows(Protocol):
    """A dub's windows, by the presentation times of frames."""

    def at(self, times: F64) -> F32:
        """One window a time, float32 [n, ...]. `times`: float64 [n] seconds since the dub began."""
        ...

    def heard_digest(self, times: F64) -> str:
        """20 hex digits: two dubs that share them give these times the same windows. Needs no model."""
        ...


def windows_of(
    hears: Hears, samples: Samples, settings: SpeechSettings, features: WhisperFeatures | None = None
) -> Windows:
    """The windows of a dub. Without `features`, those of Whisper can only be told apart (`heard_digest`)."""
    if hears == "mel":
        return MelWindows(samples, settings.mel_padding)
    return WhisperWindows(samples, features, _ROUTES[hears], settings.whisper.overlap_s)


def load_whisper(settings: WhisperSettings, weights: Weights, device: Device) -> WhisperFeatures:
    """The speech encoder of the settings. Raises DubError `weights_missing` or `unsupported`."""
    folder = weights.layout(WHISPER_FILES) if settings.weights is None else Path(settings.weights)
    return WhisperFeatures(folder, device, threads=settings.threads)


def weights_heard_with(hears: Hears, settings: SpeechSettings) -> tuple[str, ...]:
    """What `stages.weights.Weights` is asked for: registry names, or paths."""
    if hears == "mel":
        return ()
    given = settings.whisper.weights
    return WHISPER_FILES if given is None else tuple(str(path) for path in find(Path(given)))


def hearing_key(hears: Hears, settings: SpeechSettings, weights: Weights, device: str) -> str:
    """What windows depend on besides what `heard_digest` covers. Raises DubError `weights_missing`."""
    if hears == "mel":
        return hears
    seen = [weights.sha256(file) for file in weights_heard_with(hears, settings)]
    return digest(WHISPER_VERSION, hears, settings.whisper.model_dump(exclude={"weights"}), device, seen)
