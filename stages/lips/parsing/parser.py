"""The face parser as it is used: pictures in, the class of every pixel out (musetalk.md 3.7)."""

import logging
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.arrays import U8
from stages.batches import DTYPES, Batches, device_of, download, filled, running, upload
from stages.errors import DubError
from stages.lips.parsing import checkpoint
from stages.lips.parsing.network import INPUT_PX, BiSeNet, full_size
from stages.lips.parsing.settings import ParsingSettings
from stages.networks import FACE_PARSER, Device

MEAN_RGB: Final = (0.485, 0.456, 0.406)
STD_RGB: Final = (0.229, 0.224, 0.225)
"""Of ImageNet, for pixels in 0..1 (musetalk.md 3.7)."""

_log = logging.getLogger(__name__)


class FaceParser:
    """Says of every pixel of a face's picture what it is: skin, lips, nose, hair ... (BiSeNet, 19 classes).

    Every step has one shape, the last one of a stack is filled up with blank pictures: a picture's classes do not
    depend on what it is called with. `weights`: a local `79999_iter.pth`. The other arguments are as in
    `ParsingSettings`, and `device`: `auto` takes a GPU where there is one. Raises DubError `weights_missing`,
    `unsupported` for a device that is not there, and `oom`.
    """

    device: str
    """Where it runs: `cpu` or `cuda`."""
    notes: list[str]
    """What the last `classes` did differently from the settings; empty as a rule."""

    def __init__(
        self,
        weights: str | Path,
        device: Device = "cpu",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        batch_size: int | None = None,
        threads: int = 2,
    ) -> None:
        settings = ParsingSettings(weights=str(weights), dtype=dtype, batch_size=batch_size, threads=threads)
        self.device = device_of("lips", device, settings.dtype)
        self.notes = []
        self._dtype = DTYPES[settings.dtype]
        self._threads = settings.threads
        self._batches = Batches("face parser", self.device, FACE_PARSER.batch(settings.batch_size, self.device))
        with self._batches.fitting("its weights"):
            network = fold(checkpoint.network(Path(weights)))
            network = network.to(dtype=self._dtype)
            # The scores of two classes differ by less than half-precision can tell.
            network.conv_out.conv_out.to(torch.float32)
            self._network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._mean, self._std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (MEAN_RGB, STD_RGB))
        _log.info("face parser on %s, %s, batch %d", self.device, settings.dtype, self._batches.size)

    @classmethod
    def from_settings(cls, settings: ParsingSettings, weights: Path, device: Device = "cpu") -> "FaceParser":
        """The parser of `settings` with the local file `weights`."""
        return cls(weights, device, settings.dtype, settings.batch_size, settings.threads)

    @property
    def batch_size(self) -> int:
        """Pictures per step, as of now."""
        return self._batches.size

    def classes(self, pictures: U8) -> U8:
        """The class of every pixel: uint8 [n, 512, 512], 0..18 (musetalk.md 3.7).

        `pictures`: uint8 [n, 512, 512, 3] BGR, a face and its surroundings as `FaceStack.context` has them. Raises
        DubError `oom` where not even one picture fits into memory, `internal` where float16 overflows.
        """
        n = len(pictures)
        if pictures.dtype != np.uint8 or pictures.shape != (n, INPUT_PX, INPUT_PX, 3):
            raise ValueError(
                f"pictures must be uint8 [n, {INPUT_PX}, {INPUT_PX}, 3], not {pictures.dtype} {pictures.shape}"
            )
        self.notes = []
        with running(self.device, self._threads):
            with self._batches.fitting(f"{n} pictures"):
                pixels = upload(pictures, self.device)
                found = torch.empty(pictures.shape[:3], dtype=torch.uint8, device=self.device)

            def step(start: int, end: int) -> Tensor:
                scores = self._scores(pixels[start:end])
                found[start:end] = full_size(scores, INPUT_PX, INPUT_PX).argmax(dim=1)
                return scores

            if not self._batches.all_finite(n, step):
                raise DubError(
                    "internal",
                    "the face parser's scores are not finite: float16 overflows with these weights "
                    "(set lips.parsing.dtype to bfloat16 or float32)",
                )
            result: U8 = download(found)
        self.notes = self._batches.notes()
        return result

    def _scores(self, pixels: Tensor) -> Tensor:
        """float32 [b, 19, 64, 64] of uint8 [b, 512, 512, 3]."""
        picture = network_input(filled(pixels, self._batches.size), self._mean, self._std)
        scores: Tensor = self._network(picture.to(self._dtype, memory_format=torch.channels_last))
        return scores[: len(pixels)]


def network_input(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """float32 [B, 3, H, W] RGB, normalised, from uint8 [B, H, W, 3] BGR; `mean`, `std`: [3, 1, 1] of 0..1."""
    rgb = pixels.flip(-1).permute(0, 3, 1, 2).to(torch.float32)
    return (rgb / 255 - mean) / std


def fold(network: BiSeNet) -> BiSeNet:
    """Every batch norm of `network` (eval mode) multiplied into its convolution, in place."""
    for unit in list(network.modules()):
        for name, norm in list(unit.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                before = "0" if isinstance(unit, nn.Sequential) else name.replace("bn", "conv")
                conv = unit.get_submodule(before)
                assert isinstance(conv, nn.Conv2d)
                setattr(unit, before, fuse_conv_bn_eval(conv, norm))
                setattr(unit, name, nn.Identity())
    return network
