"""Shard + patches -> segment file and marker."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from pipeline.job import Job
from pipeline.ledger import read_json, write_json
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.composite.composite import Composite
from stages.crops.types import FaceStack
from stages.errors import DubError
from stages.media import storage


class PaintSegment(Step):
    """Shard + patches -> segment and marker. The segment that lands last makes its film ready for the mux."""

    name = "composite"

    @cached_property
    def stage(self) -> Composite:
        """The stage, its threads set."""
        return Composite(self.config.composite, self.config.encode, self.config.media)

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if row.kind != "shard" or row.ready:
            yield replace(row, payload=b"")
            return
        marker = read_json(self.work.marker(job.video_key, row.key), "frames")
        if marker is None:
            marker = self._make(row, job)
        plan = read_json(self.work.film(job.film_key, "plan.json"))
        there = set(storage.names(self.work.segments(job.video_key)))
        landed = plan is not None and all(f"{shard['key']}.json" in there for shard in plan["shards"])
        yield replace(row.with_facts(frames=marker["frames"]), payload=b"", ready=landed, code="ok")

    def _make(self, row: Row, job: Job) -> dict[str, int]:
        if row.facts["painted"] and not row.payload:
            # Crops saw a marker that is gone by now: the key promises a painted segment, so none is made without one.
            raise DubError("internal", f"{row.film}: the work folder was cleaned during the run; run it again")
        video = storage.localize(job.video)
        patches = FaceStack.from_bytes(row.payload) if row.payload else None
        with storage.publishing(self.work.segment(job.video_key, row.key), ".mp4") as partial:
            made = self.stage(video, self.timeline(job), row.start, row.end, patches, partial, job.film.suffix)
        marker = {"frames": made.frames, "painted": made.painted, "start": row.start, "end": row.end}
        write_json(self.work.marker(job.video_key, row.key), marker)
        return marker
