"""A shard that gave up -> a segment of its source frames, so that its film can ship."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.job import Job
from pipeline.ledger import write_json
from pipeline.quarantine import SWALLOWED
from pipeline.rows import PAINTING, Row
from pipeline.steps.composite import PaintSegment
from stages.media import storage


def gave_up(row: Row) -> bool:
    """Whether a row is a shard that could not be painted and can be passed through."""
    return row.kind == "shard" and row.code in SWALLOWED and row.stage in PAINTING


class PassThrough(PaintSegment):
    """A shard that gave up -> a segment of its source frames.

    The segment has the key of an unpainted one, and is shared like it. That it stands in for a painted one is said
    in the film, for this run only: every other run tries to paint the shard first.
    """

    name = "passthrough"

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return gave_up(row) and Job.model_validate_json(row.job).pass_through

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        segment = next(shard["unpainted"] for shard in self.plan(job)["shards"] if shard["key"] == row.key)
        if self.marker(job, segment) is None:
            self.write(row, job, segment, None)
        told = {"start": row.start, "end": row.end, "code": row.code, "message": row.message, "segment": segment}
        write_json(storage.join(self.work.passed(job.film_key, job.run), f"{row.key}.json"), told)
        yield replace(row.with_facts(frames=row.end - row.start), code="ok_passthrough", ready=self.landed(job))
