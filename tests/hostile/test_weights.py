"""Weights that somebody else made: nothing in them runs, and nothing beside them is opened."""

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from stages.crops.landmarks.dwpose import DWPose
from stages.crops.landmarks.fan import Fan
from stages.crops.landmarks.onnx68 import Onnx68
from stages.errors import DubError
from stages.faces.sfd import Sfd
from stages.faces.yunet import YuNet
from stages.lips.wav2lip import checkpoint
from stages.weights import REGISTRY, Weight, Weights

LOADERS: dict[str, Callable[[Path], object]] = {
    "wav2lip": checkpoint.load,
    "fan": lambda path: Fan(path, "cpu", "float32", 1),
    "s3fd": lambda path: Sfd(path, None, 0.5, official=False, threads=1),
    "yunet": lambda path: YuNet(path, 640, 0.5),
    "onnx": lambda path: Onnx68(path, 112, 1.4),
    "dwpose": DWPose,
}


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("loader", LOADERS)
def test_a_payload_in_weights_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, old: bool, trusting: bool
) -> None:
    """Not even where the environment tells torch to trust everything, as some notebooks do."""
    if trusting:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, trap = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"state_dict": Payload(trap)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(DubError) as caught:
        LOADERS[loader](path)
    assert caught.value.code in ("weights_missing", "unsupported")
    assert str(path) in caught.value.message
    assert not trap.exists()


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"PK\x03\x04" + bytes(500), b"<html>404</html>"])
def test_what_is_no_weights_is_called_so(tmp_path: Path, loader: str, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(DubError) as caught:
        LOADERS[loader](path)
    assert caught.value.code in ("weights_missing", "unsupported")
    assert str(path) in caught.value.message


@pytest.mark.parametrize("loader", ["yunet", "onnx", "dwpose"])
def test_an_onnx_file_opens_no_other_file(tmp_path: Path, loader: str) -> None:
    """External data may name any path. A pipe there would be waited for by whoever opened it."""
    (tmp_path / "model").mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in ("../pipe", str(pipe)):
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[12, 136], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", name), ("offset", "0"), ("length", str(12 * 136 * 4))):
            weight.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 136])],
            [weight],
        )
        path = tmp_path / "model/landmarks.onnx"
        path.write_bytes(
            onnx.ModelProto(ir_version=8, graph=graph, opset_import=[helper.make_opsetid("", 13)]).SerializeToString()
        )
        with pytest.raises(DubError) as caught:
            LOADERS[loader](path)
        assert caught.value.code in ("weights_missing", "unsupported")


@pytest.mark.parametrize(
    "file",
    [
        "../w.pth",
        "musetalk/../../w.pth",
        "musetalk/..",
        "/etc/w.pth",
        "~/w.pth",
        "musetalk//w.pth",
        "musetalk/",
        "",
        ".",
        ".w.pth.partial",
        "musetalk/.hidden",
        "musetalk\\..\\w.pth",
        "file:///w.pth",
        "s3://bucket/w.pth",
        "a\nb",
        "w.pth\n",
        "w.pth\x00",
        "ｗ.pth",
    ],
)
def test_no_name_stands_for_a_file_outside_the_folder(file: str) -> None:
    with pytest.raises(ValueError, match="not a path below the weights folder"):
        Weight("evil", file, None, None, None, "-")


@pytest.mark.parametrize("name", ["../w", "musetalkV15/unet.pth", "/etc/passwd", "", "musetalk-1.5/../../w"])
def test_only_names_are_fetched(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(DubError, match="is not a known name"):
        Weights(str(folder)).fetch(name, url=Path(__file__).as_uri())
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_subfolder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "deep", Weight("deep", "sub/w.pth", Path(__file__).as_uri(), None, None, "-"))
    (tmp_path / "sub").write_bytes(b"in the way")
    with pytest.raises(DubError, match="cannot be written") as caught:
        Weights(str(tmp_path)).fetch("deep")
    assert caught.value.code == "weights_missing"
    with pytest.raises(DubError, match="dubline weights fetch deep"):
        Weights(str(tmp_path)).path("deep")
    assert (tmp_path / "sub").read_bytes() == b"in the way"
