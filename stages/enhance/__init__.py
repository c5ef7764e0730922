"""Patches -> sharper patches: GFPGAN on the region round each new mouth, official weights.

The restorer is imported on first use: composing settings must not cost every worker the 500 MB of torch.
"""

import os
from typing import TYPE_CHECKING

from stages.enhance.settings import EnhanceSettings

if TYPE_CHECKING:
    from stages.enhance.restorer import GfpganRestorer

# As in stages.lips.wav2lip: torch's threads sleep while they wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["EnhanceSettings", "GfpganRestorer"]


def __getattr__(name: str) -> object:
    if name == "GfpganRestorer":
        from stages.enhance.restorer import GfpganRestorer

        return GfpganRestorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
