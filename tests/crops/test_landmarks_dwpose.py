"""DWPose by ONNX files written here, of the official form, whose answers are where the colours of the picture are."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stages.arrays import F32, U8
from stages.crops.landmarks.dwpose import HEIGHT, MIRRORED, WIDTH, DWPose, peaks
from stages.crops.landmarks.five import Five
from stages.crops.landmarks.settings import LandmarksSettings, build
from stages.errors import DubError
from stages.weights import Weights

BOX = np.array([[200, 150, 290, 270]], np.float32)
POINTS = np.full((1, 5, 2), np.nan, np.float32)
PX = 3 * 120 / HEIGHT
"""Region px of one of the network's, for `BOX`."""
GREY = np.array([103.53, 116.28, 123.675])
"""BGR: what the network takes for 0."""
SPOTS = {0: (231.3, 170.8), 1: (262.6, 222.4), 2: (214.2, 251.9)}
"""Where the picture is bluest, greenest and reddest."""


def network(path: Path, **shapes: tuple[int, ...]) -> Path:
    """Even face points are where red is, odd ones where blue is, all other 65 points where green is.

    A bin's value is the most of one colour in its column (row), blurred by 2 px.
    """
    mix = np.zeros((133, 3), np.float32)
    mix[:, 1] = 1
    mix[23:91] = np.tile(np.float32([[1, 0, 0], [0, 0, 1]]), (34, 1))  # RGB goes in
    nodes, weights, answers = [], [numpy_helper.from_array(mix, "mix")], []
    for name, length, other in (("x", WIDTH, 2), ("y", HEIGHT, 3)):
        away = np.arange(2 * length)[None] / 2 - np.arange(length)[:, None]
        weights.append(numpy_helper.from_array(np.exp(-0.5 * (away / 2) ** 2).astype(np.float32), f"blur_{name}"))
        nodes += [
            helper.make_node("ReduceMax", ["input"], [f"most_{name}"], axes=[other], keepdims=0),
            helper.make_node("MatMul", ["mix", f"most_{name}"], [f"colours_{name}"]),
            helper.make_node("MatMul", [f"colours_{name}", f"blur_{name}"], [f"simcc_{name}"]),
        ]
        answers.append(
            helper.make_tensor_value_info(f"simcc_{name}", TensorProto.FLOAT, ["batch", "points", 2 * length])
        )
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "colours", [given], answers, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def picture(width: int = 500, height: int = 420) -> U8:
    """Round spots of the three colours on what the network takes for 0."""
    y, x = np.mgrid[:height, :width] + 0.5
    found = np.tile(GREY, (height, width, 1))
    for channel, (at_x, at_y) in SPOTS.items():
        found[..., channel] += 120 * np.exp(-0.5 * ((x - at_x) ** 2 + (y - at_y) ** 2) / 3**2)
    return found.round().astype(np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("dwpose") / "dw.onnx")


@pytest.fixture(scope="module")
def expected() -> F32:
    return np.tile(np.float32([SPOTS[2], SPOTS[0]]), (34, 1))


def test_points_23_to_90_come_back_in_px_of_the_region(path: Path, expected: F32) -> None:
    found = DWPose(path).locate([picture()], BOX, POINTS)
    assert found.shape == (1, 68, 2)
    assert found.dtype == np.float32
    assert np.abs(found[0] - expected).max() < 0.25 * PX, "half a bin is what reading whole ones would give away"


def test_parity_reads_whole_bins(path: Path, expected: F32) -> None:
    found = DWPose(path, parity=True).locate([picture()], BOX, POINTS)[0]
    assert np.abs(found - expected).max() < 0.5 * PX
    middle = np.array([245, 210 + 0.5 * 120])
    bins = 2 * ((found - middle) / PX + (WIDTH / 2, HEIGHT / 2))
    assert np.abs(bins - bins.round()).max() < 1e-3


def test_the_room_is_all_that_is_looked_at(path: Path) -> None:
    """A region cut to the room round the box gives what the whole picture gives."""
    landmarker = DWPose(path)
    whole = landmarker.locate([picture()], BOX, POINTS)[0]
    room = round(landmarker.room * 120)
    left, top = 200 - room, 0
    region = np.ascontiguousarray(picture()[top : 270 + room, left : 290 + room])
    part = landmarker.locate([region], BOX - np.float32([left, top, left, top]), POINTS)[0]
    assert np.abs(part + np.float32([left, top]) - whole).max() < 1e-3


@given(width=st.floats(20, 400), tall=st.floats(0.8, 3))
def test_the_view_lies_within_the_room(width: float, tall: float) -> None:
    height = tall * width
    side = max(width, height)
    down, across = 0.5 * side + 1.5 * side, 1.5 * side * WIDTH / HEIGHT
    room = DWPose.room * side
    assert down <= height / 2 + room + 1e-6
    assert across <= width / 2 + room


def test_a_face_at_the_picture_s_edge_is_looked_at_with_black_beyond(path: Path, expected: F32) -> None:
    """The right half of the face is not there, nor are the shoulders: what is there is found all the same."""
    cut = np.ascontiguousarray(picture()[:280, :268])
    found = DWPose(path).locate([cut], BOX, POINTS)[0]
    assert np.abs(found[0::2] - SPOTS[2]).max() < 0.25 * PX


def test_one_face_s_answer_does_not_depend_on_the_others(path: Path) -> None:
    landmarker = DWPose(path)
    regions = [picture(), np.ascontiguousarray(picture()[:, ::-1])]
    boxes = np.concatenate([BOX, [[210, 150, 300, 270]]]).astype(np.float32)
    both = landmarker.locate(regions, boxes, np.repeat(POINTS, 2, axis=0))
    assert np.array_equal(both[1:], landmarker.locate(regions[1:], boxes[1:], POINTS))


def test_the_flip_test_sees_a_face_and_its_mirror_image_alike(path: Path) -> None:
    """Points 17 and 26 are each other's in the mirror; here one looks for blue and the other for red."""
    mirror = np.ascontiguousarray(picture()[:, ::-1])
    box = BOX.copy()
    box[0, [0, 2]] = 500 - BOX[0, [2, 0]]

    def apart(flip_test: bool) -> float:
        landmarker = DWPose(path, flip_test=flip_test)
        one, other = (landmarker.locate([p], b, POINTS)[0] for p, b in ((picture(), BOX), (mirror, box)))
        other = other[MIRRORED] * (-1, 1) + (500, 0)
        return float(np.abs(one - other).max())

    assert apart(flip_test=True) <= 1.01 * PX, "reversing the bins moves them by one"
    assert apart(flip_test=False) > 20


def test_the_mirror_s_points_are_68_and_come_back() -> None:
    assert sorted(MIRRORED) == list(range(68))
    assert [MIRRORED[k] for k in MIRRORED] == list(range(68))
    assert [k for k in range(68) if MIRRORED[k] == k] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_points_that_are_not_seen_are_the_mean_face_s_or_beyond_the_corner_for_parity(path: Path) -> None:
    black = np.zeros((420, 500, 3), np.uint8)
    five = np.float32([[[225, 195], [265, 195], [245, 215], [230, 240], [260, 240]]])
    assert np.array_equal(DWPose(path).locate([black], BOX, five), Five().locate([], BOX, five))
    found = DWPose(path, parity=True).locate([black], BOX, five)[0]
    corner = np.array([245, 270]) - np.array([WIDTH / 2 + 0.5, HEIGHT / 2 + 0.5]) * PX
    np.testing.assert_allclose(found, np.tile(corner, (68, 1)), atol=1e-3)


@given(top=st.floats(3, 36), bend=st.floats(0.01, 5), height=st.floats(-5, 5))
def test_the_top_of_a_parabola_is_found_between_the_bins(top: float, bend: float, height: float) -> None:
    bins = (height - bend * (np.arange(40) - top) ** 2).astype(np.float32)[None]
    assert abs(peaks(bins, between=True)[0] - top) < 0.02
    assert peaks(bins, between=False)[0] == pytest.approx(top, abs=0.5001)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_a_peak_is_at_most_half_a_bin_from_the_highest(seed: int, count: int) -> None:
    bins = np.random.default_rng(seed).integers(-4, 5, (20, count)).astype(np.float32)
    away = peaks(bins, between=True) - bins.argmax(axis=1)
    assert np.abs(away).max() <= 0.5
    ends = (bins.argmax(axis=1) == 0) | (bins.argmax(axis=1) == count - 1)
    assert (away[ends] == 0).all()


def test_settings_build_it_and_say_where_its_file_comes_from(path: Path) -> None:
    settings = LandmarksSettings(provider="dwpose", weights=str(path))
    landmarker = build(settings, Weights())
    assert isinstance(landmarker, DWPose)
    assert landmarker.needs_pixels
    assert LandmarksSettings(provider="dwpose").weights_spec == "dwpose"


def other_network(path: Path) -> Path:
    """A landmark network of another kind: 136 numbers."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["crop"], ["points"])],
        "other",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 136, 4, 4])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 136, 1, 1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_another_network_is_refused_by_its_shapes(tmp_path: Path) -> None:
    with pytest.raises(DubError, match=r"dw\.onnx is not dw-ll_ucoco_384") as caught:
        DWPose(other_network(tmp_path / "dw.onnx"))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("content", [b"", b"not a network" * 100, b"\x08\x08"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dw.onnx").write_bytes(content)
    with pytest.raises(DubError, match=r"dw\.onnx") as caught:
        DWPose(tmp_path / "dw.onnx")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_without_onnx_runtime_it_says_what_to_install(
    path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DubError, match=r"pip install 'dubline\[cpu\]'") as caught:
        DWPose(path)
    assert caught.value.code == "unsupported"
