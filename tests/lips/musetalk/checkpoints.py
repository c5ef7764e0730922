"""Writes MuseTalk folders in the official layout, with weights that need no training.

    python -m tests.lips.musetalk.checkpoints behaves /tmp/musetalk

Weights: `behaves` gives the crop back, at an eighth of its resolution, and darkens a mouth in its lower half as the
speech says, so that a dubbed film can be looked at; `random` is seeded noise, whose output hangs on every layer, so
that parity means something. Names, nesting and the VAE's old attention names are the official ones (musetalk.md 2, 3);
sizes are small, unless asked otherwise.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

State = dict[str, Tensor]

OFFICIAL_UNET: dict[str, Any] = {  # musetalk.md 3.1
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0.dev0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 384,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
OFFICIAL_VAE: dict[str, Any] = {  # musetalk.md 3.2; no scaling_factor in it
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.4.2",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SMALL_UNET = OFFICIAL_UNET | {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8}
SMALL_VAE = OFFICIAL_VAE | {"block_out_channels": [16, 16, 32, 32], "layers_per_block": 1, "norm_num_groups": 4}
_SCALE = 0.18215
_OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_UNET_FILES = {"1.0": "musetalk/pytorch_model.bin", "1.5": "musetalkV15/unet.pth"}


def write(
    folder: Path,
    version: str = "1.5",
    small: bool = True,
    *,
    weights: str = "behaves",
    speech_dim: int = 384,
) -> Path:
    """Write the files of one version into `folder` and return it. Small: 3 MB; official size: 3.7 GB of noise."""
    unet = (SMALL_UNET if small else OFFICIAL_UNET) | {"cross_attention_dim": speech_dim}
    vae = SMALL_VAE if small else OFFICIAL_VAE
    path = folder / _UNET_FILES[version]
    for target, config in ((path.parent / "musetalk.json", unet), (folder / "sd-vae/config.json", vae)):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(config))
    behaves = small and weights == "behaves"
    torch.save(behaving_unet(unet) if behaves else noise(UNet2DConditionModel, unet), path)
    state = behaving_vae(vae) if behaves else noise(AutoencoderKL, vae)
    torch.save(old_names(state), folder / "sd-vae/diffusion_pytorch_model.bin")
    return folder


def old_names(state: State, *, convolutions: bool = False) -> State:
    """The VAE's state as its file has it (musetalk.md 2); `convolutions`: attention weights as [C, C, 1, 1]."""
    result = {}
    for key, value in state.items():
        if ".attentions.0." in key:
            for new, old in _OLD_NAMES.items():
                key = key.replace(f".{new}.", f".{old}.")
            if convolutions and value.dim() == 2:
                value = value[:, :, None, None].clone()
        result[key] = value
    return result


def blank(network: Any, config: dict[str, Any]) -> State:
    """The official names and shapes, all zero but norms, which change nothing."""
    with torch.device("meta"):
        names = network(**config).state_dict()
    state = {key: torch.zeros(value.shape) for key, value in names.items()}
    for key, value in state.items():
        if value.dim() == 1 and key.endswith("weight"):
            value.fill_(1)
    return state


def noise(network: Any, config: dict[str, Any], seed: int = 15) -> State:
    """Seeded noise as torch begins training with, the last layer stronger: pictures from black to white."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = network(**config)
    state = module.state_dict()
    for key in ("conv_out.weight", "conv_out.bias", "decoder.conv_out.weight"):
        if key in state:
            state[key] *= 3
    return state


# Weights that behave. A value travels in four channels: itself, its opposite, _K and -_K. A group norm over such
# quads has mean 0 and a spread that is _K's, whatever the value: it only scales. silu(x) - silu(-x) = x undoes the
# activation. Every residual branch is zero, but for one.

_K = 30.0
_GAIN = _K / 2**0.5  # what a norm's weight must be to undo the division by its spread


def behaving_vae(config: dict[str, Any]) -> State:
    """Latents 0..2 are the means of red, green and blue over 8 by 8 pixels, -1 to 1 after scaling; 3 is zero."""
    state = blank(AutoencoderKL, config)
    _shortcuts(state)
    for value in range(4):
        _quad(state["encoder.conv_in.weight"], state["encoder.conv_in.bias"], value, value if value < 3 else None)
        _quad(state["decoder.conv_in.weight"], state["decoder.conv_in.bias"], value, value)
    for key, value in state.items():
        if ".downsamplers.0.conv.weight" in key:
            for channel in range(value.shape[0]):
                value[channel, channel, :2, :2] = 0.25
        elif ".upsamplers.0.conv.weight" in key:  # what is repeated is smoothed; constants stay, to the very edge
            for channel in range(value.shape[0]):
                if channel % 4 < 2:
                    value[channel, channel] = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
                else:
                    value[channel, channel, 1, 1] = 1
    for half in ("encoder", "decoder"):
        state[f"{half}.conv_norm_out.weight"].fill_(_GAIN)
        for colour in range(3):
            _read(state[f"{half}.conv_out.weight"], colour, colour)
    for channel in range(4):
        state["quant_conv.weight"][channel, channel] = 1 / _SCALE
        state["quant_conv.bias"][4 + channel] = -8  # a narrow posterior: a spread of 0.02
        state["post_quant_conv.weight"][channel, channel] = _SCALE
    return state


_ROW, _EDGE, _SPEECH = 4, 5, 6
_STEEP, _DEPTH = 20.0, 0.8


def behaving_unet(config: dict[str, Any]) -> State:
    """Gives the whole crop's latents back, less `_DEPTH` of brightness in a mouth that is open.

    The mouth is rows 25-29 and columns 7-24 of 32. It opens with the window's mean along `loud`, from 0 to 1. Place:
    edges of the picture, seen by the padding of the upsamplers' convolutions, moved inwards and enlarged.
    """
    state = blank(UNet2DConditionModel, config)
    _shortcuts(state)
    dim = config["cross_attention_dim"]
    for value in range(8):
        _quad(state["conv_in.weight"], state["conv_in.bias"], value, 4 + value if value < 4 else None)
    for key, value in state.items():
        if ".downsamplers.0.conv.weight" in key or ".upsamplers.0.conv.weight" in key:
            for channel in range(value.shape[0]):
                value[channel, channel, 1, 1] = 1

    def tap(block: int, into: int, out: int, y: int, x: int, weight: float) -> None:
        """A tap of an upsampler's convolution from one channel to a value."""
        conv = state[f"up_blocks.{block}.upsamplers.0.conv.weight"]
        for sign in (0, 1):
            conv[4 * out + sign, into, y, x] += weight * (1 - 2 * sign)

    for block in range(3):
        conv = state[f"up_blocks.{block}.upsamplers.0.conv.weight"]
        for value in (_ROW, _EDGE):
            conv[4 * value : 4 * value + 2] = 0
    one = 4 * 7 + 2  # a channel that is _K everywhere
    tap(0, one, _ROW, 1, 1, 1 / _K)
    tap(0, one, _ROW, 2, 1, -1 / _K)  # the last row has nothing below it
    for x in (0, 2):
        tap(0, one, _EDGE, 1, 1, 1 / _K)
        tap(0, one, _EDGE, 1, x, -1 / _K)
    tap(1, 4 * _ROW, _ROW, 2, 1, 1)
    tap(2, 4 * _ROW, _ROW, 2, 1, 0.5)
    tap(2, 4 * _ROW, _ROW, 1, 1, 0.5)
    for block in (1, 2):
        for x in range(3):
            tap(block, 4 * _EDGE, _EDGE, 1, x, 1)

    # The last block: latents from the skip, speech from the attention, the mouth in the second resnet.
    first = state["up_blocks.3.resnets.0.conv_shortcut.weight"]
    first.zero_()
    width = config["block_out_channels"][0]
    for channel in range(width):
        first[channel, channel + (width if channel < 16 else 0)] = 1
    heard = "up_blocks.3.attentions.0."
    state[heard + "transformer_blocks.0.attn2.to_v.weight"][0] = loud(dim)
    state[heard + "transformer_blocks.0.attn2.to_out.0.weight"][0, 0] = 1
    state[heard + "proj_out.weight"][4 * _SPEECH, 0] = 1
    state[heard + "proj_out.weight"][4 * _SPEECH + 1, 0] = -1
    mouth = "up_blocks.3.resnets.1."
    state[mouth + "norm1.weight"].fill_(_GAIN)
    strong = 10 * _K  # hinges are steeper than values
    for hinge in range(2):
        conv, bias = state[mouth + "conv1.weight"], state[mouth + "conv1.bias"]
        for sign in (0, 1):
            out = 4 * hinge + sign
            for value, weight in ((_ROW, 1.0), (_EDGE, -2.0), (_SPEECH, 1.0)):
                conv[out, 4 * value, 1, 1] = _STEEP * weight * (1 - 2 * sign)
                conv[out, 4 * value + 1, 1, 1] = -_STEEP * weight * (1 - 2 * sign)
            bias[out] = -_STEEP * (1 + hinge) * (1 - 2 * sign)
            bias[4 * hinge + 2 + sign] = strong * (1 - 2 * sign)
        for colour in range(3):
            for sign in (0, 1):
                paint = _DEPTH / _STEEP * (1 - 2 * sign) * (2 * hinge - 1)
                state[mouth + "conv2.weight"][4 * colour + sign, 4 * hinge, 1, 1] = paint
    state[mouth + "norm2.weight"].fill_(strong / 2**0.5)
    state["conv_norm_out.weight"].fill_(_GAIN)
    for value in range(4):
        _read(state["conv_out.weight"], value, value)
    return state


def loud(dim: int) -> Tensor:
    """The direction of speech tokens that opens the mouth, float32 [dim]; the positional encoding has no part in it."""
    pairs = torch.tensor([1.0, 0, -1, 0]).repeat(dim // 4 + 1)[:dim]
    pairs[: dim // 2] = 0  # the fast sines; the slow ones hardly differ from pair to pair
    return pairs / pairs.abs().sum().sqrt()


def _shortcuts(state: State) -> None:
    """Resnets whose width changes pass on the first channels of what they get."""
    for key, value in state.items():
        if key.endswith("conv_shortcut.weight"):
            for channel in range(min(value.shape[:2])):
                value[channel, channel] = 1


def _quad(weight: Tensor, bias: Tensor, value: int, source: int | None) -> None:
    """Value number `value` from channel `source` of what a convolution gets."""
    for sign in (0, 1):
        if source is not None:
            weight[4 * value + sign, source, 1, 1] = 1 - 2 * sign
        bias[4 * value + 2 + sign] = _K * (1 - 2 * sign)


def _read(weight: Tensor, out: int, value: int) -> None:
    """Channel `out` of what a convolution gives is value number `value`, after its activation."""
    weight[out, 4 * value, 1, 1], weight[out, 4 * value + 1, 1, 1] = 1, -1


if __name__ == "__main__":
    print(write(Path(sys.argv[2]), weights=sys.argv[1]))
