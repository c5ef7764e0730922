"""Smoothing over time: no lag, no neighbours from another run, no trace of where a shard begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.crops.landmarks.smooth import reach_s, smooth


def wobble(n, seed=0):
    return np.random.default_rng(seed).normal(300, 40, (n, 68, 2)).astype(np.float32)


def one_run(n):
    return np.zeros(n, np.int32)


@given(
    gaps=st.lists(st.floats(1e-3, 0.3), min_size=2, max_size=60),
    sigma_s=st.floats(0.005, 0.3),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extra=st.integers(0, 5),
    offset=st.sampled_from([0.0, 3600.123]),
)
def test_a_slice_with_its_context_is_the_whole_film_bit_for_bit(gaps, sigma_s, where, extra, offset):
    times = offset + np.cumsum(gaps)
    n = len(times)
    start, end = sorted((round(where[0] * (n - 1)), round(where[1] * (n - 1))))
    end += 1
    runs = (np.arange(n) >= n // 3).astype(np.int32)
    whole = smooth(wobble(n), times, runs, sigma_s)
    low = max(0, np.searchsorted(times, times[start] - reach_s(sigma_s), side="left") - extra)
    high = min(n, np.searchsorted(times, times[end - 1] + reach_s(sigma_s), side="right") + extra)
    part = smooth(wobble(n)[low:high], times[low:high], runs[low:high], sigma_s)
    assert np.array_equal(part[start - low : end - low], whole[start:end])


def test_nothing_lags():
    times = np.arange(60) / 25
    line = np.tile((times * 100)[:, None, None], (1, 68, 2)).astype(np.float32)
    result = smooth(line, times, one_run(60), 0.06)
    inner = (times > reach_s(0.06)) & (times < times[-1] - reach_s(0.06))
    np.testing.assert_allclose(result[inner], line[inner], rtol=1e-5)


def test_a_jolt_spreads_evenly_to_both_sides_and_ends_at_the_reach():
    times = np.arange(41) / 25
    still = np.zeros((41, 68, 2), np.float32)
    still[20] = 1
    result = smooth(still, times, one_run(41), 0.06)[:, 0, 0]
    np.testing.assert_allclose(result, result[::-1], atol=1e-7)
    assert result[20] > result[21] > result[22] > 0
    far = np.abs(times - times[20]) > reach_s(0.06)
    assert (result[far] == 0).all()
    assert result.sum() == pytest.approx(1, abs=1e-6)


def test_the_other_side_of_a_cut_weighs_nothing():
    landmarks = np.concatenate([np.full((10, 68, 2), 100), np.full((10, 68, 2), 900)]).astype(np.float32)
    runs = np.repeat([3, 4], 10).astype(np.int32)
    assert np.array_equal(smooth(landmarks, np.arange(20) / 25, runs, 0.2), landmarks)


def test_jitter_shrinks():
    times = np.arange(200) / 25
    result = smooth(wobble(200), times, one_run(200), 0.05)
    assert np.diff(result, 2, axis=0).std() < 0.35 * np.diff(wobble(200), 2, axis=0).std()


def test_uneven_times_weigh_by_distance_not_by_count():
    times = np.array([0.0, 0.01, 0.02, 0.10])
    landmarks = np.zeros((4, 68, 2), np.float32)
    landmarks[3] = 1
    near = smooth(landmarks, times, one_run(4), 0.04)
    assert near[2, 0, 0] < 0.1
    assert near[0, 0, 0] < near[2, 0, 0]


def test_sigma_0_changes_nothing_and_hands_out_a_copy():
    landmarks = wobble(5)
    result = smooth(landmarks, np.arange(5) / 25, one_run(5), 0)
    assert np.array_equal(result, landmarks)
    assert result is not landmarks


def test_a_single_frame_stays():
    assert np.array_equal(smooth(wobble(1), np.zeros(1), one_run(1), 0.05), wobble(1))
