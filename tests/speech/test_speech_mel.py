"""The mel equals the original's, its windows the official chunks, and a shard's equal the whole film's."""

import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.arrays import F32
from stages.speech.bands import triangles
from stages.speech.mel import BLOCK, MelWindows, wav2lip_mel, windows_at
from stages.speech.samples import Samples
from tests.speech.sounds import Watched

PADDINGS = ("zeros", "reflect")
COLUMN_S = 1 / 80


def two_tones() -> F32:
    """The signal of wav2lip.md 8.2."""
    n = np.arange(16000)
    tones = 0.5 * np.sin(2 * np.pi * 220 * n / 16000) + 0.25 * np.sin(2 * np.pi * 1330 * n / 16000)
    return tones.astype(np.float32)


def noise(samples: int, seed: int = 0) -> F32:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def official_mel(samples: F32, padding: str) -> F32:
    """wav2lip.md 3.1 step by step, over the whole dub at once."""
    pad_mode = {"zeros": "constant", "reflect": "reflect"}[padding]
    emphasised = scipy.signal.lfilter([1, -0.97], [1], samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa on dubs below 800 samples
        spectrum = librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode=pad_mode)
    basis = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    level = 20 * np.log10(np.maximum(1e-5, np.dot(basis, np.abs(spectrum)))) - 20
    return np.clip(8 * ((level + 100) / 100) - 4, -4, 4).astype(np.float32)


def official_chunks(mel: F32, fps: float) -> list[F32]:
    """wav2lip.md 3.4."""
    chunks, step = [], 80.0 / fps
    while True:
        start = int(len(chunks) * step)
        if start + 16 > mel.shape[1]:
            return [*chunks, mel[:, -16:]]
        chunks.append(mel[:, start : start + 16])


def ramp(columns: int) -> F32:
    """A mel in which every column says its own number."""
    return np.broadcast_to(np.arange(columns, dtype=np.float32), (80, columns))


@pytest.mark.parametrize(
    ("padding", "mean", "most", "cells"),
    [
        (
            "reflect",
            -3.330012,
            2.218854,
            {(4, 0): 1.304069, (5, 0): 0.326675, (4, 1): 1.440756, (4, 80): 1.518253, (31, 80): 1.043547},
        ),
        (
            "zeros",
            -3.326309,
            2.215931,
            {(4, 0): 1.221457, (5, 0): 0.627951, (4, 1): 1.467898, (4, 80): 1.180344, (31, 80): 0.711336},
        ),
    ],
)
def test_vectors_of_the_original(padding, mean, most, cells):
    mel = wav2lip_mel(two_tones(), padding)
    assert (mel.shape, mel.dtype) == ((80, 81), np.float32)
    assert mel.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)
    assert mel.max() == pytest.approx(most, abs=1e-6)
    cells |= {(4, 40): 1.462368, (5, 40): -0.376526, (31, 40): -1.206095, (32, 40): 1.188187}
    for at, value in cells.items():
        assert mel[at] == pytest.approx(value, abs=1e-6)
    assert np.argsort(mel[:, 40])[::-1][:3].tolist() == [33, 4, 3]


def test_mel_basis():
    basis = np.zeros((80, 401))
    for row, (first, weights) in zip(basis, triangles(800, 55, 7600), strict=True):
        row[first : first + weights.size] = weights
    assert basis.sum() == pytest.approx(3.99949782, abs=1e-8)
    assert np.flatnonzero(basis[0]).tolist() == [3, 4, 5, 6]
    assert np.allclose(basis[0, 3:7], [0.00386959, 0.01934796, 0.02081245, 0.00533408], atol=1e-8)
    assert np.flatnonzero(basis[79]).tolist() == list(range(353, 380))
    assert basis.max() == pytest.approx(0.02687878, abs=1e-8)
    assert basis.any(axis=1).all()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    "samples", [2, 199, 200, 399, 400, 401, 799, 800, 801, 3000, BLOCK * 200 - 1, BLOCK * 200, 470_003]
)
def test_blocks_leave_no_trace_against_the_whole_dub_at_once(samples, padding):
    signal = noise(samples, seed=samples)
    assert np.array_equal(wav2lip_mel(signal, padding), official_mel(signal, padding))


def test_real_speech_equals_the_librosa_route(media_dir):
    speech, _ = librosa.load(media_dir / "demo1_audio.wav", sr=None)
    for padding in PADDINGS:
        assert np.array_equal(wav2lip_mel(speech, padding), official_mel(speech, padding))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("samples", [0, 1, 3000, 50_000])
def test_digital_silence_is_minus_four_and_never_nan(samples, padding):
    mel = wav2lip_mel(np.zeros(samples, np.float32), padding)
    assert mel.shape == (80, 1 + samples // 200)
    assert (mel == -4).all()


def test_samples_that_are_not_finite_or_not_float32_are_refused():
    for bad in (np.nan, np.inf):
        signal = noise(1000)
        signal[500] = bad
        with pytest.raises(ValueError, match="not finite"):
            wav2lip_mel(signal)
    for wrong in (noise(100).astype(np.float64), noise(100).reshape(2, 50)):
        with pytest.raises(ValueError, match="float32"):
            wav2lip_mel(wrong)


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0, 10.0, 61.3])
@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60, 30000 / 1001])
def test_constant_rates_give_the_official_chunks_last_one_included(fps, seconds):
    mel = noise(80 * (1 + int(seconds * 80))).reshape(80, -1)
    chunks = official_chunks(mel, fps)
    assert np.array_equal(windows_at(mel, np.arange(len(chunks)) / fps), chunks)


COUNTS = {
    25: {1: 22, 2: 47, 5: 122, 10: 247, 60: 1497},
    30: {10: 296},
    24: {10: 237},
    50: {10: 493},
    60: {10: 591},
    24000 / 1001: {1: 21, 10: 237, 60: 1436, 600: 14383},
    30000 / 1001: {1: 26, 10: 296, 60: 1794, 600: 17978},
}
"""Official numbers of chunks, wav2lip.md 3.4: frames a second -> seconds of audio -> chunks."""


@pytest.mark.parametrize("fps", COUNTS)
def test_the_tail_is_reached_with_the_last_official_chunk(fps):
    for seconds, count in COUNTS[fps].items():
        last = 80 * seconds + 1 - 16
        starts = windows_at(ramp(last + 16), np.arange(count + 1) / fps)[:, 0, 0]
        assert (starts[: count - 1] == np.floor(np.arange(count - 1) * 80 / fps + 1e-6)).all()
        assert starts[count - 2] <= starts[count - 1] == starts[count] == last
        assert (count - 1) * 80 / fps >= last + 1 > (count - 2) * 80 / fps


def test_exact_times_are_never_a_column_early():
    # 300 frames of 24000/1001 are 1001 columns; the official float product says 1000 (wav2lip.md 3.4).
    times = np.arange(0, 60_000, 300) * 1001 / 24000
    assert windows_at(ramp(210_000), times)[:, 0, 0].tolist() == list(range(0, 200 * 1001, 1001))


def test_sixteen_minutes_give_every_frame_its_own_window():
    # A peer counts columns in int16 and runs out of them after 6 min 49 s (peers.md).
    columns, frames = 1 + 16 * 60 * 80, 16 * 60 * 25
    windows = windows_at(ramp(columns), np.arange(frames) / 25)
    assert windows.shape == (frames, 80, 16)
    expected = np.minimum(np.arange(frames) * 16 // 5, columns - 16)
    assert np.array_equal(windows[:, 0, 0], expected)
    assert np.array_equal(windows[:, 79, 15], expected + 15)


def test_before_the_dub_and_behind_it_there_is_silence():
    mel = ramp(100)
    times = np.array([-1e300, -80, -16, -15, -0.5, 0, 83.9, 84, 85, 99.9, 100, 101, 1e9]) * COLUMN_S
    starts = [None, None, None, -15, -1, 0, 83, 84, 84, 84, None, None, None]
    for window, start in zip(windows_at(mel, times), starts, strict=True):
        expected = np.full(16, -4.0) if start is None else np.arange(start, start + 16)
        assert np.array_equal(window[0], np.where(expected < 0, -4.0, expected))


@pytest.mark.parametrize("columns", [0, 1, 7, 15, 16])
def test_a_dub_of_less_than_sixteen_columns_is_filled_up_with_silence(columns):
    windows = windows_at(ramp(columns) + 1, np.array([0, 5, 15, 16]) * COLUMN_S)
    filled = np.r_[np.arange(columns) + 1, np.full(16 - columns, -4)]
    for window in windows[:3]:
        assert np.array_equal(window[0], filled)
    assert (windows[3] == -4).all()


def test_times_and_mel_of_another_shape_are_refused():
    for times in ([np.nan], [np.inf], [[0.0]]):
        with pytest.raises(ValueError, match="times"):
            windows_at(ramp(100), np.array(times))
    with pytest.raises(ValueError, match="mel"):
        windows_at(ramp(100).T, np.zeros(1))
    assert windows_at(ramp(100), np.zeros(0)).shape == (0, 80, 16)


LENGTH = 3 * BLOCK * 200 + 1234
LONG = noise(LENGTH, seed=5)


@settings(max_examples=40, deadline=None)
@given(
    length=st.one_of(st.integers(1, 4000), st.integers(BLOCK * 200 - 500, BLOCK * 200 + 500), st.just(LENGTH)),
    padding=st.sampled_from(PADDINGS),
    at=st.one_of(st.floats(-0.3, 0.5), st.floats(12.5, 13.2), st.floats(37.5, 39.0)),
    step=st.floats(0.001, 0.09),
    count=st.integers(1, 40),
)
def test_windows_of_a_shard_are_those_of_the_whole_film(length, padding, at, step, count):
    signal = LONG[:length]
    times = at + step * np.arange(count)
    shard = MelWindows(Samples(signal), padding)
    assert np.array_equal(shard.at(times), windows_at(wav2lip_mel(signal, padding), times))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), padding=st.sampled_from(PADDINGS))
def test_windows_do_not_depend_on_how_frames_are_grouped(seed, padding):
    rng = np.random.default_rng(seed)
    times = rng.uniform(-0.5, LENGTH / 16000 + 0.5, 60)
    together = MelWindows(Samples(LONG), padding).at(times)
    alone = MelWindows(Samples(LONG), padding)
    cuts = np.sort(rng.integers(0, 60, 4))
    assert np.array_equal(np.concatenate([alone.at(part) for part in np.split(times, cuts)]), together)


@settings(max_examples=40, deadline=None)
@given(
    length=st.one_of(st.integers(1, 9000), st.integers(BLOCK * 200 - 500, BLOCK * 200 + 500)),
    padding=st.sampled_from(PADDINGS),
    where=st.floats(-0.1, 1.1),
    spread=st.floats(0, 0.4),
)
def test_nothing_outside_the_heard_samples_matters(length, padding, where, spread):
    signal = LONG[:length].copy()
    times = where * length / 16000 + np.array([0, spread / 2, spread])
    before = MelWindows(Samples(signal), padding)
    start, end = before.heard(times)
    assert 0 <= start <= end <= length
    changed = signal.copy()
    changed[:start], changed[end:] = 0.5, -0.5
    after = MelWindows(Samples(changed), padding)
    assert np.array_equal(after.at(times), before.at(times))
    assert after.heard_digest(times) == before.heard_digest(times)
    if start < end:
        changed[(start + end) // 2] += 0.25
        assert MelWindows(Samples(changed), padding).heard_digest(times) != before.heard_digest(times)


def frames(start_s: float, end_s: float, fps: float = 25) -> np.ndarray:
    return np.arange(round(start_s * fps), round(end_s * fps)) / fps


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_rerecorded_line_changes_its_own_shard_alone(padding):
    changed = LONG.copy()
    changed[16000 * 15 : 16000 * 16] *= 0.5
    shards = [frames(s, s + 5) for s in range(0, 35, 5)]
    digests = [[MelWindows(Samples(dub), padding).heard_digest(shard) for shard in shards] for dub in (LONG, changed)]
    different = [a != b for a, b in zip(*digests, strict=True)]
    # the shard before it hears the next 200 ms
    assert different == [False, False, True, True, False, False, False]


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_longer_dub_keeps_the_digests_of_what_did_not_change(padding):
    short, long = (MelWindows(Samples(dub), padding) for dub in (LONG[: 16000 * 20], LONG))
    for shard in (frames(0, 5), frames(5, 10), frames(14, 19.7)):
        assert short.heard_digest(shard) == long.heard_digest(shard)
        assert np.array_equal(short.at(shard), long.at(shard))
    for shard in (frames(15, 20), frames(19.5, 25)):
        assert short.heard_digest(shard) != long.heard_digest(shard)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    time=st.floats(-0.1, 0.5),
    padding=st.sampled_from(PADDINGS),
    quiet=st.booleans(),
)
def test_equal_digests_mean_equal_windows(lengths, time, padding, quiet):
    signal = np.zeros(5000, np.float32) if quiet else np.full(5000, 0.1, np.float32)
    times = np.array([time, time + 0.04])
    one, two = (MelWindows(Samples(signal[:length]), padding) for length in lengths)
    if one.heard_digest(times) == two.heard_digest(times):
        assert np.array_equal(one.at(times), two.at(times))


def test_padding_counts_only_where_an_end_is_heard():
    zeros, reflect = (MelWindows(Samples(LONG), padding) for padding in PADDINGS)
    assert zeros.heard_digest(frames(5, 10)) == reflect.heard_digest(frames(5, 10))
    assert zeros.heard_digest(frames(0, 5)) != reflect.heard_digest(frames(0, 5))


def test_silence_hears_nothing():
    windows = MelWindows(Samples(LONG))
    assert windows.heard(np.array([-5.0, 1e6])) == (0, 0)
    assert windows.heard(np.zeros(0)) == (0, 0)
    assert windows.heard_digest(np.array([50.0])) == windows.heard_digest(np.array([60.0]))


def test_memory_and_work_are_those_of_the_shard_not_of_the_dub(tmp_path: Path):
    hour = np.lib.format.open_memmap(tmp_path / "hour.npy", "w+", np.float32, (16000 * 3600,))
    hour[16000 * 3000 : 16000 * 3010] = noise(160_000)
    hour.flush()
    samples = Watched(np.load(tmp_path / "hour.npy", mmap_mode="r"))
    windows = MelWindows(samples)
    shard = windows.at(frames(3000, 3010))
    assert shard.max() > -1
    assert samples.read_samples < 2.1 * BLOCK * 200
    windows.at(frames(3001, 3009))
    assert samples.read_samples < 2.1 * BLOCK * 200, "the last blocks are kept"
    for minute in range(0, 60, 10):
        windows.at(frames(60 * minute, 60 * minute + 1))
    assert samples.most_at_once < 1.1 * BLOCK * 200
    assert len(windows._kept) <= 4
