"""A film whose cells are all there -> its shards still without a segment."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline import keys
from pipeline.job import Job
from pipeline.ledger import write_json
from pipeline.rows import Row
from pipeline.steps.base import Step, film_cells, longest_shard
from stages.cast.cast import cast_film
from stages.cast.plan import Shard, plan_shards
from stages.cast.types import Cast
from stages.errors import DubError
from stages.faces.types import CellFaces
from stages.media import storage
from stages.media.index import VideoIndex
from stages.speech.mel import MelWindows
from stages.speech.samples import Samples


class MakeCast(Step):
    """A film whose cells are all there -> its shards still without a segment."""

    name = "cast"

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if row.kind != "cell":
            yield row
            return
        yield replace(row, ready=False, code="ok")
        if not row.ready or not self.work.claim(job.film_key, "cast", job.run, str(row.start)):
            return
        index = self.index(job)
        cast = self._cast(job, index)
        storage.write_bytes(self.work.film(job.film_key, "cast.npz"), cast.to_bytes())
        shards = plan_shards(
            cast, index.keyframes, index.times, self.config.split.shard_s, longest_shard(job.generator)
        )
        shard_keys = keys.ShardKeys(job, self.config, self.weights, index, cast, self._windows(job))
        named = [(shard, shard_keys.of(shard)) for shard in shards]
        plan = {
            "frames": len(index),
            "painted": int(cast.painted.sum()),
            "shots": int(cast.shots[-1]) + 1,
            "shards": [{"start": s.start, "end": s.end, "painted": s.painted, "key": key} for s, key in named],
        }
        write_json(self.work.film(job.film_key, "plan.json"), plan)
        yield from self._missing(row, job, named)

    def _cast(self, job: Job, index: VideoIndex) -> Cast:
        size = (index.picture.width, index.picture.height)
        found = iter(()) if job.film.box is not None else self._found(job, index)
        return cast_film(found, index.times, size, self.config.cast, job.film.box)

    def _found(self, job: Job, index: VideoIndex) -> Iterator[CellFaces]:
        key = keys.faces_key(self.config, self.weights)
        for start, end in film_cells(index, self.config):
            url = self.work.cell(job.video_key, start, end, key)
            try:
                cell = CellFaces.from_bytes(storage.read_bytes(url))
                if (cell.start, cell.end) != (start, end):
                    raise ValueError(f"the frames [{cell.start}, {cell.end})")
            except ValueError as error:
                storage.remove(url)
                raise DubError("internal", f"{url} was damaged and is removed; run the same command again") from error
            yield cell

    def _windows(self, job: Job) -> MelWindows:
        samples = Samples.open(storage.localize(self.work.speech(job.speech_key, ".npy")))
        return MelWindows(samples, self.config.speech.mel_padding)

    def _missing(self, row: Row, job: Job, named: list[tuple[Shard, str]]) -> Iterator[Row]:
        there = set(storage.names(self.work.segments(job.video_key)))
        base = Row(kind="shard", film=row.film, job=row.job, count=len(named))
        missing = [key for _, key in named if f"{key}.json" not in there]
        for shard, key in named:
            own = replace(base, start=shard.start, end=shard.end, key=key, facts={"painted": shard.painted})
            if f"{key}.json" in there:
                own = replace(own.with_facts(frames=shard.end - shard.start, kept=True), code="ok")
            yield own
        if not missing:
            yield replace(base, key=named[0][1], ready=True)
