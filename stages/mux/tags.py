"""Tags and chapters as a file that ffmpeg reads: as options one track could have only one of them."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from stages.mux.tracks import Carried, Track

_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "\\=;#\n"})


def tags_file(planned: Sequence[Track], carried: Carried) -> str:
    """FFMETADATA: the film's own tags, one section for each track in the delivery's order, the chapters."""
    parts = [";FFMETADATA1", *_lines(carried.tags)]
    for track in planned:
        language = {"language": track.language} if track.language else {}
        parts += ["[STREAM]", *_lines({**track.tags, **language})]
    for chapter in carried.chapters:
        unit: Fraction = chapter["time_base"]
        parts += ["[CHAPTER]", f"TIMEBASE={unit.numerator}/{unit.denominator}"]
        parts += [f"START={chapter['start']}", f"END={chapter['end']}", *_lines(chapter["metadata"])]
    return "\n".join(parts) + "\n"


def _lines(tags: Mapping[str, Any]) -> list[str]:
    lines = (f"{_escaped(name)}={_escaped(value)}" for name, value in tags.items())
    # After a backslash, escaped or not, ffmpeg takes a newline for part of the text. Its strings end at a NUL.
    return [f"{line}\0" if line.endswith("\\") else line for line in lines]


def _escaped(text: str) -> str:
    # A carriage return ends a line as well, and cannot be escaped.
    return str(text).replace("\r\n", "\n").replace("\r", "\n").translate(_SPECIAL)
