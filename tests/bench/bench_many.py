"""What the driver does for a large manifest: a run without media (tests/bench/null.py), two cells and 12 shards a film.

    python -m tests.bench.bench_many [FILMS [MINUTES]]

Prints CPU time of the driver a shard, its memory as the films come out, and how far it had planned ahead when the first
film was there. The workers share the machine, so that wall times say nothing. After MINUTES the run is broken off.
"""

import math
import resource
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from pipeline import Config, dub, flow
from pipeline.connect import WORKERS_STAY
from pipeline.progress import Progress
from pipeline.rows import Row
from pipeline.terminal import out
from tests.bench import null

_PAGE = resource.getpagesize()


def resident_mib() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


@dataclass
class Seen:
    """What was seen of one run from its driver."""

    films: Counter[str] = field(default_factory=Counter)
    """That came out, by code."""
    shards: int = 0
    begun_at_first: int = 0
    """Films that were planned when the first one was delivered."""
    first_s: float = 0.0
    most_ahead: int = 0
    """Films that were planned and not delivered, at most, at the sampled moments."""
    start_cpu_s: float = 0.0
    """CPU time of the driver until the first row came: manifest, plan, the cluster's actors."""
    rows_cpu_s: float = 0.0
    """From then on."""
    wall_s: float = 0.0
    memory_mib: list[tuple[int, float]] = field(default_factory=list)
    """(films delivered, resident memory)."""


class _EnoughError(Exception):
    """The time is over."""


def run(
    folder: Path,
    films: int,
    cells: int = 2,
    shards: int = 12,
    every: int = 1,
    most_s: float = math.inf,
    **settings: object,
) -> Seen:
    """Dub `films` films that nobody opens. Memory is looked at every `every` films. Ray is started already."""
    path = null.write_manifest(folder / "many.jsonl", films, cells, shards)
    work, seen = folder / "work", Seen()
    seen.memory_mib.append((0, resident_mib()))
    began, began_cpu = time.monotonic(), time.process_time()

    def on_row(row: Row) -> None:
        progress.add(row)
        seen.start_cpu_s = seen.start_cpu_s or time.process_time() - began_cpu
        seen.shards += row.kind == "shard" and "frames" in row.facts
        if row.kind != "film" or not row.code:
            return
        seen.films[row.code] += 1
        ended = seen.films.total()
        if ended == 1 or ended % every == 0:
            planned = null.count(work, ["begun"])["begun"]
            seen.most_ahead = max(seen.most_ahead, planned - ended)
            seen.memory_mib.append((ended, resident_mib()))
            if ended == 1:
                seen.begun_at_first, seen.first_s = planned, time.monotonic() - began
        if time.monotonic() - began > most_s:
            raise _EnoughError

    config = Config.model_validate({"run": {"workers": 1, **settings}})
    with mock.patch.object(flow, "STEPS", null.STEPS), Progress(films, out, 30.0) as progress, suppress(_EnoughError):
        dub(str(path), config, str(work), executor="ray", on_row=on_row)
    seen.rows_cpu_s = time.process_time() - began_cpu - seen.start_cpu_s
    seen.wall_s = time.monotonic() - began
    return seen


def main() -> None:
    """Print what was seen."""
    import ray

    films = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    most_s = float(sys.argv[2]) * 60 if len(sys.argv) > 2 else math.inf
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(address="local", num_cpus=4, _system_config=WORKERS_STAY, **quiet)
        seen = run(Path(scratch), films, every=max(1, films // 100), most_s=most_s)
        print(f"{seen.films.total()} of {films} films, {seen.shards} shards: {set(seen.films)}, {seen.wall_s:.0f} s")
        print(f"first film out after {seen.first_s:.1f} s, with {seen.begun_at_first} films planned")
        print(f"films planned and not delivered, at most: {seen.most_ahead}")
        per_shard = 1000 * seen.rows_cpu_s / seen.shards
        print(f"driver: {seen.start_cpu_s:.1f} s of CPU to begin, then {per_shard:.2f} ms a shard")
        print("driver MiB after so many films: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in seen.memory_mib))
        ray.shutdown()


if __name__ == "__main__":
    main()
