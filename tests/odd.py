"""Odd films with a face in them, dubbed in one process."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from pipeline import Config, dub
from pipeline.report import FilmReport
from stages.arrays import U8
from stages.media.planes import Plane, planes
from tests.films import manifest, portrait, speech

BOX = [30, 95, 52, 107]
"""The face of `face` at `SIZE`, as a manifest's box: top, bottom, left, right px."""
SIZE = (160, 120)


def face(number: int, size: tuple[int, int] = SIZE, pix_fmt: str = "yuv420p", turns: int = 0) -> VideoFrame:
    """A portrait at any size in any painted format; `turns`: quarter turns clockwise, for a film that is played turned.

    Turned planes hold the upright picture's samples; `size` is that of the upright picture.
    """
    picture: U8 = cv2.resize(portrait(number), size, interpolation=cv2.INTER_AREA)
    return turned(av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pix_fmt), turns)


def turned(frame: VideoFrame, turns: int) -> VideoFrame:
    """The same samples, quarter turns clockwise. Chroma of 4:2:2 has no place for its own: not for it."""
    if not turns:
        return frame
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    out = av.VideoFrame(width, height, frame.format.name)
    for target, source in zip(planes(out), planes(frame), strict=True):
        target[:] = np.rot90(source, -turns)
    return out


def picture_of(pix_fmt: str = "yuv420p", turns: int = 0, size: tuple[int, int] = SIZE) -> Callable[..., VideoFrame]:
    """A `picture` for `clip`."""
    return lambda number, _size, _pix_fmt: face(number, size, pix_fmt, turns)


def deliver(film: Path, output: str = "out.mp4", seconds: float = 1.0, **settings: object) -> tuple[Path, FilmReport]:
    """Dub a film inline, losslessly if nothing else is said; `row`: more columns of its manifest row."""
    folder = film.parent
    speech(folder / "dub.wav", seconds)
    columns = {"box": BOX, "audio_longer": "trim", **settings.pop("row", {})}  # type: ignore[dict-item]
    row = {"id": "a", "video": film.name, "audio": "dub.wav", "output": f"out/{output}", **columns}
    row = {name: value for name, value in row.items() if value is not None}
    config = Config.model_validate({"encode": {"codec": "ffv1"}, "split": {"shard_s": 0.4}, **settings})
    report = dub(str(manifest(folder / "films.jsonl", row)), config, str(folder / "work"))
    return folder / "out" / output, report.films["a"]


def changed(before: list[Plane], after: list[Plane]) -> tuple[int, int, int, int] | None:
    """The smallest box of luma px that holds every difference of two pictures: x0, y0, x1, y1; None for none."""
    height, width = before[0].shape
    touched = np.zeros((height, width), bool)
    for one, other in zip(before, after, strict=True):
        rows, columns = np.nonzero(one != other)
        down, across = -(-height // one.shape[0]), -(-width // one.shape[1])
        for y, x in zip((rows * down).tolist(), (columns * across).tolist(), strict=True):
            touched[y : y + down, x : x + across] = True
    rows, columns = np.nonzero(touched)
    if not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
