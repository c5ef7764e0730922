"""Wav2Lip as a generator: crops and speech windows in, redrawn crops out (wav2lip.md 5.2, steps 7-10)."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.arrays import F32, U8
from stages.batches import Batches, device_of, download, filled, upload
from stages.errors import DubError
from stages.lips.wav2lip import checkpoint
from stages.lips.wav2lip.backends import Backend, OnnxBackend, TorchBackend
from stages.lips.wav2lip.network import CROP_PX, MEL_BANDS, MEL_COLUMNS
from stages.lips.wav2lip.settings import Wav2LipSettings
from stages.networks import WAV2LIP, Device

_log = logging.getLogger(__name__)


class Wav2LipGenerator:
    """Redraws 96 px face crops to speech with official Wav2Lip weights.

    Every step has one shape: the last one of a stack is filled up with blank frames. A frame's pixels therefore do not
    depend on the frames it is called with, unless memory ran out: then the steps get smaller, and `notes` says so.

    `weights`: a local checkpoint, or a name or URL that `stages.weights` resolves. `device`: `auto` takes a GPU where
    there is one. The other arguments are the fields of `Wav2LipSettings`. Raises DubError `weights_missing`, and
    `unsupported` for a device that is not there.
    """

    crop_px: int = CROP_PX
    speech_shift_s: float
    device: str
    """Where it runs: `cpu` or `cuda`."""
    notes: list[str]
    """What the last `generate` did differently from the settings; empty as a rule."""

    def __init__(
        self,
        weights: str | Path,
        device: Device = "cpu",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        batch_size: int | None = None,
        *,
        mode: Literal["fast", "parity", "onnx"] = "fast",
        threads: int = 2,
        speech_shift_s: float = 0.0,
    ) -> None:
        settings = Wav2LipSettings(  # checked here too, so that both ways in have the same rules
            weights=str(weights),
            dtype=dtype,
            batch_size=batch_size,
            mode=mode,
            threads=threads,
            speech_shift_s=speech_shift_s,
        )
        self.speech_shift_s = settings.speech_shift_s
        if settings.mode == "onnx" and device == "cuda":
            raise ValueError("mode 'onnx' runs on a CPU: set device to cpu, or mode to fast")
        self.device = device_of("lips", "cpu" if settings.mode == "onnx" else device, settings.dtype)
        self.notes = []
        self._batches = Batches("wav2lip", self.device, WAV2LIP.batch(settings.batch_size, self.device))
        # A GPU divides by a tensor exactly; by a number of the host, torch multiplies with its rounded reciprocal.
        self._white = torch.full((), 255.0, device=self.device)
        with self._batches.fitting("its weights"):
            self._backend = _backend(_local(weights), settings, self.device)
        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{threads} threads"
        _log.info("wav2lip on %s (%s), %s, %s, batch %d", self.device, name, mode, dtype, self.batch_size)

    @classmethod
    def from_settings(
        cls, settings: Wav2LipSettings, weights: str | Path | None = None, device: Device = "cpu"
    ) -> "Wav2LipGenerator":
        """The generator of `settings`, with the local file `weights` where the caller has resolved it already."""
        return cls(
            weights or settings.weights,
            device,
            settings.dtype,
            settings.batch_size,
            mode=settings.mode,
            threads=settings.threads,
            speech_shift_s=settings.speech_shift_s,
        )

    def generate(self, crops: U8, speech: F32, landmarks: F32 | None = None) -> U8:
        """New pixels for each crop.

        `crops`: uint8 [n, 96, 96, 3] BGR. `speech`: float32 [n, 80, 16] mel windows in [-4, 4]. `landmarks` is ignored.
        Returns uint8 [n, 96, 96, 3] BGR: the whole crop redrawn, not only the mouth.
        Raises DubError `oom` where not even one frame fits into memory, `internal` where the network overflows.
        """
        n = len(crops)
        _check(crops, speech)
        self.notes = []
        with self._backend.running():
            with self._batches.fitting(f"{n} crops"):
                pixels = upload(crops, self.device)
                windows = upload(speech, self.device)
                redrawn = torch.empty_like(pixels)

            def step(start: int, end: int) -> Tensor:
                picture = self._picture(pixels[start:end], windows[start:end])
                # Truncated like the official script, not rounded: rounding changes half of all values (wav2lip.md 5.3).
                redrawn[start:end] = (picture * 255).to(torch.uint8).permute(0, 2, 3, 1)
                return picture

            if not self._batches.all_finite(n, step):
                raise DubError(
                    "internal",
                    "Wav2Lip's output is not finite: the speech window is not, or float16 overflows with these weights "
                    "(set lips dtype to bfloat16 or float32)",
                )
            result: U8 = download(redrawn)
        self.notes = self._batches.notes()
        return result

    def _picture(self, pixels: Tensor, windows: Tensor) -> Tensor:
        """float32 [b, 3, 96, 96] in [0, 1] of uint8 [b, 96, 96, 3] and float32 [b, 80, 16]."""
        face = face_input(filled(pixels, self.batch_size), self._white)
        return self._backend(filled(windows, self.batch_size).unsqueeze(1), face)[: len(pixels)]

    @property
    def batch_size(self) -> int:
        """Frames per step, as of now."""
        return self._batches.size


def face_input(pixels: Tensor, white: Tensor) -> Tensor:
    """The face half of the network's input.

    `pixels`: uint8 [B, 96, 96, 3] BGR; `white`: 255.0 on the same device. Returns float32 [B, 6, 96, 96] in [0, 1]:
    first the crop with its lower half blank, then the whole crop (wav2lip.md 5.2 step 7).
    """
    whole = pixels.permute(0, 3, 1, 2).to(torch.float32) / white
    masked = whole.clone()
    masked[:, :, CROP_PX // 2 :] = 0
    return torch.cat((masked, whole), dim=1)


def _check(crops: U8, speech: F32) -> None:
    n = len(crops)
    if crops.dtype != np.uint8 or crops.shape != (n, CROP_PX, CROP_PX, 3):
        raise ValueError(f"crops must be uint8 [n, {CROP_PX}, {CROP_PX}, 3], not {crops.dtype} {crops.shape}")
    if speech.dtype != np.float32 or speech.shape != (n, MEL_BANDS, MEL_COLUMNS):
        raise ValueError(
            f"speech must be float32 [{n}, {MEL_BANDS}, {MEL_COLUMNS}], one window per crop, "
            f"not {speech.dtype} {speech.shape}"
        )


def _local(weights: str | Path) -> Path:
    """The local file of a path, a registry name or a URL."""
    # A bare name is the registry's, whose sha256 is checked, even where a file of that name lies about.
    if isinstance(weights, Path) or ("/" in weights and Path(weights).is_file()):
        return Path(weights)
    from stages.weights import Weights  # only where there is a name to resolve: it brings fsspec

    return Weights().path(weights)


def _backend(path: Path, settings: Wav2LipSettings, device: str) -> Backend:
    network = checkpoint.network(path)
    if settings.mode == "onnx":
        return OnnxBackend(network, threads=settings.threads)
    return TorchBackend(
        network,
        device=device,
        dtype=settings.dtype,
        parity=settings.mode == "parity",
        threads=settings.threads,
    )
