"""Pieces of a film: every frame once, none too long, cut at keyframes where there are any."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.cast.plan import Shard, plan_shards
from stages.cast.types import Cast
from stages.split.cut import cut_ranges


def every(step: int, n: int) -> np.ndarray:
    return np.arange(0, n, step)


@st.composite
def films(draw):
    n = draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    times = 5.0 + np.cumsum(rng.choice([0.001, 0.04, 0.1, 50.0], n, p=[0.1, 0.5, 0.39, 0.01]))
    keyframes = np.flatnonzero(rng.random(n) < draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])))
    return n, keyframes, times, draw(st.sampled_from([0.01, 0.5, 2.0, 1000.0])), draw(st.integers(1, 150))


@given(films())
def test_ranges_cover_the_film_once_and_are_never_empty_or_too_long(film):
    n, keyframes, times, target_s, max_frames = film
    ranges = cut_ranges(n, keyframes, times, target_s, max_frames)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert all(0 < end - start <= max_frames for start, end in ranges)


@given(films())
def test_boundary_off_the_keyframes_has_none_within_half_a_piece(film):
    n, keyframes, times, target_s, max_frames = film
    ranges = cut_ranges(n, keyframes, times, target_s, max_frames)
    for start, end in ranges[:-1]:
        left_s = times[n - 1] - times[start] + (times[n - 1] - times[0]) / max(n - 1, 1)
        pieces = max(1, round(left_s / target_s), -(-(n - start) // max_frames))
        target = times[start] + left_s / pieces
        reachable = keyframes[(keyframes > start) & (keyframes <= start + max_frames) & (keyframes < n)]
        if end not in keyframes and len(reachable):
            assert np.abs(times[reachable] - target).min() > left_s / pieces / 2


def test_pieces_end_at_the_keyframe_nearest_to_their_target():
    times = np.arange(1500) / 25
    assert cut_ranges(1500, every(300, 1500), times, 10.0, 10_000) == [(k, k + 300) for k in range(0, 1500, 300)]
    ends = [end for _, end in cut_ranges(1500, np.array([0, 230, 260, 700]), times, 10.0, 10_000)]
    assert ends[0] == 260


def test_no_keyframe_near_cuts_in_the_middle_of_a_gop():
    times = np.arange(1500) / 25
    assert cut_ranges(1500, np.array([0]), times, 10.0, 10_000) == [(k, k + 250) for k in range(0, 1500, 250)]


def test_last_piece_is_no_sliver():
    lengths = [b - a for a, b in cut_ranges(510, every(1, 510), np.arange(510) / 25, 10.0, 10_000)]
    assert lengths == [255, 255]


def test_short_film_is_one_piece():
    assert cut_ranges(300, every(10, 300), np.arange(300) / 25, 10.0, 10_000) == [(0, 300)]


def test_limit_on_frames_wins_over_the_target():
    ranges = cut_ranges(600, every(50, 600), np.arange(600) / 60, 10.0, 400)
    assert ranges == [(0, 300), (300, 600)]


@pytest.mark.parametrize(("target_s", "max_frames"), [(0.0, 10), (-1.0, 10), (float("nan"), 10), (1.0, 0)])
def test_pieces_of_nothing_are_refused(target_s, max_frames):
    with pytest.raises(ValueError, match="pieces of"):
        cut_ranges(10, every(1, 10), np.arange(10) / 25, target_s, max_frames)


def test_shards_count_their_painted_frames():
    runs = np.full(750, -1, np.int32)
    runs[100:300] = 0
    nothing = np.full((750, 5, 2), np.nan, np.float32)
    cast = Cast(np.full((750, 4), np.nan, np.float32), nothing, np.zeros(750, np.int32), runs, np.ones(750, np.float32))
    shards = plan_shards(cast, every(250, 750), np.arange(750) / 25, 10.0, 10_000)
    assert shards == [Shard(0, 0, 250, 150), Shard(1, 250, 500, 50), Shard(2, 500, 750, 0)]
