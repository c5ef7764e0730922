"""The warp itself: nothing folds, nothing is seen twice, and it ends where it says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lips.lipline import Lips, MouthAxes
from stages.lips.mouthfield import redraw, warp_fields
from tests.lips.faces import landmarks

AXES = MouthAxes(np.array([128.0, 150.0]), np.array([60.0, 3.0]), np.array([-3.0, 80.0]))
u, v = (g.astype(np.float32) for g in np.meshgrid(np.linspace(-2.2, 2.2, 221), np.linspace(-0.8, 1.7, 251)))

MOUTHS = {
    "sag": st.floats(-0.06, 0.34),
    "covered": st.floats(0, 1),
    "nose": st.floats(-0.8, -0.3),
    "end": st.floats(1.02, 1.6),
    "opening": st.floats(0.001, 0.6),
    "rounding": st.floats(-0.5, 1),
}


def fields(sag, covered, nose, end, opening, rounding):
    return warp_fields(u, v, Lips(AXES, sag, covered, True), nose, end, opening, rounding)


def area(right, down):
    """How the area of a cell of the grid changes on the way to the source; negative where it is folded over."""
    along_v, along_u = 0, 1
    xu, xv = np.gradient(right, u[0], axis=along_u), np.gradient(right, v[:, 0], axis=along_v)
    yu, yv = np.gradient(down, u[0], axis=along_u), np.gradient(down, v[:, 0], axis=along_v)
    return xu * yv - xv * yu


@given(**MOUTHS)
def test_nothing_folds(**mouth):
    f = fields(**mouth)
    under, over = v > f.low + 0.02, v < f.high - 0.02
    assert area(f.u, v - f.below)[under].min() > 0.05
    assert area(f.u, v - f.above)[over].min() > 0.05


@given(**MOUTHS)
def test_both_lips_end_at_the_line_where_they_met(**mouth):
    f = fields(**mouth)
    lower = np.abs(v - f.low) < 0.006
    upper = np.abs(v - f.high) < 0.006
    assert np.abs((v - f.below) - f.line)[lower].max(initial=0) < 0.02
    assert np.abs((v - f.above) - f.line)[upper].max(initial=0) < 0.02
    assert (f.low >= f.high).all()


@given(**MOUTHS)
def test_it_ends_at_the_nose_under_the_chin_and_at_the_cheeks(**mouth):
    f = fields(**mouth)
    down = np.where(v >= f.low, f.below, f.above)
    still = (v <= mouth["nose"]) | (v >= mouth["end"] + 1e-6) | (np.abs(u) >= 2.1)
    still &= ~((v > f.high) & (v < f.low))
    assert np.abs(down[still]).max() < 1e-6
    assert np.abs(f.aside[v <= mouth["nose"]]).max(initial=0) == 0


@given(opening=st.floats(0.001, 0.5), rounding=st.floats(-0.5, 1), seed=st.integers(0, 5))
def test_pixels_outside_it_are_the_input_s(opening, rounding, seed):
    crop = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    before = crop.copy()
    points = landmarks()
    points[33] = AXES.at(0, -0.5)
    redraw(crop, Lips(AXES, 0.05, 1.0, True), points, opening, rounding)
    changed = np.nonzero((crop != before).any(axis=2))
    inverse = np.linalg.inv(np.stack([AXES.u, AXES.v], axis=1))
    across, down = inverse @ (np.stack([changed[1], changed[0]]) + 0.5 - AXES.origin[:, None])
    assert len(across) > 100
    assert np.abs(across).max() < 2.1
    assert down.min() > -0.5
    assert down.max() < (256 - 150) / 80
