"""GFPGAN as a restorer: aligned faces in, restored faces out (gfpgan.md 4)."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.arrays import U8
from stages.batches import DTYPES, Batches, device_of, download, filled, running, upload
from stages.enhance import checkpoint
from stages.enhance.align import FACE_PX
from stages.enhance.network import Gfpgan
from stages.enhance.settings import EnhanceSettings
from stages.errors import DubError
from stages.networks import GFPGAN, Device
from stages.weights import Weights

_log = logging.getLogger(__name__)


class GfpganRestorer:
    """Restores aligned faces of 512 px with official GFPGAN weights (1.2, 1.3, 1.4).

    The same face gives the same picture, whenever and beside whichever others: the noise is the checkpoint's own
    (fresh noise in every call is what makes films flicker, gfpgan.md 3.3), and every step has one shape, the last one
    of a stack filled up. Where memory runs out the steps get smaller, and `notes` says so.

    `weights`: a checkpoint. The other arguments are the fields of `EnhanceSettings`. Raises DubError
    `weights_missing`, and `unsupported` for a GPU or a package that is not there.
    """

    device: str
    """Where it runs: `cpu` or `cuda`."""
    notes: list[str]
    """What the last stack was restored differently from the settings; empty as a rule."""

    def __init__(
        self,
        weights: str | Path,
        device: Device = "cpu",
        dtype: Literal["float32", "bfloat16"] = "float32",
        batch_size: int | None = None,
        threads: int = 2,
    ) -> None:
        settings = EnhanceSettings(  # checked here too, so that both ways in have the same rules
            model="gfpgan", weights=str(weights), device=device, dtype=dtype, batch_size=batch_size, threads=threads
        )
        self.device = device_of("enhance", settings.device, settings.dtype)
        size = GFPGAN.batch(settings.batch_size, self.device)
        self.notes = []
        self._threads = settings.threads
        self._batches = Batches("gfpgan", self.device, size)
        with self._batches.fitting("its weights"):
            network = Gfpgan(checkpoint.network(Path(weights)), DTYPES[settings.dtype])
            self._network = network.to(self.device)
        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{threads} threads"
        _log.info("gfpgan on %s (%s), %s, batch %d", self.device, name, dtype, size)

    @classmethod
    def from_settings(cls, settings: EnhanceSettings, weights: Weights) -> "GfpganRestorer":
        """The restorer of `settings`, its checkpoint looked up in `weights`."""
        path = weights.path(settings.weights)
        return cls(path, settings.device, settings.dtype, settings.batch_size, settings.threads)

    @property
    def batch_size(self) -> int:
        """Faces per step, as of now."""
        return self._batches.size

    def restore(self, faces: U8) -> U8:
        """`faces`: uint8 [n, 512, 512, 3] BGR, aligned as `stages.enhance.align` does. Returns the same, restored.

        Raises DubError `oom` where not even one face fits into memory, `internal` where the network overflows.
        """
        n = len(faces)
        if faces.dtype != np.uint8 or faces.shape != (n, FACE_PX, FACE_PX, 3):
            raise ValueError(f"faces must be uint8 [n, {FACE_PX}, {FACE_PX}, 3], not {faces.dtype} {faces.shape}")
        with running(self.device, self._threads):
            with self._batches.fitting(f"{n} faces"):
                pixels = upload(faces, self.device)
                restored = torch.empty_like(pixels)

            def step(start: int, end: int) -> Tensor:
                face = network_input(filled(pixels[start:end], self.batch_size))
                picture: Tensor = self._network(face)[: end - start]
                restored[start:end] = as_pixels(picture)
                return picture

            if not self._batches.all_finite(n, step):
                raise DubError(
                    "internal",
                    "GFPGAN's output is not finite: its checkpoint is damaged, or bfloat16 does not suffice for it "
                    "(set enhance dtype to float32)",
                )
            result: U8 = download(restored)
        self.notes = self._batches.notes()
        return result


def network_input(pixels: Tensor) -> Tensor:
    """uint8 [B, 512, 512, 3] BGR -> float32 [B, 3, 512, 512] RGB in [-1, 1] (gfpgan.md 4, step 1)."""
    return (pixels.flip(3).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def as_pixels(picture: Tensor) -> Tensor:
    """float32 [B, 3, 512, 512] RGB -> uint8 [B, 512, 512, 3] BGR, clamped to [-1, 1] and rounded (step 3)."""
    return ((picture.clamp(-1, 1) + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1).flip(3)
