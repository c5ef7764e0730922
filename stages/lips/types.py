"""What every lip generator looks like from outside."""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stages.arrays import F32, U8

MaskMode = Literal["landmarks", "jaw", "raw", "neck", "face"]
"""Where a patch is seen: by the landmarks, or by the face parser in one of MuseTalk's ways (musetalk.md 4.8)."""


class Generator(Protocol):
    """Redraws face crops to speech. One call takes one shard; batching is the generator's own matter."""

    notes: list[str]
    """What the last `generate` did differently from the settings; empty as a rule."""

    def generate(self, crops: U8, speech: F32, landmarks: F32 | None = None) -> U8:
        """New pixels for each crop.

        `crops`: uint8 [n, px, px, 3] BGR. `speech`: a window a crop, of the kind that its spec `hears`.
        `landmarks`: float32 [n, 68, 2] px of the crop; generators that need none ignore it.
        Returns uint8 [n, px, px, 3] BGR. A crop's answer must not depend on the others in the call.
        """
        ...


@runtime_checkable
class Encodes(Generator, Protocol):
    """A generator that spends much of its time on what depends on the source alone: it is kept for other dubs."""

    def encode(self, crops: U8) -> NDArray[np.generic]:
        """What `generate` makes of the crops before it hears anything, one item a crop."""
        ...

    def generate(
        self, crops: U8, speech: F32, landmarks: F32 | None = None, latents: NDArray[np.generic] | None = None
    ) -> U8:
        """As `Generator.generate`; with the `latents` of the crops, the same pixels in less time."""
        ...
