"""Films without pictures: faces by the frame, cut into cells as the faces stage would."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from stages.faces.types import CellFaces

Face = tuple[float, float, float, float]
"""x and y of the centre, side in px, score."""
Script = Callable[[int], Sequence[Face]]
"""The faces of a frame, best first."""

SIZE = (1920, 1080)


def box_of(face: Face) -> list[float]:
    x, y, side, _ = face
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def points_of(face: Face) -> np.ndarray:
    x, y, side, _ = face
    return np.array([x, y]) + np.array([[-2, -1], [2, -1], [0, 0], [-1, 2], [1, 2]]) * side / 8


def cells_of(
    script: Script, count: int, bounds: Sequence[int] = (), cuts: Sequence[int] = (), stride: int = 5
) -> list[CellFaces]:
    """A film of `count` frames in cells that end at `bounds`, with shots that begin at `cuts`."""
    edges = [0, *bounds, count]
    return [_cell(script, a, b, cuts, stride) for a, b in itertools.pairwise(edges)]


def _cell(script: Script, start: int, end: int, cuts: Sequence[int], stride: int) -> CellFaces:
    inside = [c for c in cuts if start < c < end]
    looked = sorted(
        {*range(-(-start // stride) * stride, end, stride), *inside, *(c - 1 for c in inside), start, end - 1}
    )
    rows = [(frame, face) for frame in looked for face in script(frame)]
    # One grey per shot, so that the boundary between two cells is a cut exactly where a shot begins.
    shade = [sum(c <= frame for c in cuts) % 2 * 200 for frame in (start, end - 1)]
    return CellFaces(
        start=start,
        end=end,
        stride=stride,
        cut_threshold=27.0,
        looked=np.array(looked, np.int64),
        frames=np.array([frame for frame, _ in rows], np.int64),
        boxes=np.array([box_of(face) for _, face in rows], np.float32).reshape(-1, 4),
        scores=np.array([face[3] for _, face in rows], np.float32),
        points=np.array([points_of(face) for _, face in rows], np.float32).reshape(-1, 5, 2),
        cuts=np.array(inside, np.int64),
        first=np.full((9, 16, 3), shade[0], np.uint8),
        last=np.full((9, 16, 3), shade[1], np.uint8),
    )
