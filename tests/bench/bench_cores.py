"""The same films on one core and on two, beside what the scaling model says.

    python -m tests.bench.bench_cores [FILMS] [SECONDS]      (200 frames in all at least: rates are kept from there on)

Films of 640x360, `mouthwarp`, the face's box given. Each run is a process that the kernel holds to its cores, with all
it starts, and Ray is told two CPUs in both, as `dubline run` tells it: the pools are the same. The clock of the films
starts when the first shard is cut out: actors have started by then. The model's costs are those of the same films in
one process on one core, where nobody waits for anybody.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline import Config, dub
from pipeline.pools import frame_rate
from pipeline.rows import PAINTING, Row
from stages.media.index import index_video
from tests.bench.films import lecture, voice
from tests.films import manifest

SIZE: Final = (640, 360)
_BOX: Final = [90, 275, 240, 400]


@dataclass(frozen=True)
class Ran:
    """One run."""

    films_s: float
    """From the first shard that is cut out to the last film."""
    costs: dict[str, float]
    """Worker seconds a frame, of `rates.json`."""


def write_films(folder: Path, films: int, seconds: float) -> int:
    """Makes the films and their manifest. Returns the frames of all."""
    rows = []
    for number in range(films):
        name, length_s = f"film{number}", seconds + number * 0.04  # no two films are the same to the cache
        lecture(folder / f"{name}.mp4", length_s, SIZE)
        voice(folder / f"{name}.wav", length_s)
        said = {"video": f"{name}.mp4", "audio": f"{name}.wav", "audio_longer": "trim"}
        rows.append({"id": name, **said, "output": f"$CASE/{name}.mp4", "box": _BOX})
    manifest(folder / "films.jsonl", *rows)
    return sum(len(index_video(str(folder / f"film{number}.mp4"))) for number in range(films))


def run(folder: Path, executor: str, cores: int) -> Ran:
    """The films on so many cores."""
    case = folder / f"{executor}-{cores}"
    path = folder / f"{case.name}.jsonl"
    path.write_text((folder / "films.jsonl").read_text().replace("$CASE", case.name))
    held = ["taskset", "-c", f"0-{cores - 1}", sys.executable, "-m", "tests.bench.bench_cores", "--job"]
    done = subprocess.run(
        [*held, str(path), str(case / "work"), executor], stdout=subprocess.PIPE, text=True, check=True
    )
    [rates] = case.glob("work/runs/*/rates.json")
    return Ran(float(done.stdout.splitlines()[-1]), json.loads(rates.read_text())["stages"])


def job(path: str, work: str, executor: str) -> None:
    """The films in this process; prints their seconds."""
    began, ended = float("inf"), 0.0

    def on_row(row: Row) -> None:
        nonlocal began, ended
        ended = time.monotonic()
        if row.kind == "shard":
            began = min(began, ended - sum(row.facts.get("s", {}).get(stage, 0.0) for stage in PAINTING))

    report = dub(path, Config(), work, executor="ray" if executor == "ray" else "inline", on_row=on_row)
    assert {film.code for film in report.all_films} == {"ok"}, [film.message for film in report.all_films]
    print(ended - began)


def main() -> None:
    """Print films an hour, and their ratio."""
    films = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
    with tempfile.TemporaryDirectory(prefix="dubline-bench-") as scratch:
        folder = Path(scratch)
        frames = write_films(folder, films, seconds)
        print(f"{films} films, {frames} frames of {SIZE[0]}x{SIZE[1]}")
        alone = run(folder, "inline", 1)
        print(f"one process, 1 core: {_told(alone, films)}")
        made: dict[int, float] = {}
        for cores in (1, 2):
            ran = run(folder, "ray", cores)
            made[cores] = films * 3600 / ran.films_s
            model = frame_rate(cores, {}, alone.costs, dict.fromkeys(alone.costs, 1.0)) * 3600 * films / frames
            print(f"Ray, {cores} core(s): {_told(ran, films)}; model {model:,.0f} ({made[cores] / model:.2f})")
        print(f"2 cores over 1: {made[2] / made[1]:.2f}")


def _told(ran: Ran, films: int) -> str:
    costs = ", ".join(f"{stage} {seconds * 1000:.1f}" for stage, seconds in ran.costs.items())
    return f"{ran.films_s:.1f} s, {films * 3600 / ran.films_s:,.0f} films an hour; worker ms a frame: {costs}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        job(*sys.argv[2:])
    else:
        main()
