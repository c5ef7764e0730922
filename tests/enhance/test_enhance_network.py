"""The layers as they are arranged here against spandrel's own forward pass."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.batches import running
from stages.enhance import checkpoint
from stages.enhance.network import Gfpgan
from tests.enhance.checkpoints import NARROW, filled


@pytest.fixture(scope="module")
def face() -> Tensor:
    return torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.fixture(scope="module")
def official(gfpgan_files: Callable[[str], Path], face: Tensor) -> Tensor:
    """spandrel's inner model as gfpgan.md 9.2 calls it."""
    with running("cpu", 2):
        picture: Tensor = checkpoint.network(gfpgan_files("filled"))(face, return_rgb=False, randomize_noise=False)[0]
    return picture


def ours(path: Path, face: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    network = Gfpgan(checkpoint.network(path), dtype)
    with running("cpu", 2):
        picture: Tensor = network(face)
    return picture


def test_pictures_use_the_range(official: Tensor) -> None:
    """Or the comparisons below compare nothing."""
    assert 0.2 < official.std().item() < 2


def test_equals_the_inner_model(gfpgan_files: Callable[[str], Path], face: Tensor, official: Tensor) -> None:
    picture = ours(gfpgan_files("filled"), face)
    assert picture.dtype == torch.float32
    assert (picture - official).abs().max().item() < 2e-5 * official.abs().max().item()


def test_bfloat16_is_no_worse_than_the_inner_model_in_bfloat16(
    gfpgan_files: Callable[[str], Path], face: Tensor, official: Tensor
) -> None:
    """On random weights, where every rounding counts: our float32 scales and sums must not be in vain."""
    near = ours(gfpgan_files("filled"), face, torch.bfloat16)
    with running("cpu", 2):
        whole = checkpoint.network(gfpgan_files("filled")).to(torch.bfloat16)
        theirs = whole(face.to(torch.bfloat16), return_rgb=False, randomize_noise=False)[0].float()
    assert near.dtype == torch.float32
    assert (near - official).abs().mean().item() < (theirs - official).abs().mean().item()
    assert (near - official).abs().mean().item() < 0.03 * official.std().item()


def test_every_entry_but_the_unused_ones_is_used() -> None:
    """What the decoder's own mapping and the training aids hold is not read (gfpgan.md 2); all else is."""
    unused = {k for k in filled() if k.startswith("toRGB.") or ".style_mlp." in k}
    assert len(unused) == 14 + 16
    loaded = checkpoint.blank(NARROW, 32)
    network = Gfpgan(loaded)
    own = sum(p.numel() for p in network.parameters())
    # Noise strengths are folded into the noise.
    read = sum(p.numel() for k, p in loaded.named_parameters() if k not in unused) - 15
    assert own == read
