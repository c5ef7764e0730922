"""Lips by Wav2Lip: official weights, 96 px crops.

The generator is imported on first use: composing settings must not cost every worker the 500 MB of torch.
"""

import os
from typing import TYPE_CHECKING

from stages.lips.wav2lip.settings import Wav2LipSettings

if TYPE_CHECKING:
    from stages.lips.wav2lip.generator import Wav2LipGenerator

# torch's threads sleep while they wait for each other. By default they spin, which is no faster alone and costs 48 %
# more CPU beside an encoder (measured: 127 against 86 core-ms a crop). OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["Wav2LipGenerator", "Wav2LipSettings"]


def __getattr__(name: str) -> object:
    if name == "Wav2LipGenerator":
        from stages.lips.wav2lip.generator import Wav2LipGenerator

        return Wav2LipGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
