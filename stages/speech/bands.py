"""Mel bands of a spectrum, with the same bits whatever the number of threads."""

from functools import cache
from typing import Final

import numpy as np

from stages.arrays import F32, F64
from stages.speech.samples import RATE

BANDS: Final = 80
"""What every model here hears of the spectrum (wav2lip.md 3.1, musetalk.md 4.2)."""


def in_bands(spectrum: F64, low_hz: float, high_hz: float) -> F64:
    """float64[80, T], low bands first, from a spectrum float64[1 + n_fft / 2, T] of samples at 16 kHz.

    Band by band over the few bins it covers, not as one matrix product: BLAS rounds by its number of threads
    and, on a busy machine, takes ten times as long for its threads to meet.
    """
    rows = np.ascontiguousarray(spectrum)
    bands = np.empty((BANDS, spectrum.shape[1]))
    for band, (first, weights) in enumerate(triangles(2 * (len(rows) - 1), low_hz, high_hz)):
        np.einsum("k,kt->t", weights, rows[first : first + weights.size], out=bands[band])
    return bands


@cache
def triangles(n_fft: int, low_hz: float, high_hz: float) -> list[tuple[int, F64]]:
    """Each band's first FFT bin and its weights: Slaney mel scale, area-normalised."""
    from librosa.filters import mel  # 1.2 s that a worker without a voice to hear must not wait for

    basis: F32 = mel(sr=RATE, n_fft=n_fft, n_mels=BANDS, fmin=low_hz, fmax=high_hz)
    bins = [np.flatnonzero(row) for row in basis]
    return [(int(k[0]), row[k[0] : k[-1] + 1].astype(np.float64)) for k, row in zip(bins, basis, strict=True)]
