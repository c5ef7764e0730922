"""The rows of a JSON Lines, CSV or Parquet file at any fsspec URL, one by one, in bounded memory."""

import csv
import json
import posixpath
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pyarrow
import pyarrow.parquet

from stages.errors import DubError
from stages.media.remote import persist
from stages.media.storage import file_system
from stages.urls import without_secrets

LONGEST_LINE: Final = 1 << 20
"""Bytes of one line of JSON Lines or CSV."""
LARGEST_FILE: Final = 256 << 20
"""Bytes of a manifest."""

_LARGEST_UNPACKED: Final = 4 * LARGEST_FILE  # of Parquet, which compresses
_PARQUET_ROWS: Final = 1024  # decoded at a time
_LARGEST_GROWTH: Final = 2 << 30  # bytes of address space: one batch of the longest texts, and what pyarrow reserves
_LONGEST_LIST: Final = 10_000
_PIECE: Final = 1 << 16


class ManifestError(Exception):
    """The manifest as a whole cannot be used: not there, not readable, empty, or another kind of file."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it; columns that are null, or empty in CSV, may be among `values` as None."""

    line: int
    """From 1: where the row begins; in Parquet, the row's number."""
    values: dict[str, Any] = field(default_factory=dict)
    unreadable: tuple[tuple[str | None, str], ...] = ()
    """(column, what is wrong) for what could not be read; column None: nothing else of the row counts."""


@dataclass(frozen=True)
class Header:
    """The columns of CSV and Parquet, before their rows. JSON Lines has none."""

    line: int
    columns: tuple[str, ...]


def read_rows(url: str) -> Iterator[Header | RawRow]:
    """The rows of a `.jsonl`, `.ndjson`, `.csv` or `.parquet` file. Raises ManifestError."""
    path = re.split(r"[?#]", url, maxsplit=1)[0] if "://" in url else url
    read = _FORMATS.get(posixpath.splitext(path)[1].lower())
    if read is None:
        raise ManifestError(f"{shown(url)}: a manifest is a {', '.join(_FORMATS)} file")
    with _Source(url) as source:
        yield from read(source)


def shown(url: str) -> str:
    """A URL for messages: without its query, which may be a signature."""
    return re.split(r"[?#]", url, maxsplit=1)[0] if "://" in url else url


class _Source:
    """An open file that gives no more than it may, and whose errors are all ManifestError."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            fs, path = file_system(url)
            info = persist(url, lambda: fs.info(path))
            if info["type"] == "file" and (info.get("size") or 0) <= LARGEST_FILE:
                self.file: IO[bytes] = persist(url, lambda: fs.open(path, "rb"))
        except FileNotFoundError as error:
            raise self.refused("there is no such file") from error
        except DubError as error:
            raise ManifestError(str(error)) from error
        except Exception as error:  # every file system of fsspec has errors of its own
            raise self.failed(error) from error
        if info["type"] != "file":
            raise self.refused(f"is a {info['type']}, not a file")
        if (info.get("size") or 0) > LARGEST_FILE:
            raise self.refused(f"has {info['size']} bytes; the most is {LARGEST_FILE}")

    def __enter__(self) -> "_Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def refused(self, message: str) -> ManifestError:
        """What to raise for a file that is not a manifest."""
        return ManifestError(f"{shown(self.url)}: {message}")

    def failed(self, error: Exception) -> ManifestError:
        """What to raise for an error of a file system or of a format's library."""
        return self.refused(f"cannot be read: {type(error).__name__}: {error}")

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """(number from 1, line without its end) of a text file; None for a line that is too long."""
        lines = self._split()
        first = next(lines, b"")
        if first is not None and first.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise self.refused("is UTF-16 text: save it as UTF-8")
        yield 1, first and first.removeprefix(b"\xef\xbb\xbf")
        yield from enumerate(lines, 2)

    def _split(self) -> Iterator[bytes | None]:
        # fsspec's own readline has no limit, so a file without line ends would come in whole.
        kept, skipping = b"", False
        for piece in self._pieces():
            *lines, rest = (kept + piece).split(b"\n")
            for line in lines:
                yield None if skipping or len(line) > LONGEST_LINE else line.rstrip(b"\r")
                skipping = False
            skipping = skipping or len(rest) > LONGEST_LINE
            kept = b"" if skipping else rest
        if kept or skipping:
            yield None if skipping else kept.rstrip(b"\r")

    def _pieces(self) -> Iterator[bytes]:
        left = LARGEST_FILE
        while True:
            try:
                piece = self.file.read(_PIECE)
            except Exception as error:
                raise self.failed(error) from error
            if not piece:
                return
            left -= len(piece)
            if left < 0:
                raise self.refused(f"has more than {LARGEST_FILE} bytes")
            yield piece


def _json_lines(source: _Source) -> Iterator[Header | RawRow]:
    for number, line in source.lines():
        if line is None:
            yield RawRow(number, unreadable=((None, f"is longer than {LONGEST_LINE} bytes"),))
        elif line.strip():
            try:
                yield RawRow(number, _json_object(line))
            except ValueError as error:
                yield RawRow(number, unreadable=((None, str(error)),))


def _json_object(line: bytes) -> dict[str, Any]:
    """Raises ValueError with what is wrong."""
    try:
        value = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: byte {error.start + 1} of the line") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("is not JSON: nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object: {...} with the columns as its keys")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _csv(source: _Source) -> Iterator[Header | RawRow]:
    current, cut = 0, False

    def text() -> Iterator[str]:
        nonlocal current, cut
        for number, line in source.lines():
            current, cut = number, cut or line is None
            # Bytes that are not UTF-8 become lone surrogates here, which no column accepts.
            yield (line or b"").decode(errors="surrogateescape") + "\n"

    rows = csv.reader(text(), strict=True)
    columns: list[str] | None = None
    while True:
        begins, cut = current + 1, False
        try:
            cells = next(rows, None)
            wrong = f"is longer than {LONGEST_LINE} bytes" if cut else None
        except csv.Error as error:
            cells, wrong = [], f"is not CSV: {error}"
        if cells is None:
            return
        if wrong is not None and columns is None:
            raise source.refused(f"the header {wrong}")
        if wrong is not None:
            yield RawRow(begins, unreadable=((None, wrong),))
        elif not any(cell.strip() for cell in cells):
            continue
        elif columns is None:
            columns = [cell.strip() for cell in cells]
            yield _header(source, begins, columns)
        else:
            yield _csv_row(begins, columns, cells)


def _csv_row(line: int, columns: Sequence[str], cells: Sequence[str]) -> RawRow:
    values = {name: _typed(name, cell) for name, cell in zip(columns, cells, strict=False) if name and cell}
    if len(cells) != len(columns):  # some comma or quote is wrong: who knows which cell is which
        wrong = f"has {len(cells)} cells, the header has {len(columns)}"
        return RawRow(line, {"id": values.get("id")}, ((None, wrong),))
    nameless = any(cell and not name for name, cell in zip(columns, cells, strict=True))
    return RawRow(line, values, (("(no name)", "has a value in a column without a name"),) if nameless else ())


def _typed(column: str, cell: str) -> Any:
    """A CSV cell as the column's type, or as it is where it does not look like one."""
    number = r"\s*[0-9]{1,9}\s*"
    if column == "audio_track" and re.fullmatch(number, cell, re.ASCII):
        return int(cell)
    if column == "box" and re.fullmatch(rf"{number}(,{number}){{3}}", cell, re.ASCII):
        return [int(part) for part in cell.split(",")]
    if column == "box" or (column == "spans" and cell.lstrip().startswith("[")):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _parquet(source: _Source) -> Iterator[Header | RawRow]:
    try:
        with _memory_capped():
            file = pyarrow.parquet.ParquetFile(source.file)
            columns = list(file.schema_arrow.names)
            groups = range(file.metadata.num_row_groups)
            unpacked = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    except Exception as error:  # pyarrow raises its own errors, and OSError, for what is not Parquet
        raise source.failed(error) from error
    if unpacked > _LARGEST_UNPACKED:
        raise source.refused(f"unpacks to {unpacked} bytes; the most is {_LARGEST_UNPACKED}")
    yield _header(source, 1, columns)
    batches = file.iter_batches(batch_size=_PARQUET_ROWS)
    line = 0
    while True:
        try:
            with _memory_capped():
                batch = next(batches, None)
        except Exception as error:
            raise source.failed(error) from error
        if batch is None:
            return
        for index in range(batch.num_rows):
            line += 1
            with _memory_capped():
                row = _parquet_row(line, columns, [column[index] for column in batch.columns])
            yield row


def _parquet_row(line: int, columns: Sequence[str], cells: Sequence[Any]) -> RawRow:
    values: dict[str, Any] = {}
    wrong: list[tuple[str | None, str]] = []
    for name, cell in zip(columns, cells, strict=True):
        try:
            values[name] = _plain(cell)
        except MemoryError:
            wrong.append((name, "is too large"))
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:  # not UTF-8, no such date
            wrong.append((name, f"cannot be read: {error}"))
    return RawRow(line, values, tuple(wrong))


def _plain(value: Any) -> Any:
    """A cell of Parquet as Python has it. Raises ValueError for one that no column can use."""
    if value.is_valid and isinstance(value, pyarrow.ListScalar | pyarrow.MapScalar) and len(value) > _LONGEST_LIST:
        raise ValueError(f"a list of {len(value)}")
    if value.is_valid and isinstance(value, pyarrow.BinaryScalar) and value.as_buffer().size > LONGEST_LINE:
        raise ValueError(f"{value.as_buffer().size} bytes")
    return value.as_py()


@contextmanager
def _memory_capped() -> Iterator[None]:
    """For a moment this process cannot grow beyond what any manifest needs.

    A few bytes of Parquet may stand for gigabytes (one number, a billion times), and what its footer says of that is as
    trustworthy as the rest of it. Pyarrow and Python then raise MemoryError instead of filling the machine.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    caps = [limit for limit in (used + _LARGEST_GROWTH, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(caps), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _header(source: _Source, line: int, columns: Sequence[str]) -> Header:
    """Raises ManifestError where a name is there twice: its rows would lose values."""
    names = Counter(name for name in columns if name)
    if names and names.most_common(1)[0][1] > 1:
        raise source.refused(f"the header has {names.most_common(1)[0][0][:40]!r} twice")
    return Header(line, tuple(names))


_FORMATS: Final[dict[str, Callable[[_Source], Iterator[Header | RawRow]]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}
