"""Speech -> what the mouth does: how far it opens, how round it is. For generators that have learnt nothing."""

from dataclasses import dataclass

import numpy as np

from stages.arrays import F32, F64

_BANDS, _COLUMNS = 80, 16
# 41 ms: with the mel's own 50 ms windows, syllables stay apart and single pitch periods do not show.
_SIGMA_COLUMNS = 3.3
_DB_OF_FULL_SCALE = 36.2  # measured: band energies as summed here, over the RMS level in dBFS, on speech (-+ 0.3 dB)
_KNEE = 0.05  # how softly movement sets in over the quiet level, as a share of the way to full voice
_SILENCE = -4.0  # the mel's floor, wav2lip.md 3.1


@dataclass(frozen=True)
class Drive:
    """What speech asks of the mouth, one value a frame."""

    opening: F32
    """[n] 0 at rest, 1 at full voice, at most 1.4."""
    rounding: F32
    """[n] -0.5 (spread, as in «see») to 1 (round, as in «moon»), 0 at rest."""
    level_db: F32
    """[n] dBFS of the speech round the frame; -100 for digital silence."""


def drive(speech: F32, quiet_db: float, full_db: float) -> Drive:
    """Read mel windows whose frame is their middle: float32 [n, 80, 16] in [-4, 4] (wav2lip.md 3.1).

    The level is absolute: nothing is normalised over a film, so a shard needs to know no other. A frame's answer
    depends on its own window alone, to the last bit.
    """
    power = _band_power(speech)
    level = _db(power, 0, 8000) - _DB_OF_FULL_SCALE
    reach = np.maximum((level - quiet_db) / (full_db - quiet_db), 0.0)
    reach = np.where(reach > 0.8, 0.8 + 0.3 * np.tanh((reach - 0.8) / 0.3), reach)

    # A low first formant lies under 550 Hz (close vowels), a low second one leaves 1.8-3.2 kHz empty (back vowels).
    close = _db(power, 200, 550) - _db(power, 550, 1100)
    back = _db(power, 200, 1100) - _db(power, 1800, 3200)
    voiced = _db(power, 50, 2000) - _db(power, 3500, 8000)
    round_ = _sigmoid((back - 14) / 2.5) * _sigmoid((close + 4) / 4)
    spread = _sigmoid((8 - back) / 2) * _sigmoid(close / 5) * _sigmoid(voiced / 4)
    wide_open = 1 + 0.15 * np.tanh(-(close + 2) / 6)

    heard = np.clip(reach / 0.3, 0, 1)
    return Drive(
        opening=(reach**2 / (reach + _KNEE) * wide_open).astype(np.float32),
        rounding=(heard * (round_ - 0.5 * spread)).astype(np.float32),
        level_db=level.astype(np.float32),
    )


def _band_edges_hz() -> F64:
    """The 82 edges of the mel's bands: Slaney scale, 55-7600 Hz (wav2lip.md 3.1)."""
    knee_mel, octave = 15.0, np.log(6.4) / 27
    low, high = 55.0 * 3 / 200, knee_mel + np.log(7600.0 / 1000) / octave
    mel = np.linspace(low, high, _BANDS + 2)
    return np.where(mel < knee_mel, mel * 200 / 3, 1000 * np.exp((mel - knee_mel) * octave))


_EDGES: F64 = _band_edges_hz()
_CENTRES: F64 = _EDGES[1:-1]
# A band's value is the mean magnitude in it after pre-emphasis; times its width, pre-emphasis undone, it is power.
_TO_POWER: F64 = (_EDGES[2:] - _EDGES[:-2]) / 2 / np.abs(1 - 0.97 * np.exp(-2j * np.pi * _CENTRES / 16000)) ** 2
_TIME: F64 = np.exp(-0.5 * ((np.arange(_COLUMNS) - _COLUMNS / 2) / _SIGMA_COLUMNS) ** 2)
_TIME /= _TIME.sum()


def _band_power(speech: F32) -> F64:
    """[n, 80]: power in each band round the middle of the window."""
    # mel = 1.6 log10(magnitude) + 2.4 (wav2lip.md 3.1); the floor stands for nothing, not for a quiet noise.
    magnitude = np.where(speech > _SILENCE, 10.0 ** ((speech.astype(np.float64) - 2.4) / 1.6), 0.0)
    # Not a matrix product: its rounding depends on how many frames are multiplied at once.
    power: F64 = (magnitude**2 * _TIME).sum(axis=2) * _TO_POWER
    return power


def _db(power: F64, low_hz: float, high_hz: float) -> F64:
    first, last = np.searchsorted(_CENTRES, [low_hz, high_hz])
    inside = power[:, first:last].sum(axis=1)
    decibels: F64 = 10.0 * np.log10(inside + 10 ** ((_DB_OF_FULL_SCALE - 100) / 10))
    return decibels


def _sigmoid(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))
