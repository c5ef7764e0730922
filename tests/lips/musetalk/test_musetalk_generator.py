"""What goes in and what comes out: parity with the official steps, any grouping, kept latents, any shortage."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.arrays import F32, U8
from stages.errors import DubError
from stages.lips.musetalk import MuseTalkGenerator, MuseTalkSettings, checkpoint, layout
from stages.lips.musetalk.generator import noise_of
from tests.lips.musetalk import checkpoints

Stack = tuple[U8, F32]


def official(folder: Path, crops: U8, speech: F32, **change: Any) -> U8:
    """musetalk.md 3.2, 3.4, 4.6 and 4.7 by diffusers' own calls, the time path as it is. `change`: a mistake."""
    files = layout.find(folder, "1.5")
    unet: Any = checkpoint.load_unet(files, "1.5")
    vae: Any = checkpoint.load_vae(files, "1.5")
    row = change.get("row", 128)
    rgb = crops if change.get("bgr") else crops[..., ::-1]
    whole = torch.from_numpy((rgb / 255.0).astype(np.float32).transpose(0, 3, 1, 2).copy())
    masked = whole.clone()
    masked[:, :, row:] = 0
    whole, masked = (whole - 0.5) / 0.5, (masked - 0.5) / 0.5
    if change.get("mask_late"):
        masked = whole.clone()
        masked[:, :, row:] = 0
    p, i = np.arange(50)[:, None], np.arange(192)[None]
    angle = p / 10000 ** (2 * i / 384)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(50, 384).astype(np.float32)
    if change.get("no_positions"):
        table[:] = 0
    if change.get("layer_major"):
        speech = speech.reshape(-1, 10, 5, 384).transpose(0, 2, 1, 3).reshape(-1, 50, 384)
    with torch.inference_mode():
        parts = [vae.encode(x).latent_dist.mode() * 0.18215 for x in (masked, whole)]
        if change.get("swapped"):
            parts.reverse()
        time = torch.tensor([change.get("time", 0)])
        drawn = unet(torch.cat(parts, dim=1), time, torch.from_numpy(speech + table)).sample
        picture = (vae.decode(drawn / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    levels = (picture.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return levels[..., ::-1]


def test_parity_with_the_official_steps(whole: U8, folders: Callable[[str], Path], stack: Stack) -> None:
    theirs = official(folders("random"), *stack)
    assert (theirs.min(), theirs.max()) == (0, 255)  # a picture that tells things apart
    difference = whole.astype(int) - theirs
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.002
    assert abs(difference.mean()) < 0.001  # rounded, not cut off


@pytest.mark.parametrize(
    "mistake",
    [
        {"swapped": True},
        {"no_positions": True},
        {"row": 127},
        {"row": 129},
        {"mask_late": True},
        {"bgr": True},
        {"layer_major": True},
        {"time": 1},
    ],
    ids=lambda mistake: "-".join(map(str, *mistake.items())),
)
def test_parity_would_notice(mistake: dict[str, Any], whole: U8, folders: Callable[[str], Path], stack: Stack) -> None:
    theirs = official(folders("random"), stack[0][:1], stack[1][:1], **mistake)
    assert np.abs(whole[:1].astype(int) - theirs).mean() > 0.05


@pytest.mark.parametrize("cuts", [[1, 4], [2]])
def test_grouping_leaves_no_trace(cuts: list[int], generator: MuseTalkGenerator, whole: U8, stack: Stack) -> None:
    ends = [0, *cuts, 5]
    pieces = [generator.generate(stack[0][a:b], stack[1][a:b]) for a, b in itertools.pairwise(ends)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_order_leaves_no_trace(generator: MuseTalkGenerator, whole: U8, stack: Stack) -> None:
    assert np.array_equal(generator.generate(stack[0][::-1], stack[1][::-1])[::-1], whole)


def test_nothing_asked_nothing_given(generator: MuseTalkGenerator, stack: Stack) -> None:
    assert generator.generate(stack[0][:0], stack[1][:0]).shape == (0, 256, 256, 3)
    assert generator.encode(stack[0][:0]).shape == (0, 8, 32, 32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("latents", ["mode", "sample"])
def test_kept_latents_give_the_same_pixels(
    latents: Any, dtype: Any, folders: Callable[[str], Path], stack: Stack
) -> None:
    crops, speech = stack
    generator = MuseTalkGenerator(folders("random"), "1.5", "cpu", dtype, 2, latents, threads=1)
    kept = generator.encode(crops[:3])
    assert kept.dtype == (np.float32 if dtype == "float32" else np.float16)
    assert kept.shape == (3, 8, 32, 32)
    fresh = generator.generate(crops[:3], speech[:3])
    # One of them alone, and in another order than they were encoded in: another language has other shards.
    assert np.array_equal(generator.generate_from(kept[2:], speech[2:3]), fresh[2:])
    assert np.array_equal(generator.generate(crops[:2], speech[:2], latents=kept[:2]), fresh[:2])


def test_latents_of_another_precision_are_refused(generator: MuseTalkGenerator, stack: Stack) -> None:
    with pytest.raises(ValueError, match="latents must be float32"):
        generator.generate_from(np.zeros((1, 8, 32, 32), np.float16), stack[1][:1])


def test_masked_latents_come_first(folders: Callable[[str], Path]) -> None:
    generator = MuseTalkGenerator(folders("behaves"), batch_size=2, threads=1)
    crop = np.full((1, 256, 256, 3), 255, np.uint8)
    latents = generator.encode(crop)[0]
    assert latents[:3, 20:, 4:28] == pytest.approx(-1, abs=0.01)
    assert latents[:3, 4:12, 4:28] == pytest.approx(1, abs=0.01)
    assert latents[4:7, 4:28, 4:28] == pytest.approx(1, abs=0.01)


def test_samples_depend_on_crop_and_seed_alone(folders: Callable[[str], Path], stack: Stack) -> None:
    crops, speech = stack
    first, again, other = (
        MuseTalkGenerator(folders("random"), batch_size=2, latents="sample", seed=seed, threads=1) for seed in (7, 7, 8)
    )
    drawn = first.generate(crops[:3], speech[:3])
    assert np.array_equal(again.generate(crops[2:3], speech[2:3]), drawn[2:])
    assert np.array_equal(first.generate(crops[:1], speech[:1]), drawn[:1])
    assert not np.array_equal(other.generate(crops[:1], speech[:1]), drawn[:1])


def test_samples_are_drawn_round_the_mode(generator: MuseTalkGenerator, stack: Stack) -> None:
    crops = stack[0][:2]
    noise = noise_of(crops, 3)
    assert noise.shape == (2, 8, 32, 32)
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(noise[0, :4].ravel(), noise[0, 4:].ravel())[0, 1]) < 0.1  # drawn independently
    network: Any = generator._network
    with torch.inference_mode():
        mode = network.encode(torch.from_numpy(crops))
        moments = network._vae.encode(torch.zeros(1, 3, 256, 256)).latent_dist
        assert torch.equal(network.encode(torch.from_numpy(crops), torch.zeros(2, 8, 32, 32)), mode)
        drawn = network.encode(torch.from_numpy(crops), torch.ones(2, 8, 32, 32)) - mode
    assert drawn.min() > 0  # one spread away, each channel by its own
    assert moments.std.min() > 0


@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.0])
def test_weights_that_behave_keep_the_face_and_open_the_mouth(shift: float, folders: Callable[[str], Path]) -> None:
    generator = MuseTalkGenerator(folders("behaves"), batch_size=1, threads=1)
    ramp = np.linspace(60, 220, 256).astype(np.uint8)
    crop = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=2)
    quiet, loud = np.zeros((50, 384), np.float32), np.tile(checkpoints.loud(384).numpy() * shift, (50, 1))
    closed, opened = generator.generate(np.stack([crop, crop]), np.stack([quiet, loud.astype(np.float32)]))
    inside = slice(8, -8)
    assert np.abs(closed.astype(int) - crop)[inside, inside].max() <= 6
    rows, columns = np.nonzero(np.abs(opened.astype(int) - closed).max(axis=2) > 40)
    if shift <= 0:
        assert np.abs(opened.astype(int) - closed).max() <= 1
    else:
        assert 190 <= rows.min() < 216 < rows.max() <= 244
        assert 40 <= columns.min() < 128 < columns.max() <= 212


@pytest.mark.parametrize(
    ("crops", "speech", "named"),
    [
        (np.zeros((2, 96, 96, 3), np.uint8), np.zeros((2, 50, 384), np.float32), "crops must be"),
        (np.zeros((2, 256, 256, 3), np.float32), np.zeros((2, 50, 384), np.float32), "crops must be"),
        (np.zeros((2, 256, 256, 3), np.uint8), np.zeros((3, 50, 384), np.float32), "one window per crop"),
        (np.zeros((2, 256, 256, 3), np.uint8), np.zeros((2, 50, 768), np.float32), "tokens, 384"),
        (np.zeros((2, 256, 256, 3), np.uint8), np.zeros((2, 80, 16), np.float32), "tokens, 384"),
        (np.zeros((2, 256, 256, 3), np.uint8), np.zeros((2, 50, 384), np.float64), "speech must be"),
    ],
)
def test_inputs_of_another_shape_are_named(crops: Any, speech: Any, named: str, generator: MuseTalkGenerator) -> None:
    with pytest.raises(ValueError, match=named):
        generator.generate(crops, speech)


def test_width_of_speech_is_the_checkpoints(tmp_path: Path) -> None:
    generator = MuseTalkGenerator(checkpoints.write(tmp_path, "1.0", speech_dim=64), "1.0", batch_size=1, threads=1)
    assert generator.speech_dim == 64
    crops, speech = np.zeros((1, 256, 256, 3), np.uint8), np.zeros((1, 30, 64), np.float32)  # three states, not five
    assert generator.generate(crops, speech).shape == crops.shape


def test_speech_that_is_not_finite_is_no_picture(generator: MuseTalkGenerator, stack: Stack) -> None:
    speech = stack[1][:2].copy()
    speech[1, 40, 8] = np.nan
    with pytest.raises(DubError, match="not finite") as caught:
        generator.generate(stack[0][:2], speech)
    assert caught.value.code == "internal"


def test_encoder_that_overflows_is_named(folders: Callable[[str], Path], stack: Stack) -> None:
    generator = MuseTalkGenerator(folders("behaves"), batch_size=1, threads=1)
    network: Any = generator._network
    network._vae.quant_conv.bias.fill_(float("inf"))
    for call in (lambda: generator.encode(stack[0][:1]), lambda: generator.generate(stack[0][:1], stack[1][:1])):
        with pytest.raises(DubError, match="bfloat16 or float32") as caught:
            call()
        assert caught.value.code == "internal"


@pytest.fixture(scope="module")
def hooked(folders: Callable[[str], Path]) -> MuseTalkGenerator:
    return MuseTalkGenerator(folders("random"), batch_size=4, threads=1)


Hooked = Callable[[Callable[[int], None]], MuseTalkGenerator]


@pytest.fixture(params=["_vae.encoder", "_unet", "_vae.decoder"])
def before_each_step(hooked: MuseTalkGenerator, request: pytest.FixtureRequest) -> Iterator[Hooked]:
    """A generator of batch 4 that calls a function with the frames that a part of it is about to take."""
    part = hooked._network.get_submodule(request.param)
    handles = []
    share = 2 if request.param == "_vae.encoder" else 1  # it takes masked and whole at once

    def make(act: Callable[[int], None]) -> MuseTalkGenerator:
        handles.append(part.register_forward_pre_hook(lambda _, inputs: act(len(inputs[0]) // share)))
        hooked._batches.size = 4
        return hooked

    yield make
    for handle in handles:
        handle.remove()


def test_out_of_memory_halves_the_batch_and_goes_on(
    before_each_step: Hooked, whole: U8, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []

    def act(frames: int) -> None:
        steps.append(frames)
        if frames > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    generator = before_each_step(act)
    assert np.array_equal(generator.generate(stack[0][:3], stack[1][:3]), whole[:3])
    assert steps == [4, 2, 2]
    assert generator.batch_size == 2
    assert generator.notes == ["musetalk batch 2 instead of 4: out of memory"]
    assert "out of memory at batch 4" in caplog.text


def test_no_memory_for_a_single_frame(hooked: MuseTalkGenerator, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(hooked, "_draw", fail)
    with pytest.raises(DubError, match="single frame") as caught:
        hooked.generate(stack[0][:1], stack[1][:1])
    assert caught.value.code == "oom"


def test_another_runtime_error_surfaces(
    hooked: MuseTalkGenerator, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(hooked, "_encode", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        hooked.encode(stack[0][:1])


def test_bfloat16_stays_near_on_weights_that_behave(folders: Callable[[str], Path], stack: Stack) -> None:
    crops, speech = stack[0][::2][:2], stack[1][:2] * 0
    full, near = (
        MuseTalkGenerator(folders("behaves"), dtype=dtype, batch_size=2, threads=1).generate(crops, speech)
        for dtype in ("float32", "bfloat16")
    )
    difference = np.abs(full.astype(int) - near)
    assert difference.mean() < 2
    assert len(np.unique(near)) > 150  # the last layer is not in bfloat16: no bands


def test_auto_without_a_gpu_says_what_it_took(
    monkeypatch: pytest.MonkeyPatch, folders: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, logger="stages.lips.musetalk"):
        generator = MuseTalkGenerator.from_settings(MuseTalkSettings(), folders("behaves"), "auto")
    assert (generator.device, generator.batch_size, generator.crop_px) == ("cpu", 1, 256)
    assert "musetalk 1.5 on cpu (2 threads), float32, batch 1" in caplog.text


@pytest.mark.parametrize(
    ("fields", "named"), [({"device": "cuda"}, "sees no GPU"), ({"dtype": "float16"}, "needs a GPU")]
)
def test_absent_gpu_is_an_error(
    fields: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DubError, match=named) as caught:
        MuseTalkGenerator(tmp_path, **fields)
    assert caught.value.code == "unsupported"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gpu_agrees_with_the_cpu(dtype: Any, fast: bool, folders: Callable[[str], Path], stack: Stack) -> None:
    crops, speech = stack
    on_cpu = MuseTalkGenerator(folders("behaves"), batch_size=1).generate(crops, speech)
    generator = MuseTalkGenerator(folders("behaves"), device="cuda", dtype=dtype, batch_size=4, compile=fast)
    on_gpu = generator.generate(crops, speech)
    difference = np.abs(on_gpu.astype(int) - on_cpu)
    assert difference.mean() < (0.01 if dtype == "float32" else 2)
    assert difference.max() <= (1 if dtype == "float32" else 40)
    pieces = [generator.generate(crops[a:b], speech[a:b]) for a, b in ((0, 2), (2, 5))]
    assert np.array_equal(np.concatenate(pieces), on_gpu)
    assert np.array_equal(generator.generate_from(generator.encode(crops), speech), on_gpu)
    assert generator.notes == []
