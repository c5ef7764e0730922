"""What the preview generator makes of speech."""

import numpy as np
import pytest

from stages.lips.mouthdrive import drive
from tests.lips.faces import AH, EE, OO, hears, mel_of, vowel


def heard(*mels):
    return drive(np.stack(mels), quiet_db=-42, full_db=-12)


@pytest.mark.parametrize("formants", [AH, EE, OO])
@pytest.mark.parametrize("level_db", [-40, -25, -10])
def test_the_level_is_dbfs(level_db, formants):
    assert heard(mel_of(level_db, formants)).level_db[0] == pytest.approx(level_db, abs=2.5)


def test_silence_is_rest_and_no_number_is_lost():
    rest = heard(np.full((80, 16), -4, np.float32))
    assert rest.opening[0] == 0
    assert rest.rounding[0] == 0
    assert rest.level_db[0] == pytest.approx(-100, abs=0.01)


def test_opening_grows_with_the_level_from_rest_and_does_not_run_away():
    levels = np.arange(-60, 3, 1.0)
    opening = heard(*(mel_of(float(level)) for level in levels)).opening
    assert (np.diff(opening) >= 0).all()
    assert (opening[levels < -45] == 0).all()
    assert np.interp(-12, levels, opening) == pytest.approx(1, abs=0.25)
    assert opening.max() <= 1.4
    assert np.abs(np.diff(opening)).max() < 0.06, "a decibel more is a little more"


def test_round_vowels_are_round_and_spread_ones_spread():
    rounding = heard(mel_of(-18, OO), mel_of(-18, AH), mel_of(-18, EE)).rounding
    assert rounding[0] > 0.2
    assert abs(rounding[1]) < 0.1
    assert rounding[2] < -0.05


def test_the_mouth_is_widest_when_the_sound_is_loudest():
    burst = np.zeros(32000, np.float32)
    burst[14800:17200] = vowel(AH, -12, 0.15)  # centred on 1.0 s
    times = np.arange(50) / 25
    opening = drive(hears(burst, times), -42, -12).opening
    centre = (opening * times).sum() / opening.sum()
    assert centre == pytest.approx(1.0, abs=0.02)
    assert (opening[np.abs(times - 1.0) > 0.24] == 0).all(), "no window reaches further"


def test_syllables_stay_apart():
    t = np.arange(48000) / 16000
    four_a_second = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1)[:, None] * vowel(AH, -14, 3.0)[:, None]
    opening = drive(hears(four_a_second[:, 0], np.arange(10, 65) / 25), -42, -12).opening
    peaks = (opening[1:-1] > opening[:-2]) & (opening[1:-1] >= opening[2:])
    assert 7 <= peaks.sum() <= 11, "2.2 s of four syllables a second"
    assert opening.min() < 0.75 * opening.max()
