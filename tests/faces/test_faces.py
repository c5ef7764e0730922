"""A cell: where it looks, what it keeps, and what its key depends on."""

import subprocess
import sys
from collections.abc import Iterator

import av
import numpy as np
import pytest

from stages.errors import DubError
from stages.faces.detectors import resolve_detector
from stages.faces.faces import Faces, faces_key
from stages.faces.settings import FacesSettings
from stages.faces.types import CellFaces
from stages.weights import Weights
from tests.faces.portraits import ASTRONAUT_FACE, overlap, scene, slide, video_frame

HAAR = FacesSettings(detector="haar", stride=4, width_px=240)


@pytest.fixture
def no_weights(tmp_path) -> Weights:
    return Weights(str(tmp_path / "empty"))


def test_face_of_a_shrunk_picture_is_in_pixels_of_the_frame(no_weights):
    picture = scene(640, 360, (200, 20, 320))
    cell = Faces(HAAR, no_weights)(0, 1, [(0, video_frame(picture))])
    expected = tuple(v * 320 / 512 + (200, 20)[i % 2] for i, v in enumerate(ASTRONAUT_FACE))
    assert len(cell.boxes) == 1
    assert overlap(cell.boxes[0], expected) > 0.75
    assert cell.first.shape == (90, 160, 3)


def test_points_of_a_shrunk_picture_are_in_pixels_of_the_frame(weights_dir):
    picture = scene(640, 360, (200, 20, 320))
    cell = Faces(FacesSettings(detector="yunet"), Weights(str(weights_dir)))(0, 1, [(0, video_frame(picture))])
    eye = np.array([203, 101]) * 320 / 512 + (200, 20)
    assert np.abs(cell.points[0, 0] - eye).max() < 6


def test_looks_at_the_grid_both_sides_of_a_cut_and_both_ends(no_weights):
    shots = [slide(240, 136), slide(240, 136, grey=20)]
    frames = [(n, video_frame(shots[n >= 15])) for n in range(6, 20)]
    cell = Faces(HAAR, no_weights)(6, 20, frames)
    assert cell.cuts.tolist() == [15]
    assert cell.looked.tolist() == [6, 8, 12, 14, 15, 16, 19]
    assert (cell.start, cell.end, cell.stride, cell.cut_threshold) == (6, 20, 4, 27.0)
    assert len(cell.frames) == len(cell.scores) == 0
    assert cell.last.mean() < 60 < cell.first.mean()


def test_every_face_is_kept_with_its_frame_and_survives_the_cache(no_weights):
    frames = [(n, video_frame(scene(480, 270, (0, 20, 200), (240, 10, 230)))) for n in range(3)]
    cell = Faces(FacesSettings(detector="haar", stride=2), no_weights)(0, 3, frames)
    assert cell.looked.tolist() == [0, 2]
    assert cell.frames.tolist() == [0, 0, 2, 2]
    again = CellFaces.from_bytes(cell.to_bytes())
    assert (again.start, again.end, again.stride, again.cut_threshold) == (0, 3, 2, 27.0)
    for name in ("looked", "frames", "boxes", "scores", "points", "cuts", "first", "last"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cell, name))


def test_cache_of_something_else_is_refused():
    from stages.arrays import pack

    with pytest.raises(ValueError, match="instead of"):
        CellFaces.from_bytes(pack({"looked": np.zeros(1)}))


def test_frames_are_let_go_one_by_one(no_weights):
    held: list[av.VideoFrame] = []
    most_references = 0

    def frames() -> Iterator[tuple[int, av.VideoFrame]]:
        nonlocal most_references
        for n in range(12):
            if len(held) > 1:
                # The list's own, getrefcount's argument, and nothing else.
                most_references = max(most_references, sys.getrefcount(held[-2]))
            frame = video_frame(slide(240, 136))
            held.append(frame)
            yield n, frame

    Faces(HAAR, no_weights)(0, 12, frames())
    assert most_references == 2


@pytest.mark.parametrize("numbers", [[0, 2], [1, 2], [0], [0, 1, 2], []])
def test_frames_that_are_not_the_cell_are_refused(no_weights, numbers):
    with pytest.raises(ValueError, match="frame"):
        Faces(HAAR, no_weights)(0, 2, [(n, video_frame(slide(240, 136))) for n in numbers])


def test_size_that_changes_on_the_way_is_unsupported(no_weights):
    frames = [(0, video_frame(slide(240, 136))), (1, video_frame(slide(320, 180)))]
    with pytest.raises(DubError, match="size changes at frame 1") as caught:
        Faces(HAAR, no_weights)(0, 2, frames)
    assert caught.value.code == "unsupported"


def test_auto_is_yunet_where_its_weights_are_and_haar_elsewhere(no_weights, weights_dir):
    settings = FacesSettings()
    assert resolve_detector(settings, no_weights) == "haar"
    assert resolve_detector(settings, Weights(str(weights_dir))) == "yunet"
    assert faces_key(settings, no_weights) == faces_key(FacesSettings(detector="haar"), no_weights)
    assert Faces(settings, Weights(str(weights_dir))).key == faces_key(
        FacesSettings(detector="yunet"), Weights(str(weights_dir))
    )


@pytest.mark.parametrize("name", ["yunet", "sfd"])
def test_detector_without_its_weights_says_what_to_fetch(no_weights, name):
    with pytest.raises(DubError, match="weights fetch") as caught:
        Faces(FacesSettings(detector=name), no_weights)
    assert caught.value.code == "weights_missing"


def test_key_changes_with_what_the_faces_depend_on_and_with_nothing_else(no_weights, tmp_path):
    base = FacesSettings(detector="haar")
    key = faces_key(base, no_weights)
    for same in ({"threads": 2}, {"sfd_official": False}, {"width_px": 480}, {"yunet_weights": "elsewhere"}):
        assert faces_key(base.model_copy(update=same), no_weights) == key
    other = {"stride": 6}, {"min_score": 0.2}, {"cut_threshold": 30.0}, {"width_px": 400}
    keys = [faces_key(base.model_copy(update=update), no_weights) for update in other]
    keys.append(faces_key(base, no_weights, untagged_matrix="bt601"))
    assert len({key, *keys}) == len(other) + 2
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")
    sfd = FacesSettings(detector="sfd", sfd_weights=str(weights))
    before = faces_key(sfd, no_weights)
    assert faces_key(sfd.model_copy(update={"sfd_official": False}), no_weights) != before
    weights.write_bytes(b"another")
    assert faces_key(sfd, no_weights) != before


def test_torch_is_not_loaded_for_the_small_detectors(tmp_path):
    script = (
        "import sys\n"
        "from stages.faces.faces import Faces\n"
        "from stages.faces.settings import FacesSettings\n"
        "from stages.weights import Weights\n"
        f"Faces(FacesSettings(detector='haar'), Weights({str(tmp_path)!r}))\n"
        "sys.exit('torch' in sys.modules or 'ray' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
