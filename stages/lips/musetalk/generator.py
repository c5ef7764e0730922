"""MuseTalk as a generator: crops and speech windows in, redrawn crops out (musetalk.md 4.6, 4.7)."""

import hashlib
import logging
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.arrays import F32, U8
from stages.batches import DTYPES, Batches, device_of, download, filled, running, upload
from stages.errors import DubError
from stages.lips.musetalk import checkpoint, layout
from stages.lips.musetalk.network import CROP_PX, LATENT_SHAPE, MAX_TOKENS, MuseTalk, to_pixels
from stages.lips.musetalk.settings import MuseTalkSettings, Version
from stages.networks import MUSETALK, Device

_NAME: Final = "musetalk"

_log = logging.getLogger(__name__)


class MuseTalkGenerator:
    """Redraws 256 px face crops to speech with official MuseTalk weights.

    Every step has one shape: the last one of a stack is filled up with blank frames. A frame's pixels therefore do not
    depend on the frames it is called with, unless memory ran out: then the steps get smaller, and `notes` says so.

    `weights`: a folder in the official layout. `device`: `auto` takes a GPU where there is
    one. The other arguments are the fields of `MuseTalkSettings`.
    Raises DubError `weights_missing`, and `unsupported` for a device or a package that is not there.
    """

    crop_px: int = CROP_PX
    speech_shift_s: float
    speech_dim: int
    """Width of a speech token, by the checkpoint."""
    device: str
    """Where it runs: `cpu` or `cuda`."""
    notes: list[str]
    """What the last call did differently from the settings; empty as a rule."""

    def __init__(
        self,
        weights: str | Path,
        version: Version = "1.5",
        device: Device = "cpu",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        batch_size: int | None = 8,
        latents: Literal["mode", "sample"] = "mode",
        *,
        seed: int = 0,
        compile: bool = False,
        threads: int = 2,
        speech_shift_s: float = 0.0,
    ) -> None:
        settings = MuseTalkSettings(  # checked here too, so that both ways in have the same rules
            weights=str(weights),
            version=version,
            dtype=dtype,
            batch_size=batch_size,
            latents=latents,
            seed=seed,
            compile=compile,
            threads=threads,
            speech_shift_s=speech_shift_s,
        )
        self.speech_shift_s = settings.speech_shift_s
        self.device = device_of("lips", device, settings.dtype)
        self.notes = []
        self._settings = settings
        self._batches = Batches(_NAME, self.device, MUSETALK.batch(settings.batch_size, self.device))
        files = layout.find(Path(weights), settings.version)
        unet, vae = checkpoint.load_unet(files, settings.version), checkpoint.load_vae(files, settings.version)
        with self._batches.fitting("its weights"):
            self._network = MuseTalk(unet, vae, device=self.device, dtype=DTYPES[settings.dtype])
        self.speech_dim = self._network.speech_dim
        self._encode, self._draw = self._network.encode, self._network.draw
        if settings.compile and self.device == "cuda":
            self._encode = torch.compile(self._encode, dynamic=False)
            self._draw = torch.compile(self._draw, dynamic=False)
        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{threads} threads"
        _log.info("musetalk %s on %s (%s), %s, batch %d", version, self.device, name, dtype, self.batch_size)

    @classmethod
    def from_settings(
        cls,
        settings: MuseTalkSettings,
        weights: str | Path,
        device: Device = "cpu",
    ) -> "MuseTalkGenerator":
        """The generator of `settings` with the files of the local folder `weights`."""
        return cls(
            weights,
            settings.version,
            device,
            settings.dtype,
            settings.batch_size,
            settings.latents,
            seed=settings.seed,
            compile=settings.compile,
            threads=settings.threads,
            speech_shift_s=settings.speech_shift_s,
        )

    @property
    def batch_size(self) -> int:
        """Frames per step, as of now."""
        return self._batches.size

    @property
    def latents_dtype(self) -> type[np.float32 | np.float16]:
        """What latents are kept in: float32 where all is float32, so that they cost no exactness, else float16."""
        return np.float32 if self._settings.dtype == "float32" else np.float16

    def generate(
        self, crops: U8, speech: F32, landmarks: F32 | None = None, latents: NDArray[np.floating] | None = None
    ) -> U8:
        """New pixels for each crop.

        `crops`: uint8 [n, 256, 256, 3] BGR. `speech`: float32 [n, tokens, dim] windows, without positional encoding;
        [n, 50, 384] with the official weights (musetalk.md 4.2). `landmarks` is ignored. `latents`: of `encode` for
        these crops, where they are there already; the pixels are the same.
        Returns uint8 [n, 256, 256, 3] BGR: the whole crop redrawn, not only the mouth.
        Raises DubError `oom` where not even one frame fits into memory, `internal` where the network overflows.
        """
        if latents is not None:
            return self.generate_from(latents, speech)
        _check_crops(crops)
        self._check_speech(speech, len(crops))
        return self._redrawn(speech, crops=crops)

    def generate_from(self, latents: NDArray[np.floating], speech: F32) -> U8:
        """`generate` for crops that were encoded: the same pixels. `latents`: [n, 8, 32, 32] of `encode`."""
        if latents.dtype != self.latents_dtype or latents.shape[1:] != LATENT_SHAPE:
            wanted = np.dtype(self.latents_dtype).name
            raise ValueError(f"latents must be {wanted} [n, 8, 32, 32], not {latents.dtype} {latents.shape}")
        self._check_speech(speech, len(latents))
        return self._redrawn(speech, latents=latents)

    def encode(self, crops: U8) -> NDArray[np.floating]:
        """What `generate` makes of crops before it hears anything: more than a third of its work.

        `crops`: uint8 [n, 256, 256, 3] BGR. Returns float32 or float16 (see `latents_dtype`) [n, 8, 32, 32]: the masked
        crop's latents, then the whole crop's. They depend on version, dtype, latents, seed, batch size and threads.
        """
        n = len(crops)
        _check_crops(crops)
        self.notes = []
        with running(self.device, self._settings.threads):
            with self._batches.fitting(f"{n} crops"):
                pixels = upload(crops, self.device)
                noise = self._noise(crops)
                encoded = torch.empty((n, *LATENT_SHAPE), dtype=self._kept, device=self.device)

            def step(start: int, end: int) -> Tensor:
                encoded[start:end] = self._latents(pixels, noise, start, end)[: end - start]
                return encoded[start:end]

            if not self._batches.all_finite(n, step):
                raise _overflow("its encoder overflows with these weights")
            result: NDArray[np.floating] = download(encoded)
        self.notes = self._batches.notes()
        return result

    def _redrawn(self, speech: F32, crops: U8 | None = None, latents: NDArray[np.floating] | None = None) -> U8:
        """uint8 [n, 256, 256, 3] of either crops or latents."""
        n = len(speech)
        self.notes = []
        with running(self.device, self._settings.threads):
            with self._batches.fitting(f"{n} crops"):
                windows = upload(speech, self.device)
                pixels = None if crops is None else upload(crops, self.device)
                encoded = None if latents is None else upload(latents, self.device)
                noise = None if crops is None else self._noise(crops)
                redrawn = torch.empty((n, CROP_PX, CROP_PX, 3), dtype=torch.uint8, device=self.device)

            def step(start: int, end: int) -> Tensor:
                if pixels is not None:
                    inner = self._latents(pixels, noise, start, end)
                else:
                    assert encoded is not None
                    inner = filled(encoded[start:end], self.batch_size)
                picture = self._draw(inner.float(), filled(windows[start:end], self.batch_size))[: end - start]
                redrawn[start:end] = to_pixels(picture)
                return picture

            if not self._batches.all_finite(n, step):
                raise _overflow("the speech window is not, or float16 overflows with these weights")
            result: U8 = download(redrawn)
        self.notes = self._batches.notes()
        return result

    def _latents(self, pixels: Tensor, noise: Tensor | None, start: int, end: int) -> Tensor:
        """The latents of one step, filled up, as they are kept: so cached ones give the same pixels."""
        drawn = None if noise is None else filled(noise[start:end], self.batch_size)
        return self._encode(filled(pixels[start:end], self.batch_size), drawn).to(self._kept)

    @property
    def _kept(self) -> torch.dtype:
        return torch.float32 if self.latents_dtype is np.float32 else torch.float16

    def _noise(self, crops: U8) -> Tensor | None:
        """What latents are drawn by, where they are."""
        if self._settings.latents == "mode":
            return None
        return upload(noise_of(crops, self._settings.seed), self.device)

    def _check_speech(self, speech: F32, n: int) -> None:
        shape = speech.shape
        fits = len(shape) == 3 and shape[0] == n and 0 < shape[1] <= MAX_TOKENS and shape[2] == self.speech_dim
        if speech.dtype != np.float32 or not fits:
            raise ValueError(
                f"speech must be float32 [{n}, tokens, {self.speech_dim}], one window per crop, "
                f"not {speech.dtype} {shape}"
            )


def noise_of(crops: U8, seed: int) -> F32:
    """Normally distributed float32 [n, 8, 32, 32]. A crop's own depends on its content and the seed, on nothing else.

    So neither the shard nor the order of calls leaves a trace, and a run repeats itself.
    """
    noise = np.empty((len(crops), *LATENT_SHAPE), np.float32)
    for item, crop in enumerate(crops):
        digest = hashlib.blake2b(
            np.ascontiguousarray(crop).data, digest_size=16, key=seed.to_bytes(8, "little")
        ).digest()
        source = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        noise[item] = source.standard_normal(LATENT_SHAPE, np.float32)
    return noise


def _check_crops(crops: U8) -> None:
    if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_PX, CROP_PX, 3):
        raise ValueError(f"crops must be uint8 [n, {CROP_PX}, {CROP_PX}, 3], not {crops.dtype} {crops.shape}")


def _overflow(why: str) -> DubError:
    return DubError(
        "internal", f"MuseTalk's output is not finite: {why} (set lips.musetalk.dtype to bfloat16 or float32)"
    )
