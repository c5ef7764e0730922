"""Every layout loads; everything else is refused, by name, without running what it carries."""

import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.errors import DubError
from stages.lips.wav2lip import checkpoint
from tests.lips.wav2lip.checkpoints import LAYOUTS, State, filled


@pytest.fixture(scope="module")
def state() -> State:
    return filled()


def refusal(path: Path) -> str:
    with pytest.raises(DubError) as caught:
        checkpoint.load(path)
    assert caught.value.code == "weights_missing"
    assert str(path) in caught.value.message
    assert "dubline weights list" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "generator"  # the content decides, not the name
    LAYOUTS[layout](state, path)
    loaded = checkpoint.load(path)
    assert list(loaded) == list(state)
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key
    path.unlink()


def test_network_is_ready_to_run(checkpoint_files: Callable[[str], Path], state: State) -> None:
    network = checkpoint.network(checkpoint_files("filled"))
    assert not network.training
    assert not any(p.requires_grad or p.is_meta for p in network.parameters())
    assert torch.equal(network.output_block[1].weight, state["output_block.1.weight"])


def test_half_precision_file_without_counters(state: State, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    loaded = checkpoint.load(path)
    assert list(loaded) == list(state)
    key = "audio_encoder.3.conv_block.0.weight"
    assert loaded[key].dtype == torch.float32
    assert torch.equal(loaded[key], state[key].half().float())


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "web page"),
        (b"<html>quota exceeded</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ca9a\n", "Git LFS pointer"),
        (b"PK\x03\x04 and nothing more", "cut short or damaged"),
        (b"RIFF....AVI ", "begins with b'RIFF....'"),
        ((1 << 40).to_bytes(8, "little") + b'{"a":', "cut short or damaged"),
        (b"\x80\x02", "cut short or damaged"),
    ],
)
def test_no_checkpoint(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "wav2lip_gan.pth"
    path.write_bytes(content)
    assert what in refusal(path)


@pytest.mark.parametrize("layout", ["dict, zip", "dict, old pickle", "safetensors", "script"])
def test_download_cut_short(layout: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    LAYOUTS[layout](state, path)
    os.truncate(path, path.stat().st_size * 2 // 3)
    assert "cut short or damaged" in refusal(path)
    path.unlink()


class Payload:
    """Unpickled naively, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("old", [True, False])
def test_payload_does_not_run(old: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "was-here"
    content = {"state_dict": Payload(trace), "global_step": 1}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    message = refusal(path)
    assert re.search(r"holds more than weights \((posix|nt)\.system\)", message)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bare_pickle_payload_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pkl", tmp_path / "was-here"
    path.write_bytes(pickle.dumps({"state_dict": Payload(trace)}, protocol=4))
    refusal(path)
    assert not trace.exists()


class Restoring(torch.nn.Module):
    """TorchScript whose archive asks the loader to run a method."""

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return torch.zeros(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_script_that_runs_when_loaded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Restoring()).save(str(path))
    assert "runs when loaded" in refusal(path)


def test_script_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Conv2d(3, 3, 1)).save(str(path))
    assert "weights of another network (302 missing: face_encoder_blocks.0.0.conv_block.0.weight," in refusal(path)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("module.face_encoder.0.conv_block.0.weight", "the lip-sync expert"),
        ("module.binary_pred.0.weight", "quality discriminator"),
        ("conv1_1.weight", "S3FD"),
        ("netcnnaud.0.weight", "SyncNet of the evaluation"),
    ],
)
def test_other_official_network_is_named(key: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"
    torch.save({"state_dict": {key: torch.zeros(1)}}, path)
    assert what in refusal(path)


def test_first_mismatches_are_named(state: State, tmp_path: Path) -> None:
    path = tmp_path / "changed.pth"
    changed = dict(state)
    del changed["output_block.1.bias"]
    changed["output_block.1.weight"] = torch.zeros(3, 64, 1, 1)
    for i in range(5):
        changed[f"face_encoder_blocks.0.{i}.act.weight"] = torch.zeros(1)
    torch.save(changed, path)
    message = refusal(path)
    assert "1 missing: output_block.1.bias;" in message
    assert "5 unknown: face_encoder_blocks.0.0.act.weight, " in message
    assert "face_encoder_blocks.0.3.act.weight" not in message
    assert "output_block.1.weight is (3, 64, 1, 1) instead of (3, 32, 1, 1)" in message


@pytest.mark.parametrize("content", [[1, 2], {"generator": {"a": 1}}, {"state_dict": {}}, {}])
def test_no_state_dict(content: object, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    assert re.search("no state dict|state dict should be|no weights", refusal(path))


def test_values_that_are_not_finite(state: State, tmp_path: Path) -> None:
    path = tmp_path / "nan.pth"
    damaged = dict(state)
    damaged["audio_encoder.0.conv_block.0.bias"] = torch.full((32,), float("nan"))
    torch.save(damaged, path)
    assert "audio_encoder.0.conv_block.0.bias holds values that are not finite" in refusal(path)
