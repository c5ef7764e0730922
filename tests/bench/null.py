"""A run without media: the real graph, guard, ledger of crashes, fan-ins and report round steps that do nothing.

What is left is what the driver does for its rows, for manifests of any size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.job import Job
from pipeline.rows import Row
from pipeline.steps.base import Step
from pipeline.steps.cast import MakeCast
from pipeline.steps.composite import PaintSegment
from pipeline.steps.crops import CutCrops
from pipeline.steps.faces import FindFaces
from pipeline.steps.lips import DrawLips
from pipeline.steps.mux import MuxFilm
from pipeline.steps.passthrough import PassThrough
from pipeline.steps.split import Split
from stages.media import storage

FRAMES = 250
"""Of a shard: 10 s at 25 frames/s."""


def shape(film: str) -> tuple[int, int]:
    """Cells and shards of a film, as its id says them: 00017-2x12."""
    cells, _, shards = film.rpartition("-")[2].partition("x")
    return int(cells), int(shards)


class _Null(Step):
    """Says that films are as long as they are, without one."""

    def index(self, job: Job) -> Any:
        return _Index(shape(job.film.id)[1] * FRAMES)

    def last(self, row: Row, what: str) -> bool:
        """Whether all of a film's cells or shards are there, now that this one is."""
        folder = storage.join(self.work.root, "null", row.film, what)
        storage.write_bytes(storage.join(folder, str(row.start)), b"")
        return len(storage.names(folder)) == row.count


class _Index:
    def __init__(self, frames: int) -> None:
        self._frames, self.duration_s = frames, frames / 25

    def __len__(self) -> int:
        return self._frames


class NullSplit(_Null, Split):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        told = replace(row, job=job.model_copy(update={"film_key": f"null-{row.film}"}).model_dump_json())
        storage.write_bytes(storage.join(self.work.root, "null", row.film, "begun"), b"")
        cells, shards = shape(row.film)
        yield told.with_facts(frames=shards * FRAMES, cells=cells, cells_kept=0)
        for number in range(cells):
            start = number * shards * FRAMES // cells
            yield replace(told, kind="cell", start=start, end=start + FRAMES, count=cells)


class NullFaces(_Null, FindFaces):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        landed = self.last(row, "cells")
        yield replace(row.with_facts(cache_hit=False), ready=landed, code="" if landed else "ok")


class NullCast(_Null, MakeCast):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        yield replace(row, code="ok", ready=False)
        if self.work.claim(job.film_key, "cast", job.turn, f"{row.start}"):
            shards = shape(row.film)[1]
            for number in range(shards):
                start = number * FRAMES
                shard = replace(row, kind="shard", start=start, end=start + FRAMES, count=shards, key=f"{start}")
                yield replace(shard, ready=False, facts={"painted": FRAMES})


class NullCrops(_Null, CutCrops):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        yield replace(row, payload=b"pixels")


class NullLips(_Null, DrawLips):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        yield row


class NullComposite(_Null, PaintSegment):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        landed = self.last(row, "shards")
        yield replace(row.with_facts(frames=FRAMES), payload=b"", ready=landed, code="ok")


class NullMux(_Null, MuxFilm):
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        yield replace(row, ready=False)
        if self.work.claim(job.film_key, "mux", job.turn, f"{row.start}"):
            storage.write_bytes(storage.join(self.work.root, "null", row.film, "done"), b"")
            yield Row("film", row.film, row.job, code="ok", facts={"shards": shape(row.film)[1]})


STEPS: tuple[type[Step], ...] = (
    NullSplit,
    NullFaces,
    NullCast,
    NullCrops,
    NullLips,
    NullComposite,
    PassThrough,
    NullMux,
)


def write_manifest(path: Path, films: int, cells: int, shards: int) -> Path:
    """Rows of films that nobody opens."""
    row = '{{"id": "{n:05d}-{c}x{s}", "video": "{n}.mp4", "audio": "{n}.wav", "output": "out/{n}.mp4"}}\n'
    with path.open("w") as file:
        file.writelines(row.format(n=n, c=cells, s=shards) for n in range(films))
    return path


def count(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """How many films of a work folder have each of the files."""
    return {name: sum(1 for _ in folder.glob(f"null/*/{name}")) for name in names}
