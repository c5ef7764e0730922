"""What the driver does for a large manifest: a run without media (tests/bench/null.py), two cells and 12 shards a film.

    python -m tests.bench.bench_many [FILMS]

Prints CPU time of the driver a shard, its memory as the films come out, and how far it had planned ahead when the first
film was there. The workers share the machine, so that wall times say nothing.
"""

import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from pipeline import Config, dub, flow
from pipeline.progress import Progress
from pipeline.report import RunReport
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

    report: RunReport
    begun_at_first: int = 0
    """Films that were planned when the first one was delivered."""
    first_s: float = 0.0
    most_ahead: int = 0
    """Films that were planned and not delivered, at most, at the sampled moments."""
    start_cpu_s: float = 0.0
    """CPU time of the driver until the first row came: manifest, plan, the cluster's actors."""
    rows_cpu_s: float = 0.0
    """From then on."""
    memory_mib: list[tuple[int, float]] = field(default_factory=list)
    """(films delivered, resident memory)."""


def run(folder: Path, films: int, cells: int = 2, shards: int = 12, every: int = 1, **settings: object) -> Seen:
    """Dub `films` films that nobody opens. Memory is looked at every `every` films. Ray is started already."""
    path = null.write_manifest(folder / "many.jsonl", films, cells, shards)
    work = folder / "work"
    ended = begun_at_first = most = 0
    first_s = first_cpu = 0.0
    memory: list[tuple[int, float]] = [(0, resident_mib())]
    began, began_cpu = time.monotonic(), time.process_time()

    def on_row(row: Row) -> None:
        nonlocal ended, begun_at_first, first_s, most, first_cpu
        progress.add(row)
        first_cpu = first_cpu or time.process_time()
        if row.kind != "film" or not row.code:
            return
        ended += 1
        if ended == 1 or ended % every == 0:
            planned = null.count(work, ["begun"])["begun"]
            most = max(most, planned - ended)
            memory.append((ended, resident_mib()))
            if ended == 1:
                begun_at_first, first_s = planned, time.monotonic() - began

    config = Config.model_validate({"run": {"workers": 1, **settings}})
    with mock.patch.object(flow, "STEPS", null.STEPS), Progress(films, out, 30.0) as progress:
        report = dub(str(path), config, str(work), executor="ray", on_row=on_row)
    cpu = time.process_time()
    return Seen(report, begun_at_first, first_s, most, first_cpu - began_cpu, cpu - first_cpu, memory)


def main() -> None:
    """Print what was seen."""
    import ray

    films = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        seen = run(Path(scratch), films, every=max(1, films // 10))
        shards = seen.report.shards_done
        codes = {film.code for film in seen.report.all_films}
        print(f"{films} films, {shards} shards: {codes}, {seen.report.wall_s:.0f} s")
        print(f"first film out after {seen.first_s:.1f} s, with {seen.begun_at_first} films planned")
        print(f"films planned and not delivered, at most: {seen.most_ahead}")
        print(
            f"driver: {seen.start_cpu_s:.1f} s to begin, then {1000 * seen.rows_cpu_s / shards:.2f} ms of CPU a shard"
        )
        print("driver MiB after so many films: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in seen.memory_mib))
        ray.shutdown()


if __name__ == "__main__":
    main()
