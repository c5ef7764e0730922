"""The face parser, and the masks that follow the skin instead of the landmarks (musetalk.md 3.7 and 4.8).

The parser is imported on first use: composing settings must not cost every worker the 500 MB of torch.
"""

from typing import TYPE_CHECKING

from stages.lips.parsing.settings import ParsedMask, ParsingSettings

if TYPE_CHECKING:
    from stages.lips.parsing.parser import FaceParser

__all__ = ["FaceParser", "ParsedMask", "ParsingSettings"]


def __getattr__(name: str) -> object:
    if name == "FaceParser":
        from stages.lips.parsing.parser import FaceParser

        return FaceParser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
