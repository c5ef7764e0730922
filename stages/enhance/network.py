"""GFPGAN's layers in the order of gfpgan.md 3, arranged for speed around the weights of spandrel's network.

The same arithmetic as spandrel's forward pass with stored noise and without the intermediate pictures, but:

- a modulated convolution scales its input and its output by the style instead of making a set of weights for every
  face: a batch is one ordinary convolution. The scales are computed in float32 (gfpgan.md 3.3), whatever the rest is;
- the skip of a residual unit that grows is a 1x1 convolution before the resizing, not after it: a quarter of the work;
- layers lie in memory channels last, which is how convolutions want them; sums and products happen in place.

The rgb pictures are summed in float32: -1..1 in steps of 2/255 needs more bits than bfloat16 has.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS: Final = 1e-8
"""In the demodulation (gfpgan.md 3.2)."""
_SLOPE: Final = 0.2
"""Of every leaky ReLU (gfpgan.md 3)."""
_LAYOUT: Final = torch.channels_last


def doubled(x: Tensor) -> Tensor:
    """Twice as large, bilinearly, edges repeated."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def halved(x: Tensor) -> Tensor:
    """Half as large: bilinear sampling at 0.5 falls between four pixels, so it is their mean."""
    return functional.avg_pool2d(x, 2)


def _active(x: Tensor) -> Tensor:
    return functional.leaky_relu_(x, _SLOPE)


class Residual(nn.Module):
    """A unit of the U-Net that halves or doubles the picture's side."""

    def __init__(self, block: Any, *, grows: bool) -> None:
        super().__init__()
        self.conv1, self.conv2, self.skip = block.conv1, block.conv2, block.skip
        self.grows = grows

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]. Returns [B, outputs, 2H, 2W], or half of it."""
        y = _active(self.conv1(x))
        if self.grows:
            return _active(self.conv2(doubled(y))).add_(doubled(self.skip(x)))
        return _active(self.conv2(halved(y))).add_(self.skip(halved(x)))


class Condition(nn.Module):
    """Scale and shift of one level's features, from the U-Net's map of the same size."""

    def __init__(self, scale: Any, shift: Any) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """`x`: [B, c, H, W]. `features`: [B, 2c, H, W], changed in place: only the second half is conditioned."""
        second = features[:, features.shape[1] // 2 :]
        second.mul_(self.scale(x)).add_(self.shift(x))
        return features


class Modulation(nn.Module):
    """A style vector -> a number for every input channel. Always in float32."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.linear = conv.modulation

    def forward(self, style: Tensor) -> Tensor:
        """`style`: float32 [B, styles]. Returns float32 [B, inputs]."""
        scale: Tensor = self.linear(style)
        return scale


class Styled(nn.Module):
    """Modulated 3x3 convolution, stored noise, bias, leaky ReLU."""

    squares: Tensor
    noise: Tensor

    def __init__(self, layer: Any, noise: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        conv = layer.modulated_conv
        self.grows = conv.sample_mode == "upsample"
        self.modulation = Modulation(conv)
        weight = conv.weight[0]
        self.weight = nn.Parameter(weight.to(dtype, memory_format=_LAYOUT), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.to(dtype), requires_grad=False)
        self.register_buffer("squares", weight.square().sum((2, 3)).T.contiguous())  # float32 [inputs, outputs]
        self.register_buffer("noise", (layer.weight * noise).to(dtype))  # [1, 1, H, W]

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x`: [B, inputs, h, w]. `style`: float32 [B, styles]. Returns [B, outputs, H, W]."""
        scale = self.modulation(style)
        # 2 ** 0.5: gfpgan.md 3.2. The sum over the kernel needs no style, so it was taken when loading.
        demod = torch.rsqrt(scale.square() @ self.squares + _EPS) * 2**0.5
        x = x * scale[:, :, None, None].to(x.dtype)
        if self.grows:
            x = doubled(x)
        y = functional.conv2d(x, self.weight, padding=1)
        y.mul_(demod[:, :, None, None].to(y.dtype)).add_(self.noise).add_(self.bias)
        return _active(y)


class Rgb(nn.Module):
    """Features -> a float32 picture."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.modulation = Modulation(head.modulated_conv)
        self.weight = nn.Parameter(head.modulated_conv.weight[0, :, :, 0, 0].clone(), requires_grad=False)
        self.bias = nn.Parameter(head.bias, requires_grad=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]. `style`: float32 [B, styles]. Returns float32 [B, 3, H, W]."""
        batch, inputs, height, width = x.shape
        weight = (self.weight * self.modulation(style)[:, None]).to(x.dtype)  # [B, 3, inputs]
        rows = x.permute(0, 2, 3, 1).reshape(batch, height * width, inputs)  # a view, channels being last
        picture = torch.bmm(rows, weight.transpose(1, 2)).float()
        return picture.view(batch, height, width, 3).permute(0, 3, 1, 2) + self.bias


class Gfpgan(nn.Module):
    """The whole network. Takes the weights over from `loaded`, a GFPGANv1Clean, which is of no use afterwards."""

    def __init__(self, loaded: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        decoder = loaded.stylegan_decoder
        noises = [getattr(decoder.noises, f"noise{k}") for k in range(decoder.num_layers)]
        self.first = loaded.conv_body_first
        self.down = nn.ModuleList(Residual(block, grows=False) for block in loaded.conv_body_down)
        self.last = loaded.final_conv
        self.code = loaded.final_linear
        self.styles = loaded.num_style_feat
        self.up = nn.ModuleList(Residual(block, grows=True) for block in loaded.conv_body_up)
        self.conditions = nn.ModuleList(
            Condition(scale, shift) for scale, shift in zip(loaded.condition_scale, loaded.condition_shift, strict=True)
        )
        self.constant = nn.Parameter(decoder.constant_input.weight.to(dtype), requires_grad=False)
        layers = [decoder.style_conv1, *decoder.style_convs]
        self.styled = nn.ModuleList(Styled(layer, noise, dtype) for layer, noise in zip(layers, noises, strict=True))
        self.rgbs = nn.ModuleList(Rgb(head) for head in (decoder.to_rgb1, *decoder.to_rgbs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # whatever makes styles and picture stays in float32
                module.to(dtype=dtype, memory_format=_LAYOUT)  # type: ignore[call-overload]

    def forward(self, face: Tensor) -> Tensor:
        """`face`: float32 [B, 3, 512, 512] RGB in [-1, 1]. Returns the same, about in [-1, 1], not clamped."""
        x = face.to(self.constant.dtype, memory_format=_LAYOUT)
        x = _active(self.first(x))
        kept: list[Tensor] = []
        for shrink in self.down:
            x = shrink(x)
            kept.append(x)
        x = _active(self.last(x))
        code = self.code(x.flatten(1).float()).view(len(x), -1, self.styles)

        constant = self.constant.expand(len(x), -1, -1, -1)
        features = self.styled[0](constant, code[:, 0])
        picture: Tensor = self.rgbs[0](features, code[:, 1])
        for level, (grow, condition) in enumerate(zip(self.up, self.conditions, strict=True)):
            x = grow(x + kept.pop())
            features = self.styled[2 * level + 1](features, code[:, 2 * level + 1])
            features = condition(x, features)
            features = self.styled[2 * level + 2](features, code[:, 2 * level + 2])
            picture = self.rgbs[level + 1](features, code[:, 2 * level + 3]) + doubled(picture)
        return picture
