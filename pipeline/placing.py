"""Where a film is delivered when its named container cannot hold all of it (`mux.container: auto`)."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.film import Film
from pipeline.job import Job
from stages.errors import DubError
from stages.mux.settings import MuxSettings
from stages.mux.tracks import delivered_as


def named_files(films: Iterable[Film]) -> set[str]:
    """Every file that rows name: none of them may be written in place of another."""
    return {
        url
        for film in films
        for url in (film.output, film.video, film.audio, film.background, film.spans)
        if url
        if isinstance(url, str)
    }


def mkv_taken(film: Film, named: set[str]) -> bool:
    """Whether a row names the .mkv that this film would be delivered as."""
    return film.suffix != ".mkv" and f"{film.output[: -len(film.suffix)]}.mkv" in named


def place(job: Job, video: Path, settings: MuxSettings) -> Job:
    """The job with its output where it is really delivered, and a note when that is not where its row says.

    Raises DubError `bad_row` when another row, or this one, names that file.
    """
    if job.range is not None:  # a sample has no tracks but its dub
        return job
    output, notes = delivered_as(video, job.film.output, settings)
    if output == job.film.output:
        return job
    if job.mkv_taken:
        raise DubError("bad_row", f"{output} is named by a row of the manifest already, but {notes[0]}; rename one")
    return job.model_copy(update={"film": job.film.model_copy(update={"output": output}), "notes": tuple(notes)})
