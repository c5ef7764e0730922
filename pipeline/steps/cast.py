"""A film whose cells are all there -> its shards still without a segment."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline import keys
from pipeline.job import Job
from pipeline.ledger import write_json
from pipeline.quarantine import put_away_in
from pipeline.rows import Row
from pipeline.steps.base import Step, film_cells
from pipeline.steps.copies import Copies, choose_copies
from stages.cast.cast import cast_film
from stages.cast.plan import Shard, plan_shards
from stages.cast.spans import opacity
from stages.cast.types import Cast
from stages.errors import DubError
from stages.faces.types import CellFaces
from stages.media import storage
from stages.media.node_cache import localize
from stages.media.ranges import read_from
from stages.media.timeline import Timeline
from stages.speech.hearing import Windows, windows_of
from stages.speech.samples import Samples


class MakeCast(Step):
    """A film whose cells are all there -> its shards still without a segment."""

    name = "cast"
    whole_film = True

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.kind == "cell" and row.ready

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        yield replace(row, ready=False, code="ok")
        if not self.work.claim(job.film_key, "cast", job.own_turn, str(row.start)):
            return
        timeline = self.timeline(job)
        cast = self._cast(job, timeline)
        storage.write_bytes(self.work.film(job.film_key, "cast.npz"), cast.to_bytes())
        copies = self._copies(job, timeline, cast)
        longest = self.recipe(job).longest_shard
        shards = plan_shards(
            cast, timeline.keyframes, timeline.times, self.config.split.shard_s, longest, copies.ranges
        )
        windows = self._windows(job)
        shard_keys = keys.ShardKeys(job, self.config, self.weights, timeline, cast, windows, copies.seam)
        named = [(shard, shard_keys.of(shard)) for shard in shards]
        unpainted = [shard_keys.unpainted(shard) for shard in shards]
        plan = {
            "frames": len(timeline),
            "painted": int(cast.painted.sum()),
            "shots": len(np.unique(cast.shots)),
            "shards": [
                {
                    "start": s.start,
                    "end": s.end,
                    "painted": s.painted,
                    "copied": s.copied,
                    "key": key,
                    "unpainted": other,
                }
                for (s, key), other in zip(named, unpainted, strict=True)
            ],
            "seam": copies.seam and copies.seam.model_dump(),
            "notes": [copies.note] if copies.note else [],
        }
        write_json(self.work.film(job.film_key, "plan.json"), plan)
        yield from self._missing(row, job, named)

    def _copies(self, job: Job, timeline: Timeline, cast: Cast) -> Copies:
        if self.config.encode.render == "full" or timeline.excerpt:
            return Copies()
        return choose_copies(read_from(job.video), job, timeline, self.gops(job), cast.painted, self.config)

    def _cast(self, job: Job, timeline: Timeline) -> Cast:
        index = timeline.index
        found = iter(()) if job.film.box is not None else self._found(job, timeline)
        cast = cast_film(found, index.times, timeline.picture.upright.size, self.config.cast, job.film.box)
        return cast.at(timeline.source, opacity(timeline.times, job.spans, self.config.cast.span_fade_s))

    def _found(self, job: Job, timeline: Timeline) -> Iterator[CellFaces]:
        """The faces of the source's cells, as if there were none in what the film does not show."""
        key = keys.faces_key(self.config, self.weights)
        cells, count = film_cells(timeline, self.config), len(timeline.index)
        if cells[0][0] > 0:
            yield self._not_shown(0, cells[0][0])
        for start, end in cells:
            url = self.work.cell(job.video_key, start, end, key)
            try:
                cell = CellFaces.from_bytes(storage.read_bytes(url))
                if (cell.start, cell.end) != (start, end):
                    raise ValueError(f"the frames [{cell.start}, {cell.end})")
            except ValueError as error:
                storage.remove(url)
                raise DubError("internal", f"{url} was damaged and is removed; run the same command again") from error
            yield cell
        if cells[-1][1] < count:
            yield self._not_shown(cells[-1][1], count)

    def _not_shown(self, start: int, end: int) -> CellFaces:
        return CellFaces.nothing(start, end, self.config.faces.stride, self.config.faces.cut_threshold)

    def _windows(self, job: Job) -> Windows:
        samples = Samples.open(localize(self.work.speech(job.speech_key, ".npy")))
        return windows_of(self.recipe(job).spec.hears, samples, self.config.speech)

    def _missing(self, row: Row, job: Job, named: list[tuple[Shard, str]]) -> Iterator[Row]:
        made, passed = self.made(job), self.passed(job)
        base = Row(kind="shard", film=row.film, job=row.job, count=len(named))
        for shard, key in named:
            own = replace(base, start=shard.start, end=shard.end, key=key, facts={"painted": shard.painted})
            gave_up = put_away_in(self.work, job, key) if job.pass_through and key not in made else None
            if shard.copied:
                own = replace(own.with_facts(frames=shard.end - shard.start, copied=True), code="ok")
            elif key in made or key in passed:
                code = "ok" if key in made else "ok_passthrough"
                own = replace(own.with_facts(frames=shard.end - shard.start, kept=True), code=code)
            elif gave_up is not None:
                own = replace(own, code=gave_up["code"], message=gave_up["message"], stage=gave_up["stage"])
            yield own
        if all(shard.copied or key in made or key in passed for shard, key in named):
            yield replace(base, key=named[0][1], ready=True)
