"""How patches are painted into a film's frames."""

from typing import Literal

from pydantic import Field

from stages.settings import Settings


class CompositeSettings(Settings):
    """Blending of patches; the encoder has settings of its own."""

    blend: Literal["seamless", "feather", "paste"] = "seamless"
    """`seamless`: gradients of the patch, colours of the film (OpenCV seamlessClone), under a soft mask.
    `feather`: the patch under a soft mask, many times faster. `paste`: the whole box, hard (parity); under a mask of
    the face parser, as the official MuseTalk script mixes."""
    feather: float = Field(0.12, ge=0.02, le=0.5)
    """Width of the mask's soft edge as a share of the box's height. Masks of the face parser have soft edges of their
    own, and at the border of the box a third of this."""
    upscale: Literal["cubic", "bilinear"] = "cubic"
    """How a patch grows to its box; `bilinear` is what the official Wav2Lip script does."""
    threads: int = Field(2, ge=1, le=64)
    """Blending threads of one worker. The pixels do not depend on it."""
