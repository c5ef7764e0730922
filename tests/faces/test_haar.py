"""The cascade that needs no download: its box is the common one, its score parts faces from chance."""

import numpy as np
import pytest
import skimage.data

from stages.faces.haar import Haar
from tests.faces.portraits import ASTRONAUT_FACE, astronaut, overlap, scene, slide

WITHOUT_FACES = ["brick", "chelsea", "coffee", "grass", "page", "rocket", "text"]


def test_box_is_ear_to_ear_and_down_to_the_chin():
    found = Haar(480, 0.3).detect(astronaut())
    assert overlap(found.boxes[0], ASTRONAUT_FACE) > 0.8
    assert found.scores[0] > 0.9


@pytest.mark.parametrize("side", [320, 256, 200])
def test_box_scales_with_the_face(side: int):
    found = Haar(480, 0.3).detect(scene(480, 270, (100, 10, side)))
    expected = tuple(v * side / 512 + (100, 10)[i % 2] for i, v in enumerate(ASTRONAUT_FACE))
    assert overlap(found.boxes[0], expected) > 0.75
    assert found.scores[0] > 0.7


@pytest.mark.parametrize("name", WITHOUT_FACES)
def test_pictures_without_a_face_never_start_to_be_painted(name: str):
    picture = np.asarray(getattr(skimage.data, name)())
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    found = Haar(480, 0.0).detect(np.ascontiguousarray(picture[..., 2::-1]))
    assert (found.scores < 0.7).all()


def test_slide_without_a_face_gives_empty_arrays_of_the_right_shape():
    found = Haar(480, 0.3).detect(slide(320, 180))
    assert (found.boxes.shape, found.scores.shape, found.points.shape) == ((0, 4), (0,), (0, 5, 2))
    assert found.boxes.dtype == found.scores.dtype == found.points.dtype == np.float32


def test_two_faces_come_best_first_and_without_points():
    found = Haar(480, 0.3).detect(scene(480, 270, (0, 20, 200), (240, 10, 230)))
    assert len(found.scores) == 2
    assert found.scores[0] >= found.scores[1] > 0.7
    assert np.isnan(found.points).all()


def test_detections_below_the_minimum_are_left_out():
    picture = scene(480, 270, (100, 10, 200))
    everything = Haar(480, 0.0).detect(picture)
    best = float(everything.scores[0])
    assert len(Haar(480, best + 0.001).detect(picture).scores) == 0
    assert len(Haar(480, best - 0.001).detect(picture).scores) == 1
