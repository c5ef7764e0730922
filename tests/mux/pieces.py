"""A film cut into segments, as composite leaves them."""

from collections.abc import Sequence
from pathlib import Path

from stages.media.decode import read_frames
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import VideoIndex, index_video
from stages.media.planes import Plane
from tests.clips import shown


def cut(film: Path, ends: Sequence[int], codec: str = "libx264", **settings: object) -> tuple[VideoIndex, list[Path]]:
    """The film's index, and segments that end at the frames `ends` and at the film's end."""
    index = index_video(str(film))
    encode = EncodeSettings(codec=codec, **{"preset": "ultrafast", "threads": 1, **settings})
    segments = []
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(index)], strict=True)):
        segments.append(film.parent / f"{film.stem}-{number}.seg.mp4")
        with SegmentWriter(segments[-1], index.picture, index.time_base, encode) as writer:
            for _, frame in read_frames(film, index, start, end):
                writer.write(frame)
    return index, segments


def pictures(segments: Sequence[Path]) -> list[list[Plane]]:
    """Every segment's frames, one after the other."""
    return [picture for segment in segments for _, picture in shown(segment)]
