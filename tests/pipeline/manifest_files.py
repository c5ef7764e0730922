"""Rows written as every kind of manifest, and what a manifest said of them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.manifest import Manifest, read_manifest

ROW = {"id": "a", "video": "a.mp4", "output": "out/a.mp4", "audio": "a.wav"}


def row(id: str = "a", **columns: Any) -> dict[str, Any]:
    """A good row, its files named after `id`, with `columns` changed; None leaves a column out."""
    values = {"id": id, "video": f"{id}.mp4", "output": f"out/{id}.mp4", "audio": f"{id}.wav", **columns}
    return {name: value for name, value in values.items() if value is not None}


def write_jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for r in rows for name in r))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for r in rows:
            writer.writerow({**r, **({"box": ",".join(map(str, r["box"]))} if "box" in r else {})})
    return str(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for r in rows for name in r))
    pq.write_table(pa.table({name: [r.get(name) for r in rows] for name in names}), path)
    return str(path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], str]] = {
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}
every_format = pytest.mark.parametrize("suffix", WRITERS)


def read(folder: Path, *rows: Any) -> Manifest:
    """What a JSON Lines file with these rows is read as."""
    return read_manifest(write_jsonl(folder / "m.jsonl", list(rows)))


def said(manifest: Manifest) -> list[str]:
    return [str(problem) for problem in manifest.problems]


def only(manifest: Manifest) -> str:
    """The one problem there is."""
    assert len(manifest.problems) == 1, said(manifest)
    return str(manifest.problems[0])
