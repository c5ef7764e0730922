"""The log-mel equals transformers' feature extractor piece by piece, and OpenAI's over the whole dub."""

import librosa
import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from stages.arrays import F32
from stages.speech.bands import triangles
from stages.speech.samples import Samples
from stages.speech.whisper.log_mel import loudest_level, piece_mel, slice_mel

PIECE = 480_000
RNG = np.random.default_rng(16)
NOISE = (0.1 * RNG.standard_normal(PIECE + 40_000)).astype(np.float32)
TONE = (0.5 * np.sin(2 * np.pi * 220 * np.arange(80_000) / 16000)).astype(np.float32)
SOUNDS = {
    "noise": NOISE[:PIECE],
    "short": NOISE[:12_345],
    "tone, then near silence": np.concatenate([TONE, 1e-4 * NOISE[:80_000]]),
    "one sample": NOISE[:1],
    "none": NOISE[:0],
    "digital silence": np.zeros(5000, np.float32),
}


def extractors(samples: F32) -> tuple[F32, F32]:
    """What transformers gives in torch (float32) and in numpy (float64)."""
    extractor = WhisperFeatureExtractor()
    filled = np.pad(samples, (0, PIECE - len(samples)))
    in_torch = extractor(filled, sampling_rate=16000, return_tensors="np").input_features[0]
    return in_torch, extractor._np_extract_fbank_features(filled[None], device="cpu")[0]


def whole_dub(samples: F32) -> F32:
    """OpenAI's spectrogram before its floor: float32[80, n // 160], the whole dub at once."""
    stft = torch.stft(torch.from_numpy(samples), 400, 160, window=torch.hann_window(400), return_complex=True)
    basis = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)
    return np.log10(np.maximum(basis @ np.abs(stft[:, :-1].numpy()) ** 2, 1e-10))


@pytest.mark.parametrize("sound", SOUNDS)
def test_a_piece_equals_the_feature_extractor(sound):
    samples = SOUNDS[sound]
    mel = piece_mel(Samples(samples), 0)
    assert (mel.shape, mel.dtype) == ((80, 3000), np.float32)
    in_torch, in_numpy = extractors(samples)
    np.testing.assert_allclose(mel, in_numpy, atol=2e-7, rtol=0)
    np.testing.assert_allclose(mel, in_torch, atol=3e-5, rtol=0)  # float32 loses this much 80 dB below the loudest


def test_real_speech_equals_the_feature_extractor(media_dir):
    speech, _ = librosa.load(media_dir / "demo1_audio.wav", sr=16000)
    in_torch, in_numpy = extractors(speech)
    mel = piece_mel(Samples(speech), 0)
    np.testing.assert_allclose(mel, in_numpy, atol=2e-7, rtol=0)
    np.testing.assert_allclose(mel, in_torch, atol=3e-5, rtol=0)


def test_silence_behind_the_dub_is_two_below_the_loudest():
    mel = piece_mel(Samples(SOUNDS["short"]), 0)
    assert (mel[:, 100:] == mel.max() - 2).all()
    assert (piece_mel(Samples(SOUNDS["digital silence"]), 0) == -1.5).all()


def test_a_piece_hears_nothing_before_its_beginning():
    later = Samples(np.concatenate([NOISE[:32_000][::-1], NOISE[:PIECE]]))
    assert np.array_equal(piece_mel(later, 32_000), piece_mel(Samples(NOISE[:PIECE]), 0))


@pytest.mark.parametrize("length", [PIECE + 33_333, PIECE + 160, PIECE, 48_079, 640, 320])
def test_slices_are_columns_of_the_whole_dubs_spectrogram(length):
    # Loud and quiet: the floor of one slice is set by another.
    samples = NOISE[:length] * np.where(np.arange(length) < length // 2, 1, 1e-5).astype(np.float32)
    levels = whole_dub(samples)
    official = (np.maximum(levels, levels.max() - 8) + 4) / 4
    dub = Samples(samples)
    loudest = loudest_level(dub)
    assert loudest == pytest.approx(float(levels.max()), abs=1e-5)
    for column in (0, 2000, 3000):
        real = official[:, column : column + 3000]
        mel = slice_mel(dub, 160 * column, loudest)
        np.testing.assert_allclose(mel[:, : real.shape[1]], real, atol=3e-5, rtol=0)
        assert (mel[:, real.shape[1] :] == 0).all()


def test_routes_agree_below_thirty_seconds_up_to_the_last_two_columns():
    dub = Samples(NOISE[:160_000])
    current, legacy = piece_mel(dub, 0), slice_mel(dub, 0, loudest_level(dub))
    assert np.array_equal(current[:, :998], legacy[:, :998])
    assert not np.array_equal(current[:, 999], legacy[:, 999])


def test_loudest_of_a_long_dub_is_that_of_its_pieces():
    quiet, loud = 0.01 * NOISE[:PIECE], NOISE[:3000]
    assert loudest_level(Samples(np.concatenate([quiet, loud]))) > loudest_level(Samples(quiet)) + 1.5
    assert loudest_level(Samples(np.zeros(0, np.float32))) == -10


def test_what_no_column_hears_is_not_the_loudest():
    quiet = 0.01 * NOISE[: 160 * 100 + 120]
    assert loudest_level(Samples(np.concatenate([quiet, NOISE[:39]]))) == loudest_level(Samples(quiet))


def test_bands_cover_the_whole_spectrum():
    basis = triangles(400, 0, 8000)
    assert len(basis) == 80
    assert basis[0][0] == 1
    assert max(first + weights.size for first, weights in basis) == 200


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(bad):
    samples = Samples(np.append(NOISE[:1000], np.float32(bad)))
    for mel in (lambda: piece_mel(samples, 0), lambda: loudest_level(samples)):
        with pytest.raises(ValueError, match="not finite"):
            mel()
