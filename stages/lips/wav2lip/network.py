"""The Wav2Lip generator: its layers under the official state-dict names, and nothing else.

Shapes, strides and the order of definition are those of reference/wav2lip.md 2.1-2.2. The order matters: it is the
order of the state dict, and checkpoints without usable names are matched by it.
"""

from typing import Final

import torch
from torch import Tensor, nn

CROP_PX: Final = 96
"""Side of the square the network reads and writes, px."""
MEL_BANDS: Final = 80
MEL_COLUMNS: Final = 16
"""One speech window: 80 bands by 16 columns of 12.5 ms, 200 ms (wav2lip.md 0)."""
ENTRIES: Final = 352
PARAMETERS: Final = 36_298_035
"""Of the official state dict (wav2lip.md 8.3)."""


class Conv(nn.Module):
    """Convolution, batch norm, ReLU; where `residual`, the input is added before the ReLU."""

    residual: Final[bool]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv_block: nn.Module = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        y: Tensor = self.conv_block(x)
        if self.residual:
            y += x  # in place: at 96x96 a copy of the map costs as much as the sum
        return y.relu_()


class ConvT(nn.Module):
    """Transposed convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 2, padding: int = 1, extra: int = 1) -> None:
        super().__init__()
        self.conv_block: nn.Module = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, stride, padding, extra), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [B, inputs, H, W]."""
        y: Tensor = self.conv_block(x)
        return y.relu_()


def _same(channels: int, times: int) -> list[nn.Module]:
    return [Conv(channels, channels, residual=True) for _ in range(times)]


def _down(inputs: int, outputs: int, residuals: int) -> nn.Sequential:
    return nn.Sequential(Conv(inputs, outputs, stride=2), *_same(outputs, residuals))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvT(inputs, outputs), *_same(outputs, 2))


class Wav2Lip(nn.Module):
    """Speech and a half-hidden face in, the whole face out (wav2lip.md 2.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(Conv(6, 16, 7, padding=3)),  # 96
                _down(16, 32, 2),  # 48
                _down(32, 64, 3),  # 24
                _down(64, 128, 2),  # 12
                _down(128, 256, 2),  # 6
                _down(256, 512, 1),  # 3
                nn.Sequential(Conv(512, 512, padding=0), Conv(512, 512, 1, padding=0)),  # 1
            ]
        )
        self.audio_encoder = nn.Sequential(
            Conv(1, 32),  # 80x16
            *_same(32, 2),
            Conv(32, 64, stride=(3, 1)),  # 27x16
            *_same(64, 2),
            Conv(64, 128, stride=3),  # 9x6
            *_same(128, 2),
            Conv(128, 256, stride=(3, 2)),  # 3x3
            *_same(256, 1),
            Conv(256, 512, padding=0),  # 1
            Conv(512, 512, 1, padding=0),
        )
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(Conv(512, 512, 1, padding=0)),  # 1
                nn.Sequential(ConvT(1024, 512, stride=1, padding=0, extra=0), *_same(512, 1)),  # 3
                _up(1024, 512),  # 6
                _up(768, 384),  # 12
                _up(512, 256),  # 24
                _up(320, 128),  # 48
                _up(160, 64),  # 96
            ]
        )
        self.output_block = nn.Sequential(Conv(80, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def encode_speech(self, mel: Tensor) -> Tensor:
        """`mel`: [B, 1, 80, 16] in [-4, 4]. Returns [B, 512, 1, 1]."""
        code: Tensor = self.audio_encoder(mel)
        return code

    def encode_face(self, face: Tensor) -> list[Tensor]:
        """`face`: [B, 6, 96, 96]. Returns the seven skips, from [B, 16, 96, 96] to [B, 512, 1, 1]."""
        skips: list[Tensor] = []
        for block in self.face_encoder_blocks:
            face = block(face)
            skips.append(face)
        return skips

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        """Redraw faces to speech.

        `mel`: [B, 1, 80, 16] in [-4, 4]. `face`: [B, 6, 96, 96] in [0, 1]: B, G, R with rows 48..95 zero, then
        B, G, R whole. Returns [B, 3, 96, 96] B, G, R in (0, 1).
        """
        x = self.encode_speech(mel)
        skips = self.encode_face(face)
        for block in self.face_decoder_blocks:
            x = torch.cat((block(x), skips.pop()), dim=1)
        features, to_pixels, squash = self.output_block
        # The last layer may be kept in float32 below a half-precision body: see `backends.py`.
        pixels: Tensor = squash(to_pixels(features(x).to(to_pixels.weight.dtype)))
        return pixels
