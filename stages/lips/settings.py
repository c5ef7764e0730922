"""Which generator redraws the mouths."""

from typing import Literal

from stages.lips.mouthwarp import MouthWarpSettings
from stages.lips.wav2lip.settings import Wav2LipSettings
from stages.settings import Settings


class LipsSettings(Settings):
    """The generator of mouths, and the settings of each."""

    generator: Literal["mouthwarp", "wav2lip"] = "mouthwarp"
    """Used for every film whose row names none. `mouthwarp` needs no weights and is a preview; `wav2lip` is the
    network."""
    wav2lip: Wav2LipSettings = Wav2LipSettings()
    """Settings of Wav2Lip."""
    mouthwarp: MouthWarpSettings = MouthWarpSettings()
    """Settings of the preview generator."""
