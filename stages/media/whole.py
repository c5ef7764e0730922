"""Whether a Matroska, WAV or AVI file is all there: their demuxers take a file that was cut short for a shorter one."""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import IO

from stages.errors import DubError

_MOST_CHUNKS = 1000
_UNKNOWN_WAV = 0x7FFFF000  # what writes to a pipe states the most that fits 32 bits, signed or not
_UNKNOWN_AVI = 0xFFFFFFFF  # and 0: a recording that did not know yet
_COUNTED_TOO = 8  # bytes of a part's own header, which some writers count; behind the pictures there is an index
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067  # the two elements a file consists of (RFC 8794, RFC 9559)


def check_whole(path: Path) -> None:
    """Compare the length that a Matroska, WebM, WAV or AVI file states with the file's own.

    Live recordings state none and pass, and so does every other kind of file. Raises DubError `decode_error`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        end = _wav_end(file)
        if end is not None:
            _check_end(path, end, size)
            return
        for end in _avi_ends(file):
            _check_end(path, end, size)
        file.seek(0)
        while True:
            name = _number(file, keep_marker=True)
            length = _number(file, keep_marker=False)
            if name not in (_EBML, _SEGMENT) or length is None:
                return
            end = file.tell() + length
            _check_end(path, end, size)
            file.seek(end)


def _check_end(path: Path, end: int, size: int) -> None:
    if end > size:
        raise DubError("decode_error", f"{path}: cut short, {size} of {end} bytes are there; copy it again")


def _wav_end(file: IO[bytes]) -> int | None:
    """Where the samples of a WAV end by its header; None: no WAV, or a recording that did not know yet."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    long = None
    for _ in range(_MOST_CHUNKS):
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        if name == b"ds64":  # RF64 (EBU Tech 3306): sizes of 64 bits, first the file's, then the samples'
            long = int.from_bytes(file.read(size)[8:16], "little") if size < 1 << 16 else None
        elif name == b"data":
            size = long if long is not None and size == 0xFFFFFFFF else size
            return file.tell() + size if 0 < size < _UNKNOWN_WAV or long is not None else None
        elif len(name) < 4:
            return None
        else:
            file.seek(size + size % 2, 1)
    return None


def _avi_ends(file: IO[bytes]) -> Iterator[int]:
    """Where each of an AVI's parts ends by its header; of more than one gigabyte it has several (OpenDML 1.02)."""
    at = 0
    for kind in chain([b"AVI "], repeat(b"AVIX")):
        file.seek(at)
        head = file.read(12)
        size = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or head[8:] != kind or not 0 < size < _UNKNOWN_AVI:
            return
        at += 8 + size + size % 2
        yield at - size % 2 - _COUNTED_TOO


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
