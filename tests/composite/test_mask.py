"""The soft mask of a patch: over the mouth, gone before the box ends, without an edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.composite.mask import chroma_mask, ellipse_mask, mouth_mask
from stages.crops.landmarks.template import place

BOX = (101, 53, 263, 275)
REGION = (96, 48, 268, 280)


def face(box=BOX, shift=(0.0, 0.0), degrees=0.0):
    """The mean face in a box, the chin a little above its bottom as the cast's padding leaves it."""
    x0, y0, x1, y1 = box
    points = place(np.array([[x0, y0, x1, y1 - 0.06 * (y1 - y0)]], np.float32))[0].astype(np.float64)
    middle = points.mean(axis=0)
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return ((points - middle) @ turn + middle + shift).astype(np.float32)


def outside(mask, box=BOX, region=REGION):
    """The values outside the box, and on its outermost pixels."""
    x0, y0, x1, y1 = box[0] - region[0], box[1] - region[1], box[2] - region[0], box[3] - region[1]
    kept = mask.copy()
    kept[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 0
    return kept


def at(mask, point, region=REGION):
    return float(mask[round(float(point[1])) - region[1], round(float(point[0])) - region[0]])


def test_the_mouth_is_the_patch_s_and_nose_eyes_and_neck_are_the_film_s():
    points = face()
    mask = mouth_mask(points, BOX, REGION, 0.12)
    assert mask.shape == (232, 172)
    assert mask.dtype == np.float32
    assert min(at(mask, points[k]) for k in range(48, 68)) > 0.9
    assert max(at(mask, points[k]) for k in (*range(17, 33), *range(36, 48))) == 0
    assert at(mask, (points[8, 0], BOX[3] - 1)) == 0
    assert 0 < mask.mean() < 0.4


def test_cheeks_beside_the_nose_are_the_film_s_and_cheeks_beside_the_mouth_the_patch_s():
    points = face()
    mask = mouth_mask(points, BOX, REGION, 0.12)
    for x in (0.2, 0.8):
        column = BOX[0] + x * (BOX[2] - BOX[0])
        assert at(mask, (column, points[31, 1])) == 0
        assert at(mask, (column, points[66, 1])) > 0.5


@given(
    feather=st.floats(0.02, 0.5),
    shift=st.tuples(st.floats(-150, 150), st.floats(-150, 150)),
    degrees=st.floats(-180, 180),
    margins=st.tuples(*[st.integers(0, 9)] * 4),
    size=st.tuples(st.integers(2, 260), st.integers(2, 260)),
)
def test_it_is_0_on_the_box_s_border_and_outside_whatever_the_landmarks(feather, shift, degrees, margins, size):
    box = (40, 60, 40 + size[0], 60 + size[1])
    region = (box[0] - margins[0], box[1] - margins[1], box[2] + margins[2], box[3] + margins[3])
    for mask in (mouth_mask(face(box, shift, degrees), box, region, feather), ellipse_mask(box, region, feather)):
        assert mask.shape == (region[3] - region[1], region[2] - region[0])
        assert not outside(mask, box, region).any()
        assert mask.min() >= 0
        assert mask.max() <= 1
        slope = 6 / (feather * size[1])
        assert np.abs(np.diff(mask, axis=0)).max(initial=0) <= slope + 1e-4
        assert np.abs(np.diff(mask, axis=1)).max(initial=0) <= slope + 1e-4


def test_a_wider_feather_is_softer():
    narrow, wide = (mouth_mask(face(), BOX, REGION, feather) for feather in (0.04, 0.2))
    assert np.abs(np.diff(wide, axis=1)).max() < 0.4 * np.abs(np.diff(narrow, axis=1)).max()


def test_it_moves_with_the_face_by_parts_of_a_pixel():
    a, b = (mouth_mask(face(shift=(dx, 0)), BOX, REGION, 0.12) for dx in (0.0, 0.25))
    change = np.abs(a - b)
    assert change.max() > 0
    assert change.max() < 0.25 * 6 / (0.12 * 222), "no jump from one pixel to the next"


def test_it_turns_with_the_face():
    points = face(degrees=25)
    mask = mouth_mask(points, BOX, REGION, 0.12)
    assert at(mask, points[62]) > 0.9
    assert at(mask, points[30]) == 0


def test_landmarks_that_are_not_known_give_the_ellipse():
    points = face()
    points[10] = np.nan
    assert np.array_equal(mouth_mask(points, BOX, REGION, 0.12), ellipse_mask(BOX, REGION, 0.12))


def test_the_ellipse_covers_the_mouth_and_not_the_nose():
    points = face()
    mask = ellipse_mask(BOX, REGION, 0.12)
    assert min(at(mask, points[k]) for k in (51, 57, 60, 62, 64, 66)) > 0.8
    assert max(at(mask, points[k]) for k in (27, 28, 29, *range(36, 48))) == 0


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.full((68, 2), 150), np.full((68, 2), 1e7)])
def test_landmarks_that_are_no_face_give_a_mask_all_the_same(points):
    mask = mouth_mask(points.astype(np.float32), BOX, REGION, 0.12)
    assert np.isfinite(mask).all()
    assert not outside(mask).any()


def test_chroma_is_the_mean_of_its_luma_pixels():
    mask = np.random.default_rng(0).random((12, 20), dtype=np.float32)
    np.testing.assert_allclose(chroma_mask(mask, 2, 2), mask.reshape(6, 2, 10, 2).mean(axis=(1, 3)), atol=1e-6)
    np.testing.assert_allclose(chroma_mask(mask, 2, 1), mask.reshape(12, 10, 2).mean(axis=2), atol=1e-6)
    assert np.array_equal(chroma_mask(mask, 1, 1), mask)


def test_chroma_is_0_where_no_luma_is_painted_and_1_where_all_is():
    mask = np.zeros((8, 8), np.float32)
    mask[2:6, 2:6] = 1
    assert np.array_equal(chroma_mask(mask, 2, 2), np.pad(np.ones((2, 2), np.float32), 1))


def test_half_a_chroma_sample_is_refused():
    with pytest.raises(ValueError, match="2x2"):
        chroma_mask(np.zeros((7, 8), np.float32), 2, 2)
