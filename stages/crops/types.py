"""The bounded payload between crops, lips and composite.

The full frame is the upright picture, as a player shows it (`stages.media.upright`).
"""

from dataclasses import dataclass, fields

from stages.arrays import F32, I32, I64, U8, pack, unpack


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

    def to_bytes(self) -> bytes:
        """The row's payload."""
        return pack({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "FaceStack":
        """Read a payload."""
        return cls(**unpack(data))  # type: ignore[arg-type]
