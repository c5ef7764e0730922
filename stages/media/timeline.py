"""Which frame of the source each frame of the output shows, and when: the film's length, as a map.

Faces are found on the source's grid, `VideoIndex`. Everything behind the cast lives on the output's grid, `Timeline`.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Final, Literal

import numpy as np

from stages.arrays import F64, I64
from stages.errors import DubError
from stages.media.index import Picture, VideoIndex

Shorter = Literal["keep", "trim"]
"""What becomes of the picture when the dub ends before it."""
Longer = Literal["error", "trim", "freeze", "pingpong"]
"""What becomes of the film when the picture ends before the dub (`error` is the caller's to raise)."""

_ROUNDING_S = 1e-6  # a frame at 10 s is in a range that begins at 10 s, however its time was rounded


@dataclass(frozen=True)
class Timeline:
    """The output's frame grid: as a `VideoIndex`, but each frame names the source frame that it shows."""

    index: VideoIndex
    """The source."""
    source: I64
    """[m] source frame of every output frame."""
    pts: I64
    """[m] ascending, in `time_base` units."""
    end_pts: int
    """Where the last frame leaves the screen."""
    moved: int = 0
    """How far the pts were moved to the front, in `time_base` units: a cut begins at 0."""
    excerpt: bool = False
    """A cut out of the film: it is delivered with its dub alone."""

    @classmethod
    def of(cls, index: VideoIndex) -> "Timeline":
        """The film as it is."""
        return cls(index, np.arange(len(index)), index.pts, index.end_pts)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def time_base(self) -> Fraction:
        """Seconds of one unit of pts: the source's."""
        return self.index.time_base

    @property
    def picture(self) -> Picture:
        """What the pictures are: as the source's."""
        return self.index.picture

    @property
    def zero_s(self) -> float:
        """The moment of the output's clock at which the dub begins, in seconds; negative in a cut."""
        return self.index.zero_s - float(self.moved * self.time_base)

    @property
    def times(self) -> F64:
        """[m] seconds of each frame since the dub began; in a cut, since it began in the whole film."""
        return np.asarray((self.pts + self.moved) * float(self.time_base) - self.index.zero_s, np.float64)

    @property
    def duration(self) -> I64:
        """[m] until the next frame's pts; the last one's time on screen."""
        return np.diff(self.pts, append=self.end_pts).astype(np.int64)

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the last one's end, in seconds."""
        return float((self.end_pts - int(self.pts[0])) * self.time_base)

    @property
    def keyframes(self) -> I64:
        """Output frames that show a keyframe of the source: decoding may begin there."""
        return np.flatnonzero(self.index.keyframe[self.source])

    @cached_property
    def identity(self) -> bool:
        """Whether it is the source, every frame once and at its own time."""
        return len(self) == len(self.index) and self.unchanged(0, len(self)) and self.end_pts == self.index.end_pts

    def unchanged(self, start: int, end: int) -> bool:
        """Whether the output frames [start, end) are the source's of the same numbers, at their own times."""
        if end > len(self.index):
            return False
        same = np.array_equal(self.source[start:end], np.arange(start, end))
        return same and np.array_equal(self.pts[start:end], self.index.pts[start:end])

    def cut(self, start_s: float, end_s: float) -> "Timeline":
        """Only the frames whose time since the dub began lies in [start_s, end_s), the first one's pts at 0.

        `times` stay those of the whole film: its mouths say what they say there. Raises ValueError when no frame
        lies in the range.
        """
        low, high = np.searchsorted(self.times, [start_s - _ROUNDING_S, end_s - _ROUNDING_S])
        if low >= high:
            raise ValueError(f"no frame between {start_s:g} s and {end_s:g} s")
        ends = np.append(self.pts, self.end_pts)
        first = int(self.pts[low])
        return Timeline(
            index=self.index,
            source=self.source[low:high],
            pts=self.pts[low:high] - first,
            end_pts=int(ends[high]) - first,
            moved=self.moved + first,
            excerpt=True,
        )


LENGTH_SLACK_S: Final = 0.1
"""A sound may outlast the picture by less than three frames of 25 fps before it is «longer»."""


def outlasts_s(index: VideoIndex, dub_s: Fraction) -> float:
    """By how many seconds a dub of `dub_s` outlasts the picture; negative when the picture is longer."""
    return float(dub_s - (index.end_pts * index.time_base - _zero(index)))


def fit(index: VideoIndex, dub_s: Fraction, shorter: Shorter, longer: Longer, max_frames: int) -> Timeline:
    """The output's grid for a dub of `dub_s` seconds.

    `trim` as `shorter` ends the picture where the dub ends (one frame stays at least). `freeze` repeats the last frame
    at the film's usual distance until the dub ends; `pingpong` shows the film backwards, forwards and so on, each
    frame for its own time, the turning ones once. With the other policies the picture's length is kept. Raises
    DubError `unsupported` when that makes more than `max_frames` frames (`media.limits.max_frames`).
    """
    whole = Timeline.of(index)
    end = math.ceil((dub_s + _zero(index)) / index.time_base)
    if end < index.end_pts:
        return _trimmed(whole, end) if shorter == "trim" else whole
    if end == index.end_pts or longer not in ("freeze", "pingpong"):
        return whole
    source, durations = _again(index) if longer == "pingpong" and len(index) > 1 else _last(index)
    count = _needed(durations, end - index.end_pts)
    if len(index) + count > max_frames:
        raise DubError(
            "unsupported",
            f"audio_longer {longer}: the dub's length makes {count} more frames of a film of {len(index)}; "
            f"the most is {max_frames} in all (media.limits.max_frames)",
        )
    shown_for = np.resize(durations, count)
    begins = index.end_pts + np.cumsum(shown_for) - shown_for
    # What would be on screen for less than half its time is not begun: the frame before it stays instead.
    kept = int(np.count_nonzero(2 * (end - begins) >= shown_for))
    return Timeline(
        index=index,
        source=np.concatenate([whole.source, np.resize(source, count)[:kept]]),
        pts=np.concatenate([index.pts, begins[:kept]]),
        end_pts=end,
    )


def _last(index: VideoIndex) -> tuple[I64, I64]:
    """The last frame, for as long as a frame of the film usually is on screen."""
    usual = np.median(index.duration[:-1]) if len(index) > 1 else index.duration[0]
    return np.array([len(index) - 1]), np.array([max(1, round(float(usual)))])


def _again(index: VideoIndex) -> tuple[I64, I64]:
    """What follows on the last frame until it is shown again, and for how long: backwards, then forwards."""
    there = np.arange(len(index))
    source = np.concatenate([there[-2::-1], there[1:]])
    return source, index.duration[source]


def _needed(durations: I64, length: int) -> int:
    """How many frames fill `length`, when they are shown for `durations` over and over."""
    rounds, rest = divmod(length, int(durations.sum()))
    begins = np.cumsum(durations) - durations
    return rounds * len(durations) + int(np.count_nonzero(begins < rest))


def _zero(index: VideoIndex) -> Fraction:
    return Fraction(index.zero_s).limit_denominator(1_000_000)  # containers tell it in microseconds


def _trimmed(whole: Timeline, end: int) -> Timeline:
    kept = max(1, int(np.searchsorted(whole.pts, end)))
    first_only = end <= int(whole.pts[0])  # a dub that ends before the picture begins
    end = int(whole.pts[0] + whole.duration[0]) if first_only else end
    return replace(whole, source=whole.source[:kept], pts=whole.pts[:kept], end_pts=end)
