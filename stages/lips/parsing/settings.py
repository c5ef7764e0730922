"""Settings of the face parser and of the masks that are made with it."""

from typing import Literal

from pydantic import Field

from stages.settings import Settings, digest
from stages.weights import Weights

VERSION = 1
"""Raised whenever the same pictures, settings and weights give other masks."""

ParsedMask = Literal["jaw", "raw", "neck", "face"]
"""Which classes of a parsed face are painted: see `stages.lips.parsing.masks`."""


class ParsingSettings(Settings):
    """What of a patch is seen: by landmarks, or by a parse of the face. The parser runs where the generator runs."""

    weights: str = "face-parse-bisenet"
    """BiSeNet checkpoint: a name of `dubline weights list`, or the path or URL of a `79999_iter.pth`."""
    mask: Literal["auto", "landmarks", "jaw", "raw", "neck", "face"] = "auto"
    """Where patches are painted. `auto`: as the generator was made for; `wav2lip` and `mouthwarp` take `landmarks`,
    which needs no parser. `jaw`: skin down to the chin with room for a jaw that opens, mouth and lips, without the
    nose (MuseTalk 1.5). `raw`: skin, mouth and lips (MuseTalk 1.0 of today). `neck`: as `raw`, with the neck. `face`:
    the whole face with nose and ears (the first MuseTalk 1.0)."""
    cheek_left: int = Field(90, ge=0, le=256)
    """`jaw`: px of the 512 px parse left of its middle in which the chin's outline may move; further out the mask
    keeps clear of the edge of the cheek. Lower it where a broad face shows a seam."""
    cheek_right: int = Field(90, ge=0, le=256)
    """`jaw`: as `cheek_left`, right of the middle."""
    upper_boundary_ratio: float = Field(0.5, ge=0, le=1)
    """Nothing above this share of the parsed square is painted, counted from its top; 0.5 is the middle of the box.
    Raise it to keep more of the nose and the upper lip of the film."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the parser. `bfloat16` (or `float16`, on a GPU) is faster; single pixels on the line between two
    classes may change sides."""
    batch_size: int | None = Field(None, ge=1, le=256)
    """Pictures per step of the parser; the last step is filled up. Empty: 16 on a GPU, 4 on a CPU. Halved, and said
    so in the report, where memory does not suffice."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the parser, and of the masks made after it. The masks do not depend on it."""


def parsing_key(settings: ParsingSettings, mask: ParsedMask, device: str, weights: Weights) -> str:
    """What masks depend on besides the pictures and where they lie. Raises DubError `weights_missing`."""
    own = settings.model_dump(exclude={"mask", "weights"})
    return digest(VERSION, mask, own, device, weights.sha256(settings.weights))
