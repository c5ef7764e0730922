"""Which stretches of a film are copied: whole groups of pictures without paint, whatever the shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.cast.plan import Range, copied_ranges, plan_shards
from stages.cast.types import Cast

RATE = 25


def cast_of(painted: np.ndarray) -> Cast:
    """A cast that paints these frames."""
    count = len(painted)
    return Cast(
        boxes=np.zeros((count, 4), np.float32),
        points=np.full((count, 5, 2), np.nan, np.float32),
        shots=np.zeros(count, np.int32),
        runs=np.where(painted, 0, -1).astype(np.int32),
        weight=np.ones(count, np.float32),
    )


@st.composite
def films(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Painted frames [n], closed groups of pictures [g, 2] (some are missing), keyframes [k]."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=30))
    edges = np.concatenate([[0], np.cumsum(lengths)])
    closed = np.array(draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    groups = np.stack([edges[:-1], edges[1:]], axis=1)[closed].reshape(-1, 2)
    painted = np.zeros(edges[-1], bool)
    for start, length in draw(st.lists(st.tuples(st.integers(0, int(edges[-1]) - 1), st.integers(1, 60)), max_size=6)):
        painted[start : start + length] = True
    return painted, groups, edges[:-1]


@given(film=films(), shard_s=st.sampled_from([0.2, 1.0, 7.0, 100.0]), most=st.integers(5, 400), min_s=st.floats(0, 4))
def test_pieces_cover_the_film_once_and_copy_nothing_that_is_painted(
    film: tuple[np.ndarray, np.ndarray, np.ndarray], shard_s: float, most: int, min_s: float
) -> None:
    painted, groups, keyframes = film
    count = len(painted)
    times = np.arange(count) / RATE
    copied = copied_ranges(painted, groups, times, count / RATE, min_s)
    shards = plan_shards(cast_of(painted), keyframes, times, shard_s, most, copied)
    assert [s.index for s in shards] == list(range(len(shards)))
    assert [s.start for s in shards] == [0, *(s.end for s in shards[:-1])]
    assert shards[-1].end == count
    assert all(s.start < s.end for s in shards)
    assert [(s.start, s.end) for s in shards if s.copied] == copied
    begins, ends = set(groups[:, 0].tolist()), set(groups[:, 1].tolist())
    for shard in shards:
        assert shard.painted == painted[shard.start : shard.end].sum()
        if shard.copied:
            assert shard.painted == 0
            assert shard.start in begins
            assert shard.end in ends
            assert (shard.end - shard.start) / RATE >= min_s - 1e-9
        else:
            assert shard.end - shard.start <= most


@given(film=films())
def test_every_group_without_paint_is_copied_when_no_length_is_asked_for(
    film: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    painted, groups, _ = film
    ranges = copied_ranges(painted, groups, np.arange(len(painted)) / RATE, len(painted) / RATE, 0.0)
    copied = np.zeros(len(painted), bool)
    for start, end in ranges:
        assert not copied[start:end].any()
        copied[start:end] = True
    for start, end in groups.tolist():
        assert copied[start:end].all() == (not painted[start:end].any())
    assert not (copied & painted).any()


GROUPS = np.array([[0, 50], [50, 100], [100, 150], [150, 200]])


@pytest.mark.parametrize(
    ("painted", "wanted"),
    [
        ((), [(0, 200)]),
        ((60,), [(0, 50), (100, 200)]),
        ((0, 199), [(50, 150)]),
        ((99, 100), [(0, 50), (150, 200)]),
        ((10, 60, 110, 160), []),
    ],
)
def test_one_painted_frame_costs_its_group(painted: tuple[int, ...], wanted: list[Range]) -> None:
    flags = np.zeros(200, bool)
    flags[list(painted)] = True
    assert copied_ranges(flags, GROUPS, np.arange(200) / RATE, 8.0, 1.0) == wanted


def test_a_stretch_is_as_long_as_it_is_shown() -> None:
    """The last frame of the film may stay for seconds, and its group is then worth copying."""
    flags = np.arange(200) < 150
    times = np.arange(200) / RATE
    assert copied_ranges(flags, GROUPS, times, 8.0, 3.0) == []
    assert copied_ranges(flags, GROUPS, times, 20.0, 3.0) == [(150, 200)]


def test_groups_that_do_not_touch_are_two_stretches() -> None:
    apart = GROUPS[[0, 1, 3]]
    assert copied_ranges(np.zeros(200, bool), apart, np.arange(200) / RATE, 8.0, 0.0) == [(0, 100), (150, 200)]
