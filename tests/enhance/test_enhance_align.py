"""68 landmarks -> where the face lies in the network's square."""

import cv2
import numpy as np
import pytest

from stages.arrays import F32, F64
from stages.crops.landmarks.five import five_of
from stages.crops.landmarks.template import place
from stages.enhance.align import TEMPLATE, alignable, similarity

# Where PFLD finds the points of the portrait that scikit-image carries: eye, eye, nose tip, mouth corners.
PORTRAIT = np.array([[203.5, 112.9], [244.9, 109.5], [229.0, 130.3], [209.2, 149.8], [248.4, 146.3]])


def turned(points: F64, degrees: float, scale: float, shift: tuple[float, float]) -> F64:
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved: F64 = points @ matrix.T + shift
    return moved


def applied(matrix: F64, points: F64) -> F64:
    moved: F64 = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def with_five(points: F64) -> F32:
    """68 landmarks whose five points are these: the eyes as six points round their centres."""
    landmarks = np.zeros((68, 2))
    ring = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 6, endpoint=False)])
    landmarks[36:42], landmarks[42:48] = points[0] + 4 * ring, points[1] + 4 * ring
    landmarks[30], landmarks[48], landmarks[54] = points[2:]
    return landmarks.astype(np.float32)


def test_five_points_of_68() -> None:
    assert five_of(with_five(PORTRAIT)[None])[0] == pytest.approx(PORTRAIT, abs=1e-4)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (25, 0.3), (-70, 4), (180, 1.7)])
def test_template_round_trip(degrees: float, scale: float) -> None:
    moved = turned(TEMPLATE, degrees, scale, (730, -41))
    matrix = similarity(moved[None])[0]
    assert applied(matrix, moved) == pytest.approx(TEMPLATE, abs=1e-9)
    assert np.hypot(*matrix[:, 0]) == pytest.approx(1 / scale)


def test_it_is_the_nearest_similarity() -> None:
    matrix = similarity(PORTRAIT[None])[0]

    def error(candidate: F64) -> float:
        return float(((applied(candidate, PORTRAIT) - TEMPLATE) ** 2).sum())

    assert np.sqrt(error(matrix) / 5) < 12  # px of 512: faces differ
    a, b, x, y = matrix[0, 0], matrix[1, 0], *matrix[:, 2]
    for step in np.vstack([np.eye(4), -np.eye(4)]) * (1e-3, 1e-3, 0.5, 0.5):
        c, s, tx, ty = np.array([a, b, x, y]) + step
        assert error(np.array([[c, -s, tx], [s, c, ty]])) > error(matrix)


def test_never_a_mirror_image() -> None:
    """Swapped sides cannot be met by turning; a face is not shown mirrored for it."""
    mirrored = PORTRAIT * (-1, 1)
    matrix = similarity(mirrored[None])[0]
    assert np.linalg.det(matrix[:, :2]) > 0


CORNERS = np.array([[180.0, 90], [270, 180]])


def least_median(points: F64) -> F64:
    """The official helper's alignment (gfpgan.md 5)."""
    matrix: F64 = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)[0]
    return matrix


def test_it_is_the_official_alignment_while_that_keeps_all_points() -> None:
    noisy = PORTRAIT + np.random.default_rng(11).normal(0, 0.25, (50, 5, 2))
    for points, matrix in zip(noisy, similarity(noisy), strict=True):
        assert applied(matrix, CORNERS) == pytest.approx(applied(least_median(points), CORNERS), abs=0.01)


def test_it_does_not_jump_when_points_are_noisy() -> None:
    """The official alignment drops another point from frame to frame (gfpgan.md 10, 2)."""
    noisy = PORTRAIT + np.random.default_rng(11).normal(0, 1, (200, 5, 2))
    ours = np.stack([applied(matrix, CORNERS) for matrix in similarity(noisy)])
    theirs = np.stack([applied(least_median(points), CORNERS) for points in noisy])
    assert ours.std(axis=0).max() < 0.85 * theirs.std(axis=0).max()


def test_every_face_for_itself() -> None:
    boxes = np.array([[100, 80, 180, 190], [400, 300, 520, 460]], np.float32)
    points = five_of(place(boxes))
    both = similarity(points)
    noisy = PORTRAIT + np.random.default_rng(1).normal(0, 5, (50, 5, 2))
    for k, matrix in enumerate(similarity(noisy)):
        assert np.array_equal(matrix, similarity(noisy[k : k + 1])[0])
    for matrix, face in zip(both, points, strict=True):
        # the mean face that templates are made of lies where the network expects faces
        assert np.abs(applied(matrix, face) - TEMPLATE).max() < 20


def test_faces_that_cannot_be_aligned() -> None:
    points = np.stack([PORTRAIT, PORTRAIT * 0.1, PORTRAIT, np.full_like(PORTRAIT, 7.0)])
    points[2, 4, 1] = np.nan
    assert alignable(points).tolist() == [True, False, False, False]
    assert alignable(points[:0]).tolist() == []
