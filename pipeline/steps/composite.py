"""Shard + patches -> segment file and marker."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from pipeline.job import Job
from pipeline.ledger import write_json
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.composite.composite import Composite
from stages.crops.types import FaceStack
from stages.errors import DubError
from stages.media import storage
from stages.media.ranges import read_from


class PaintSegment(Step):
    """Shard + patches -> segment and marker. The segment that lands last makes its film ready for the mux."""

    name = "composite"

    @cached_property
    def stage(self) -> Composite:
        """The stage, its threads set."""
        return Composite(self.config.composite, self.config.encode, self.config.media)

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.waits

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        marker = self.marker(job, row.key)
        if marker is None:
            marker = self._make(row, job)
        yield replace(row.with_facts(frames=marker["frames"]), payload=b"", ready=self.landed(job), code="ok")

    def _make(self, row: Row, job: Job) -> dict[str, Any]:
        if row.facts["painted"] and not row.payload:
            # Crops saw a marker that is gone by now: the key promises a painted segment, so none is made without one.
            raise DubError("internal", f"{row.film}: the work folder was cleaned during the run; run it again")
        return self.write(row, job, row.key, FaceStack.from_bytes(row.payload) if row.payload else None)

    def write(self, row: Row, job: Job, key: str, patches: FaceStack | None) -> dict[str, int]:
        """Make the segment of a row's frames and its marker, which is written last."""
        video = read_from(job.video)
        with storage.publishing(self.work.segment(job.video_key, key), ".mp4") as partial:
            made = self.stage(
                video, self.timeline(job), row.start, row.end, patches, partial, job.film.suffix, self.seam(job)
            )
        marker = {"frames": made.frames, "painted": made.painted, "start": row.start, "end": row.end}
        if patches is not None:
            marker["openings"] = row.facts.get("openings", [])
        write_json(self.work.marker(job.video_key, key), marker)
        return marker
