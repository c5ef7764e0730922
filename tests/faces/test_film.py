"""From pictures to a cast: cells leave no trace, and a still head does not shake."""

import functools
import itertools

import numpy as np
import pytest

from stages.cast.cast import cast_film
from stages.cast.settings import CastSettings
from stages.faces.faces import Faces
from stages.faces.settings import FacesSettings
from stages.faces.types import CellFaces
from stages.weights import Weights
from tests.faces.portraits import astronaut, scene, slide, video_frame

SIZE = (320, 180)
COUNT = 66
TIMES = np.arange(COUNT) / 25


@functools.cache
def film() -> list[np.ndarray]:
    """A slide, a moving portrait, a cut to another place and size, the slide again; cuts at 11, 34, 53."""
    pictures = [slide(*SIZE) for _ in range(11)]
    pictures += [scene(*SIZE, (30 + 2 * k, -5 + k // 4, 170)) for k in range(23)]
    pictures += [scene(*SIZE, (140 - k, 4, 150), ground=200) for k in range(19)]
    pictures += [slide(*SIZE) for _ in range(13)]
    return pictures


def cells_of(faces: Faces, bounds: list[int]) -> list[CellFaces]:
    return [faces(a, b, ((n, video_frame(film()[n])) for n in range(a, b))) for a, b in itertools.pairwise(bounds)]


def check_cells_leave_no_trace(faces: Faces) -> None:
    settings = CastSettings(min_face_px=20)
    whole = cast_film(cells_of(faces, [0, COUNT]), TIMES, SIZE, settings)
    assert np.flatnonzero(np.diff(whole.shots)).tolist() == [10, 33, 52]
    painted = np.flatnonzero(whole.painted)
    assert (painted[0], painted[-1], len(painted)) == (11, 52, 42)
    assert sorted(set(whole.runs.tolist())) == [-1, 0, 1]
    # Three cells whose ends fall on a cut, one frame beside one, and nowhere near the grid.
    for bounds in ([0, 34, 52, COUNT], [0, 9, 11, 12, 33, 41, 53, COUNT]):
        cut = cast_film(cells_of(faces, bounds), TIMES, SIZE, settings)
        for name in ("boxes", "points", "shots", "runs"):
            np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


def test_cells_leave_no_trace_with_haar(tmp_path):
    check_cells_leave_no_trace(Faces(FacesSettings(detector="haar", width_px=320), Weights(str(tmp_path))))


def test_cells_leave_no_trace_with_yunet(weights_dir):
    check_cells_leave_no_trace(Faces(FacesSettings(detector="yunet"), Weights(str(weights_dir))))


def shake_px(cell: CellFaces, smoothing: str) -> float:
    """rms frame-to-frame change of the box's four sides, in px."""
    cast = cast_film([cell], np.arange(cell.end) / 25, (512, 512), CastSettings(smoothing=smoothing))
    assert cast.painted.all()
    return float(np.sqrt(np.mean(np.diff(cast.boxes, axis=0) ** 2)))


@pytest.mark.parametrize("detector", ["haar", "yunet"])
def test_box_of_a_still_head_does_not_shake(detector, request, tmp_path):
    folder = request.getfixturevalue("weights_dir") if detector == "yunet" else tmp_path
    faces = Faces(FacesSettings(detector=detector), Weights(str(folder)))
    rng = np.random.default_rng(1)
    still = astronaut().astype(np.float32)

    def frames():
        for n in range(41):
            yield n, video_frame(np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8))

    cell = faces(0, 41, frames())
    assert shake_px(cell, "gaussian") <= 0.5
    assert shake_px(cell, "gaussian") < 0.6 * shake_px(cell, "none")
