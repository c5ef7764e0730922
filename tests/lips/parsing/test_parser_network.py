"""The network is the official one: names, sizes, and what is connected to what."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stages.errors import DubError
from stages.lips.parsing import checkpoint
from stages.lips.parsing.network import ENTRIES, PARAMETERS, BiSeNet, full_size
from stages.lips.parsing.parser import MEAN_RGB, STD_RGB, fold, network_input
from tests.lips.parsing.checkpoints import State, write


def test_names_and_sizes_are_the_official_ones() -> None:
    with torch.device("meta"):
        net = BiSeNet()
    state = net.state_dict()
    assert len(state) == ENTRIES == 191
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS == 13_300_416
    assert not [key for key in state if key.endswith("conv.bias")], "no convolution has a bias"
    shapes = {
        "cp.resnet.conv1.weight": (64, 3, 7, 7),
        "cp.resnet.layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "cp.resnet.layer4.1.bn2.running_var": (512,),
        "cp.arm16.conv.conv.weight": (128, 256, 3, 3),
        "cp.arm32.conv_atten.weight": (128, 128, 1, 1),
        "cp.arm32.bn_atten.num_batches_tracked": (),
        "cp.conv_head32.conv.weight": (128, 128, 3, 3),
        "cp.conv_head16.bn.weight": (128,),
        "cp.conv_avg.conv.weight": (128, 512, 1, 1),
        "ffm.convblk.conv.weight": (256, 256, 1, 1),
        "ffm.conv1.weight": (64, 256, 1, 1),
        "ffm.conv2.weight": (256, 64, 1, 1),
        "conv_out.conv.conv.weight": (256, 256, 3, 3),
        "conv_out.conv_out.weight": (19, 256, 1, 1),
        "conv_out16.conv.conv.weight": (64, 128, 3, 3),
        "conv_out32.conv_out.weight": (19, 64, 1, 1),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


class Spec:
    """The table of musetalk.md 3.7 once more, over a bare state dict."""

    def __init__(self, state: State) -> None:
        self.state = state

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def cbr(self, x: Tensor, name: str) -> Tensor:
        return functional.relu(self.norm(self.conv(x, f"{name}.conv"), f"{name}.bn"))

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        y = functional.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return functional.relu(x + y)

    def arm(self, x: Tensor, name: str) -> Tensor:
        y = self.cbr(x, f"{name}.conv")
        gate = functional.adaptive_avg_pool2d(y, 1)
        return y * torch.sigmoid(self.norm(self.conv(gate, f"{name}.conv_atten"), f"{name}.bn_atten"))

    def __call__(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.conv(x, "cp.resnet.conv1", 2), "cp.resnet.bn1"))
        y = functional.max_pool2d(y, 3, 2, 1)
        maps = []
        for layer in range(1, 5):
            for item in range(2):
                y = self.block(y, f"cp.resnet.layer{layer}.{item}", 2 if layer > 1 and item == 0 else 1)
            maps.append(y)
        _, f8, f16, f32 = maps
        average = self.cbr(functional.adaptive_avg_pool2d(f32, 1), "cp.conv_avg").expand(-1, -1, *f32.shape[2:])
        up32 = self.cbr(self.twice(self.arm(f32, "cp.arm32") + average), "cp.conv_head32")
        up16 = self.cbr(self.twice(self.arm(f16, "cp.arm16") + up32), "cp.conv_head16")
        fused = self.cbr(torch.cat((f8, up16), 1), "ffm.convblk")
        gate = functional.relu(self.conv(functional.adaptive_avg_pool2d(fused, 1), "ffm.conv1"))
        fused = fused * torch.sigmoid(self.conv(gate, "ffm.conv2")) + fused
        return self.conv(self.cbr(fused, "conv_out.conv"), "conv_out.conv_out")

    def twice(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture(scope="module")
def small() -> Tensor:
    return torch.randn((2, 3, 96, 128), generator=torch.Generator().manual_seed(3))


def test_what_is_connected_to_what(parser_state: State, parser_file: Path, small: Tensor) -> None:
    with torch.inference_mode():
        theirs, ours = Spec(parser_state)(small), checkpoint.network(parser_file)(small)
    assert ours.shape == (2, 19, 12, 16)
    assert theirs.std() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_folding_changes_rounding_only(parser_file: Path, small: Tensor) -> None:
    with torch.inference_mode():
        plain, folded = checkpoint.network(parser_file)(small), fold(checkpoint.network(parser_file))
        assert not [unit for unit in folded.modules() if isinstance(unit, torch.nn.BatchNorm2d)]
        torch.testing.assert_close(folded(small), plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def test_auxiliary_heads_do_not_run(parser_file: Path, small: Tensor) -> None:
    net = checkpoint.network(parser_file)
    ran: list[str] = []
    for name, unit in net.named_modules():
        unit.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.inference_mode():
        net(small)
    assert "conv_out.conv_out" in ran
    assert not [name for name in ran if name.startswith(("conv_out16", "conv_out32"))]


def test_scores_grow_corner_on_corner() -> None:
    scores = torch.tensor([[[[0.0, 10.0], [20.0, 30.0]]]])
    grown = full_size(scores, 11, 21)[0, 0]
    assert [float(grown[y, x]) for y, x in ((0, 0), (0, 20), (10, 0), (10, 20))] == [0, 10, 20, 30]
    torch.testing.assert_close(grown, torch.arange(11.0)[:, None] * 2 + torch.arange(21.0)[None] / 2)


def test_pictures_are_normalised_in_the_order_red_green_blue() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3), np.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN_RGB, STD_RGB))
    ours = network_input(torch.from_numpy(picture), mean, std).numpy()
    blue, green, red = (picture[0, ..., k] / 255 for k in range(3))
    theirs = [(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225]
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)


def refusal(path: Path) -> str:
    with pytest.raises(DubError) as caught:
        checkpoint.load(path)
    assert caught.value.code == "weights_missing"
    assert str(path) in caught.value.message
    assert "dubline weights fetch face-parse-bisenet" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("nesting", ["bare", "state_dict", "module."])
def test_every_nesting_loads(nesting: str, parser_state: State, tmp_path: Path) -> None:
    named = {f"module.{key}": value for key, value in parser_state.items()}
    held = {"bare": parser_state, "state_dict": {"state_dict": named, "it": 79999}, "module.": named}[nesting]
    path = tmp_path / "79999_iter.pth"
    torch.save(held, path)
    loaded = checkpoint.load(path)
    path.unlink()
    assert list(loaded) == list(parser_state)
    assert all(torch.equal(value, parser_state[key]) for key, value in loaded.items())


def test_a_parser_that_is_not_whole_is_refused(parser_state: State, tmp_path: Path) -> None:
    path = tmp_path / "79999_iter.pth"
    assert "no such file" in refusal(path)
    cut = {key: value for key, value in parser_state.items() if not key.startswith("conv_out16")}
    write(path, cut)
    assert "missing: conv_out16.conv.conv.weight" in refusal(path)
    write(path, {**parser_state, "conv_out.conv_out.weight": torch.zeros(20, 256, 1, 1)})
    assert "conv_out.conv_out.weight is (20, 256, 1, 1) instead of (19, 256, 1, 1)" in refusal(path)
    write(path, {**parser_state, "ffm.conv3.weight": torch.zeros(1)})
    assert "1 unknown: ffm.conv3.weight" in refusal(path)
    path.unlink()


def test_the_trunk_s_first_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "resnet18-5c106cde.pth"
    write(path, {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)})
    assert "this is the ResNet-18" in refusal(path)


def test_a_file_that_carries_code_is_not_run(tmp_path: Path) -> None:
    path, ran = tmp_path / "79999_iter.pth", tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> object:
            return Path.touch, (ran,)

    torch.save({"state_dict": {"cp.resnet.conv1.weight": Bomb()}}, path)
    assert "more than weights" in refusal(path)
    assert not ran.exists()
