"""What cast decides for a film: per frame, whose lips, and where.

The full frame is the upright picture, as a player shows it (`stages.media.upright`).
"""

from dataclasses import dataclass, fields

import numpy as np

from stages.arrays import F32, I32, I64, check_shapes, pack, unpack


@dataclass(frozen=True)
class Cast:
    """The chosen face of every frame: of the source as `cast_film` finds it, of the output as everything behind it
    uses it (`at`)."""

    boxes: F32
    """[n, 4] x0, y0, x1, y1 px of the full frame, smoothed and padded; NaN where nothing is painted."""
    points: F32
    """[n, 5, 2] px, smoothed five points as in `stages.faces.types.Detections`; NaN where unknown."""
    shots: I32
    """[n] number of the source's shot a frame lies in, from 0."""
    runs: I32
    """[n] number of the source's unbroken stretch of one face; -1 where there is none to paint. A run never crosses
    a cut."""
    weight: F32
    """[n] 0..1, opacity of the paint: spans fade it in and out."""

    def __len__(self) -> int:
        return len(self.shots)

    def part(self, start: int, end: int) -> "Cast":
        """The frames [start, end)."""
        cut = slice(start, end)
        return Cast(self.boxes[cut], self.points[cut], self.shots[cut], self.runs[cut], self.weight[cut])

    def at(self, source: I64, weight: F32) -> "Cast":
        """The source's cast on the output's grid, whose frames show the frames `source` [m] with `weight` [m]."""
        return Cast(self.boxes[source], self.points[source], self.shots[source], self.runs[source], weight)

    def on_source(self, source: I64, count: int) -> "Cast":
        """The output's cast back on the source's grid of `count` frames, at full weight.

        What looks into the source's pictures lives there, and does so once however often they are shown. Frames that
        the output does not show have no face.
        """
        boxes, points = np.full((count, 4), np.nan, np.float32), np.full((count, 5, 2), np.nan, np.float32)
        shots, runs = np.zeros(count, np.int32), np.full(count, -1, np.int32)
        boxes[source], points[source], shots[source], runs[source] = self.boxes, self.points, self.shots, self.runs
        return Cast(boxes, points, shots, runs, np.ones(count, np.float32))

    def to_bytes(self) -> bytes:
        """The file cast.npz of a film."""
        return pack({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Cast":
        """Read cast.npz. Raises ValueError when it is not one."""
        arrays = unpack(data)
        numbers = {"shots": (np.int32, "n"), "runs": (np.int32, "n"), "weight": (np.float32, "n")}
        check_shapes(arrays, {"boxes": (np.float32, "n 4"), "points": (np.float32, "n 5 2"), **numbers})
        cast = cls(**arrays)  # type: ignore[arg-type]
        if not (np.isfinite(cast.boxes[cast.runs >= 0]).all() and ((cast.weight >= 0) & (cast.weight <= 1)).all()):
            raise ValueError("a cast whose boxes or weights are no numbers")
        return cast

    @property
    def painted(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[n] true where a face is painted."""
        return (self.runs >= 0) & (self.weight > 0)
