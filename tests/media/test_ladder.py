"""Decode times for any order an encoder may choose."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.media.ladder import dts_ladder


@st.composite
def coded(draw: st.DrawFn) -> list[int]:
    """Ascending times in an order in which no frame is moved further than an encoder's reordering."""
    gaps = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=60))
    pts = (np.cumsum(gaps) + draw(st.integers(-(10**9), 10**12))).tolist()
    reach = draw(st.integers(0, 16))
    moved = draw(st.lists(st.floats(0, 1), min_size=len(pts), max_size=len(pts)))
    order = sorted(range(len(pts)), key=lambda k: (k + reach * moved[k], k))
    return [pts[k] for k in order]


@given(coded())
def test_ascending_and_never_after_the_picture(pts: list[int]) -> None:
    dts = dts_ladder(np.array(pts, np.int64))
    assert dts.dtype == np.int64
    assert dts.shape == (len(pts),)
    assert (np.diff(dts) > 0).all()
    assert (dts <= pts).all()


@given(coded(), st.integers(1, 10_000))
def test_a_film_is_as_long_by_its_decode_times_as_by_its_pictures(pts: list[int], last: int) -> None:
    """`last`: how long the last picture stays. The last packet's duration reaches to the film's end."""
    dts, end = dts_ladder(np.array(pts, np.int64)), max(pts) + last
    assert int(dts[-1]) + (end - pts[-1]) - int(dts[0]) >= end - min(pts)


@given(coded())
def test_no_picture_before_the_film_waits_less_than_the_first(pts: list[int]) -> None:
    """FFmpeg's MP4 muxer takes the shortest wait there for the start: a film that begins at 1 tick came out at 0."""
    pts.insert(0, pts.pop(pts.index(min(pts))))  # encoders begin with the first picture
    dts = dts_ladder(np.array(pts, np.int64))
    before = dts < min(pts)
    assert ((np.array(pts) - dts)[before] >= pts[0] - dts[0]).all()


@given(coded())
def test_no_later_than_needed(pts: list[int]) -> None:
    """Some picture is shown at the moment it is decoded: a smaller delay would be too small."""
    dts = dts_ladder(np.array(pts, np.int64))
    assert (dts == pts).any()


@given(st.permutations(range(12)))
def test_any_order_at_all(pts: list[int]) -> None:
    dts = dts_ladder(np.array(pts, np.int64))
    assert (np.diff(dts) > 0).all()
    assert (dts <= pts).all()


def test_a_long_first_picture_does_not_push_the_clock_far_back() -> None:
    """A title card of 10 s, then 25 frames a second with B-frames."""
    dts = dts_ladder(np.array([0, 10_080, 10_000, 10_040, 10_200, 10_120, 10_160], np.int64))
    assert dts[0] == -40


def test_nothing_and_one() -> None:
    assert dts_ladder(np.array([], np.int64)).tolist() == []
    assert dts_ladder(np.array([7], np.int64)).tolist() == [7]
