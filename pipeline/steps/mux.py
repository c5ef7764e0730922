"""A film whose segments are all there -> the film."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.job import Job
from pipeline.ledger import read_json, write_json
from pipeline.roots import Roots
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.errors import DubError
from stages.media import storage
from stages.media.encode import check_encodable
from stages.mux.mux import Dub, mux_film


class MuxFilm(Step):
    """A film whose segments are all there -> the film."""

    name = "mux"

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        yield row if row.kind == "film" else replace(row, ready=False, code="ok")
        if row.kind != "shard" or not row.ready:
            return
        if not self.work.claim(job.film_key, "mux", job.run, row.key):
            return
        plan = read_json(self.work.film(job.film_key, "plan.json"))
        if plan is None:
            raise DubError("internal", f"{job.film.id}: its plan is gone from the work folder")
        film = job.film
        Roots(self.config.run.roots).check_film(film)
        segments = [storage.localize(self.work.segment(job.video_key, shard["key"])) for shard in plan["shards"]]
        # From here on a file at the output is ours, even if the driver dies before the film is marked as done.
        write_json(self.work.begun(job.film_key, film.output), {"output": film.output})
        dub = Dub(storage.localize(job.dub), job.dub_track, film.language, film.audio_longer == "trim")
        made = mux_film(segments, self.timeline(job), storage.localize(job.video), dub, film.output, self.config.mux)
        done = {
            "code": "ok" if plan["painted"] else "no_face",
            "output": film.output,
            "identity": storage.identity(film.output),
            "bytes": made.size,
            "notes": [*self._reshaped(job), *made.notes],
            "frames": plan["frames"],
            "painted": plan["painted"],
            "shots": plan["shots"],
            "shards": len(plan["shards"]),
        }
        write_json(self.work.done(job.film_key, film.output), done)
        yield Row(kind="film", film=row.film, job=row.job, code=str(done["code"]), facts=done)

    def _reshaped(self, job: Job) -> list[str]:
        """What the encoder asked of the picture."""
        video = storage.localize(job.video)
        return check_encodable(video, self.index(job).picture, self.config.encode, job.film.suffix)
