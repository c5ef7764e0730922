"""Each stage as a step of the graph: a row in, rows out, files of the work folder in between.

A step is made once per worker and called once per row. It loads what its stage needs, calls the stage, and
says where things are kept; the arithmetic is all in `stages`.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from pipeline import keys
from pipeline.config import Config
from pipeline.job import Job
from pipeline.ledger import cell_name, read_json, write_json
from pipeline.rows import Row
from pipeline.step import Step, film_cells, load_index, longest_shard
from stages.cast.cast import cast_film
from stages.cast.plan import Shard, plan_shards
from stages.cast.types import Cast
from stages.composite.composite import Composite
from stages.crops.crops import Crops
from stages.crops.landmarks.settings import build as build_landmarker
from stages.crops.landmarks.types import Landmarker
from stages.crops.track import LandmarkCache
from stages.crops.types import FaceStack
from stages.errors import DubError
from stages.faces.faces import Faces
from stages.faces.types import CellFaces
from stages.lips.lips import GENERATORS, build_generator, redraw
from stages.lips.types import Generator
from stages.media import storage
from stages.media.decode import check_supported, first_frame, read_frames
from stages.media.encode import check_encodable, encoder_for
from stages.media.index import VideoIndex, index_video
from stages.mux.mux import Dub, mux_film
from stages.mux.tracks import check_deliverable
from stages.speech.mel import MelWindows
from stages.speech.samples import RATE, Samples
from stages.speech.track import decode_dub
from stages.speech.tts import speak

_LENGTH_SLACK_S = 0.1  # a dub may outlast the picture by less than three frames of 25 fps before it is «longer»


def _identity_of(url: str) -> str:
    return storage.identity(url) if storage.exists(url) else ""


class Split(Step):
    """Film -> its cells still without faces; the dub decoded or spoken once."""

    name = "split"

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        film = job.film
        video_key = keys.video_key(film.video)
        index = self._index(film.video, video_key)
        video = storage.localize(film.video)
        check_supported(video, index, first_frame(video, index, self.config.media))
        check_encodable(video, index.picture, self.config.encode)
        check_deliverable(film.output, encoder_for(index.picture.codec, self.config.encode), self.config.mux)
        job = self._hear(job.model_copy(update={"video_key": video_key}), index)
        job = job.model_copy(update={"film_key": keys.film_key(job, self.config, self.weights)})
        done = read_json(self.work.done(job.film_key, film.output))
        if done is not None and done["identity"] == _identity_of(film.output):
            yield replace(row, job=job.model_dump_json(), code=done["code"]).with_facts(**done, kept=True)
            return
        ours = self.config.run.overwrite or storage.exists(self.work.begun(job.film_key, film.output))
        if storage.exists(film.output) and not ours:
            raise DubError(
                "bad_row",
                f"{film.output} exists, and not from this film with these settings: remove it, or pass --overwrite",
            )
        out = replace(row, job=job.model_dump_json(), kind="cell")
        cells = film_cells(index, self.config) if film.box is None else []
        missing = self._missing(cells, video_key) if cells else []
        facts = {"frames": len(index), "cells": len(cells), "cells_kept": len(cells) - len(missing)}
        yield replace(row, job=out.job).with_facts(**facts, notes=self._heard(job))
        if not missing:
            yield replace(out, start=0, end=len(index), count=len(cells), ready=True)
        for start, end in missing:
            yield replace(out, start=start, end=end, count=len(cells))

    def _index(self, url: str, video_key: str) -> VideoIndex:
        kept = self.work.index(video_key)
        try:
            return load_index(kept)
        except (FileNotFoundError, ValueError, KeyError, TypeError, EOFError):  # not there, or not one of ours
            storage.write_bytes(kept, index_video(url, self.config.media.limits).to_bytes())
            return load_index(kept)

    def _hear(self, job: Job, index: VideoIndex) -> Job:
        """Decode or speak the dub, unless it is there; check its length against the picture's."""
        film = job.film
        speech_key = keys.speech_key(film, self.config.speech)
        samples = self.work.speech(speech_key, ".npy")
        facts_url = self.work.speech(speech_key, ".json")
        sound = film.audio or self.work.speech(speech_key, ".wav")
        facts = read_json(facts_url)
        if facts is None:
            if film.audio is None:
                assert film.text is not None
                speak(film.text, film.language, film.voice, sound, self.config.speech)
            dub = decode_dub(
                storage.localize(sound), samples, film.audio_track, self.config.speech, self.config.media.limits
            )
            facts = {"samples": dub.samples, "track": dub.track, "replaced": dub.replaced, "damaged": dub.damaged}
            write_json(facts_url, facts)
        longer_s = facts["samples"] / RATE - float(index.end_pts * index.time_base - index.zero_s)
        if longer_s > _LENGTH_SLACK_S and film.audio_longer == "error":
            raise DubError(
                "audio_longer",
                f"{film.id}: the dub is {longer_s:.2f} s longer than the picture; shorten it or set audio_longer: trim",
            )
        return job.model_copy(update={"speech_key": speech_key, "dub": sound, "dub_track": facts["track"]})

    def _heard(self, job: Job) -> list[str]:
        """What a reader of the report must know of the dub."""
        facts = read_json(self.work.speech(job.speech_key, ".json")) or {}
        told = {
            "damaged": "damaged packets of the dub are silent",
            "replaced": "samples of the dub were no numbers",
        }
        return [f"{facts[name]} {what}" for name, what in told.items() if facts.get(name)]

    def _missing(self, cells: list[tuple[int, int]], video_key: str) -> list[tuple[int, int]]:
        there = set(storage.names(self.work.cells(video_key)))
        key = keys.faces_key(self.config, self.weights)
        return [(start, end) for start, end in cells if cell_name(start, end, key) not in there]


class FindFaces(Step):
    """Cell -> its faces in the cache. The cell that lands last makes its film ready for the cast."""

    name = "faces"

    @cached_property
    def stage(self) -> Faces:
        """The detector, loaded."""
        return Faces(self.config.faces, self.weights, self.config.media.untagged_matrix)

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if row.kind != "cell" or row.ready:
            yield row
            return
        index = self.index(job)
        url = self.work.cell(job.video_key, row.start, row.end, self.stage.key)
        hit = storage.exists(url)
        if not hit:
            video = storage.localize(job.film.video)
            found = self.stage(row.start, row.end, read_frames(video, index, row.start, row.end, self.config.media))
            storage.write_bytes(url, found.to_bytes())
            row = row.with_facts(faces=len(found.frames), looked=len(found.looked))
        there = set(storage.names(self.work.cells(job.video_key)))
        landed = all(cell_name(start, end, self.stage.key) in there for start, end in film_cells(index, self.config))
        yield replace(row.with_facts(cache_hit=hit), ready=landed)


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
                yield CellFaces.from_bytes(storage.read_bytes(url))
            except (ValueError, KeyError, TypeError) as error:
                storage.remove(url)
                raise DubError("internal", f"{url} was damaged and is removed; run the same command again") from error

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


class CutCrops(Step):
    """Shard -> + crops of the chosen face."""

    name = "crops"

    @cached_property
    def landmarker(self) -> Landmarker:
        """The landmark model, loaded."""
        return build_landmarker(self.config.crops.landmarks, self.weights)

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if row.kind != "shard" or row.ready or not row.facts["painted"]:
            yield row
            return
        if storage.exists(self.work.marker(job.video_key, row.key)):
            yield row  # another film of this run has the same shard, and made it
            return
        stage = Crops(self.config.crops, self.config.media, self.landmarker, GENERATORS[job.generator].crop_px)
        cache = LandmarkCache(self.work.landmarks(job.video_key), keys.landmarks_key(self.config, self.weights))
        video = storage.localize(job.film.video)
        cut = stage(video, self.index(job), self.cast(job), row.start, row.end, cache)
        assert cut.stack is not None
        yield replace(row, payload=cut.stack.to_bytes()).with_facts(landmarks_located=cut.located)


class DrawLips(Step):
    """Crops + speech -> patches."""

    name = "lips"

    def __init__(self, config: Config, work: str) -> None:
        super().__init__(config, work)
        self._generators: dict[str, Generator] = {}

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if row.kind != "shard" or not row.payload:
            yield row
            return
        generator = self._generators.get(job.generator)
        if generator is None:
            generator = self._generators[job.generator] = build_generator(job.generator, self.config.lips, self.weights)
        stack = FaceStack.from_bytes(row.payload)
        samples = Samples.open(storage.localize(self.work.speech(job.speech_key, ".npy")))
        windows = MelWindows(samples, self.config.speech.mel_padding)
        times = self.index(job).times[stack.frames]
        patches = redraw(generator, stack, windows.at(times + generator.speech_shift_s))
        notes = list(getattr(generator, "notes", []))
        yield replace(row, payload=patches.to_bytes()).with_facts(**({"notes": notes} if notes else {}))


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
        marker = read_json(self.work.marker(job.video_key, row.key))
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
        video = storage.localize(job.film.video)
        patches = FaceStack.from_bytes(row.payload) if row.payload else None
        with storage.publishing(self.work.segment(job.video_key, row.key), ".mp4") as partial:
            made = self.stage(video, self.index(job), row.start, row.end, patches, partial)
        marker = {"frames": made.frames, "painted": made.painted, "start": row.start, "end": row.end}
        write_json(self.work.marker(job.video_key, row.key), marker)
        return marker


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
        segments = [storage.localize(self.work.segment(job.video_key, shard["key"])) for shard in plan["shards"]]
        # From here on a file at the output is ours, even if the driver dies before the film is marked as done.
        write_json(self.work.begun(job.film_key, film.output), {"output": film.output})
        dub = Dub(storage.localize(job.dub), job.dub_track, film.language, film.audio_longer == "trim")
        made = mux_film(segments, self.index(job), storage.localize(film.video), dub, film.output, self.config.mux)
        done = {
            "code": "ok" if plan["painted"] else "no_face",
            "output": film.output,
            "identity": storage.identity(film.output),
            "bytes": made.size,
            "notes": made.notes,
            "frames": plan["frames"],
            "painted": plan["painted"],
            "shots": plan["shots"],
            "shards": len(plan["shards"]),
        }
        write_json(self.work.done(job.film_key, film.output), done)
        yield Row(kind="film", film=row.film, job=row.job, code=str(done["code"]), facts=done)
