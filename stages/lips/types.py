"""What every generator of mouths looks like from outside."""

from typing import Protocol

from stages.arrays import F32, U8


class Generator(Protocol):
    """Redraws face crops to speech. One call takes one shard; batching is the generator's own matter."""

    crop_px: int
    """Side of the square crops it wants and gives back."""
    speech_shift_s: float
    """Added to a frame's time before its speech window is looked up."""

    def generate(self, crops: U8, speech: F32, landmarks: F32 | None = None) -> U8:
        """New pixels for each crop.

        `crops`: uint8 [n, px, px, 3] BGR. `speech`: float32 [n, 80, 16] mel windows in [-4, 4].
        `landmarks`: float32 [n, 68, 2] px of the crop; generators that need none ignore it.
        Returns uint8 [n, px, px, 3] BGR.
        """
        ...
