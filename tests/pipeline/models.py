"""Weights of every network behind MuseTalk and GFPGAN in the official layouts, small, and settings that name them.

    python -m tests.pipeline.models /tmp/models

They behave: MuseTalk gives the crop back and darkens the mouth where the dub is loud, the parser tells skin by its
colour, GFPGAN softens a little and adds its stored noise.
"""

import sys
from pathlib import Path
from typing import Any

from tests.enhance import checkpoints as gfpgan
from tests.lips.musetalk import checkpoints as musetalk
from tests.lips.parsing import checkpoints as parsing
from tests.speech import whisper_files

_SPEECH_DIM = 16


def write(folder: Path) -> Path:
    """All files, 75 MB."""
    for version in ("1.0", "1.5"):
        musetalk.write(folder, version, speech_dim=_SPEECH_DIM)
    whisper_files.write(folder / "whisper", encoder=whisper_files.loudness(musetalk.loud(_SPEECH_DIM)))
    parsing.write(folder / "79999_iter.pth", parsing.skin())
    gfpgan.write(folder / "GFPGANv1.4.pth")
    return folder


def settings(folder: Path, generator: str = "musetalk", version: str = "1.5", **lips: object) -> dict[str, Any]:
    """Everything drawn with these weights, on one thread; `lips`: more of the stage's settings."""
    return {
        "encode": {"codec": "ffv1"},
        "speech": {"whisper": {"weights": str(folder)}},
        "lips": {
            "generator": generator,
            "musetalk": {"weights": str(folder), "version": version, "threads": 1},
            "parsing": {"weights": str(folder / "79999_iter.pth"), "threads": 1, **lips.pop("parsing", {})},  # type: ignore[dict-item]
            **lips,
        },
        "enhance": {"weights": str(folder / "GFPGANv1.4.pth"), "threads": 1},
    }


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
