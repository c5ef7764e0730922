"""A film cut into segments, as composite leaves them, and its delivery."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stages.media.decode import read_frames
from stages.media.encode import EncodeSettings, SegmentWriter
from stages.media.index import VideoIndex, index_video
from stages.media.planes import Plane
from stages.media.timeline import Timeline
from stages.mux.mux import Delivery, Dub, mux_film
from stages.mux.settings import MuxSettings
from tests.clips import Sound, audio, heard, lag_s, shown

VOICE = Sound(1.0, codec="pcm_s16le", hertz=300)
NTSC = {"time_base": Fraction(1, 30000), "rate": Fraction(30000, 1001)}
MS = {"time_base": Fraction(1, 1000)}
TS = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}


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


@dataclass
class Made:
    """A delivery and what it was made of."""

    path: Path
    delivery: Delivery
    film: Path
    segments: list[Path]

    @property
    def notes(self) -> str:
        return "\n".join(self.delivery.notes)


def deliver(
    film: Path,
    dub: Path | Sound = VOICE,
    name: str = "out.mp4",
    *,
    ends: Sequence[int] = (11,),
    codec: str = "libx264",
    language: str | None = None,
    track: int = 0,
    trim: bool = False,
    background: Path | None = None,
    not_finite: bool = False,
    **settings: object,
) -> Made:
    """Cut a film into segments, mux them with a dub; a Sound becomes a WAV."""
    if isinstance(dub, Sound):
        dub = audio(film.with_name("dub.wav"), dub)
    index, segments = cut(film, [end for end in ends if end < len(index_video(str(film)))], codec)
    out = film.parent / name
    sound = Dub(dub, track, language, trim, not_finite=not_finite, background=background)
    made = mux_film(segments, Timeline.of(index), film, sound, str(out), MuxSettings(**settings))
    return Made(out, made, film, segments)


def assert_copied(old: Path, number: int, new: Path, place: int, sound: Sound) -> None:
    """A track was copied, not encoded again: the same samples, all of them, within the clocks' rounding (1 ms)."""
    (was, was_at, rate), (now, now_at, _) = heard(old, number), heard(new, place)
    shift = round(lag_s(was, now, rate) * rate)
    assert abs((now_at[0] + shift) - was_at[0]) <= rate / 1000
    length = round(sound.seconds * sound.rate) - 2048
    assert np.array_equal(was[2048:length], now[2048 + shift : length + shift])


def dispositions(path: Path) -> list[tuple[str, str | None, bool]]:
    with av.open(str(path)) as container:
        default = av.stream.Disposition.default
        return [(s.type, s.language, bool(s.disposition & default)) for s in container.streams if s.type != "data"]
