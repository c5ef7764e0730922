"""Lips by MuseTalk 1.0 and 1.5: official weights, 256 px crops.

The generator is imported on first use: composing settings must not cost every worker torch and diffusers.
"""

from typing import TYPE_CHECKING

from stages.lips.musetalk.settings import MuseTalkSettings

if TYPE_CHECKING:
    from stages.lips.musetalk.generator import MuseTalkGenerator

__all__ = ["MuseTalkGenerator", "MuseTalkSettings"]


def __getattr__(name: str) -> object:
    if name == "MuseTalkGenerator":
        from stages.lips.musetalk.generator import MuseTalkGenerator

        return MuseTalkGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
