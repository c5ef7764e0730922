"""When a film is painted: spans of time, from a manifest row or a subtitle, and how they fade."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pysubs2
from pysubs2.exceptions import Pysubs2Error
from pysubs2.formats import autodetect_format

from stages.arrays import F32, F64

Span = tuple[float, float]
"""Start and end in seconds since the dub began."""

LARGEST_FILE: Final = 4 << 20
"""Bytes of a subtitle: a long film's has 200 KB."""
MOST_SPANS: Final = 20_000
_LATEST_S: Final = 1_000_000.0  # eleven days: a time beyond it is a mistake of units
# Formats with times in them: no JSON, no mark-up, none that counts in frames.
_FORMATS: Final = ("srt", "vtt", "ass", "ssa", "mpl2", "tmp")
_LONGEST_LINE: Final = 500
"""Characters of a line that are read: times stand first, and the library's patterns take square time over the rest."""


def check_spans(spans: object) -> tuple[Span, ...]:
    """Spans as a row gives them: [[start_s, end_s], ...]. Raises ValueError with what is wrong."""
    if not isinstance(spans, list | tuple) or not spans:
        raise ValueError("must be [[start_s, end_s], ...], or the path or URL of a subtitle")
    if len(spans) > MOST_SPANS:
        raise ValueError(f"has {len(spans)} spans; the most is {MOST_SPANS}")
    return tuple(_checked(span, number) for number, span in enumerate(spans))


def _checked(span: object, number: int) -> Span:
    pair = span if isinstance(span, list | tuple) else ()
    if len(pair) != 2 or not all(type(v) in (int, float) for v in pair):
        raise ValueError(f"span {number} must be [start_s, end_s], two numbers of seconds")
    start, end = (float(v) if abs(v) <= _LATEST_S else float("nan") for v in pair)
    if not 0 <= start < end:  # false for NaN too
        raise ValueError(f"span {number}, {list(pair)}: must have 0 <= start_s < end_s <= {_LATEST_S:g}")
    return start, end


def subtitle_spans(data: bytes) -> tuple[Span, ...]:
    """The spans in which a subtitle file shows a line. Raises ValueError with what is wrong."""
    if not data.strip():
        raise ValueError("is empty")
    if len(data) > LARGEST_FILE:
        raise ValueError(f"is larger than {LARGEST_FILE} bytes")
    # Times are ASCII in all of them, so that any other encoding will do for the rest.
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    lines = [line[:_LONGEST_LINE] for line in data.decode(encoding, "replace").splitlines()]
    try:
        found = autodetect_format("\n".join(lines[:1000]))
        if found not in _FORMATS:
            raise ValueError(f"is {found}; save it as .srt")
        if found in ("srt", "vtt"):
            lines = [line for line in lines if "-->" in line]  # what is said in them is not asked for
        subtitle = pysubs2.SSAFile.from_string("\n".join(lines), found)
    except Pysubs2Error as error:
        raise ValueError("is not a subtitle that is read here: " + ", ".join(_FORMATS)) from error
    shown = [(line.start / 1000, line.end / 1000) for line in subtitle if not line.is_comment]
    if not shown:
        raise ValueError("is not a subtitle: no line with its times is in it")
    return check_spans(shown)


def merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Ascending, those that overlap or touch joined."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return tuple(joined)


def opacity(times: F64, spans: Sequence[Span] | None, fade_s: float) -> F32:
    """[n] 0..1 at `times` [n] seconds: 0 outside the spans, which are `merged`; None: 1 everywhere.

    Inside a span it rises over `fade_s` and falls over as much before the end, over half of a span that is too short.
    """
    if spans is None:
        return np.ones(len(times), np.float32)
    starts, ends = np.array(spans, np.float64).T
    own = np.searchsorted(starts, times, side="right") - 1
    since, left = times - starts[own], ends[own] - times
    inside = (own >= 0) & (left > 0)
    fade = np.minimum(fade_s, (ends[own] - starts[own]) / 2)
    if fade_s == 0:
        return np.asarray(inside, np.float32)
    with np.errstate(over="ignore"):  # of a fade so short that the share is more than the largest number: whole
        share = np.clip(np.minimum(since, left) / fade, 0, 1)
    return np.asarray(np.where(inside, share, 0), np.float32)
