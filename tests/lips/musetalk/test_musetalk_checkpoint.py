"""The official layout loads, strictly; everything else is refused by name, without running what it carries."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

from stages.errors import DubError
from stages.lips.musetalk import checkpoint, layout
from stages.lips.musetalk.layout import Layout
from stages.lips.musetalk.settings import MuseTalkSettings
from stages.lips.musetalk.spec import MuseTalkSpec
from stages.weights import REGISTRY, Weights
from tests.lips.musetalk import checkpoints
from tests.lips.musetalk.checkpoints import OFFICIAL_UNET, OFFICIAL_VAE, SMALL_UNET, SMALL_VAE

UNET = "musetalkV15/unet.pth"
UNET_JSON = "musetalkV15/musetalk.json"
VAE = "sd-vae/diffusion_pytorch_model.bin"
VAE_JSON = "sd-vae/config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoints.write(tmp_path, weights="random")


def load(folder: Path, version: Any = "1.5") -> tuple[Any, Any]:
    files = layout.find(folder, version)
    return checkpoint.load_unet(files, version), checkpoint.load_vae(files, version)


def refusal(folder: Path, path: str, version: Any = "1.5") -> str:
    with pytest.raises(DubError) as caught:
        load(folder, version)
    assert caught.value.code == "weights_missing"
    assert str(folder / path) in caught.value.message
    assert f"dubline weights fetch musetalk-{version}" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("version", ["1.0", "1.5"])
def test_official_layout_with_the_vaes_old_names(version: Any, tmp_path: Path) -> None:
    checkpoints.write(tmp_path, version, weights="random")
    unet, vae = load(tmp_path, version)
    with torch.random.fork_rng(devices=[]):
        for net, cls, config in ((unet, UNet2DConditionModel, SMALL_UNET), (vae, AutoencoderKL, SMALL_VAE)):
            wanted = checkpoints.noise(cls, config)
            assert not net.training
            assert not any(p.requires_grad or p.is_meta for p in net.parameters())
            assert net.state_dict().keys() == wanted.keys()
            assert all(torch.equal(value, wanted[key]) for key, value in net.state_dict().items())


def hollow(network: Any, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Official names and shapes, in a file of kilobytes: every tensor is one number, seen many times."""
    with torch.device("meta"):
        names = network(**config).state_dict()
    return {key: torch.zeros(1).expand(value.shape) for key, value in names.items()}


def test_official_size_has_the_published_counts_and_loads_strictly(tmp_path: Path) -> None:
    checkpoints.write(tmp_path)
    (tmp_path / UNET_JSON).write_text(json.dumps(OFFICIAL_UNET))
    (tmp_path / VAE_JSON).write_text(json.dumps(OFFICIAL_VAE))
    torch.save(hollow(UNet2DConditionModel, OFFICIAL_UNET), tmp_path / UNET)
    torch.save(checkpoints.old_names(hollow(AutoencoderKL, OFFICIAL_VAE)), tmp_path / VAE)
    unet, vae = load(tmp_path)
    assert (len(unet.state_dict()), sum(p.numel() for p in unet.parameters())) == (686, 849_947_844)
    assert (len(vae.state_dict()), sum(p.numel() for p in vae.parameters())) == (248, 83_653_863)
    assert tuple(unet.conv_in.weight.shape) == (320, 8, 3, 3)
    assert unet.config.cross_attention_dim == 384
    assert vae.config.scaling_factor == 0.18215


@pytest.mark.parametrize("convolutions", [False, True])
def test_vae_attention_as_convolutions_or_matrices(convolutions: bool, folder: Path) -> None:
    state = checkpoints.noise(AutoencoderKL, SMALL_VAE)
    old = checkpoints.old_names(state, convolutions=convolutions)
    assert (old["decoder.mid_block.attentions.0.query.weight"].dim() == 4) == convolutions
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in old
    assert "encoder.mid_block.attentions.0.group_norm.weight" in old
    torch.save(old, folder / VAE)
    _, vae = load(folder)
    assert torch.equal(
        vae.decoder.mid_block.attentions[0].to_q.weight, state["decoder.mid_block.attentions.0.to_q.weight"]
    )


def test_vae_with_todays_names_in_the_legacy_folder(folder: Path) -> None:
    torch.save(checkpoints.noise(AutoencoderKL, SMALL_VAE), folder / VAE)
    (folder / "sd-vae").rename(folder / "sd-vae-ft-mse")
    load(folder)


def test_safetensors_are_taken_where_the_pickles_are_not_there(folder: Path) -> None:
    save_file(checkpoints.noise(UNet2DConditionModel, SMALL_UNET, seed=2), folder / "musetalkV15/unet.safetensors")
    vae = checkpoints.old_names(checkpoints.noise(AutoencoderKL, SMALL_VAE, seed=2))
    save_file(vae, folder / "sd-vae/diffusion_pytorch_model.safetensors")
    for file in (UNET, VAE):
        (folder / file).unlink()
    unet, _ = load(folder)
    assert torch.equal(
        unet.conv_in.weight, checkpoints.noise(UNet2DConditionModel, SMALL_UNET, seed=2)["conv_in.weight"]
    )


def test_a_file_beside_those_that_were_checked_is_not_loaded_in_their_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sha256, licence and keys are those of the registry's files; a model page's checkout has both kinds."""
    for name in layout.NAMES["1.5"]:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], sha256=None))
    for file in (UNET, VAE):
        (folder / file).with_suffix(".safetensors").write_bytes(b"never opened")
    weights = Weights(str(folder))
    spec = MuseTalkSpec(MuseTalkSettings(), "cpu")
    spec.load(weights)
    checked = {weights.path(name) for name in spec.weights()}
    assert set(layout.find(weights.layout(spec.weights()), "1.5").files) == checked


@pytest.mark.parametrize("path", [UNET, UNET_JSON, VAE, VAE_JSON])
def test_missing_file_is_named(path: str, folder: Path) -> None:
    (folder / path).unlink()
    assert "no such file" in refusal(folder, path)


def test_other_version_is_no_substitute(folder: Path) -> None:
    assert "no such file" in refusal(folder, "musetalk/musetalk.json", "1.0")


@pytest.mark.parametrize("path", [UNET, VAE])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"<html>quota exceeded</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ca9a\n", "Git LFS pointer"),
        (b"PK\x03\x04 and nothing more", "cut short or damaged"),
    ],
)
def test_no_checkpoint(content: bytes, what: str, path: str, folder: Path) -> None:
    (folder / path).write_bytes(content)
    assert what in refusal(folder, path)


@pytest.mark.parametrize("path", [UNET, VAE])
def test_download_cut_short(path: str, folder: Path) -> None:
    os.truncate(folder / path, (folder / path).stat().st_size * 2 // 3)
    assert "cut short or damaged" in refusal(folder, path)


class Payload:
    """Unpickled naively, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("path", [UNET, VAE])
def test_payload_does_not_run(path: str, old: bool, folder: Path) -> None:
    trace = folder / "was-here"
    torch.save({"conv_in.weight": Payload(trace)}, folder / path, _use_new_zipfile_serialization=not old)
    assert re.search(r"holds more than weights \((posix|nt)\.system\)", refusal(folder, path))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("path", "key", "what"),
    [
        (UNET, "face_encoder_blocks.0.0.conv_block.0.weight", "a Wav2Lip generator"),
        (UNET, "encoder.conv_in.weight", "the VAE, not MuseTalk's UNet"),
        (VAE, "face_encoder_blocks.0.0.conv_block.0.weight", "a Wav2Lip generator"),
        (VAE, "time_embedding.linear_1.weight", "a UNet, not the VAE"),
    ],
)
def test_other_network_is_named(path: str, key: str, what: str, folder: Path) -> None:
    torch.save({key: torch.zeros(1)}, folder / path)
    assert f"this is {what}" in refusal(folder, path)


def test_stable_diffusions_own_unet_does_not_fit(folder: Path) -> None:
    config = SMALL_UNET | {"in_channels": 4, "cross_attention_dim": 768}
    torch.save(checkpoints.noise(UNet2DConditionModel, config), folder / UNET)
    assert "conv_in.weight is (32, 4, 3, 3) instead of (32, 8, 3, 3)" in refusal(folder, UNET)


def test_first_mismatches_are_named(folder: Path) -> None:
    state = checkpoints.noise(UNet2DConditionModel, SMALL_UNET)
    del state["conv_out.bias"]
    state["conv_out.gain"] = torch.zeros(1)
    torch.save(state, folder / UNET)
    assert "1 missing: conv_out.bias; 1 unknown: conv_out.gain" in refusal(folder, UNET)


def test_values_that_are_not_finite(folder: Path) -> None:
    state = checkpoints.noise(AutoencoderKL, SMALL_VAE)
    state["quant_conv.bias"][0] = float("inf")
    torch.save(state, folder / VAE)
    assert "quant_conv.bias holds values that are not finite" in refusal(folder, VAE)


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        (UNET_JSON, "<html>", "this is no JSON"),
        (UNET_JSON, "[1, 2]", "holds a list"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"in_channels": 9}), "in_channels is 9 instead of 8"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"cross_attention_dim": 383}), "cross_attention_dim is 383"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"down_block_types": ["OtherBlock"] * 4}), "OtherBlock"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"colour": 1}), "colour"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"layers_per_block": 10**6}), "layers_per_block is larger"),
        (UNET_JSON, json.dumps(SMALL_UNET | {"block_out_channels": [10**9] * 4}), "block_out_channels is larger"),
        (VAE_JSON, json.dumps(SMALL_VAE | {"latent_channels": 16}), "latent_channels is 16 instead of 4"),
        (VAE_JSON, "{}", "another number of blocks"),
    ],
)
def test_description_of_another_network(path: str, content: str, what: str, folder: Path) -> None:
    (folder / path).write_text(content)
    assert what in refusal(folder, path)


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(DubError, match=r"pip install 'dubline\[musetalk\]'") as caught:
        load(folder)
    assert caught.value.code == "unsupported"


def test_files_of_a_version_are_what_its_pixels_depend_on(folders: Callable[[str], Path]) -> None:
    files = layout.find(folders("random"), "1.5").files
    assert [str(f.relative_to(folders("random"))) for f in files] == [UNET_JSON, UNET, VAE_JSON, VAE]
    assert isinstance(layout.find(folders("random"), "1.5"), Layout)
