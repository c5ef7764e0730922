"""Film -> cells still without faces; the dub decoded or spoken once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline import keys
from pipeline.background import check_film_background
from pipeline.job import Job
from pipeline.ledger import cell_name, read_json, write_json
from pipeline.placing import place
from pipeline.roots import Roots
from pipeline.rows import Row
from pipeline.spans import read_spans
from pipeline.steps.base import Step, film_cells, load_index
from stages.errors import DubError
from stages.media import storage
from stages.media.decode import check_supported, first_frame
from stages.media.encode import check_encodable, encoder_for
from stages.media.index import VideoIndex, index_video
from stages.media.node_cache import localize
from stages.media.ranges import read_from
from stages.media.seam import plan_seam
from stages.media.still import is_still, write_still
from stages.mux.containers import check_deliverable
from stages.speech.track import decode_dub
from stages.speech.tts import speak


def _identity_of(url: str) -> str:
    return storage.identity(url) if storage.exists(url) else ""


class Split(Step):
    """Film -> its cells still without faces; the dub decoded or spoken once."""

    name = "split"
    whole_film = True

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.kind == "film"

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        film = job.film
        Roots(self.config.run.roots).check_film(film)
        job = self._see(job)
        index = self._index(job.video, job.video_key)
        video = read_from(job.video)
        check_supported(video, index, first_frame(video, index, self.config.media))
        job = place(job, video, self.config.mux)
        film = job.film
        Roots(self.config.run.roots).check_film(film)
        check_encodable(video, index.picture, self.config.encode, film.suffix)
        encoder = encoder_for(index.picture.codec, self.config.encode, film.suffix)
        check_deliverable(film.output, encoder, self.config.mux)
        job = self._hear(job.model_copy(update={"spans": read_spans(film)}))
        job = job.model_copy(update={"notes": (*job.notes, *self._heard(job))})
        timeline = self.timeline(job)
        check_film_background(film, timeline, self.config.media.limits)
        if self.config.encode.render != "full" and not timeline.excerpt:
            gops = self.gops(job)  # all of the film is read for it, and here is where it was indexed
            if self.config.encode.render == "smart":
                plan_seam(video, index, gops, encoder, self.config.encode.crf)
        job = job.model_copy(update={"film_key": keys.film_key(job, self.config, self.weights)})
        # Written by every run that has the film: what `clean` tells the last use by.
        write_json(self.work.used(job.film_key), {"video": job.video_key, "speech": job.speech_key})
        kept = self._kept(job)
        if kept is None:
            storage.check_writable(film.output)
            holder = self.lease(job).take()
            if holder:
                message = f"{film.id}: another run is at work on {film.output}: {holder}"
                yield replace(row, job=job.model_dump_json(), code="held", message=message, stage=self.name)
                return
            kept = self._kept(job)  # it may have been delivered before the lease was free
            if kept is not None:
                self.lease(job).give_back()
        if kept is not None:
            yield replace(row, job=job.model_dump_json(), code=kept["code"]).with_facts(**kept, kept=True)
            return
        if storage.exists(film.output) and not (self.config.run.overwrite or self._ours(job)):
            self.lease(job).give_back()
            raise DubError(
                "bad_row",
                f"{film.output} exists, and not from this film with these settings: remove it, or pass --overwrite",
            )
        out = replace(row, job=job.model_dump_json(), kind="cell")
        cells = film_cells(timeline, self.config) if film.box is None else []
        missing = self._missing(cells, job.video_key) if cells else []
        facts = {"frames": len(timeline), "cells": len(cells), "cells_kept": len(cells) - len(missing)}
        yield replace(row, job=out.job).with_facts(**facts, notes=job.notes)
        if not missing:
            yield replace(out, start=0, end=len(index), count=len(cells), ready=True)
        for start, end in missing:
            yield replace(out, start=start, end=end, count=len(cells))

    def _kept(self, job: Job) -> dict[str, Any] | None:
        """What is told of the film's delivery, when it is at its output and need not be made again."""
        output = job.film.output
        done: dict[str, Any] | None = read_json(self.work.done(job.film_key, output), "code", "identity")
        if done is None or (job.again and done["code"] == "ok_passthrough"):
            return None
        return done if done["identity"] == _identity_of(output) else None

    def _ours(self, job: Job) -> bool:
        """Whether what is at the output may be replaced: a film of ours, or what one that was killed left there."""
        output = job.film.output
        if not storage.exists(self.work.begun(job.film_key, output)):
            return False
        delivered = read_json(self.work.done(job.film_key, output), "code", "identity") is not None
        return not delivered or self.work.delivered(output, storage.identity(output))

    def _see(self, job: Job) -> Job:
        """Name the film that is read: the row's, or one frame made of its picture, unless it is there."""
        media, url = self.config.media, job.film.video
        video_key = keys.video_key(url, media)
        if not is_still(url):
            return job.model_copy(update={"video": url, "video_key": video_key})
        made = self.work.still(video_key)
        if not storage.exists(made):
            with storage.publishing(made, ".mp4") as partial:
                write_still(localize(url), partial, media.still_rate, media.limits)
        return job.model_copy(update={"video": made, "video_key": video_key})

    def _index(self, url: str, video_key: str) -> VideoIndex:
        kept = self.work.index(video_key)
        try:
            return load_index(kept)
        except (FileNotFoundError, ValueError):  # not there, or not one of ours
            storage.write_bytes(kept, index_video(url, self.config.media.limits).to_bytes())
            return load_index(kept)

    def _hear(self, job: Job) -> Job:
        """Decode or speak the dub, unless it is there."""
        film = job.film
        speech_key = keys.speech_key(film, self.config.speech)
        samples = self.work.speech(speech_key, ".npy")
        facts_url = self.work.speech(speech_key, ".json")
        sound = film.audio or self.work.speech(speech_key, ".wav")
        facts = read_json(facts_url, "samples", "track")
        if facts is None:
            if film.audio is None:
                assert film.text is not None
                speak(film.text, film.language, film.voice, sound, self.config.speech)
            dub = decode_dub(localize(sound), samples, film.audio_track, self.config.speech, self.config.media.limits)
            facts = {"samples": dub.samples, "track": dub.track, "replaced": dub.replaced, "damaged": dub.damaged}
            write_json(facts_url, facts)
        heard = {"dub": sound, "dub_samples": facts["samples"], "dub_track": facts["track"]}
        return job.model_copy(update={"speech_key": speech_key, **heard})

    def _heard(self, job: Job) -> list[str]:
        """What a reader of the report must know of the dub."""
        facts = read_json(self.work.speech(job.speech_key, ".json")) or {}
        told = {
            "damaged": "damaged packets of the dub are silent",
            "replaced": "samples of the dub were no numbers",
        }
        notes = [f"{facts[name]} {what}" for name, what in told.items() if facts.get(name)]
        if job.film.text is not None and job.film.language is None and job.film.voice is None:
            notes.append(f"the text is spoken in {self.config.speech.language!r}: the row has no language")
        return notes

    def _missing(self, cells: list[tuple[int, int]], video_key: str) -> list[tuple[int, int]]:
        there = set(storage.names(self.work.cells(video_key)))
        key = keys.faces_key(self.config, self.weights)
        return [(start, end) for start, end in cells if cell_name(start, end, key) not in there]
