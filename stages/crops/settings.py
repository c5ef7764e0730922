"""How faces are cut out, and which landmarks guide the mask."""

from typing import Literal

from stages.crops.landmarks.settings import LandmarksSettings
from stages.settings import Settings

Resize = Literal["area", "bilinear", "lanczos", "lanczos4"]


class CropsSettings(Settings):
    """Crops of the chosen face."""

    landmarks: LandmarksSettings = LandmarksSettings()
    """Where the mask and the mouth come from."""
    resize: Resize = "area"
    """How a face is brought to the generator's square. `area` averages where it shrinks; `bilinear` is what the
    official Wav2Lip script does (it skips pixels of large faces); `lanczos` is Pillow's, which averages as well and is
    what MuseTalk 1.5 was trained with; `lanczos4` is OpenCV's, which the official MuseTalk script runs with and which
    draws false patterns on large faces: for parity."""
