"""Lips by Wav2Lip: official weights, 96 px crops.

The generator is imported on first use: composing settings must not cost every worker the 500 MB of torch.
"""

from typing import TYPE_CHECKING

from stages.lips.wav2lip.settings import Wav2LipSettings

if TYPE_CHECKING:
    from stages.lips.wav2lip.generator import Wav2LipGenerator

__all__ = ["Wav2LipGenerator", "Wav2LipSettings"]


def __getattr__(name: str) -> object:
    if name == "Wav2LipGenerator":
        from stages.lips.wav2lip.generator import Wav2LipGenerator

        return Wav2LipGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
