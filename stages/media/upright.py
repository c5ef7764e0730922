"""Between the coded picture and the upright one that a player shows.

Faces are looked for, chosen and drawn in the upright picture. Planes are never turned as a whole: only the pixels round
a face are, and what is painted is turned back.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stages.errors import DubError

Number = TypeVar("Number", int, float)
Box = tuple[Number, Number, Number, Number]
"""x0, y0, x1, y1 px; half-open."""
Pixel = TypeVar("Pixel", bound=np.generic)

_ONE = 1 << 16  # of a display matrix's fixed point
_SLACK = _ONE // 2000  # writers compute sine and cosine: 0.03 degrees are none


def rotation_of(frame: VideoFrame) -> int:
    """How far a player turns a picture that `check_turn` lets pass: 0, 90, 180 or 270 degrees counter-clockwise."""
    return frame.rotation % 360


def check_turn(frame: VideoFrame) -> None:
    """Refuse pictures that their display matrix mirrors, or turns by other angles: DubError `unsupported`.

    For a film's first frame: PyAV's side data and its frame hold each other until the garbage collector comes by.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
    along = max(abs(b), abs(c)) <= _SLACK and a * d > 0
    across = max(abs(a), abs(d)) <= _SLACK and b * c < 0
    if not (along or across):
        what = "mirrored" if a * d - b * c < 0 else "turned by no multiple of 90 degrees"
        raise DubError(
            "unsupported",
            f"its display matrix has the picture {what}; encode it upright first (ffmpeg -i IN -c:a copy OUT.mp4)",
        )


@dataclass(frozen=True)
class Upright:
    """The turn between the coded picture and the upright one."""

    width: int
    """Of the coded picture, in px."""
    height: int
    rotation: int
    """Degrees counter-clockwise from the coded picture to the upright one: 0, 90, 180 or 270."""

    @classmethod
    def of(cls, frame: VideoFrame) -> "Upright":
        """A frame's own."""
        return cls(frame.width, frame.height, rotation_of(frame))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.rotation in (90, 270) else (self.width, self.height)

    def coded(self, box: "Box[Number]") -> "Box[Number]":
        """An upright box in coordinates of the coded picture."""
        x0, y0, x1, y1 = box
        match self.rotation:
            case 90:
                return self.width - y1, x0, self.width - y0, x1
            case 180:
                return self.width - x1, self.height - y1, self.width - x0, self.height - y0
            case 270:
                return y0, self.height - x1, y1, self.height - x0
        return box

    def shown(self, box: "Box[Number]") -> "Box[Number]":
        """A box of the coded picture in upright coordinates."""
        return Upright(*self.size, (360 - self.rotation) % 360).coded(box)

    def turn(self, pixels: NDArray[Pixel]) -> NDArray[Pixel]:
        """Coded pixels [h, w, ...] upright, contiguous."""
        return np.ascontiguousarray(np.rot90(pixels, self.rotation // 90)) if self.rotation else pixels

    def turn_back(self, pixels: NDArray[Pixel]) -> NDArray[Pixel]:
        """Upright pixels [h, w, ...] as they lie in the coded picture, contiguous."""
        return np.ascontiguousarray(np.rot90(pixels, -self.rotation // 90)) if self.rotation else pixels
