"""MuseTalk as one network: the VAE's encoder, the UNet, the VAE's decoder (musetalk.md 1, 3.1, 3.2, 3.4).

Layers come from diffusers; here is what lies between them. Tensors are NCHW, in memory too: a picture that is NHWC
underneath would make every layer after it compute in that layout, whose group norm is inexact on a CPU (3.2).
"""

import copy
import math
from typing import Any, Final

import torch
from torch import Tensor, nn

CROP_PX: Final = 256
LATENT_SHAPE: Final = (8, 32, 32)
"""Channels, rows, columns of a crop's latents: four of it without its lower half, then four of the whole."""
_MASK_ROW: Final = 128
"""Rows from here on are black in the masked crop."""


class MuseTalk(nn.Module):
    """The whole network on one device. `dtype`: of its arithmetic; what goes in and comes out is float32.

    `unet`, `vae`: diffusers' models, float32 on the CPU; they are changed.
    """

    def __init__(self, unet: Any, vae: Any, *, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.speech_dim: int = unet.config.cross_attention_dim
        self._scale = float(vae.config.scaling_factor)
        fold_time(unet)
        # A picture has more levels than bfloat16 has between 0.5 and 1: the last layer stays in float32.
        last = copy.deepcopy(vae.decoder.conv_out)
        # Torch's own `to`: diffusers' says in the log that float32 would be better.
        self._unet: Any = nn.Module.to(unet, device, dtype)
        self._vae: Any = nn.Module.to(vae, device, dtype)
        vae.decoder.conv_out = _Exact(last.to(device))
        # A GPU divides by a tensor exactly; by a number of the host, torch multiplies with its rounded reciprocal.
        self._white = torch.full((), 255.0, device=device)
        self._time = torch.zeros(1, dtype=torch.int64, device=device)
        self._positions = positions(MAX_TOKENS, self.speech_dim).to(device)

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents of crops, float32 [B, 8, 32, 32]: first of the masked crop, then of the whole one.

        `pixels`: uint8 [B, 256, 256, 3] BGR. `noise`: float32 [B, 8, 32, 32], normally distributed: the latents are
        drawn by it; None: their mode.
        """
        pictures = vae_input(pixels, self._white).to(self._dtype)
        moments = self._vae.quant_conv(self._vae.encoder(pictures)).float()
        # [masked of all, whole of all] -> [B, 8, 32, 32]
        mean, spread = (torch.cat(part.chunk(2), dim=1) for part in moments.chunk(2, dim=1))
        if noise is not None:
            mean = mean + torch.exp(0.5 * spread.clamp(-30, 20)) * noise  # the limits are diffusers'
        # The attention in the encoder leaves NHWC behind: what is kept must not differ from what is passed on.
        return (mean * self._scale).contiguous()

    def draw(self, latents: Tensor, speech: Tensor) -> Tensor:
        """The redrawn crops, float32 [B, 3, 256, 256] RGB, -1 to 1 where they are in range.

        `latents`: [B, 8, 32, 32] of `encode`. `speech`: float32 [B, tokens, dim], without positional encoding.
        """
        heard = speech + self._positions[: speech.shape[1]]
        drawn = self._unet(latents.to(self._dtype), self._time, heard.to(self._dtype)).sample
        inner = (drawn.float() / self._scale).to(self._dtype)
        picture: Tensor = self._vae.decoder(self._vae.post_quant_conv(inner))
        return picture


MAX_TOKENS: Final = 128
"""Of a speech window; it has 50 with the official Whisper."""


def vae_input(pixels: Tensor, white: Tensor) -> Tensor:
    """What the encoder looks at: all masked crops, then all whole ones; float32 [2 B, 3, 256, 256] RGB in [-1, 1].

    `pixels`: uint8 [B, 256, 256, 3] BGR. `white`: 255.0 on the same device. The mask comes before the normalisation:
    blacked rows are exactly -1 (musetalk.md 3.2).
    """
    whole = pixels.flip(3).permute(0, 3, 1, 2).contiguous().to(torch.float32) / white
    masked = whole.clone()
    masked[:, :, _MASK_ROW:] = 0
    return (torch.cat((masked, whole)) - 0.5) / 0.5


def to_pixels(picture: Tensor) -> Tensor:
    """uint8 [B, 256, 256, 3] BGR of float32 [B, 3, 256, 256] RGB, -1 to 1; halves are rounded to the even level."""
    levels = ((picture / 2 + 0.5).clamp(0, 1) * 255).round()
    return levels.to(torch.uint8).flip(1).permute(0, 2, 3, 1)


def positions(tokens: int, dim: int) -> Tensor:
    """The positional encoding, float32 [tokens, dim]: sines on even columns, cosines on odd ones (musetalk.md 3.4)."""
    angle = torch.arange(tokens, dtype=torch.float32)[:, None] * torch.exp(
        torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(10000.0) / dim)
    )
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)


def fold_time(unet: Any) -> None:
    """Take the time path out of `unet`, in place: the timestep is always 0, so it is a constant per channel, and goes
    into the bias of the convolution that it is added to (musetalk.md 3.1). `unet`: diffusers', float32."""
    with torch.no_grad():
        embedded = unet.time_embedding(unet.time_proj(torch.zeros(1, dtype=torch.int64)))
        for block in unet.modules():
            if getattr(block, "time_emb_proj", None) is not None:
                constant = block.time_emb_proj(block.nonlinearity(embedded))[0]
                block.conv1.bias = nn.Parameter(block.conv1.bias + constant, requires_grad=False)
                block.time_emb_proj = None
    unet.time_embedding = _Nothing()


class _Nothing(nn.Module):
    """Stands for the time path where it has been folded."""

    def forward(self, *_: object) -> None:
        return None


class _Exact(nn.Module):
    """A float32 layer after others of less precision."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._layer(x.float())
        return result
