"""Wav2Lip before it is loaded."""

from stages.crops.types import CropWish
from stages.lips.spec import GeneratorSpec
from stages.lips.types import Generator
from stages.lips.wav2lip.settings import Wav2LipSettings
from stages.networks import WAV2LIP, Device
from stages.settings import digest
from stages.weights import Weights

VERSION = 1
"""Raised whenever the same settings and weights give other pixels."""


class Wav2LipSpec(GeneratorSpec):
    """Wav2Lip: crops of 96 px, mel windows."""

    crop = CropWish(px=96)
    gflop = WAV2LIP.gflop

    def __init__(self, settings: Wav2LipSettings, device: Device) -> None:
        self.networks = settings.mode != "onnx"
        self._settings, self._device = settings, device if self.networks else "cpu"
        self.speech_shift_s = settings.speech_shift_s
        self.gpu_gib = WAV2LIP.gib(settings.dtype, settings.batch_size)

    def weights(self) -> tuple[str, ...]:  # noqa: D102
        return (self._settings.weights,)

    def key(self, weights: Weights) -> str:  # noqa: D102
        # All of them: even the number of threads moves single values by one code.
        own = self._settings.model_dump(exclude={"weights"})
        return digest(VERSION, "wav2lip", own, self._device, weights.sha256(self._settings.weights))

    def load(self, weights: Weights) -> Generator:  # noqa: D102
        from stages.lips.wav2lip.generator import Wav2LipGenerator  # torch only where it is needed

        return Wav2LipGenerator.from_settings(self._settings, weights.path(self._settings.weights), self._device)
