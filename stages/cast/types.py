"""What cast decides for a film: per frame, whose lips, and where."""

from dataclasses import dataclass

import numpy as np

from stages.arrays import F32, I32, check_shapes, pack, unpack


@dataclass(frozen=True)
class Cast:
    """The chosen face of every frame of a film (or of a range of it)."""

    boxes: F32
    """[n, 4] x0, y0, x1, y1 px of the full frame, smoothed and padded; NaN where nothing is painted."""
    points: F32
    """[n, 5, 2] px, smoothed five points as in `stages.faces.types.Detections`; NaN where unknown."""
    shots: I32
    """[n] number of the shot a frame lies in, ascending from 0."""
    runs: I32
    """[n] number of the unbroken stretch of one painted face; -1 where nothing is painted. A run never crosses
    a cut."""

    def __len__(self) -> int:
        return len(self.shots)

    def part(self, start: int, end: int) -> "Cast":
        """The frames [start, end)."""
        cut = slice(start, end)
        return Cast(self.boxes[cut], self.points[cut], self.shots[cut], self.runs[cut])

    def to_bytes(self) -> bytes:
        """The file cast.npz of a film."""
        return pack({"boxes": self.boxes, "points": self.points, "shots": self.shots, "runs": self.runs})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Cast":
        """Read cast.npz. Raises ValueError when it is not one."""
        arrays = unpack(data)
        numbers = {"shots": (np.int32, "n"), "runs": (np.int32, "n")}
        check_shapes(arrays, {"boxes": (np.float32, "n 4"), "points": (np.float32, "n 5 2"), **numbers})
        cast = cls(**arrays)  # type: ignore[arg-type]
        if not np.isfinite(cast.boxes[cast.painted]).all():
            raise ValueError("a cast whose painted boxes are no numbers")
        return cast

    @property
    def painted(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[n] true where a face is painted."""
        return self.runs >= 0
