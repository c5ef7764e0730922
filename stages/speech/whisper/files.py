"""Where Whisper's files are in a folder of the official layout (musetalk.md 2). Costs no torch."""

from pathlib import Path
from typing import Final

CONFIG: Final = "config.json"
_WEIGHTS: Final = ("pytorch_model.bin", "model.safetensors")
"""The first is the one that is checked in the weights folder: another beside it must not be taken in its place."""


def find(folder: Path) -> tuple[Path, Path]:
    """The configuration and the weights in `folder`, or in its `whisper/`; nothing says that they are there."""
    inner = folder / "whisper"
    folder = inner if (inner / CONFIG).is_file() else folder
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), folder / _WEIGHTS[0])
    return folder / CONFIG, weights
