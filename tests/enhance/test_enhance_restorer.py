"""Aligned faces in, restored faces out: range, rounding, noise, batches, shortages."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.arrays import U8
from stages.batches import running
from stages.enhance import checkpoint
from stages.enhance.restorer import GfpganRestorer, as_pixels, network_input
from stages.enhance.settings import EnhanceSettings
from stages.errors import DubError
from stages.weights import Weights
from tests.enhance.checkpoints import write


def official(path: Path, faces: U8) -> U8:
    """The steps of gfpgan.md 4 in numpy round spandrel's inner model, one face at a time."""
    answers = []
    network = checkpoint.network(path)
    for face in faces:
        x = (face[:, :, ::-1].astype(np.float32) / 255 - 0.5) / 0.5
        with running("cpu", 2):
            y = network(torch.from_numpy(x.transpose(2, 0, 1)[None].copy()), return_rgb=False, randomize_noise=False)[0]
        picture = (np.clip(y[0].numpy(), -1, 1) + 1) / 2 * 255
        answers.append(picture.round().astype(np.uint8).transpose(1, 2, 0)[:, :, ::-1])
    return np.stack(answers)


@pytest.fixture(scope="module")
def restored(behaving: GfpganRestorer, faces: U8) -> U8:
    return behaving.restore(faces)


@pytest.mark.parametrize("weights", ["behaves", "filled"])
def test_parity_with_the_official_steps(weights: str, gfpgan_files: Callable[[str], Path], faces: U8) -> None:
    path = gfpgan_files(weights)
    ours, theirs = GfpganRestorer(path).restore(faces[:1]), official(path, faces[:1])
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_the_whole_range_goes_in_and_comes_out(restored: U8) -> None:
    """Fails where the network is fed 0..1, and where its answer is clamped to 0..1 (gfpgan.md 9.2)."""
    ramp = np.linspace(0, 255, 512)
    levels = restored[2].mean(axis=(1, 2))
    assert np.abs(levels - ramp).max() < 3
    assert levels.min() < 3
    assert levels.max() > 252


def test_colours_stay_in_their_order(restored: U8, faces: U8) -> None:
    for channel in range(3):
        apart = [np.abs(restored[0, ..., channel].astype(int) - faces[0, ..., other]).mean() for other in range(3)]
        assert np.argmin(apart) == channel
        assert apart[channel] < 8


def test_every_grey_level_survives_the_way_in_and_out() -> None:
    levels = np.resize(np.arange(256, dtype=np.uint8), (1, 512, 512, 3))
    levels[..., 1] //= 2
    x = network_input(torch.from_numpy(levels))
    assert (x.min().item(), x.max().item()) == (-1, 1)
    assert torch.equal(x[0, 0], network_input(torch.from_numpy(levels))[0, 0])
    assert np.array_equal(as_pixels(x).numpy(), levels)
    assert as_pixels(torch.full((1, 3, 2, 2), -1.4)).max().item() == 0
    assert as_pixels(torch.full((1, 3, 2, 2), 1.4)).min().item() == 255


def test_stored_noise_makes_two_calls_equal(behaving: GfpganRestorer, faces: U8, restored: U8) -> None:
    assert np.array_equal(behaving.restore(faces[:1]), restored[:1])
    same = behaving.restore(np.full((2, 512, 512, 3), 200, np.uint8))
    assert np.array_equal(same[0], same[1])  # no flicker between frames
    assert same.astype(int).std() > 0.5  # but the noise is there


def test_a_face_does_not_depend_on_the_others(behaving: GfpganRestorer, faces: U8, restored: U8) -> None:
    pieces = [behaving.restore(faces[2:]), behaving.restore(faces[[1, 0]])]
    assert np.array_equal(pieces[0][0], restored[2])
    assert np.array_equal(pieces[1], restored[[1, 0]])
    assert behaving.notes == []


def test_no_faces(behaving: GfpganRestorer) -> None:
    assert behaving.restore(np.empty((0, 512, 512, 3), np.uint8)).shape == (0, 512, 512, 3)


def test_out_of_memory_halves_the_batch(gfpgan_files: Callable[[str], Path], faces: U8, restored: U8) -> None:
    restorer = GfpganRestorer(gfpgan_files("behaves"), batch_size=4)
    sizes: list[int] = []

    def short(_: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        sizes.append(len(arguments[0]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    restorer._network.register_forward_pre_hook(short)
    assert np.array_equal(restorer.restore(faces), restored)
    assert sizes == [4, 2, 2]
    assert restorer.notes == ["gfpgan batch 2 instead of 4: out of memory"]
    assert restorer.batch_size == 2


def test_not_even_one_face_fits(gfpgan_files: Callable[[str], Path], faces: U8) -> None:
    restorer = GfpganRestorer(gfpgan_files("behaves"))

    def short(*_: object) -> None:
        raise MemoryError

    restorer._network.register_forward_pre_hook(short)
    with pytest.raises(DubError, match="gfpgan cannot fit a single frame into memory") as caught:
        restorer.restore(faces[:1])
    assert caught.value.code == "oom"


def test_another_fault_is_not_taken_for_a_full_memory(gfpgan_files: Callable[[str], Path], faces: U8) -> None:
    """The official wrapper gives back the unrestored face at any RuntimeError (gfpgan.md 4)."""
    restorer = GfpganRestorer(gfpgan_files("behaves"))

    def broken(*_: object) -> None:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    restorer._network.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="cuDNN error"):
        restorer.restore(faces[:1])


def test_output_that_is_not_finite_is_an_error(gfpgan_files: Callable[[str], Path], faces: U8) -> None:
    restorer = GfpganRestorer(gfpgan_files("behaves"))
    restorer._network.register_forward_hook(lambda *a: a[2].fill_(float("inf")))
    with pytest.raises(DubError, match=r"not finite.*set enhance dtype to float32") as caught:
        restorer.restore(faces[:1])
    assert caught.value.code == "internal"


def test_bfloat16_stays_near_on_weights_that_behave(
    gfpgan_files: Callable[[str], Path], faces: U8, restored: U8
) -> None:
    near = GfpganRestorer(gfpgan_files("behaves"), dtype="bfloat16").restore(faces[:2])
    difference = np.abs(near.astype(int) - restored[:2])
    assert difference.mean() < 0.6
    assert difference.max() <= 5


def test_auto_without_a_gpu_says_what_it_took(
    monkeypatch: pytest.MonkeyPatch, gfpgan_files: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = EnhanceSettings(model="gfpgan", weights=str(gfpgan_files("behaves")))
    with caplog.at_level(logging.INFO, logger="stages.enhance"):
        restorer = GfpganRestorer.from_settings(settings, Weights())
    assert (restorer.device, restorer.batch_size) == ("cpu", 1)
    assert "gfpgan on cpu (2 threads), float32, batch 1" in caplog.text


def test_absent_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DubError, match="enhance device 'cuda' was asked for") as caught:
        GfpganRestorer(tmp_path / "unread.pth", device="cuda")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"dtype": "float16"}, "dtype"), ({"batch_size": 0}, "batch_size"), ({"device": "gpu"}, "device")],
)
def test_settings_that_there_are_not(fields: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        EnhanceSettings(**fields)
    with pytest.raises(ValueError, match=named):
        GfpganRestorer(tmp_path / "unread.pth", **fields)


@pytest.mark.parametrize("shape", [(1, 256, 256, 3), (512, 512, 3), (1, 512, 512, 4)])
def test_faces_of_another_shape(shape: tuple[int, ...], behaving: GfpganRestorer) -> None:
    with pytest.raises(ValueError, match=r"faces must be uint8 \[n, 512, 512, 3\]"):
        behaving.restore(np.zeros(shape, np.uint8))


def test_missing_weights() -> None:
    with pytest.raises(DubError, match=r"absent/GFPGANv1\.4\.pth: there is no such file") as caught:
        GfpganRestorer("absent/GFPGANv1.4.pth")
    assert caught.value.code == "weights_missing"


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("stages.enhance.settings, stages.enhance.enhance", ("torch", "spandrel")),  # the driver makes keys of them
        ("stages.enhance.restorer", ("av", "ray", "spandrel", "torchvision")),  # can be measured on a bare machine
    ],
)
def test_what_importing_costs(imported: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {imported}\nprint([m for m in {absent} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


@pytest.mark.soak
@pytest.mark.parametrize("weights", ["behaves", "filled"])
def test_official_size(weights: str, tmp_path: Path, faces: U8) -> None:
    """A file of the official names and shapes, every layer at its width."""
    path = write(tmp_path / "GFPGANv1.4.pth", weights, narrow=1)
    assert abs(path.stat().st_size - 348_632_874) < 100_000  # the official file's bytes (gfpgan.md 1)
    ours, theirs = GfpganRestorer(path, batch_size=2).restore(faces), official(path, faces)
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    near = GfpganRestorer(path, dtype="bfloat16").restore(faces[:1])
    assert np.abs(near.astype(int) - theirs[:1]).mean() < (1 if weights == "behaves" else 3)
    path.unlink()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gpu_agrees_with_the_cpu(dtype: Any, gfpgan_files: Callable[[str], Path], faces: U8, restored: U8) -> None:
    restorer = GfpganRestorer(gfpgan_files("behaves"), device="cuda", dtype=dtype, batch_size=2)
    on_gpu = restorer.restore(faces)
    difference = np.abs(on_gpu.astype(int) - restored)
    assert difference.max() <= (1 if dtype == "float32" else 5)
    assert difference.mean() < (0.01 if dtype == "float32" else 0.6)
    pieces = [restorer.restore(faces[a:b]) for a, b in ((0, 1), (1, 3))]
    assert np.array_equal(np.concatenate(pieces), on_gpu)
