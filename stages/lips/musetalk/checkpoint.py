"""Builds MuseTalk's UNet and VAE from official files, strictly, and runs no code that a file carries."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from stages.checkpoint import State, WeightsFile, first_line
from stages.errors import DubError
from stages.lips.musetalk.layout import Layout, advice
from stages.lips.musetalk.settings import Version

_WAV2LIP: Final = {"face_encoder_blocks.0.0.conv_block.0.weight": "a Wav2Lip generator"}
_FOREIGN_UNET: Final = {  # a key that gives a network away -> what it is
    **_WAV2LIP,
    "encoder.conv_in.weight": "the VAE, not MuseTalk's UNet",
    "first_stage_model.encoder.conv_in.weight": "a whole Stable Diffusion checkpoint, not MuseTalk's UNet",
    "model.encoder.conv1.weight": "Whisper, not MuseTalk's UNet",
}
_FOREIGN_VAE: Final = {
    **_WAV2LIP,
    "time_embedding.linear_1.weight": "a UNet, not the VAE",
    "first_stage_model.encoder.conv_in.weight": "a whole Stable Diffusion checkpoint, not its VAE in diffusers' layout",
    "encoder.layers.0.weight": "TAESD, not the VAE",
}
_ATTENTION: Final = ("encoder.mid_block.attentions.0.", "decoder.mid_block.attentions.0.")
_OLD_NAMES: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # musetalk.md 2
_MAX_JSON_BYTES: Final = 1 << 20
_MAX_NUMBER, _MAX_LAYERS = 8192, 8  # more than any such network has: a damaged file must not fill the memory


def load_unet(files: Layout, version: Version) -> nn.Module:
    """diffusers' `UNet2DConditionModel` with the weights of `files`: float32 on the CPU, eval mode, no gradients.

    Sizes are those of the file's JSON; 8 channels in and 4 out. Raises DubError `weights_missing`, and `unsupported`
    where diffusers is not installed.
    """
    file = WeightsFile(files.unet, f"MuseTalk {version} weights", advice(version))
    wanted = {"in_channels": 8, "out_channels": 4, "resnet_time_scale_shift": "default"}
    net = _build("UNet2DConditionModel", files.unet_config, version, wanted)
    width = net.config.cross_attention_dim
    if not isinstance(width, int) or width % 2:
        raise _wrong(files.unet_config, version, f"cross_attention_dim is {width!r}, not an even number")
    return _filled(net, file.conform(file.state(), net.state_dict(), foreign=_FOREIGN_UNET))


def load_vae(files: Layout, version: Version) -> nn.Module:
    """diffusers' `AutoencoderKL` with the weights of `files`, as `load_unet`. Latents are an eighth of the picture."""
    file = WeightsFile(files.vae, "MuseTalk's VAE", advice(version))
    wanted = {"in_channels": 3, "out_channels": 3, "latent_channels": 4}
    net = _build("AutoencoderKL", files.vae_config, version, wanted)
    if len(net.config.block_out_channels) != 4:
        raise _wrong(files.vae_config, version, "it has another number of blocks than 4")
    return _filled(net, file.conform(renamed(file.state()), net.state_dict(), foreign=_FOREIGN_VAE))


def renamed(state: State) -> State:
    """The VAE's tensors with its attention under today's names, its weights as matrices (musetalk.md 2)."""
    result = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in _ATTENTION if key.startswith(prefix)), None)
        if prefix is not None:
            layer, _, kind = key.removeprefix(prefix).rpartition(".")
            key = f"{prefix}{_OLD_NAMES.get(layer, layer)}.{kind}"
            if value.dim() == 4 and value.shape[2:] == (1, 1):
                value = value[:, :, 0, 0]
        result[key] = value
    return result


def _filled(net: Any, state: State) -> nn.Module:
    net.load_state_dict(state, strict=True, assign=True)
    filled: nn.Module = net.eval().requires_grad_(False)
    return filled


def _build(name: str, path: Path, version: Version, wanted: Mapping[str, object]) -> Any:
    """The network of a JSON, on the meta device: the weights replace the parameters, none is made for nothing."""
    config = _read(path, version)
    try:
        import diffusers
    except ImportError as error:
        raise DubError(
            "unsupported", f"MuseTalk needs {error.name}: run «pip install 'dubline[musetalk]'» on every machine"
        ) from error
    try:
        with torch.device("meta"):
            net = getattr(diffusers, name)(**config)
    except Exception as error:  # wrong values fail wherever the constructor happens to use them
        raise _wrong(path, version, f"{type(error).__name__}: {first_line(error)}") from error
    different = [f"{k} is {net.config[k]!r} instead of {v!r}" for k, v in wanted.items() if net.config[k] != v]
    if different:
        raise _wrong(path, version, f"it describes another network ({'; '.join(different)})")
    return net


def _read(path: Path, version: Version) -> dict[str, Any]:
    """The entries of a JSON without those that start with an underscore, which are notes of diffusers'."""
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise _wrong(path, version, "it is too large to be the description of a network")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, version, f"this is no JSON ({first_line(error)})") from error
    if not isinstance(found, dict):
        raise _wrong(path, version, f"it holds a {type(found).__name__} where a network's description should be")
    config = {key: value for key, value in found.items() if not key.startswith("_")}
    for key, value in config.items():
        values = value if isinstance(value, list) else [value]
        most = _MAX_LAYERS if key.endswith("layers_per_block") else _MAX_NUMBER
        numbers = [v for v in values if isinstance(v, int | float)]
        if len(values) > _MAX_LAYERS or any(abs(v) > most for v in numbers) or any(isinstance(v, list) for v in values):
            raise _wrong(path, version, f"{key} is larger than in any such network")
    return config


def _wrong(path: Path, version: Version, fault: str) -> DubError:
    return DubError("weights_missing", f"MuseTalk {version} needs {path}: {fault}. {advice(version)}")
