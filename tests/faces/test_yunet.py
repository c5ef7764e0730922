"""The default detector, on its real weights."""

import numpy as np
import pytest

from stages.faces.yunet import YuNet
from stages.weights import REGISTRY
from tests.faces.portraits import ASTRONAUT_FACE, astronaut, overlap, scene, slide


@pytest.fixture(scope="module")
def detector(weights_dir):
    return YuNet(weights_dir / REGISTRY["yunet"].file, 320, 0.3)


def test_box_and_five_points_of_a_portrait(detector):
    found = detector.detect(astronaut())
    assert len(found.scores) == 1
    assert found.scores[0] > 0.9
    assert overlap(found.boxes[0], ASTRONAUT_FACE) > 0.85
    # Measured by eye on the 512x512 portrait; the model is exact to about a twentieth of a face.
    by_eye = [(203, 101), (246, 103), (224, 127), (203, 140), (246, 140)]
    assert np.abs(found.points[0] - by_eye).max() < 8


def test_pictures_of_another_size_between_calls(detector):
    wide, tall = scene(320, 180, (20, 0, 180)), scene(180, 320, (0, 100, 180))
    first = detector.detect(wide)
    upright = detector.detect(tall)
    again = detector.detect(wide)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    np.testing.assert_allclose(upright.boxes[0] - first.boxes[0], [-20, 100, -20, 100], atol=6)


def test_faces_of_a_twentieth_of_the_width_are_found(detector):
    found = detector.detect(scene(320, 180, (100, 40, 90)))  # the face is 16 px wide
    assert len(found.scores) == 1
    assert found.scores[0] > 0.7


def test_two_faces_come_best_first(detector):
    found = detector.detect(scene(320, 180, (0, 20, 120), (160, 10, 150)))
    assert len(found.scores) == 2
    assert found.scores[0] >= found.scores[1] > 0.7


def test_slide_without_a_face_gives_empty_arrays_of_the_right_shape(detector):
    found = detector.detect(slide(320, 180))
    assert (found.boxes.shape, found.scores.shape, found.points.shape) == ((0, 4), (0,), (0, 5, 2))
