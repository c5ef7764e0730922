"""The log-mel spectrogram Whisper listens to, by the two routes of musetalk.md 4.2 and 4.3.

`current` (both official versions today): each piece of 30 s by itself, silence behind the dub's end, floor 8 below the
piece's maximum. `legacy` (what MuseTalk 1.0 was trained on): one spectrogram of the whole dub with one floor, cut into
slices, filled up with 0.0 behind its end.
"""

from typing import Final, Literal

import librosa
import numpy as np

from stages.arrays import F32, F64
from stages.speech.bands import BANDS, in_bands
from stages.speech.samples import RATE, Samples

Route = Literal["current", "legacy"]

PIECE_S: Final = 30
"""What the encoder hears at once."""
PIECE_SAMPLES: Final = PIECE_S * RATE
HOP: Final = 160  # musetalk.md 4.2, as all numbers here
COLUMNS: Final = PIECE_SAMPLES // HOP
"""Columns of a piece."""

_N_FFT: Final = 400
_HALF: Final = _N_FFT // 2
_LOW_HZ: Final = 0
_HIGH_HZ: Final = 8000
_LEAST_POWER: Final = 1e-10
_DEPTH: Final = 8.0
"""The floor lies this far below the maximum, in powers of ten."""
_BEYOND: Final = 0.0
"""What the legacy route has behind the dub's last column, on the normalised scale."""


def piece_mel(samples: Samples, start: int) -> F32:
    """float32[80, 3000] of the 30 s from sample `start` on, by the current route: silence outside the dub.

    What transformers' WhisperFeatureExtractor gives for these samples, computed in float64. Raises ValueError on
    samples that are not finite.
    """
    sound = np.pad(samples.read(start, start + PIECE_SAMPLES), _HALF, mode="reflect")
    levels = _levels(sound)[:, :COLUMNS]
    return _normalised(levels, float(levels.max()))


def slice_mel(samples: Samples, start: int, loudest: float) -> F32:
    """float32[80, 3000] of the 30 s from sample `start` (a multiple of 160) on, by the legacy route.

    `loudest`: of the whole dub, from `loudest_level`. Raises ValueError on samples that are not finite.
    """
    mel = _normalised(_dub_levels(samples, start), loudest)
    mel[:, max(0, len(samples) - start) // HOP :] = _BEYOND
    return mel


def slice_reach(start: int) -> tuple[int, int]:
    """Half-open range of the samples on which the slice from `start` depends, not cut at the dub's ends."""
    return start - _HALF, start + (COLUMNS - 1) * HOP + _HALF


def loudest_level(samples: Samples) -> float:
    """The maximum of the whole dub's log-mel, before normalising, in one pass that holds 30 s at a time."""
    columns = len(samples) // HOP
    loudest = np.log10(_LEAST_POWER)
    for first in range(0, columns, COLUMNS):
        levels = _dub_levels(samples, first * HOP)
        loudest = max(loudest, levels[:, : columns - first].max())
    return float(loudest)


def _dub_levels(samples: Samples, start: int) -> F64:
    """float64[80, 3000] from sample `start` on: columns of the whole dub's spectrogram, mirrored at its ends.

    Those behind the dub's last column mean nothing.
    """
    low, high = slice_reach(start)
    sound = samples.read(low, high)
    if low < 0:
        sound[:-low] = samples.read(1, 1 - low)[::-1]
    end = len(samples)
    beyond = min(high - end, _HALF)
    if beyond > 0:
        sound[end - low :][:beyond] = samples.read(end - 1 - beyond, end - 1)[::-1]
    return _levels(sound)


def _levels(sound: F32) -> F64:
    """float64[80, T]: log10 of the power in each band, T = 1 + (n - 400) // 160."""
    if not np.isfinite(sound).all():
        raise ValueError("the dub holds samples that are not finite numbers")
    exact = sound.astype(np.float64)
    spectrum = librosa.stft(exact, n_fft=_N_FFT, hop_length=HOP, win_length=_N_FFT, window="hann", center=False)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    levels: F64 = np.log10(np.maximum(_LEAST_POWER, in_bands(power, _LOW_HZ, _HIGH_HZ)))
    assert levels.shape[0] == BANDS
    return levels


def _normalised(levels: F64, loudest: float) -> F32:
    """float32, the same shape: nothing more than 8 below the loudest, then scaled to about [-1, 1.5]."""
    mel: F32 = ((np.maximum(levels, loudest - _DEPTH) + 4) / 4).astype(np.float32)
    return mel
