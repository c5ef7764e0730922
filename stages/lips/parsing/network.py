"""The BiSeNet face parser: its layers under the official state-dict names, and nothing else.

Layers, shapes and names are those of reference/musetalk.md 3.7. No convolution has a bias.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_PX: Final = 512
"""Side of the square picture it was trained on and is asked about, px."""
CLASSES: Final = 19
ENTRIES: Final = 191
PARAMETERS: Final = 13_300_416
"""Of the official state dict (musetalk.md 3.7)."""


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        y: Tensor = self.bn(self.conv(x))
        return y.relu_()


class Residual(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        y: Tensor = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return y.relu_()


class Trunk(nn.Module):
    """ResNet-18 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(Residual(64, 64), Residual(64, 64))
        self.layer2 = nn.Sequential(Residual(64, 128, 2), Residual(128, 128))
        self.layer3 = nn.Sequential(Residual(128, 256, 2), Residual(256, 256))
        self.layer4 = nn.Sequential(Residual(256, 512, 2), Residual(512, 512))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x`: [B, 3, H, W]. Returns the features at 1/8, 1/16 and 1/32: 128, 256 and 512 channels."""
        y: Tensor = self.bn1(self.conv1(x)).relu_()
        eighth: Tensor = self.layer2(self.layer1(self.maxpool(y)))
        sixteenth: Tensor = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Attention(nn.Module):
    """A convolution whose channels are weighed by their own mean (attention refinement)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        y: Tensor = self.conv(x)
        gate: Tensor = self.bn_atten(self.conv_atten(_mean(y))).sigmoid()
        return y * gate


class ContextPath(nn.Module):
    """The trunk, and its coarse features brought back to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = Trunk()
        self.arm16 = Attention(256, 128)
        self.arm32 = Attention(512, 128)
        self.conv_head32 = ConvNorm(128, 128)
        self.conv_head16 = ConvNorm(128, 128)
        self.conv_avg = ConvNorm(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x`: [B, 3, H, W]. Returns two maps at 1/8, of 128 channels each: the trunk's and the refined one."""
        eighth, sixteenth, thirty_second = self.resnet(x)
        # One value a channel: adding it is the official nearest upsampling.
        coarse: Tensor = self.arm32(thirty_second) + self.conv_avg(_mean(thirty_second))
        coarse = self.conv_head32(_grown(coarse, sixteenth))
        return eighth, self.conv_head16(_grown(self.arm16(sixteenth) + coarse, eighth))


class Fusion(nn.Module):
    """Both maps as one, its channels weighed by their own mean (feature fusion)."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvNorm(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, trunk: Tensor, refined: Tensor) -> Tensor:
        """Both [B, 128, H, W]; returns [B, 256, H, W]."""
        y: Tensor = self.convblk(torch.cat((trunk, refined), dim=1))
        gate: Tensor = self.conv2(self.conv1(_mean(y)).relu_()).sigmoid()
        return y * gate + y


class Head(nn.Module):
    """Features to one score a class."""

    def __init__(self, inputs: int, middle: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, middle)
        self.conv_out = nn.Conv2d(middle, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        # The last layer may be kept in float32 below a half-precision body: see `parser.py`.
        y: Tensor = self.conv_out(self.conv(x).to(self.conv_out.weight.dtype))
        return y


class BiSeNet(nn.Module):
    """A face in, the class of every pixel out. `conv_out16` and `conv_out32` served training only and do not run."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Head(256, 256)
        self.conv_out16 = Head(128, 64)
        self.conv_out32 = Head(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, 3, H, W] RGB, normalised. Returns the classes' scores at 1/8: [B, 19, H / 8, W / 8]."""
        scores: Tensor = self.conv_out(self.ffm(*self.cp(x)))
        return scores


def full_size(scores: Tensor, height: int, width: int) -> Tensor:
    """Scores [B, 19, h, w] as [B, 19, height, width]: bilinear, corner on corner (musetalk.md 3.7)."""
    return functional.interpolate(scores, (height, width), mode="bilinear", align_corners=True)


def _mean(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 1, 1]."""
    return x.mean((2, 3), keepdim=True)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="nearest")
