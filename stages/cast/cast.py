"""A film's cells become its cast: shots, the chosen face of each, and its box on every frame."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.arrays import F32, F64, I32, I64, Bool
from stages.cast.choose import choose_runs
from stages.cast.settings import CastSettings
from stages.cast.smooth import forward_mean, smooth_in_time
from stages.cast.tracks import find_tracks
from stages.cast.types import Cast
from stages.errors import DubError
from stages.faces.cuts import boundary_cut
from stages.faces.types import CellFaces


@dataclass(frozen=True)
class FilmFaces:
    """The faces of a whole film, as if it had been one cell."""

    stride: int
    shot_starts: I64
    """[s] first frame of each shot, ascending from 0."""
    looked: I64
    """[m] frames that were looked at: the grid, and both ends of every shot."""
    frames: I64
    """[k] frame of each face, ascending."""
    boxes: F32
    """[k, 4] px of the full frame."""
    scores: F32
    """[k]"""
    points: F32
    """[k, 5, 2] px of the full frame."""


def cast_film(
    cells: Iterable[CellFaces],
    times: F64,
    size: tuple[int, int],
    settings: CastSettings,
    box: tuple[int, int, int, int] | None = None,
) -> Cast:
    """Decide for every frame of a source whose lips are redrawn, and where.

    `cells` cover the film's frames once and in order; one is held at a time. `times` [n] are the frames' times
    in seconds, `size` the picture's width and height in px. `box` is the manifest's top, bottom, left, right in
    px: it is painted on every frame as it is, and `cells` then only tell the shots (none: one shot).
    The result is the same however the film was cut into cells. Raises DubError `bad_row`: no such box in the picture.
    """
    if box is not None:
        return _fixed(cells, len(times), size, box)
    film = join_cells(cells, len(times))
    runs: list[_Run] = []
    for start, end in _shots(film.shot_starts, len(times)):
        runs += _runs_of_shot(film, times, start, end, settings)
    boxes = np.full((len(times), 4), np.nan, np.float32)
    points = np.full((len(times), 5, 2), np.nan, np.float32)
    numbers = np.full(len(times), -1, np.int32)
    for number, run in enumerate(runs):
        place = slice(run.start, run.end)
        boxes[place], points[place] = _follow(film, run, times, size, settings)
        numbers[place] = number
    shots = _shot_numbers(film.shot_starts, len(times))
    return Cast(boxes=boxes, points=points, shots=shots, runs=numbers, weight=np.ones(len(times), np.float32))


def join_cells(cells: Iterable[CellFaces], count: int) -> FilmFaces:
    """The faces of a film of `count` frames, without a trace of its cells.

    Cells look at their own first and last frame, because a shot may end there; where none does, and the film's
    grid does not ask for it, that look is dropped.
    """
    previous: CellFaces | None = None
    starts = [0]
    looked: list[I64] = []
    faces: list[tuple[I64, F32, F32, F32]] = []
    for cell in cells:
        if cell.start != (previous.end if previous else 0):
            raise ValueError(f"cell [{cell.start}, {cell.end}) does not follow on {previous and previous.end}")
        if previous is not None:
            if (cell.stride, cell.cut_threshold) != (previous.stride, previous.cut_threshold):
                raise ValueError("cells were made with different settings")
            if boundary_cut(previous, cell, cell.cut_threshold):
                starts.append(cell.start)
        starts += cell.cuts.tolist()
        looked.append(cell.looked)
        faces.append((cell.frames, cell.boxes, cell.scores, cell.points))
        previous = cell
    if previous is None or previous.end != count:
        raise ValueError(f"the cells end at {previous and previous.end} of {count} frames")
    frames, boxes, scores, points = (np.concatenate(parts) for parts in zip(*faces, strict=True))
    firsts = np.array(starts, np.int64)
    ends = np.append(firsts[1:], count) - 1
    seen = np.concatenate(looked)
    wanted = _wanted(seen, previous.stride, firsts, ends)
    kept = _wanted(frames, previous.stride, firsts, ends)
    return FilmFaces(
        stride=previous.stride,
        shot_starts=firsts,
        looked=seen[wanted],
        frames=frames[kept],
        boxes=boxes[kept],
        scores=scores[kept],
        points=points[kept],
    )


def _wanted(frames: I64, stride: int, firsts: I64, lasts: I64) -> Bool:
    """[k] whether a look at each of these frames counts for the film."""
    wanted: Bool = (frames % stride == 0) | np.isin(frames, firsts) | np.isin(frames, lasts)
    return wanted


def _shots(starts: I64, count: int) -> Iterable[tuple[int, int]]:
    return itertools.pairwise([*starts.tolist(), count])


def _shot_numbers(starts: I64, count: int) -> I32:
    return (np.searchsorted(starts, np.arange(count), side="right") - 1).astype(np.int32)


@dataclass(frozen=True)
class _Run:
    start: int
    end: int
    faces: I64
    """Its detections, places in the film's arrays."""


def _runs_of_shot(film: FilmFaces, times: F64, start: int, end: int, settings: CastSettings) -> list[_Run]:
    """The painted stretches of the shot [start, end), each from its first to its last detection.

    The first and the last reach on to the shot's ends where those are at most one stride away: a face
    that blurs into a cut is missed, not gone.
    """
    inside = slice(*np.searchsorted(film.frames, [start, end]))
    frames, boxes = film.frames[inside], film.boxes[inside]
    if not len(frames):
        return []
    looked = film.looked[slice(*np.searchsorted(film.looked, [start, end]))]
    # A detection stands for the time to the next look; a shot's last look for one frame, which weighs nothing.
    gaps = np.diff(times[looked], append=times[looked[-1]])
    looks = np.searchsorted(looked, frames)
    seen_s = gaps[looks]
    if not seen_s.any():
        seen_s = np.ones(len(frames))
    tracks = find_tracks(times[frames], looks, boxes, settings.bridge_s, settings.track_overlap)
    chosen = choose_runs(tracks, times[frames], looks, boxes, film.scores[inside], seen_s, settings)
    bounds = [[int(frames[run[0]]), int(frames[run[-1]]) + 1] for run in chosen]
    if bounds and bounds[0][0] - start <= film.stride:
        bounds[0][0] = start
    if bounds and end - bounds[-1][1] <= film.stride:
        bounds[-1][1] = end
    return [_Run(first, last, inside.start + run) for (first, last), run in zip(bounds, chosen, strict=True)]


def _follow(film: FilmFaces, run: _Run, times: F64, size: tuple[int, int], settings: CastSettings) -> tuple[F64, F64]:
    """The box [n, 4] and the points [n, 5, 2] on every frame of a run."""
    at = times[run.start : run.end]
    known = times[film.frames[run.faces]]
    boxes = _between(known, film.boxes[run.faces], at)
    points = _between(known, film.points[run.faces].reshape(-1, 10), at)
    if settings.smoothing == "official":
        whole = _padded(np.trunc(boxes), size, settings).astype(np.int64)
        return forward_mean(whole).astype(np.float64), points.reshape(-1, 5, 2)
    if settings.smoothing == "gaussian":
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        centre = smooth_in_time(at, centre, settings.position_s)
        half = smooth_in_time(at, (boxes[:, 2:] - boxes[:, :2]) / 2, settings.size_s)
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        points = smooth_in_time(at, points, settings.position_s)
    return _padded(boxes, size, settings), points.reshape(-1, 5, 2)


def _between(known: F64, values: F32, at: F64) -> F64:
    """Columns of `values` [m, c], known at the times `known` [m], at the times `at`: linear, held at the ends."""
    columns = [np.interp(at, known, column) for column in values.T.astype(np.float64)]
    return np.stack(columns, axis=1)


def _padded(boxes: F64, size: tuple[int, int], settings: CastSettings) -> F64:
    """Boxes [n, 4] with the margins of the settings, held inside the picture."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    if settings.pad_px is not None:
        top, bottom, left, right = (np.full(len(boxes), float(px)) for px in settings.pad_px)
    else:
        top, bottom = height * settings.pad[0], height * settings.pad[1]
        left, right = width * settings.pad[2], width * settings.pad[3]
    padded = boxes + np.stack([-left, -top, right, bottom], axis=1)
    return np.asarray(np.clip(padded, 0, [*size, *size]), np.float64)


def check_box(box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Raise DubError `bad_row` for a row's box (top, bottom, left, right) that is not in the upright picture (w, h)."""
    top, bottom, left, right = box
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise DubError(
            "bad_row",
            f"box {list(box)} (top, bottom, left, right) is not in the picture of {size[0]}x{size[1]} px",
        )


def _fixed(cells: Iterable[CellFaces], count: int, size: tuple[int, int], box: tuple[int, int, int, int]) -> Cast:
    check_box(box, size)
    top, bottom, left, right = box
    cells = iter(cells)
    first = next(cells, None)
    starts = np.zeros(1, np.int64)
    if first is not None:
        starts = join_cells(itertools.chain([first], cells), count).shot_starts
    shots = _shot_numbers(starts, count)
    return Cast(
        boxes=np.tile(np.array([left, top, right, bottom], np.float32), (count, 1)),
        points=np.full((count, 5, 2), np.nan, np.float32),
        shots=shots,
        runs=shots.copy(),
        weight=np.ones(count, np.float32),
    )
