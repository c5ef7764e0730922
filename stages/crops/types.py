"""The bounded payload between crops, lips and composite.

The full frame is the upright picture, as a player shows it (`stages.media.upright`).
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from stages.arrays import F32, I32, I64, U8, pack, unpack

CONTEXT_PX = 512
"""Side of `context`: what the face parser and GFPGAN look at (musetalk.md 3.7, gfpgan.md 1)."""


@dataclass(frozen=True)
class HalfFace:
    """A box whose horizontal middle line is at the nose, by the landmarks of the frame (musetalk.md 4.5)."""

    shift: float = 0.0
    """How far below the nose point the middle is; `bbox_shift`."""
    margin: float = 0.0
    """How much further down than the chin the box reaches; `extra_margin`."""
    unit: Literal["face", "px"] = "face"
    """What both are counted in: shares of the way from nose to chin, or px of the full frame (parity)."""


@dataclass(frozen=True)
class CropWish:
    """What a generator, and who comes after it, wants cut out of each painted frame."""

    px: int
    """Side of the crops."""
    half_face: HalfFace | None = None
    """How the box follows the landmarks; None: the cast's box as it is."""
    context: bool = False
    """Whether somebody looks at the face's surroundings."""


@dataclass(frozen=True)
class FaceStack:
    """The faces of one shard, one item per painted frame: crops on the way in, patches on the way out."""

    frames: I64
    """[m] output frame of each item, ascending."""
    pixels: U8
    """[m, px, px, 3] BGR: the box's content resized to the generator's square."""
    boxes: I32
    """[m, 4] x0, y0, x1, y1 whole px of the full frame, inside the picture."""
    landmarks: F32
    """[m, 68, 2] x, y px of the full frame, in the 68-point order of iBUG 300-W."""
    weight: F32
    """[m] 0..1, opacity of the paint."""
    context: U8 | None = None
    """[m, CONTEXT_PX, CONTEXT_PX, 3] BGR: the face and its surroundings, for face parsers and enhancers; black beyond
    the picture's edges. None where nobody looks at it."""
    context_boxes: I32 | None = None
    """[m, 4] x0, y0, x1, y1 whole px of the full frame: the square that `context` shows; may reach beyond it."""
    masks: U8 | None = None
    """[m, k, k] on the grid of `boxes`, 0 unseen to 255 painted: where a patch is seen. None: a mask from the
    landmarks."""

    @property
    def crop_landmarks(self) -> F32:
        """[m, 68, 2] x, y px of the crops."""
        low = self.boxes[:, None, :2].astype(np.float32)
        size = (self.boxes[:, 2:] - self.boxes[:, :2])[:, None].astype(np.float32)
        return (self.landmarks - low) * (np.float32(self.pixels.shape[1]) / size)

    def pick(self, items: I64) -> "FaceStack":
        """The items at these places [k], in this order; one may be picked twice."""
        return FaceStack(**{name: array[items] for name, array in self._given().items()})

    def to_bytes(self) -> bytes:
        """The row's payload."""
        return pack(self._given())

    @classmethod
    def from_bytes(cls, data: bytes) -> "FaceStack":
        """Read a payload."""
        return cls(**unpack(data))  # type: ignore[arg-type]

    def _given(self) -> dict[str, Any]:
        """The arrays that there are, by name."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}
