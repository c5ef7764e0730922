"""Smoothing that neither lags nor pulls at the ends, and the official one to the digit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cast.smooth import forward_mean, smooth_in_time

gaps = st.lists(st.sampled_from([0.01, 0.033, 0.04, 0.1, 0.5, 3.0]), min_size=0, max_size=60)


@given(gaps, st.floats(-2000, 2000), st.sampled_from([0.05, 0.1, 0.3]))
def test_constant_in_constant_out_to_the_last_bit(steps, value, sigma):
    times = np.cumsum([0.0, *steps])
    values = np.full((len(times), 2), value)
    np.testing.assert_array_equal(smooth_in_time(times, values, sigma), values)


@given(gaps, st.floats(-500, 500), st.sampled_from([0.05, 0.1, 0.3]))
def test_steady_motion_has_no_lag_at_any_frame_spacing_or_end(steps, speed, sigma):
    times = np.cumsum([0.0, *steps])
    values = (300 + speed * times)[:, None]
    np.testing.assert_allclose(smooth_in_time(times, values, sigma), values, atol=1e-6 * (1 + abs(speed)))


@settings(deadline=None)
@given(gaps, st.integers(0, 1000))
def test_time_reversed_in_time_reversed_out(steps, seed):
    times = np.cumsum([0.0, *steps])
    values = np.random.default_rng(seed).normal(0, 10, (len(times), 3))
    forward = smooth_in_time(times, values, 0.1)
    backward = smooth_in_time(times[-1] - times[::-1], values[::-1], 0.1)[::-1]
    np.testing.assert_allclose(forward, backward, atol=1e-8)


def test_noise_shrinks_and_slow_nodding_stays():
    times = np.arange(250) / 25
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 2, (250, 1))
    nod = 20 * np.sin(2 * np.pi * 0.5 * times)[:, None]
    assert smooth_in_time(times, noise, 0.1)[10:-10].std() < 0.42 * noise.std()
    # A Gaussian of s seconds leaves exp(-(2 pi f s)^2 / 2) of a swing of f Hz: 95 % here, in phase.
    expected = nod * np.exp(-((2 * np.pi * 0.5 * 0.1) ** 2) / 2)
    np.testing.assert_allclose(smooth_in_time(times, nod, 0.1)[15:-15], expected[15:-15], atol=0.05)


def test_dense_frames_do_not_outvote_sparse_ones():
    # The same motion, shown once at 25 and once at 25 with a burst of 1000 frames/s in the middle.
    even = np.arange(50) / 25
    burst = np.sort(np.concatenate([even, 1.0 + np.arange(1, 40) / 1000]))
    wave = lambda t: (10 * np.sin(2 * np.pi * 1.0 * t))[:, None]  # noqa: E731
    smooth = smooth_in_time(burst, wave(burst), 0.1)
    at_even = np.searchsorted(burst, even)
    np.testing.assert_allclose(smooth[at_even], smooth_in_time(even, wave(even), 0.1), atol=0.15)


def test_unknown_values_stay_unknown_and_do_not_spread_over_columns():
    times = np.arange(20) / 25
    values = np.stack([np.full(20, np.nan), np.full(20, 7.0)], axis=1)
    smooth = smooth_in_time(times, values, 0.1)
    assert np.isnan(smooth[:, 0]).all()
    assert (smooth[:, 1] == 7.0).all()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (8, [20, 30, 40, 50, 54, 56, 58, 57]),
        (5, [20, 24, 26, 28, 27]),
        (4, [30, 30, 30, 30]),
        (3, [15, 15, 17]),
        (2, [5, 7]),
        (1, [0]),
    ],
)
def test_forward_mean_gives_the_check_values_of_the_reference(count, expected):
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, 0] = np.arange(count) * 10  # wav2lip.md 4.3
    boxes[:, 3] = 7
    smooth = forward_mean(boxes)
    assert smooth[:, 0].tolist() == expected
    assert (smooth[:, 3] == 7).all()
    assert boxes[:, 0].tolist() == [k * 10 for k in range(count)]


def test_forward_mean_truncates_towards_zero():
    boxes = np.array([[-1, 0, 0, 0], [0, 0, 0, 0]], np.int64)
    assert forward_mean(boxes)[:, 0].tolist() == [0, 0]
