"""Shot changes are the same however a film is cut into cells."""

import dataclasses
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.arrays import U8
from stages.faces.cuts import CutFinder, boundary_cut, cut_picture
from stages.faces.types import CellFaces


def shot(grey: int, noise: int = 0) -> U8:
    rng = np.random.default_rng(noise)
    return np.clip(grey + rng.normal(0, 3, (18, 32, 3)), 0, 255).astype(np.uint8)


def cuts_in(pictures: list[U8], threshold: float = 27.0) -> list[int]:
    finder = CutFinder(threshold)
    return [k for k, picture in enumerate(pictures) if finder.begins_shot(picture)]


def cell_of(pictures: list[U8], start: int = 0) -> CellFaces:
    none = np.zeros(0, np.int64)
    return CellFaces(
        start=start,
        end=start + len(pictures),
        stride=5,
        cut_threshold=27.0,
        looked=none,
        frames=none,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        points=np.zeros((0, 5, 2), np.float32),
        cuts=start + np.array(cuts_in(pictures), np.int64),
        first=pictures[0],
        last=pictures[-1],
    )


def test_first_picture_is_no_cut_and_noise_is_none():
    assert cuts_in([shot(200, k) for k in range(20)]) == []


def test_cut_in_the_second_frame_and_two_cuts_in_a_row():
    assert cuts_in([shot(20), shot(120), shot(230), shot(230), shot(20)]) == [1, 2, 4]


def test_threshold_256_finds_none():
    assert cuts_in([shot(0), shot(255), shot(0)], threshold=256.0) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([20, 90, 160, 230]), min_size=2, max_size=24), st.data())
def test_cells_find_the_cuts_of_the_whole_film(greys: list[int], data: st.DataObject):
    pictures = [shot(grey, k) for k, grey in enumerate(greys)]
    inner = data.draw(st.sets(st.integers(1, len(pictures) - 1)))
    bounds = [0, *sorted(inner), len(pictures)]
    cells = [cell_of(pictures[a:b], a) for a, b in itertools.pairwise(bounds)]
    found = [int(cut) for cell in cells for cut in cell.cuts]
    for before, after in itertools.pairwise(cells):
        if boundary_cut(before, after, 27.0):
            found.append(after.start)
    assert sorted(found) == cuts_in(pictures)


def test_pictures_of_different_shape_are_different_shots():
    one, other = cell_of([shot(90)]), cell_of([shot(90)], 1)
    assert not boundary_cut(one, other, 27.0)
    assert boundary_cut(one, dataclasses.replace(other, first=shot(90)[:, :16]), 27.0)


def test_cut_picture_shrinks_wide_ones_and_leaves_small_ones():
    assert cut_picture(np.zeros((569, 320, 3), np.uint8)).shape == (284, 160, 3)
    small = shot(5)
    assert cut_picture(small) is small
