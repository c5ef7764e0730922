"""What lies between diffusers' layers: the mask, colours, rounding, positions, the folded time path."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from stages.lips.musetalk import checkpoint, layout
from stages.lips.musetalk.network import MAX_TOKENS, fold_time, positions, to_pixels, vae_input
from tests.lips.musetalk import checkpoints


def test_positions_are_the_golden_values() -> None:
    table = positions(MAX_TOKENS, 384).numpy()
    assert np.array_equal(table[0], np.tile([0, 1], 192))
    assert table[1, :4] == pytest.approx([0.8415, 0.5403, 0.8153, 0.5791], abs=5e-5)
    assert table[49, :2] == pytest.approx([-0.9538, 0.3006], abs=5e-5)
    assert table[:50].sum(dtype=np.float64) == pytest.approx(7580.56, abs=5e-3)


def test_mask_begins_at_row_128_and_blacked_rows_are_exactly_minus_one() -> None:
    pixels = torch.full((1, 256, 256, 3), 200, dtype=torch.uint8)
    masked, whole = vae_input(pixels, torch.tensor(255.0)).numpy()
    assert (masked[:, 128:] == -1).all()
    assert np.array_equal(masked[:, :128], whole[:, :128])
    assert (whole == np.float32(np.float32(200 / 255) - np.float32(0.5)) / np.float32(0.5)).all()


def test_every_grey_level_is_normalised_like_the_official_script() -> None:
    levels = np.resize(np.arange(256, dtype=np.uint8), (1, 256, 256, 3))
    given = vae_input(torch.from_numpy(levels), torch.tensor(255.0))[1].numpy()
    x = (levels[0, :, :, ::-1] / 255.0).astype(np.float32).transpose(2, 0, 1)
    assert np.array_equal(given, (x - np.float32(0.5)) / np.float32(0.5))


def test_encoder_sees_rgb_in_contiguous_memory() -> None:
    pixels = torch.zeros((2, 256, 256, 3), dtype=torch.uint8)
    pixels[..., 0] = 255  # blue
    given = vae_input(pixels, torch.tensor(255.0))
    assert given[2, :, 0, 0].tolist() == [-1, -1, 1]
    # Layers keep the layout they are given, and group norm is inexact in the other one (musetalk.md 3.2).
    assert given.is_contiguous()
    assert not given.is_contiguous(memory_format=torch.channels_last)


def test_halves_are_rounded_to_the_even_level_and_red_comes_last() -> None:
    picture = torch.zeros((1, 3, 256, 256))
    picture[0, 0] = 1  # red
    levels = torch.arange(256, dtype=torch.float64)
    picture[0, 1] = ((levels - 0.5) / 255 * 2 - 1).float()
    picture[0, 2, 0] = torch.tensor([-5.0, 5.0]).repeat(128)
    pixels = to_pixels(picture).numpy()[0]
    assert pixels.shape == (256, 256, 3)
    assert (pixels[..., 2] == 255).all()
    assert pixels[0, :2, 0].tolist() == [0, 255]
    exact = ((picture[0, 1, 0] / 2 + 0.5).clamp(0, 1) * 255).numpy()
    halves = exact % 1 == 0.5
    assert halves.sum() > 20
    assert np.array_equal(pixels[0, :, 1], np.rint(exact))
    assert (pixels[0, halves, 1] % 2 == 0).all()


def test_time_path_is_folded_away_and_nothing_changes(folders: Callable[[str], Path]) -> None:
    torch.manual_seed(1)
    unet = checkpoint.load_unet(layout.find(folders("random"), "1.5"), "1.5")
    inputs = (torch.randn(2, 8, 32, 32), torch.zeros(1, dtype=torch.int64), torch.randn(2, 50, 384))
    with torch.inference_mode():
        before = unet(*inputs).sample
        late = unet(inputs[0], torch.ones(1, dtype=torch.int64), inputs[2]).sample
        fold_time(unet)
        after = unet(*inputs).sample
    difference = (after - before).abs().max()
    assert difference < 1e-5 * before.abs().max()
    assert (late - before).abs().max() > 100 * difference  # these weights do have a time path
    assert not any("time" in name for name, _ in unet.named_parameters())


def test_all_time_projections_of_the_official_size_are_found() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**checkpoints.OFFICIAL_UNET)
    assert sum(1 for block in unet.modules() if getattr(block, "time_emb_proj", None) is not None) == 22
