"""Face crops and sounds for tests of `mouthwarp`."""

import functools

import cv2
import numpy as np

from stages.arrays import F32, F64, U8
from stages.crops.landmarks.template import place
from stages.lips.mouthwarp import MouthWarp
from stages.speech.mel import wav2lip_mel, windows_at
from tests.faces.portraits import astronaut

BOX = (181, 66, 267, 179)
"""The portrait's face as YuNet has it."""
PADDED = (181, 66, 267, 186)
"""The same with room under the chin."""
SIDE = np.array([PADDED[2] - PADDED[0], PADDED[3] - PADDED[1]])


@functools.cache
def crop() -> U8:
    """The portrait's face, uint8 [256, 256, 3] BGR."""
    x0, y0, x1, y1 = PADDED
    return cv2.resize(astronaut()[y0:y1, x0:x1], (256, 256), interpolation=cv2.INTER_CUBIC)


def landmarks() -> F32:
    """The mean face where the portrait's is, float32 [68, 2] px of the crop: off by some px, as in the demo."""
    points = place(np.array([BOX], np.float32))[0]
    return ((points - PADDED[:2]) * 256 / SIDE).astype(np.float32)


def hears(samples: F32, times: F64) -> F32:
    """What `mouthwarp` hears at each time, float32 [n, 80, 16]."""
    return windows_at(wav2lip_mel(samples.astype(np.float32)), times + MouthWarp.speech_shift_s)


def vowel(formants: tuple[float, ...], level_db: float = -20, seconds: float = 1.0) -> F32:
    """A voice at 120 Hz with resonances, at an RMS level in dBFS."""
    t = np.arange(round(seconds * 16000)) / 16000
    sound = np.zeros_like(t)
    for hz in np.arange(120, 7500, 120):
        gain = sum(1 / (1 + ((hz - formant) / 80) ** 2) / (1 + k) for k, formant in enumerate(formants))
        sound += gain * np.sin(2 * np.pi * hz * t + hz)
    return (sound / np.sqrt((sound**2).mean()) * 10 ** (level_db / 20)).astype(np.float32)


AH, EE, OO = (750.0, 1200.0, 2500.0), (280.0, 2300.0, 3000.0), (300.0, 700.0, 2300.0)


@functools.cache
def mel_of(level_db: float, formants: tuple[float, ...] = AH) -> F32:
    """One window of a steady vowel, float32 [80, 16]."""
    return hears(vowel(formants, level_db), np.array([0.5]))[0]
