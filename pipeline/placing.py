"""Where a film is delivered when its named container cannot hold all of it (`mux.container: auto`)."""

from collections import Counter
from collections.abc import Iterable

from pipeline.film import Film
from pipeline.job import Job
from stages.errors import DubError
from stages.media.ranges import MediaSource
from stages.mux.settings import MuxSettings
from stages.mux.tracks import delivered_as


def named_files(films: Iterable[Film]) -> set[str]:
    """Every file that rows name: none of them may be written in place of another."""
    return {
        url
        for film in films
        for url in (film.output, film.video, film.audio, film.background, film.spans)
        if isinstance(url, str) and url
    }


def mkv_taken(films: Iterable[Film]) -> set[str]:
    """Ids of the films whose .mkv another row of the manifest names, or would be delivered as too.

    `films`: all of the manifest, also those that a run leaves out.
    """
    films = list(films)
    named = named_files(films)
    others = {film.id: f"{film.output[: -len(film.suffix)]}.mkv" for film in films if film.suffix != ".mkv"}
    wanted = Counter(others.values())
    return {film for film, mkv in others.items() if mkv in named or wanted[mkv] > 1}


def place(job: Job, video: MediaSource, settings: MuxSettings) -> Job:
    """The job with its output where it is really delivered, and a note when that is not where its row says.

    Raises DubError `bad_row` when another row, or this one, names that file.
    """
    if job.range is not None:  # a sample has no tracks but its dub
        return job
    output, notes = delivered_as(video, job.film.output, settings)
    if output == job.film.output:
        return job
    if job.mkv_taken:
        raise DubError(
            "bad_row",
            f"{output} is named by a row of the manifest, or where another one may go, but {notes[0]}; rename one",
        )
    return job.model_copy(update={"film": job.film.model_copy(update={"output": output}), "notes": tuple(notes)})
