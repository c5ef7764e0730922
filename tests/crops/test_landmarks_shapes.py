"""Landmarks from boxes and five points alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.crops.landmarks.five import Five, five_of
from stages.crops.landmarks.template import MEAN, MEAN_BOX_ASPECT, Template, place

MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *(64, 63, 62, 61, 60, 67, 66, 65),
]
BOX = np.array([[100, 50, 250, 250]], np.float32)
UPRIGHT = MEAN * np.array([MEAN_BOX_ASPECT, 1], np.float32)


def turned(points, size, degrees, shift):
    a = np.deg2rad(degrees)
    turn = size * np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (points @ turn + shift).astype(np.float32)


def test_the_mean_face_is_symmetric_and_its_lips_are_closed():
    mirror = MEAN[MIRRORED] * (-1, 1) + (1, 0)
    assert np.abs(mirror - MEAN).max() < 2e-3
    assert np.array_equal(MEAN[61:64, 1], MEAN[67:64:-1, 1])


def test_the_mean_face_has_its_parts_in_order():
    brows, eyes, nose, upper, lower, chin = (MEAN[k, 1].mean() for k in (range(17, 27), range(36, 48), 33, 51, 57, 8))
    assert 0 < brows < eyes < nose < upper < lower < chin < 1.05
    assert MEAN[36, 0] < MEAN[39, 0] < 0.5 < MEAN[42, 0] < MEAN[45, 0]
    assert MEAN[0, 0] < 0 < 1 < MEAN[16, 0], "the jaw begins at the ears, where the box ends"


def test_the_mean_face_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        MEAN[0, 0] = 1


def test_a_template_fills_its_box():
    found = Template().locate([], BOX, np.full((1, 5, 2), np.nan, np.float32))
    assert found.shape == (1, 68, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], MEAN * (150, 200) + (100, 50), atol=1e-4)


@given(size=st.floats(20, 900), degrees=st.floats(-180, 180), x=st.floats(-500, 2000), y=st.floats(-500, 2000))
def test_five_points_give_back_a_turned_and_sized_mean_face(size, degrees, x, y):
    face = turned(UPRIGHT, size, degrees, (x, y))
    found = Five().locate([], BOX, five_of(face)[None].astype(np.float32))[0]
    assert np.abs(found - face).max() < 2e-3 * size + 1e-3


@given(st.lists(st.floats(-15, 15), min_size=10, max_size=10))
def test_mouth_corners_are_where_the_detector_has_them(moves):
    points = five_of(turned(UPRIGHT, 200, 10, (300, 200))) + np.array(moves).reshape(5, 2)
    found = Five().locate([], BOX, points[None].astype(np.float32))[0]
    np.testing.assert_allclose(found[[48, 54]], points[3:], atol=2e-3)


def test_lips_follow_their_corners_and_the_rest_of_the_face_hardly():
    points = five_of(turned(UPRIGHT, 200, 0, (300, 200)))
    before = Five().locate([], BOX, points[None].astype(np.float32))[0]
    points[3:, 0] += 10
    after = Five().locate([], BOX, points[None].astype(np.float32))[0]
    np.testing.assert_allclose(after[48:] - before[48:], np.tile([10, 0], (20, 1)), atol=2e-3)
    assert np.abs(after[17:27] - before[17:27]).max() < 10


def test_a_face_without_points_gets_the_template_and_its_neighbour_does_not():
    boxes = np.repeat(BOX, 2, axis=0)
    points = np.stack([five_of(turned(UPRIGHT, 200, 20, (300, 200))), np.full((5, 2), np.nan)]).astype(np.float32)
    points[1, 0] = 5  # one known point is not enough
    found = Five().locate([], boxes, points)
    assert np.array_equal(found[1], place(BOX)[0])
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], Five().locate([], boxes[:1], points[:1])[0])


def test_five_points_in_one_place_give_no_nan():
    found = Five().locate([], BOX, np.full((1, 5, 2), 70, np.float32))
    assert np.isfinite(found).all()


def test_no_faces_give_no_landmarks():
    nothing = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    assert Five().locate([], *nothing).shape == Template().locate([], *nothing).shape == (0, 68, 2)
