"""Cell -> its faces in the cache."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from pipeline.job import Job
from pipeline.ledger import cell_name
from pipeline.rows import Row
from pipeline.steps.base import Step, film_cells
from stages.faces.faces import Faces
from stages.media import storage
from stages.media.decode import read_frames
from stages.media.ranges import read_from


class FindFaces(Step):
    """Cell -> its faces in the cache. The cell that lands last makes its film ready for the cast."""

    name = "faces"

    @cached_property
    def stage(self) -> Faces:
        """The detector, loaded."""
        return Faces(self.config.faces, self.weights, self.config.media.untagged_matrix)

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.kind == "cell" and not row.ready

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        index = self.index(job)
        url = self.work.cell(job.video_key, row.start, row.end, self.stage.key)
        hit = storage.exists(url)
        if not hit:
            video = read_from(job.video)
            found = self.stage(row.start, row.end, read_frames(video, index, row.start, row.end, self.config.media))
            storage.write_bytes(url, found.to_bytes())
            row = row.with_facts(faces=len(found.frames), looked=len(found.looked))
        there = set(storage.names(self.work.cells(job.video_key)))
        cells = film_cells(self.timeline(job), self.config)
        landed = all(cell_name(start, end, self.stage.key) in there for start, end in cells)
        yield replace(row.with_facts(cache_hit=hit), ready=landed, code="" if landed else "ok")
