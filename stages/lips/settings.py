"""Which generator redraws the mouths."""

from typing import Any, Self

from pydantic import Field, model_validator

from stages.lips.mouthwarp import MouthWarpSettings
from stages.lips.musetalk.settings import MuseTalkSettings
from stages.lips.parsing.settings import ParsingSettings
from stages.lips.wav2lip.settings import Wav2LipSettings
from stages.networks import Device
from stages.settings import Settings


class LipsSettings(Settings):
    """The generator of mouths, and the settings of each."""

    generator: str = "mouthwarp"
    """Used for every film whose row names none. `mouthwarp` needs no weights and is a preview; `wav2lip` and
    `musetalk` are the networks; others come with packages (docs/generators.md)."""
    device: Device = "auto"
    """Where networks run: the generator, what it hears with, and the face parser. `auto` takes a GPU where there is
    one, and logs what it took; `cuda` fails without."""
    wav2lip: Wav2LipSettings = Wav2LipSettings()
    """Settings of Wav2Lip."""
    musetalk: MuseTalkSettings = MuseTalkSettings()
    """Settings of MuseTalk."""
    mouthwarp: MouthWarpSettings = MouthWarpSettings()
    """Settings of the preview generator."""
    parsing: ParsingSettings = ParsingSettings()
    """The face parser, for masks that follow the skin."""
    plugins: dict[str, dict[str, Any]] = Field({})
    """Options of generators that other packages bring, by the generator's name."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.generator == "wav2lip" and self.wav2lip.mode == "onnx" and self.device == "cuda":
            raise ValueError("wav2lip's mode 'onnx' runs on a CPU: set device to cpu, or the mode to fast")
        return self
