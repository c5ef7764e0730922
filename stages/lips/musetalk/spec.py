"""MuseTalk before it is loaded."""

from pathlib import Path
from typing import Final

from stages.crops.types import CropWish
from stages.lips.musetalk import layout
from stages.lips.musetalk.settings import MuseTalkSettings
from stages.lips.spec import GeneratorSpec
from stages.lips.types import Generator
from stages.networks import MUSETALK, Device
from stages.settings import digest
from stages.weights import Weights

VERSION: Final = 1
"""Raised whenever the same settings and weights give other pixels."""
_CROP_PX: Final = 256


class MuseTalkSpec(GeneratorSpec):
    """MuseTalk 1.0 or 1.5: half-face crops of 256 px, Whisper windows, masks of a face parser."""

    gflop = MUSETALK.gflop

    def __init__(self, settings: MuseTalkSettings, device: Device) -> None:
        self._settings, self._device = settings, device
        self.hears = "whisper-legacy" if settings.speech_route == "legacy" else "whisper"
        self.mask = "face" if settings.version == "1.0" else "jaw"
        self.speech_shift_s = settings.speech_shift_s
        self.gpu_gib = MUSETALK.gib(settings.dtype, settings.batch_size)

    @property
    def crop(self) -> CropWish:  # noqa: D102
        return CropWish(px=_CROP_PX, half_face=self._settings.half_face)

    def weights(self) -> tuple[str, ...]:  # noqa: D102
        given = self._settings.weights
        if given is None:
            return layout.NAMES[self._settings.version]
        return tuple(str(path) for path in layout.find(Path(given), self._settings.version).files)

    def key(self, weights: Weights) -> str:  # noqa: D102
        seen = [weights.sha256(file) for file in self.weights()]
        return digest(VERSION, "musetalk", self._settings.model_dump(exclude={"weights"}), self._device, seen)

    def load(self, weights: Weights) -> Generator:  # noqa: D102
        from stages.lips.musetalk.generator import MuseTalkGenerator  # torch and diffusers only where they are needed

        given = self._settings.weights
        folder = weights.layout(self.weights()) if given is None else Path(given)
        return MuseTalkGenerator.from_settings(self._settings, folder, self._device)
