"""Manifests that unpack to more than they are: bounded memory, a quick answer, and whatever rows are good."""

import gzip
import json
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import manifest as manifests
from pipeline.manifest import ManifestError, read_manifest
from tests.pipeline.manifest_files import row, said, write_jsonl

READ = (
    "import re, sys\n"
    "from pathlib import Path\n"
    "from pipeline import manifest_rows\n"
    "from pipeline.manifest import ManifestError, read_manifest\n"
    "manifest_rows._LARGEST_GROWTH = int(sys.argv[2]) << 20\n"
    "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    "before = peak()\n"
    "try: read = read_manifest(sys.argv[1]); text = f'{len(read.films)} films, {len(read.problems)} problems'\n"
    "except ManifestError as error: text = str(error)\n"
    "print(peak() - before); print(text)\n"
)


def grown_mb(path: Path, cap_mb: int = 2048) -> tuple[float, str]:
    """By how much a process of its own grows while it reads a manifest, and what it says of it."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(cap_mb)], capture_output=True, text=True, check=True
    )
    kb, text = done.stdout.split("\n", 1)
    return int(kb) / 1024, text


def test_a_row_of_ten_megabytes_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    long = json.dumps({**row("long", audio=None), "text": "x" * 10_000_000})
    path.write_text(f"{json.dumps(row('a'))}\n{long}\n{json.dumps(row('b'))}\n")
    read = read_manifest(str(path))
    assert [film.id for film in read.films] == ["a", "b"]
    assert said(read) == ["line 2: is longer than 1048576 bytes"]
    path.write_bytes(path.read_bytes().replace(b"\n", b" ") * 20)  # 200 MB without a line's end
    mb, text = grown_mb(path)
    assert mb < 40
    assert text.startswith("0 films, 1 problems")


def test_more_rows_than_one_run_can_hold_are_refused_when_they_are_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MOST_ROWS", 50)
    path = write_jsonl(tmp_path / "m.jsonl", [row(f"r{n}") for n in range(50)])
    assert len(read_manifest(path).films) == 50
    write_jsonl(tmp_path / "m.jsonl", [row(f"r{n}") for n in range(51)])
    with pytest.raises(ManifestError, match="more than 50 rows: split it"):
        read_manifest(path)


@pytest.mark.soak
def test_a_manifest_of_200_megabytes(tmp_path: Path) -> None:
    """Over a million rows: refused at row 100,001, with the memory of the first 100,000."""
    path = tmp_path / "m.jsonl"
    line = json.dumps(row("0000000", language="de", consent="x" * 40))
    with path.open("w") as file:
        for number in range(1_200_000):
            file.write(line.replace("0000000", f"{number:07d}") + "\n")
    assert path.stat().st_size > 200e6
    began = time.monotonic()
    mb, text = grown_mb(path)
    print(f"200 MB manifest: refused after {time.monotonic() - began:.0f} s, {mb:.0f} MB")
    assert "more than 100000 rows" in text
    assert mb < 400


def test_a_compressed_manifest_is_refused_by_its_name(tmp_path: Path) -> None:
    for name in ("m.csv.gz", "m.jsonl.zst", "m.zip"):
        (tmp_path / name).write_bytes(gzip.compress(bytes(1 << 20)))
        with pytest.raises(ManifestError, match="a manifest is a"):
            read_manifest(str(tmp_path / name))


def test_gzip_under_a_manifest_s_name_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(gzip.compress(bytes(50 << 20)))
    read = read_manifest(str(tmp_path / "m.jsonl"))
    assert read.films == []
    assert read.problems


def parquet(path: Path, **columns: object) -> Path:
    """One row, without the hint that would keep repeated text apart from its repetitions."""
    values = {name: [value] for name, value in {**row(), **columns}.items() if value is not None}
    table = pa.table({name: value[0] if isinstance(value[0], pa.Array) else value for name, value in values.items()})
    pq.write_table(table, path, store_schema=False)
    return path


def test_parquet_that_says_one_number_ten_million_times(tmp_path: Path) -> None:
    """A kilobyte of file whose footer says nothing of it: the list is never made, nor what is past the cap."""
    path = parquet(tmp_path / "m.parquet", box=pa.array([[0] * 10_000_000], pa.list_(pa.int64())))
    assert path.stat().st_size < 4000
    assert said(read_manifest(str(path))) == ["line 1 (a): box cannot be read: a list of 10000000"]
    mb, text = grown_mb(path, cap_mb=64)
    assert "cannot be read: ArrowMemoryError" in text
    assert mb < 64


def test_the_cap_on_memory_is_lifted_again(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    for path in (parquet(tmp_path / "m.parquet"), tmp_path / "none.parquet", tmp_path / "text.parquet"):
        if path.stem == "text":
            path.write_text("no Parquet")
        with suppress(ManifestError):
            read_manifest(str(path))
        assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_parquet_with_a_text_of_megabytes_spoils_its_row_only(tmp_path: Path) -> None:
    rows = [row("a", audio=None, text="hello"), row("b", audio=None, text="x" * (2 << 20))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    read = read_manifest(str(tmp_path / "m.parquet"))
    assert [film.id for film in read.films] == ["a"]
    assert "text cannot be read: 2097152 bytes" in said(read)[0]
