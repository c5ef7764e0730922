"""The mel spectrogram Wav2Lip listens to, and the 200 ms of it that belong to a frame's time.

Everything is computed in blocks of `BLOCK` columns that lie on the dub's own grid. So a column has one value
bit for bit, whether the whole dub is asked for or one shard of it, and memory does not grow with the dub.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import librosa
import numpy as np
from numpy.typing import ArrayLike

from stages.arrays import F32, F64, I64
from stages.speech.bands import BANDS, in_bands
from stages.speech.samples import RATE, Samples

VERSION: Final = 1
"""Raised whenever the same samples give other windows."""

Padding = Literal["zeros", "reflect"]

WINDOW_COLUMNS: Final = 16
"""Columns one frame hears: 200 ms."""
COLUMNS_PER_S: Final = 80
SILENCE: Final = -4.0
"""Lowest value of the normalised mel, and what digital silence gives (wav2lip.md 3.3)."""
BLOCK: Final = 1024
"""Columns computed at once: 12.8 s of sound, 33 MB while at it."""

_HOP: Final = RATE // COLUMNS_PER_S
_N_FFT: Final = 800  # wav2lip.md 3.1, as every number up to _BLOCKS_KEPT
_HALF: Final = _N_FFT // 2
_PREEMPHASIS: Final = 0.97
_F_MIN_HZ: Final = 55
_F_MAX_HZ: Final = 7600
_FLOOR: Final = 1e-5
_REF_DB: Final = 20
_MIN_DB: Final = -100

_BLOCKS_KEPT: Final = 4
# Column c covers the samples of [200c - 400, 200c + 400). Pre-emphasis takes one before them, and where an
# end of the dub is reflected, one more on each side.
_REACH_BEFORE: Final = _HALF + 2
_REACH_AFTER: Final = _HALF + 1
_TIME_SLACK: Final = 1e-6  # columns; a frame exactly on a column must not fall before it (media.md 3.3)
_HASHED_AT_ONCE: Final = 1 << 20


def wav2lip_mel(samples: F32, padding: Padding = "zeros") -> F32:
    """The mel spectrogram of a dub.

    `samples`: float32[n] at 16 kHz, all finite. Returns float32[80, 1 + n // 200] in [-4, 4], low bands first,
    column k centred at k / 80 s; equal to the librosa route of wav2lip.md 3.1 with the same padding kind.
    Raises ValueError on another type or a sample that is not finite.
    """
    source = Samples(np.asarray(samples))
    columns = _column_count(source)
    blocks = [_block(source, number, padding) for number in range(-(-columns // BLOCK))]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1)[:, :columns])


def windows_at(mel: F32, times: F64) -> F32:
    """What is heard at each time.

    `mel`: float32[80, T]. `times`: float64[n] seconds of the dub, in any order and at any spacing. Returns
    float32[n, 80, 16]: columns from floor(80 t) on. Within 16 columns of the end it is the last 16 (the
    official tail, wav2lip.md 3.4); before time 0 and behind the last column it is silence.
    For constant frame rates this gives the official chunks, the last one included.
    """
    if mel.ndim != 2 or mel.shape[0] != BANDS:
        raise ValueError(f"a mel is float32[{BANDS}, T], not {list(mel.shape)}")
    columns = mel.shape[1]
    return _gather(_starts(times, columns), columns, lambda n: mel[:, n * BLOCK : (n + 1) * BLOCK])


class MelWindows:
    """`windows_at` of a whole dub's mel, with only the touched blocks computed and the last few kept."""

    def __init__(self, samples: Samples, padding: Padding = "zeros") -> None:
        self._samples = samples
        self._padding: Padding = padding
        self._columns = _column_count(samples)
        self._kept: OrderedDict[int, F32] = OrderedDict()

    def at(self, times: F64) -> F32:
        """float32[n, 80, 16]: `windows_at(wav2lip_mel(samples, padding), times)`, bit for bit."""
        return _gather(_starts(times, self._columns), self._columns, self._kept_block)

    def heard(self, times: F64) -> tuple[int, int]:
        """Half-open range of the samples on which the windows of these times depend; (0, 0) for silence."""
        low, high = self._reach(_starts(times, self._columns))
        return max(0, low), min(high, len(self._samples))

    def heard_digest(self, times: F64) -> str:
        """20 hex digits: two dubs that share them give these times the same windows.

        They cover the heard samples, where in them each window lies, and how far the range reaches beyond
        an end of the dub; nothing else. A dub that goes on differently later keeps its early digests.
        """
        starts = _starts(times, self._columns)
        low, high = self._reach(starts)
        first, last = max(0, low), min(high, len(self._samples))
        beyond = (first - low, high - last)
        places = np.where(starts <= -WINDOW_COLUMNS, np.iinfo(np.int64).min, starts * _HOP - low)
        ends = self._padding if any(beyond) else "inside"
        hasher = hashlib.sha256(f"mel {VERSION} {ends} {beyond} {starts.size}:".encode())
        hasher.update(places.astype("<i8").tobytes())
        for at in range(first, last, _HASHED_AT_ONCE):
            hasher.update(self._samples.read(at, min(at + _HASHED_AT_ONCE, last)).astype("<f4").tobytes())
        return hasher.hexdigest()[:20]

    def _reach(self, starts: I64) -> tuple[int, int]:
        """Range of samples behind the columns of these windows, not cut at the dub's ends."""
        heard = starts[starts > -WINDOW_COLUMNS]
        if not heard.size:
            return 0, 0
        first = max(0, int(heard.min()))
        last = int(heard.max()) + WINDOW_COLUMNS - 1
        return first * _HOP - _REACH_BEFORE, last * _HOP + _REACH_AFTER

    def _kept_block(self, number: int) -> F32:
        if number not in self._kept:
            self._kept[number] = _block(self._samples, number, self._padding)
            if len(self._kept) > _BLOCKS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


def _column_count(samples: Samples) -> int:
    return 1 + len(samples) // _HOP


def _starts(times: ArrayLike, columns: int) -> I64:
    """int64[n]: first column of each time's window; -16, wholly before the dub, for silence."""
    seconds = np.asarray(times, np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all():
        raise ValueError("times are float64[n] seconds, all finite")
    # A dub of less than 16 columns counts as 16, the missing ones silent.
    end = max(columns, WINDOW_COLUMNS)
    wanted = np.floor(seconds * COLUMNS_PER_S + _TIME_SLACK)
    starts = np.clip(wanted, -WINDOW_COLUMNS, end - WINDOW_COLUMNS)
    starts[wanted >= end] = -WINDOW_COLUMNS
    return starts.astype(np.int64)


def _gather(starts: I64, columns: int, block: Callable[[int], F32]) -> F32:
    """float32[n, 80, 16]: the windows at `starts`, from blocks of columns; silence outside [0, columns)."""
    out = np.full((starts.size, WINDOW_COLUMNS, BANDS), SILENCE, np.float32)
    wanted = starts[:, None] + np.arange(WINDOW_COLUMNS)
    there = (wanted >= 0) & (wanted < columns)
    for number in np.unique(wanted[there] // BLOCK).tolist():
        here = there & (wanted // BLOCK == number)
        out[here] = block(number).T[wanted[here] - number * BLOCK]
    return np.ascontiguousarray(out.transpose(0, 2, 1))


def _block(samples: Samples, number: int, padding: Padding) -> F32:
    """float32[80, BLOCK]: columns from number * BLOCK on; those behind the dub's last one mean nothing.

    Always the whole block, so that no step may round a column differently for the shape it is in.
    """
    start = number * BLOCK * _HOP - _HALF
    sound = _emphasised(samples, start, start + (BLOCK - 1) * _HOP + _N_FFT)
    if padding == "reflect":
        _reflect_ends(samples, sound, start)
    if not np.isfinite(sound).all():
        raise ValueError("the dub holds samples that are not finite numbers")
    spectrum = librosa.stft(sound, n_fft=_N_FFT, hop_length=_HOP, win_length=_N_FFT, window="hann", center=False)
    level_db = 20 * np.log10(np.maximum(_FLOOR, in_bands(np.abs(spectrum), _F_MIN_HZ, _F_MAX_HZ))) - _REF_DB
    mel: F32 = np.clip(8 * ((level_db - _MIN_DB) / -_MIN_DB) - 4, SILENCE, -SILENCE).astype(np.float32)
    return mel


def _emphasised(samples: Samples, start: int, end: int) -> F64:
    """float64[end - start]: y[n] = x[n] - 0.97 x[n-1] inside the dub, zeros outside."""
    raw = samples.read(start - 1, end).astype(np.float64)
    sound: F64 = raw[1:] - _PREEMPHASIS * raw[:-1]
    sound[max(0, len(samples) - start) :] = 0.0  # the filter does not ring into the padding
    return sound


def _reflect_ends(samples: Samples, sound: F64, start: int) -> None:
    """Fill the half window before the dub and the one behind it with the dub mirrored at its end samples."""
    length = len(samples)
    if not length:
        return
    for first, last in ((-_HALF, 0), (length, length + _HALF)):
        beyond = np.arange(max(first, start), min(last, start + sound.size))
        if beyond.size:
            period = max(1, 2 * (length - 1))
            inside = np.minimum(beyond % period, -beyond % period)
            low = int(inside.min())
            sound[beyond - start] = _emphasised(samples, low, int(inside.max()) + 1)[inside - low]
