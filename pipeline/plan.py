"""What a run would do, from headers, packets and the first frame: nothing is written."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.film import Film
from pipeline.manifest import read_manifest
from pipeline.steps.base import film_cells, longest_shard
from stages.errors import DubError
from stages.media import storage
from stages.media.decode import check_supported, first_frame
from stages.media.encode import check_encodable, encoder_for
from stages.media.index import index_video
from stages.media.open import open_media
from stages.media.timeline import Timeline
from stages.mux.tracks import check_deliverable
from stages.speech.track import choose_track
from stages.split.cut import cut_ranges


@dataclass(frozen=True)
class PlannedFilm:
    """One row of the manifest and the work it means."""

    id: str
    frames: int = 0
    length_s: float = 0.0
    picture: str = ""
    cells: int = 0
    shards: int = 0
    problem: str = ""

    def columns(self) -> tuple[str, ...]:
        """For a table."""
        return (
            self.id,
            str(self.frames),
            f"{self.length_s:.2f} s",
            self.picture,
            str(self.cells),
            str(self.shards),
            self.problem,
        )


def plan_films(manifest: str, config: Config) -> Iterator[PlannedFilm]:
    """Every row of a manifest in its turn. Raises ManifestError when it cannot be read."""
    read = read_manifest(manifest, config.run.roots)
    for problem in read.problems:
        yield PlannedFilm(problem.id or f"line {problem.line}", problem=f"bad_row: {problem}")
    for film in read.films:
        try:
            yield _planned(film, config)
        except DubError as error:
            yield PlannedFilm(film.id, problem=f"{error.code}: {error}")
        except MemoryError:
            yield PlannedFilm(film.id, problem=f"oom: not enough memory here to look at {film.video}")


def _planned(film: Film, config: Config) -> PlannedFilm:
    if film.audio is not None:
        storage.identity(film.audio)
        with open_media(storage.localize(film.audio), config.media.limits) as container:
            choose_track(container, film.audio, film.audio_track)
    index = index_video(film.video, config.media.limits)
    picture = index.picture
    video = storage.localize(film.video)
    check_supported(video, index, first_frame(video, index, config.media))
    check_encodable(video, picture, config.encode, film.suffix)
    check_deliverable(film.output, encoder_for(picture.codec, config.encode, film.suffix), config.mux)
    longest = longest_shard(film.generator or config.lips.generator)
    shards = cut_ranges(len(index), index.keyframes, index.times, config.split.shard_s, longest)
    return PlannedFilm(
        id=film.id,
        frames=len(index),
        length_s=index.duration_s,
        picture=f"{picture.width}x{picture.height} {picture.codec} {picture.pix_fmt}",
        cells=0 if film.box is not None else len(film_cells(Timeline.of(index), config)),
        shards=len(shards),
    )
