"""Whether a Matroska file is all there: its demuxer takes a file that was cut short for a shorter film."""

from pathlib import Path
from typing import IO

from stages.errors import DubError

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067  # the two elements a file consists of (RFC 8794, RFC 9559)


def check_whole(path: Path) -> None:
    """Compare the length that a Matroska or WebM file states with the file's own.

    Live recordings state none and pass. Raises DubError `decode_error`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while True:
            name = _number(file, keep_marker=True)
            length = _number(file, keep_marker=False)
            if name not in (_EBML, _SEGMENT) or length is None:
                return
            end = file.tell() + length
            if end > size:
                raise DubError("decode_error", f"{path}: cut short, {size} of {end} bytes are there; copy it again")
            file.seek(end)


def _number(file: IO[bytes], *, keep_marker: bool) -> int | None:
    """An EBML number: its first byte's leading zeros say how many bytes follow. None: unknown, or not a number."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(first + rest)
    marker = 1 << (7 * (more + 1))
    if keep_marker:
        return value
    unknown = 2 * marker - 1
    return None if value == unknown or len(rest) < more else value - marker
