"""The report as Parquet: one row a film, one a shard, for whoever asks it questions."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_type_hints

import pyarrow as pa
import pyarrow.parquet

from pipeline.report import FilmReport, RunReport

_ROWS: Final = 5000  # in memory at once
_SECONDS: Final = pa.map_(pa.string(), pa.float64())
_TYPES: Final[dict[Any, pa.DataType]] = {
    str: pa.string(),
    str | None: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[str]: pa.list_(pa.string()),
    list[list[float]]: pa.list_(pa.list_(pa.float64())),
    dict[str, float]: _SECONDS,
}

FILMS: Final = pa.schema(
    [
        (field.name, _TYPES.get(kind, pa.string()))
        for field in fields(FilmReport)
        for kind in [get_type_hints(FilmReport)[field.name]]
    ]
)
"""The fields of `FilmReport`; those without a plain type are JSON."""

SHARDS: Final = pa.schema(
    [
        ("film", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("frames", pa.int64()),
        ("faces", pa.int64()),
        ("kept", pa.bool_()),
        ("key", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("stage", pa.string()),
        ("s", _SECONDS),
        ("facts", pa.string()),
    ]
)
"""Frames [start, end), painted `faces`, worker seconds by stage in `s`; `facts` is the rest, as JSON."""


def write_films(report: RunReport, path: Path) -> None:
    """report.parquet."""
    _write((asdict(film) for film in report.all_films), FILMS, path)


def write_shards(report: RunReport, path: Path) -> None:
    """shards.parquet."""
    plain = set(SHARDS.names)
    rows = (
        {**shard, "facts": {key: value for key, value in shard.items() if key not in plain}}
        for shard in report.shards()
    )
    _write(rows, SHARDS, path)


def _write(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for some in _batches(rows):
            columns = [pa.array([_plain(row.get(f.name), f.type) for row in some], f.type) for f in schema]
            writer.write_table(pa.table(columns, schema=schema))


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows = iter(rows)
    while some := list(islice(rows, _ROWS)):
        yield some


def _plain(value: Any, kind: pa.DataType) -> Any:
    if kind == _SECONDS:
        return list((value or {}).items())
    return json.dumps(value) if kind == pa.string() and not isinstance(value, str | None) else value
