"""Official files load, under the official names; everything else is refused by name, and nothing in it is run."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.enhance import checkpoint
from stages.errors import DubError
from tests.enhance.checkpoints import LAYOUTS, NARROW, State, filled

UNET = [32, 64, 128, 256, 256, 256, 256, 256]
DECODER = [512, 512, 512, 512, 512, 256, 128, 64]


@pytest.fixture(scope="module")
def state() -> State:
    return filled()


def official_grammar() -> dict[str, tuple[int, ...]]:
    """Names and shapes as gfpgan.md 2 has them, expanded without looking at any code."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, outputs: int, inputs: int, kernel: int, *, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def residual(name: str, inputs: int, outputs: int) -> None:
        conv(f"{name}.conv1", inputs, inputs, 3)
        conv(f"{name}.conv2", outputs, inputs, 3)
        conv(f"{name}.skip", outputs, inputs, 1, bias=False)

    def modulated(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.modulated_conv.weight"] = (1, outputs, inputs, kernel, kernel)
        linear(f"{name}.modulated_conv.modulation", inputs, 512)
        shapes[f"{name}.bias"] = (1, outputs, 1, 1)
        if kernel == 3:
            shapes[f"{name}.weight"] = (1,)

    conv("conv_body_first", 32, 3, 1)
    conv("final_conv", 256, 256, 3)
    linear("final_linear", 8192, 4096)
    upwards = UNET[::-1]
    for n in range(7):
        residual(f"conv_body_down.{n}", UNET[n], UNET[n + 1])
        residual(f"conv_body_up.{n}", upwards[n], upwards[n + 1])
        conv(f"toRGB.{n}", 3, upwards[n + 1], 1)
        for kind in ("scale", "shift"):
            for layer in (0, 2):
                conv(f"condition_{kind}.{n}.{layer}", upwards[n + 1], upwards[n + 1], 3)
        modulated(f"stylegan_decoder.style_convs.{2 * n}", DECODER[n], DECODER[n + 1], 3)
        modulated(f"stylegan_decoder.style_convs.{2 * n + 1}", DECODER[n + 1], DECODER[n + 1], 3)
        modulated(f"stylegan_decoder.to_rgbs.{n}", DECODER[n + 1], 3, 1)
    modulated("stylegan_decoder.style_conv1", 512, 512, 3)
    modulated("stylegan_decoder.to_rgb1", 512, 3, 1)
    shapes["stylegan_decoder.constant_input.weight"] = (1, 512, 4, 4)
    for n in range(1, 16, 2):
        linear(f"stylegan_decoder.style_mlp.{n}", 512, 512)
    for n in range(15):
        side = 2 ** ((n + 5) // 2)
        shapes[f"stylegan_decoder.noises.noise{n}"] = (1, 1, side, side)
    return shapes


def test_official_names_shapes_and_counts() -> None:
    network = checkpoint.blank()
    state = network.state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == official_grammar()
    assert len(state) == checkpoint.ENTRIES == 285
    assert sum(p.numel() for p in network.parameters()) == checkpoint.PARAMETERS == 86_444_252
    assert sum(value.numel() for value in state.values()) == 87_143_276  # with the noise: the official file's bytes
    assert all(value.is_meta for value in state.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "gfpgan"  # the content decides, not the name
    LAYOUTS[layout](state, path)
    network = checkpoint.network(path)
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key
    assert not network.training
    assert not any(p.requires_grad or p.is_meta for p in network.parameters())


def test_averaged_weights_come_before_the_last_ones(state: State, tmp_path: Path) -> None:
    last = {key: value + 1 for key, value in state.items()}
    path = tmp_path / "both.pth"
    torch.save({"params": last, "params_ema": state}, path)
    loaded = checkpoint.network(path).state_dict()
    assert torch.equal(loaded["final_conv.weight"], state["final_conv.weight"])


def refusal(path: Path) -> str:
    with pytest.raises(DubError) as caught:
        checkpoint.network(path)
    assert caught.value.code == "weights_missing"
    assert str(path) in caught.value.message
    assert "dubline weights fetch gfpgan-1.4" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("conv_body_first.0.weight", "GFPGAN 1, the first version"),
        ("position_emb", "CodeFormer"),
        ("quantize.embedding.weight", "RestoreFormer"),
        ("vqvae.quantize.embedding.weight", "RestoreFormer"),
        ("body.0.rdb1.conv1.weight", "Real-ESRGAN"),
        ("out_mask_conv.conv2d.weight", "ParseNet"),
        ("module.ClassHead.0.conv1x1.weight", "the RetinaFace detector"),
        ("face_encoder_blocks.0.0.conv_block.0.weight", "a Wav2Lip generator"),
    ],
)
def test_another_network_is_named(key: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"
    torch.save({"params_ema": {key: torch.zeros(1)}}, path)
    assert f"this is {what}" in refusal(path)


def test_one_tensor_short(state: State, tmp_path: Path) -> None:
    path = tmp_path / "short.pth"
    torch.save({"params_ema": {k: v for k, v in state.items() if not k.endswith("noise14")}}, path)
    assert "1 missing: stylegan_decoder.noises.noise14" in refusal(path)


def test_one_tensor_of_another_width(state: State, tmp_path: Path) -> None:
    """Widths are read from two tensors; all the others must follow from them."""
    path = tmp_path / "wide.pth"
    torch.save({"params_ema": state | {"conv_body_down.1.skip.weight": torch.zeros(24, 13, 1, 1)}}, path)
    assert "conv_body_down.1.skip.weight is (24, 13, 1, 1) instead of (24, 12, 1, 1)" in refusal(path)


@pytest.mark.parametrize("shape", [(3,), (100_000,), (8, 8)])
def test_widths_that_no_such_network_has(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"params_ema": {"final_linear.weight": torch.zeros(8, 8), "final_conv.bias": torch.zeros(shape)}}, path)
    assert "weights of another network" in refusal(path)


def test_values_that_are_not_finite(state: State, tmp_path: Path) -> None:
    path = tmp_path / "nan.pth"
    torch.save({"params_ema": state | {"final_conv.bias": torch.full((48,), float("nan"))}}, path)
    assert "final_conv.bias holds values that are not finite" in refusal(path)


class Payload:
    """Unpickled naively, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_payload_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "was-here"
    torch.save({"params_ema": Payload(trace)}, path)
    assert "holds more than weights" in refusal(path)
    assert not trace.exists()


def test_missing_extra_names_the_command(state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "gfpgan.pth"
    torch.save({"params_ema": state}, path)
    monkeypatch.setitem(sys.modules, "spandrel.architectures.GFPGAN", None)
    with pytest.raises(DubError, match=r"needs spandrel .*: run «pip install 'dubline\[enhance\]'»") as caught:
        checkpoint.network(path)
    assert caught.value.code == "unsupported"


def test_narrow_files_make_a_narrow_network() -> None:
    assert checkpoint.blank(NARROW, 32).state_dict()["final_conv.weight"].shape == (48, 48, 3, 3)


def test_its_own_file_reader_is_not_used(state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from spandrel import ModelLoader

    def fails(*_: object) -> Tensor:
        raise AssertionError("spandrel must not open files")

    for name in ("load_from_file", "load_state_dict_from_file", "load_from_state_dict"):
        monkeypatch.setattr(ModelLoader, name, fails)
    path = tmp_path / "gfpgan.pth"
    torch.save({"params_ema": state}, path)
    assert checkpoint.network(path).state_dict().keys() == state.keys()
