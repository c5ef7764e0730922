"""What a run would do, from headers, packets and the first frame: nothing is written."""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from pipeline.background import check_film_background
from pipeline.config import Config
from pipeline.estimate import Room, film_room, picture_bytes
from pipeline.film import Film
from pipeline.job import Job
from pipeline.length import lay_timeline
from pipeline.licences import check_licences, weights_in_use
from pipeline.manifest import read_manifest
from pipeline.placing import mkv_taken, place
from pipeline.recipe import drawn_with, recipe_of
from pipeline.spans import read_spans
from pipeline.steps.base import film_cells
from stages.cast.cast import check_box
from stages.errors import DubError
from stages.media import storage
from stages.media.decode import check_supported, first_frame
from stages.media.encode import check_encodable, encoder_for
from stages.media.gops import find_gops
from stages.media.index import index_video
from stages.media.node_cache import localize
from stages.media.open import open_media
from stages.media.seam import plan_seam
from stages.media.still import is_still, write_still
from stages.media.timeline import Timeline
from stages.mux.containers import check_deliverable
from stages.speech.samples import RATE
from stages.speech.track import choose_track, stated_length_s
from stages.split.cut import cut_ranges
from stages.urls import without_secrets
from stages.weights import REGISTRY, Weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedFilm:
    """One row of the manifest and the work it means."""

    id: str
    frames: int = 0
    length_s: float | None = 0.0
    """None: as long as a dub whose length is not known yet."""
    picture: str = ""
    cells: int = 0
    shards: int = 0
    problem: str = ""
    output: str = ""
    room: Room = field(default_factory=Room)
    """What it takes, estimated."""

    def columns(self) -> tuple[str, ...]:
        """For a table, of a problem its code."""
        return (
            self.id,
            str(self.frames),
            "the dub's" if self.length_s is None else f"{self.length_s:.2f} s",
            self.picture,
            str(self.cells),
            str(self.shards),
            self.problem.partition(":")[0],
        )


def plan_films(manifest: str, config: Config, work: str = "work") -> Iterator[PlannedFilm]:
    """Every row of a manifest in its turn.

    Weights that are not on this machine are warned of, and no problem of any film: where it is run they may be.
    Raises ManifestError when it cannot be read, PreflightError when licences of weights keep it from being run.
    """
    read = read_manifest(manifest, config.run.roots)
    weights = Weights(config.weights_dir)
    absent = [spec for spec in weights_in_use(read.films, config) if not weights.has(spec)]
    names = " ".join(spec for spec in absent if spec in REGISTRY)
    if names:
        _log.warning("WARNING: this machine lacks weights; to run from here: dubline weights fetch %s", names)
    files = ", ".join(without_secrets(spec) for spec in absent if spec not in REGISTRY)
    if files:
        _log.warning("WARNING: this machine lacks weights that the config names: %s", files)
    if config.run.commercial:
        check_licences(read.films, config)
    for problem in read.refused:
        yield PlannedFilm(problem.id or f"line {problem.line}", problem=f"bad_row: {problem}")
    taken = mkv_taken(read.films)
    for film in read.films:
        try:
            yield _planned(film, config, work, film.id in taken)
        except DubError as error:
            yield PlannedFilm(film.id, problem=f"{error.code}: {error}")
        except MemoryError:
            yield PlannedFilm(film.id, problem=f"oom: not enough memory here to look at {film.video}")


def _planned(film: Film, config: Config, work: str, taken: bool) -> PlannedFilm:
    dub_s = _dub_s(film, config)
    read_spans(film)
    with tempfile.TemporaryDirectory(prefix="dubline-plan-") as scratch:
        source = video = localize(film.video)
        if is_still(film.video):
            storage.identity(film.video)
            video = Path(scratch) / "still.mp4"
            write_still(source, video, config.media.still_rate, config.media.limits)
        index = index_video(str(video), config.media.limits)
        check_supported(source, index, first_frame(video, index, config.media))
        source_bytes = picture_bytes(video, index)
        film = place(Job(film=film, run="", generator="", mkv_taken=taken), video, config.mux).film
        encoder = encoder_for(index.picture.codec, config.encode, film.suffix)
        if config.encode.render == "smart":
            plan_seam(source, index, find_gops(video, index, config.media.limits), encoder, config.encode.crf)
    picture = index.picture
    if film.box is not None:
        check_box(film.box, picture.upright.size)
    check_encodable(source, picture, config.encode, film.suffix)
    check_deliverable(film.output, encoder, config.mux)
    timeline = Timeline.of(index)
    if dub_s is not None:
        timeline = lay_timeline(film, index, round(dub_s * RATE), config.media.limits.max_frames)
    check_film_background(film, timeline, config.media.limits)
    recipe = recipe_of(*drawn_with(film, config), config)
    shards = cut_ranges(len(timeline), timeline.keyframes, timeline.times, config.split.shard_s, recipe.longest_shard)
    return PlannedFilm(
        id=film.id,
        frames=len(timeline),
        length_s=timeline.duration_s if dub_s is not None or not _follows_the_dub(film) else None,
        picture=f"{picture.width}x{picture.height} {picture.codec} {picture.pix_fmt}",
        cells=0 if film.box is not None else len(film_cells(timeline, config)),
        shards=len(shards),
        output=film.output,
        room=film_room(film, timeline, source_bytes, config, work),
    )


def _dub_s(film: Film, config: Config) -> Fraction | None:
    """The dub's length as its file states it; None for one that does not, and for a text that nobody has spoken yet."""
    if film.audio is None:
        return None
    storage.identity(film.audio)
    with open_media(localize(film.audio), config.media.limits) as container:
        return stated_length_s(container, choose_track(container, film.audio, film.audio_track))


def _follows_the_dub(film: Film) -> bool:
    return is_still(film.video) or film.audio_shorter == "trim" or film.audio_longer in ("freeze", "pingpong")
