"""FAN from a checkpoint we are given, against face_alignment's own way with the same file."""

import numpy as np
import pytest
import torch
from face_alignment import FaceAlignment, LandmarksType
from face_alignment.models import FAN

from stages.crops.landmarks.fan import Fan, peaks_of
from stages.crops.landmarks.settings import LandmarksSettings, build
from stages.errors import DubError
from stages.weights import Weights
from tests.faces.portraits import astronaut

OFFICIAL_NAME = "2DFAN4-11f355bf06.pth.tar"
BOX = np.array([[181, 66, 267, 179]], np.float32)
POINTS = np.full((1, 5, 2), np.nan, np.float32)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A torch hub folder with a checkpoint in the official layout and random weights."""
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    torch.save(FAN(4).state_dict(), folder / OFFICIAL_NAME)
    return home


@pytest.fixture(scope="module")
def fan(hub):
    return Fan(hub / "hub" / "checkpoints" / OFFICIAL_NAME, "cpu", "float32", batch_size=2)


@pytest.fixture(scope="module")
def found(fan):
    """Two faces, the portrait and its mirror image, in one call."""
    picture = astronaut()
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    boxes = np.concatenate([BOX, [[512 - 267, 66, 512 - 181, 179]]]).astype(np.float32)
    return fan.locate([picture, mirrored], boxes, np.repeat(POINTS, 2, axis=0))


def test_the_points_are_face_alignment_s_own_before_it_rounds_them(hub, found, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(hub))
    official = FaceAlignment(LandmarksType.TWO_D, device="cpu", flip_input=False, compile=False, face_detector="folder")
    # 165 is the package's own scale for YuNet's boxes.
    monkeypatch.setattr(type(official.face_detector), "reference_scale", property(lambda _: 165))
    rgb = np.ascontiguousarray(astronaut()[:, :, ::-1])
    expected = official.get_landmarks_from_image(rgb, detected_faces=BOX.tolist())[0]
    assert np.abs(found[0] - expected).max() <= 1.01, "the package cuts to whole px"
    assert np.ptp(expected, axis=0).min() > 50, "random weights spread the points; otherwise nothing is compared"


def test_a_face_does_not_depend_on_its_batch_nor_on_how_much_of_the_picture_is_shown(fan, found):
    x = 40  # whole px, and the crop stays inside
    region = np.ascontiguousarray(astronaut()[:420, x:430])
    shift = np.array([x, 0], np.float32)
    again = fan.locate([region], BOX - np.tile(shift, 2), POINTS)
    np.testing.assert_allclose(again[0] + shift, found[0], atol=1e-3)


def test_settings_build_it_from_a_path_and_bfloat16_points_lie_in_the_crop(hub):
    path = hub / "hub" / "checkpoints" / OFFICIAL_NAME
    fan = build(LandmarksSettings(provider="fan", weights=str(path), batch_size=1, dtype="bfloat16"), Weights())
    assert isinstance(fan, Fan)
    assert fan.needs_pixels
    found = fan.locate([astronaut()], BOX, POINTS)[0]
    side = 200 * (86 + 113) / 165
    assert found.dtype == np.float32
    assert (np.abs(found - (224, 122.5 - 0.12 * 113)) <= side / 2).all()
    low = BOX[0, :2] - fan.room * 113
    assert (low <= np.array([224, 122.5 - 0.12 * 113]) - side / 2).all(), "room covers the crop"


@pytest.mark.parametrize("broken", ["missing", "renamed", "shape", "list"])
def test_another_checkpoint_is_refused_by_name(hub, tmp_path, broken):
    state = torch.load(hub / "hub" / "checkpoints" / OFFICIAL_NAME, weights_only=True)
    if broken == "missing":
        del state["l3.weight"]
    elif broken == "renamed":
        state["head.weight"] = state.pop("l3.weight")
    elif broken == "shape":
        state["l3.weight"] = torch.zeros(98, 256, 1, 1)
    torch.save(list(state) if broken == "list" else state, tmp_path / "fan.pth")
    with pytest.raises(DubError, match=r"fan\.pth") as caught:
        Fan(tmp_path / "fan.pth", "cpu", "float32", 1)
    assert caught.value.code == "weights_missing"


class _Harmful:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


@pytest.mark.parametrize("content", ["pickle", "text"])
def test_a_checkpoint_runs_no_code(tmp_path, content, capsys):
    if content == "pickle":
        torch.save({"l3.weight": _Harmful()}, tmp_path / "fan.pth")
    else:
        (tmp_path / "fan.pth").write_text("a web page instead of weights")
    with pytest.raises(DubError) as caught:
        Fan(tmp_path / "fan.pth", "cpu", "float32", 1)
    assert caught.value.code == "weights_missing"
    assert "ran" not in capsys.readouterr().out


def test_peaks_lean_a_quarter_cell_towards_the_higher_neighbour():
    heat = np.zeros((1, 4, 8, 8), np.float32)
    heat[0, 0, 3, 4] = 1  # no lean without a higher side
    heat[0, 1, 3, 4], heat[0, 1, 3, 5], heat[0, 1, 2, 4] = 1, 0.5, 0.5
    heat[0, 2, 0, 4] = 1  # on the border
    heat[0, 3, 7, 7] = 1
    expected = np.array([[4.5, 3.5], [4.75, 3.25], [4.5, 0.5], [7.5, 7.5]]) / 8
    np.testing.assert_allclose(peaks_of(torch.from_numpy(heat))[0], expected, atol=1e-6)


def test_where_memory_runs_out_faces_go_through_in_smaller_batches(fan, found, monkeypatch):
    tried = []
    real = fan._peaks

    def short(crops):
        tried.append(len(crops))
        if len(crops) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(crops)

    monkeypatch.setattr(fan, "_peaks", short)
    monkeypatch.setattr(fan._batches, "size", 2)
    picture = astronaut()
    again = fan.locate([picture, picture], np.repeat(BOX, 2, axis=0), np.repeat(POINTS, 2, axis=0))
    assert tried == [2, 1, 1]
    np.testing.assert_allclose(again, np.stack([found[0]] * 2), atol=1e-3)


def test_a_gpu_that_is_not_there_is_an_error_and_auto_does_without(hub):
    path = hub / "hub" / "checkpoints" / OFFICIAL_NAME
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the test of that is below")
    with pytest.raises(DubError, match="landmarks device 'cuda'") as caught:
        Fan(path, "cuda", "float32", 1)
    assert caught.value.code == "unsupported"
    assert Fan(path, "auto", "float32", 1).device == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_gpu_finds_what_the_cpu_finds(hub, found, batch_size):
    """The same cells but for near ties; nothing about a face depends on how the last batch was filled up."""
    fan = Fan(hub / "hub" / "checkpoints" / OFFICIAL_NAME, "cuda", "float32", batch_size)
    picture = astronaut()
    regions = [picture, np.ascontiguousarray(picture[:, ::-1])] * 9
    boxes = np.tile(np.concatenate([BOX, [[512 - 267, 66, 512 - 181, 179]]]), (9, 1)).astype(np.float32)
    there = fan.locate(regions, boxes, np.repeat(POINTS, 18, axis=0))
    assert (np.abs(there[:2] - found) < 0.01).mean() > 0.97
    assert np.array_equal(there[::2], np.repeat(there[:1], 9, axis=0))
    assert np.array_equal(fan.locate(regions[:1], boxes[:1], POINTS), there[:1])
