"""What a detector finds in one picture, and what the cache holds for one cell.

The full frame is the upright picture, as a player shows it (`stages.media.upright`).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.arrays import F32, I64, U8, check_shapes, pack, unpack

_FORM = {
    "grid": (np.int64, "3"),
    "cut_threshold": (np.float64, ""),
    "looked": (np.int64, "m"),
    "frames": (np.int64, "k"),
    "boxes": (np.float32, "k 4"),
    "scores": (np.float32, "k"),
    "points": (np.float32, "k 5 2"),
    "cuts": (np.int64, "c"),
    "first": (np.uint8, "h w 3"),
    "last": (np.uint8, "h w 3"),
}


@dataclass(frozen=True)
class Detections:
    """Faces of one picture, in pixels of that picture, best score first."""

    boxes: F32
    """[k, 4] x0, y0, x1, y1: ear to ear, brow or hairline to just under the chin."""
    scores: F32
    """[k] in 0..1."""
    points: F32
    """[k, 5, 2] x, y of: eye at the picture's left, eye at its right, nose tip, mouth corner at its left,
    mouth corner at its right. NaN where the detector finds none."""


class FaceDetector(Protocol):
    """A face detector behind one call."""

    width_px: int | None
    """Pictures are shrunk to this width before `detect`; None: full size."""

    def detect(self, picture: U8) -> Detections:
        """Find every face of a picture, uint8 [h, w, 3] BGR."""
        ...


@dataclass(frozen=True)
class CellFaces:
    """Every face of one cell, the half-open range [start, end) of the film's frame grid."""

    start: int
    end: int
    stride: int
    """Every frame whose number is a multiple of this was looked at: the detection grid of the film."""
    cut_threshold: float
    """The score that began a new shot (`FacesSettings.cut_threshold`)."""
    looked: I64
    """[m] film frames the detector looked at, ascending: the grid, both sides of every cut, and both ends of
    the cell. Ends off the grid count only where a shot begins or ends there, so that cells leave no trace."""
    frames: I64
    """[k] film frame of each face, ascending."""
    boxes: F32
    """[k, 4] x0, y0, x1, y1 in pixels of the full frame."""
    scores: F32
    """[k]"""
    points: F32
    """[k, 5, 2] as in `Detections`, in pixels of the full frame."""
    cuts: I64
    """Film frames of this cell that begin a new shot (never `start`: see `first`)."""
    first: U8
    """[h, w, 3] BGR small picture of frame `start`: cast compares it with the `last` of the cell before
    (`stages.faces.cuts.boundary_cut`)."""
    last: U8
    """[h, w, 3] BGR small picture of frame `end - 1`."""

    @classmethod
    def nothing(cls, start: int, end: int, stride: int, cut_threshold: float) -> "CellFaces":
        """A cell that nobody looked at: no faces, and a shot of its own."""
        none, picture = np.zeros(0, np.int64), np.zeros((0, 0, 3), np.uint8)
        boxes, scores, points = (np.zeros(shape, np.float32) for shape in ((0, 4), 0, (0, 5, 2)))
        return cls(start, end, stride, cut_threshold, none, none, boxes, scores, points, none, picture, picture)

    def to_bytes(self) -> bytes:
        """The cache file."""
        return pack(
            {
                "grid": np.array([self.start, self.end, self.stride], np.int64),
                "cut_threshold": np.array(self.cut_threshold, np.float64),
                "looked": self.looked,
                "frames": self.frames,
                "boxes": self.boxes,
                "scores": self.scores,
                "points": self.points,
                "cuts": self.cuts,
                "first": self.first,
                "last": self.last,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "CellFaces":
        """Read a cache file. Raises ValueError when it is not one."""
        arrays = unpack(data)
        check_shapes(arrays, _FORM)
        start, end, stride = (int(v) for v in arrays.pop("grid"))
        threshold = float(arrays.pop("cut_threshold"))
        cell = cls(start=start, end=end, stride=stride, cut_threshold=threshold, **arrays)  # type: ignore[arg-type]
        if not (0 <= start < end and stride > 0):
            raise ValueError(f"not a cell of faces: frames [{start}, {end}), every {stride}th")
        for frames in (cell.looked, cell.frames, cell.cuts):
            if len(frames) and (frames[0] < start or frames[-1] >= end or (np.diff(frames) < 0).any()):
                raise ValueError("not a cell of faces: frames outside of the cell, or not in order")
        if not (np.isfinite(cell.boxes).all() and np.isfinite(cell.scores).all()):
            raise ValueError("not a cell of faces: boxes or scores that are no numbers")
        return cell
