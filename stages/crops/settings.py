"""How faces are cut out, and which landmarks guide the mask."""

from typing import Literal

from stages.crops.landmarks.settings import LandmarksSettings
from stages.settings import Settings


class CropsSettings(Settings):
    """Crops of the chosen face."""

    landmarks: LandmarksSettings = LandmarksSettings()
    """Where the mask and the mouth come from."""
    resize: Literal["area", "bilinear"] = "area"
    """How a face larger than the generator's square is shrunk: `area` averages, `bilinear` is what the official
    Wav2Lip script does (it skips pixels of large faces)."""
