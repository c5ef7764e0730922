"""A manifest at any fsspec URL -> films, and every problem of every row at once.

JSON Lines, CSV and Parquet give the same films: a column that is absent, null, or an empty CSV cell is not
given. A row with a problem does not stop the others.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from pipeline.film import LOCATIONS, Film, explain, together
from pipeline.locate import LocationError, SameFile, absolute, base_of, resolve
from pipeline.manifest_rows import Header, ManifestError, RawRow, read_rows, shown
from pipeline.roots import Roots
from stages.mux.containers import SUFFIXES
from stages.urls import without_secrets

__all__ = [
    "MOST_PROBLEMS",
    "MOST_ROWS",
    "OUTPUT_SUFFIXES",
    "Film",
    "Manifest",
    "ManifestError",
    "Problem",
    "read_manifest",
]

OUTPUT_SUFFIXES: Final = SUFFIXES
MOST_PROBLEMS: Final = 10_000
"""With more, the file is something else than a manifest."""
MOST_ROWS: Final = 100_000
"""Of one manifest: all of them are compared with each other, which takes up to 3 KB of memory each."""

_REQUIRED: Final = ("id", "video", "output")
_NAMED: Final = 5  # other lines, or unknown columns, that one message names


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row, or with the header. Safe to print: no control characters."""

    line: int
    """Of the file, from 1: where the row begins; in Parquet, the row's number."""
    column: str | None
    """None: the row as a whole."""
    id: str | None
    """As the row gives it, however wrong; None where it gives none."""
    message: str

    @property
    def what(self) -> str:
        """What is wrong, without where."""
        return f"{self.column} {self.message}" if self.column else self.message

    def __str__(self) -> str:
        row = f" ({self.id})" if self.id else ""
        return without_secrets(f"line {self.line}{row}: {self.what}")


@dataclass(frozen=True)
class Manifest:
    """Films in the file's order, and what is wrong with the rows that are not among them, by line."""

    films: list[Film]
    problems: list[Problem]

    @property
    def refused(self) -> list[Problem]:
        """The rows that are not among the films, each once with all that is wrong with it."""
        rows = defaultdict[int, list[Problem]](list)
        for problem in self.problems:
            rows[problem.line].append(problem)
        return [Problem(line, None, row[0].id, "; ".join(one.what for one in row)) for line, row in rows.items()]


@dataclass
class _Row:
    """A checked row, kept until it can be compared with the others."""

    line: int
    id: str | None = None
    film: Film | None = None
    files: dict[str, str] = field(default_factory=dict)
    """column -> key of the file it names, where that is known."""
    problems: list[tuple[str | None, str]] = field(default_factory=list)


def read_manifest(url: str, roots: Sequence[str] = (), base: str | None = None) -> Manifest:
    """Read and check a `.jsonl`, `.ndjson`, `.csv` or `.parquet` manifest.

    Relative paths are relative to `base`, by default the manifest's folder. Rows whose files lie outside of `roots` are
    refused (none: no limit). No file that a row names is opened. Raises ManifestError.
    """
    try:
        base = base_of(url) if base is None else base_of(f"{base.rstrip('/')}/manifest")
    except LocationError as error:
        raise ManifestError(f"{shown(url)}: {error}") from error
    rows: list[_Row] = []
    same, allowed, found, header = SameFile(), Roots(roots), 0, 0
    for item in read_rows(absolute(url)):
        if isinstance(item, Header):
            row, header = _check_header(url, item), 1
        else:
            row = _check_row(item, base, same, allowed)
        rows.append(row)
        if len(rows) > MOST_ROWS + header:
            raise ManifestError(f"{shown(url)}: has more than {MOST_ROWS} rows: split it, one run each")
        found += len(row.problems)
        if found > MOST_PROBLEMS:
            break
    if len(rows) == header:
        raise ManifestError(f"{shown(url)}: has no rows")
    _check_across(rows)
    problems = [_problem(row, column, text) for row in rows for column, text in row.problems]
    if len(problems) > MOST_PROBLEMS:
        first = "; ".join(str(problem) for problem in problems[:3])
        raise ManifestError(f"{shown(url)}: more than {MOST_PROBLEMS} problems, the first are: {first}")
    return Manifest([row.film for row in rows if row.film is not None and not row.problems], problems)


def _check_header(url: str, header: Header) -> _Row:
    """Refuse a header that no row can be read by; name the columns in it that nothing knows."""
    absent = [name for name in _REQUIRED if name not in header.columns]
    if absent:
        seen = ", ".join(_printable(name[:40]) for name in header.columns[:20]) or "none"
        hint = ""
        if len(header.columns) == 1 and re.search(r"[;\t]", header.columns[0]):
            hint = " Cells are separated by commas."
        raise ManifestError(f"{shown(url)}: the header lacks {', '.join(absent)}; its columns are: {seen}.{hint}")
    return _Row(header.line, problems=_unknown_columns(list(header.columns)))


def _check_row(raw: RawRow, base: str, same: SameFile, roots: Roots) -> _Row:
    row = _Row(raw.line, problems=list(raw.unreadable))
    given = {name: value for name, value in raw.values.items() if value is not None}
    if isinstance(given.get("id"), str):
        row.id = given["id"]
    if any(column is None for column, _ in raw.unreadable):
        return row
    row.problems += _unknown_columns(list(given))
    given = {name: value for name, value in given.items() if name in Film.model_fields}
    row.problems += together(given)
    misplaced = _locate(row, given, base, same, roots)
    try:
        row.film = Film(**given)
    except ValidationError as error:
        row.problems += [problem for problem in explain(error) if problem[0] not in misplaced]
    return row


def _locate(row: _Row, given: dict[str, Any], base: str, same: SameFile, roots: Roots) -> set[str]:
    """Replace the row's locations by absolute ones; the columns where that was not possible."""
    misplaced = set()
    for column in LOCATIONS:
        value = given.get(column)
        if not isinstance(value, str) or (column == "spans" and value.lstrip().startswith("[")):
            continue  # the row says itself what is wrong with it
        try:
            location = resolve(value, base, write=column == "output")
            if column == "output" and not location.lower().endswith(OUTPUT_SUFFIXES):
                raise LocationError(f"has to end in {', '.join(OUTPUT_SUFFIXES)}: others are not built yet")
            roots.check(location)
        except LocationError as error:
            row.problems.append((column, str(error)))
            misplaced.add(column)
        else:
            given[column] = location
            row.files[column] = same.key(location)
    return misplaced


def _check_across(rows: list[_Row]) -> None:
    """Add the problems that a row has with others; rows that are wrong in themselves count as others."""
    ids, outputs = defaultdict[str, list[_Row]](list), defaultdict[str, list[_Row]](list)
    inputs: dict[str, tuple[_Row, str]] = {}
    for row in rows:
        if row.id is not None:
            ids[row.id].append(row)
        if "output" in row.files:
            outputs[row.files["output"]].append(row)
        for column, file in row.files.items():
            if column != "output":
                inputs.setdefault(file, (row, column))
    for group in ids.values():
        _name_the_others("id", group)
    for key, group in outputs.items():
        _name_the_others("output", group)
        if key in inputs:
            source, column = inputs[key]
            for row in group:
                whose = "this row" if source is row else f"line {source.line}"
                row.problems.append(("output", f"would overwrite the {column} of {whose}"))


def _name_the_others(column: str, group: list[_Row]) -> None:
    if len(group) < 2:
        return
    lines = [row.line for row in group[: _NAMED + 1]]
    spelled = {row.film.output for row in group if row.film is not None} if column == "output" else set()
    alike = ", but for what some disks do not tell apart (links, case, accents)" if len(spelled) > 1 else ""
    for row in group:
        others = [str(line) for line in lines if line != row.line][:_NAMED]
        more = len(group) - 1 - len(others)
        also = f" and {more} more" if more else ""
        row.problems.append((column, f"is also that of line {', '.join(others)}{also}{alike}"))


def _unknown_columns(names: list[str]) -> list[tuple[str | None, str]]:
    """What to say of the names that are not columns, the first few of them one by one."""
    unknown = [name for name in names if name not in Film.model_fields]
    problems: list[tuple[str | None, str]] = []
    for name in unknown[:_NAMED]:
        near = difflib.get_close_matches(name[:40].lower(), Film.model_fields, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        problems.append((name, f"is not a column of a manifest{hint}"))
    if len(unknown) > _NAMED:
        problems.append((None, f"has {len(unknown) - _NAMED} more columns that a manifest does not have"))
    return problems


def _problem(row: _Row, column: str | None, message: str) -> Problem:
    column = None if column is None else _printable(column[:40])
    return Problem(row.line, column, None if row.id is None else _printable(row.id[:100]), _printable(message))


def _printable(text: str) -> str:
    """Text with line breaks, terminal escapes and halves of surrogate pairs spelled out."""
    return text if text.isprintable() else repr(text)[1:-1]
