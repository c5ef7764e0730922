"""A film whose segments are all there -> the film."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.job import Job
from pipeline.ledger import read_json, write_json
from pipeline.pictures import choose, cut, painted_ranges
from pipeline.quarantine import release
from pipeline.roots import Roots
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.arrays import F64
from stages.composite.composite import Composite
from stages.errors import DubError
from stages.media import storage
from stages.media.encode import check_encodable, check_segment
from stages.media.index import VideoIndex
from stages.media.node_cache import localize
from stages.media.ranges import MediaSource, read_from
from stages.mux.copied import Copied, Piece, Source
from stages.mux.mux import Dub, mux_film
from stages.mux.smart import Smart

_PASSED = ("segment", "start", "end", "code", "message")


class MuxFilm(Step):
    """A film whose segments are all there -> the film."""

    name = "mux"
    whole_film = True

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.kind == "shard" and row.ready

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        yield replace(row, ready=False, code=row.code or "ok")
        if not self.work.claim(job.film_key, "mux", job.own_turn, row.key):
            return
        plan = self.plan(job)
        film = job.film
        Roots(self.config.run.roots).check_film(film)
        passed = self._passed_through(job, [shard["key"] for shard in plan["shards"]])
        pieces = [self._piece(job, shard, passed) for shard in plan["shards"]]
        holder = self.lease(job).take()  # the split's own, unless this run seemed dead in between
        if holder:
            message = f"{film.id}: another run is at work on {film.output}: {holder}"
            yield Row("film", row.film, row.job, code="held", message=message, stage=self.name)
            return
        # From here on a file at the output is ours, even if the driver dies before the film is marked as done.
        write_json(self.work.begun(job.film_key, film.output), {"output": film.output})
        storage.remove(self.work.done(job.film_key, film.output))
        heard = read_json(self.work.speech(job.speech_key, ".json")) or {}
        dub = Dub(
            path=localize(job.dub),
            track=job.dub_track,
            language=film.language,
            trim=film.audio_longer == "trim",
            spoken=film.audio is None,
            damaged=bool(heard.get("damaged")),
            not_finite=bool(heard.get("replaced")),
            background=None if film.background is None else localize(film.background),
        )
        timeline, video = self.timeline(job), read_from(job.video)
        pictures: list[dict[str, Any]] = []

        def look(finished: Path, grid: VideoIndex) -> None:
            pictures.extend(self._pictures(job, plan, passed, video, finished, grid))

        smart = self._smart(job) if plan["seam"] is not None else None
        try:
            made = mux_film(pieces, timeline, video, dub, film.output, self.config.mux, smart, look=look)
        except DubError as error:
            self._remove_damaged(job, plan, passed, error)
            raise
        code = "ok" if plan["painted"] else "no_face"
        done = {
            "code": "ok_passthrough" if passed else code,
            "output": film.output,
            "identity": storage.identity(film.output),
            "bytes": made.size,
            "notes": [*job.notes, *self._reshaped(job), *plan["notes"], *made.notes],
            "sound": made.sound,
            "loudness": made.loudness,
            "frames": plan["frames"],
            "painted": plan["painted"] - sum(shard["painted"] for shard in plan["shards"] if shard["key"] in passed),
            "copied": made.copied,
            "shots": plan["shots"],
            "shards": len(plan["shards"]),
            "passed_through": self._ranges(job, list(passed.values())),
            **self._painted(job, passed.values()),
            "pictures": pictures,
        }
        write_json(self.work.done(job.film_key, film.output), done)
        release(self.work, job, but=passed)
        self.lease(job).give_back()
        yield Row(kind="film", film=row.film, job=row.job, code=str(done["code"]), facts=done)

    def _piece(self, job: Job, shard: Mapping[str, Any], passed: Mapping[str, Mapping[str, Any]]) -> Piece:
        """A shard's segment, or what is copied in its place."""
        if shard["copied"]:
            return Copied(shard["start"], shard["end"])
        return localize(self.work.segment(job.video_key, _segment_key(shard, passed)))

    def _remove_damaged(
        self, job: Job, plan: Mapping[str, Any], passed: Mapping[str, Mapping[str, Any]], cause: DubError
    ) -> None:
        """Markers of segments that are not what they were when they were made: else no run would make them again.

        Raises DubError `internal` when there are any.
        """
        timeline, damaged = self.timeline(job), []
        for shard in plan["shards"]:
            if shard["copied"]:
                continue
            key = _segment_key(shard, passed)
            try:
                segment = localize(self.work.segment(job.video_key, key))
                check_segment(segment, timeline.pts[shard["start"] : shard["end"]], timeline.time_base)
            except DubError as error:
                if error.code in ("unreachable", "disk_full"):  # says nothing of the segment
                    continue
                damaged.append(key)
                storage.remove(self.work.marker(job.video_key, key))
        if damaged:
            told = f"{len(damaged)} segments in {self.work.segments(job.video_key)} were damaged ({damaged[0]} first)"
            raise DubError(
                "internal", f"{job.film.id}: {told}; run the same command again, it makes them anew"
            ) from cause

    def _smart(self, job: Job) -> Smart:
        """What copied pieces come from, and what they become when they cannot be copied after all."""
        video, timeline, seam = localize(job.video), self.timeline(job), self.seam(job)

        def encode(piece: Copied, target: Path) -> None:
            stage = Composite(self.config.composite, self.config.encode, self.config.media)
            stage(video, timeline, piece.start, piece.end, None, target, job.film.suffix, seam)

        return Smart(Source(video, self.gops(job)), encode, self.config.media)

    def _reshaped(self, job: Job) -> list[str]:
        """What the encoder asked of the picture."""
        return check_encodable(read_from(job.video), self.index(job).picture, self.config.encode, job.film.suffix)

    def _passed_through(self, job: Job, shards: list[str]) -> dict[str, Mapping[str, Any]]:
        """What this run passed through of a film, by the shards' keys; a painted segment goes before."""
        made = self.made(job)
        folder = self.work.passed(job.film_key, job.run)
        read = {key: read_json(storage.join(folder, f"{key}.json"), *_PASSED) for key in self.passed(job) - made}
        return {key: marker for key, marker in read.items() if marker is not None and key in shards}

    def _ranges(self, job: Job, passed: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The stretches of the film that are not painted because their shards failed."""
        starts, end_s = self._clock(job)
        times = [*starts.tolist(), end_s]
        return [
            {
                "start_s": round(times[marker["start"]], 3),
                "end_s": round(times[marker["end"]], 3),
                "code": marker["code"],
                "message": marker["message"],
            }
            for marker in sorted(passed, key=lambda marker: marker["start"])
        ]

    def _clock(self, job: Job) -> tuple[F64, float]:
        """When each frame comes, and when the last one goes, in seconds as a player counts them."""
        timeline = self.timeline(job)
        begins_s = float(timeline.times[0]) if timeline.excerpt else 0.0
        end_s = float(timeline.end_pts * timeline.time_base) - timeline.zero_s
        return timeline.times - begins_s, end_s - begins_s

    def _painted(self, job: Job, passed: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The film's length, and the stretches of it in which a face is painted."""
        times, end_s = self._clock(job)
        painted = self.cast(job).painted
        for marker in passed:
            painted[marker["start"] : marker["end"]] = False
        return {"length_s": round(end_s, 3), "painted_s": painted_ranges(painted, times, end_s)}

    def _pictures(
        self,
        job: Job,
        plan: dict[str, Any],
        passed: Container[str],
        video: MediaSource,
        finished: Path,
        made: VideoIndex,
    ) -> Iterator[dict[str, Any]]:
        """Cut the film's pictures into the work folder. `finished` has the frames of the output's grid."""
        times, media = self._clock(job)[0], self.config.media
        openings = []
        for shard in plan["shards"]:
            if shard["painted"] and shard["key"] not in passed:
                marker = read_json(self.work.marker(job.video_key, shard["key"])) or {}
                openings += [(shard["start"] + offset, score) for offset, score in marker.get("openings", [])]
        frames = choose(openings, times)
        boxes = self.cast(job).boxes[frames]
        shown = self.timeline(job).source[frames].tolist()
        befores, afters = cut(video, self.index(job), shown, boxes, media), cut(finished, made, frames, boxes, media)
        for frame, *pair in zip(frames, befores, afters, strict=True):
            moment: dict[str, Any] = {"time_s": round(float(times[frame]), 3)}
            for when, jpeg in zip(("before", "after"), pair, strict=True):
                name = f"picture-{frame:08d}-{when}.jpg"
                storage.write_bytes(self.work.film(job.film_key, name), jpeg)
                moment[when] = f"films/{job.film_key}/{name}"
            yield moment


def _segment_key(shard: Mapping[str, Any], passed: Mapping[str, Mapping[str, Any]]) -> str:
    """The key of the segment that stands for a shard."""
    return str(passed[shard["key"]]["segment"] if shard["key"] in passed else shard["key"])
