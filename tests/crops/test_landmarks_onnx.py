"""Landmarks by ONNX files: tiny ones written here, and PFLD where it is at hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.crops.landmarks.five import five_of
from stages.crops.landmarks.onnx68 import Onnx68
from stages.crops.landmarks.square import square_round
from stages.errors import DubError
from tests.faces.portraits import astronaut

BOX = np.array([[181, 66, 267, 179]], np.float32)  # YuNet's, of the portrait
POINTS = np.full((1, 5, 2), np.nan, np.float32)


def mean_colour_network(path: Path, px: int = 32, points: int = 68) -> Path:
    """x of every point is the crop's mean first channel, y its mean second channel."""
    weight = np.zeros((2 * points, 3), np.float32)
    weight[0::2, 0] = weight[1::2, 1] = 1
    nodes = [
        helper.make_node("GlobalAveragePool", ["crop"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["points"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, px, px])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 2 * points])],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), str(path))
    return path


def test_the_crop_is_rgb_in_0_to_1_and_points_come_back_in_px_of_the_region(tmp_path):
    network = Onnx68(mean_colour_network(tmp_path / "n.onnx"), 32, margin=0.25)
    region = np.full((200, 300, 3), (0, 51, 204), np.uint8)  # blue 0, green 0.2, red 0.8
    found = network.locate([region], np.array([[100, 60, 160, 140]], np.float32), POINTS)
    # The square is 100 px wide round (130, 100).
    np.testing.assert_allclose(found[0], np.tile([80 + 0.8 * 100, 50 + 0.2 * 100], (68, 1)), atol=1e-3)


def test_a_face_at_the_picture_s_edge_is_looked_at_with_its_border_repeated(tmp_path):
    network = Onnx68(mean_colour_network(tmp_path / "n.onnx"), 32, margin=0.5)
    region = np.full((100, 100, 3), (255, 255, 255), np.uint8)
    found = network.locate([region], np.array([[-20, 40, 60, 130]], np.float32), POINTS)
    square = square_round(np.array([-20, 40, 60, 130], np.float32), 0.5)
    np.testing.assert_allclose(found[0], np.tile([square.x + square.side, square.y + square.side], (68, 1)), atol=1e-2)


def test_one_face_s_answer_does_not_depend_on_the_others(tmp_path):
    network = Onnx68(mean_colour_network(tmp_path / "n.onnx"), 32, margin=0.1)
    regions = [np.full((150, 150, 3), value, np.uint8) for value in (10, 200)]
    boxes = np.array([[20, 20, 90, 100], [30, 30, 110, 120]], np.float32)
    both = network.locate(regions, boxes, np.repeat(POINTS, 2, axis=0))
    alone = network.locate(regions[1:], boxes[1:], POINTS)
    assert np.array_equal(both[1:], alone)


def test_a_network_with_other_points_is_refused(tmp_path):
    network = Onnx68(mean_colour_network(tmp_path / "n.onnx", points=98), 32, margin=0.1)
    with pytest.raises(DubError, match="not 68 points") as caught:
        network.locate([astronaut()], BOX, POINTS)
    assert caught.value.code == "unsupported"


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "n.onnx").write_bytes(b"not a network" * 100)
    with pytest.raises(DubError, match=r"n\.onnx") as caught:
        Onnx68(tmp_path / "n.onnx", 112, 0.1)
    assert caught.value.code == "unsupported"


def test_a_wrong_input_side_is_named(tmp_path):
    px = 24
    weight = np.zeros((136, 3 * px * px), np.float32)
    nodes = [
        helper.make_node("Flatten", ["crop"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["points"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, px, px])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 136])],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), str(tmp_path / "n.onnx"))
    with pytest.raises(DubError, match="input_px") as caught:
        Onnx68(tmp_path / "n.onnx", 112, 0.1).locate([astronaut()], BOX, POINTS)
    assert caught.value.code == "unsupported"


def test_pfld_finds_the_parts_of_a_real_face(weights_dir):
    network = Onnx68(weights_dir / "pfld_68.onnx", 112, 0.1)
    found = network.locate([astronaut()], BOX, POINTS)[0]
    # Pupils, nose tip and mouth corners of the 512 px portrait, measured by eye.
    seen = np.array([[206, 104], [243, 105], [223, 129], [205, 143], [245, 145]])
    assert np.linalg.norm(five_of(found) - seen, axis=1).max() < 0.08 * 86


def test_pfld_hardly_cares_how_the_box_is_placed(weights_dir):
    network = Onnx68(weights_dir / "pfld_68.onnx", 112, 0.1)
    moved = BOX + np.array([4, -3, 4, -3], np.float32)
    a, b = (network.locate([astronaut()], box, POINTS)[0] for box in (BOX, moved))
    assert np.abs(a - b).mean() < 0.015 * 86
