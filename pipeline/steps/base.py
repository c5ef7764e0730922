"""What every step of the graph shares: its config, the work folder, and the film's grid."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

from pipeline.config import Config
from pipeline.film import Film
from pipeline.job import Job
from pipeline.leases import Lease
from pipeline.ledger import WorkFolder, read_json
from pipeline.length import lay_timeline
from pipeline.recipe import Recipe, recipe_of
from pipeline.rows import Row
from stages.cast.types import Cast
from stages.errors import DubError
from stages.media import storage
from stages.media.gops import Gops, find_gops
from stages.media.index import VideoIndex
from stages.media.node_cache import localize
from stages.media.seam import Seam
from stages.media.timeline import Timeline
from stages.split.cut import cut_ranges
from stages.weights import Weights


@lru_cache(maxsize=8)
def load_index(url: str) -> VideoIndex:
    """A film's frame grid from the work folder. Raises FileNotFoundError, ValueError."""
    return VideoIndex.from_bytes(storage.read_bytes(url))


@lru_cache(maxsize=2)
def _load_cast(url: str) -> Cast:
    return Cast.from_bytes(storage.read_bytes(url))


@lru_cache(maxsize=8)
def _timeline(url: str, film: Film, dub_samples: int, max_frames: int, excerpt: tuple[float, float] | None) -> Timeline:
    return lay_timeline(film, load_index(url), dub_samples, max_frames, excerpt)


def film_cells(timeline: Timeline, config: Config) -> list[tuple[int, int]]:
    """The cells that hold the frames a film shows: fixed pieces of its source's grid, the same for every language,
    generator and shard length."""
    index = timeline.index
    first, last = int(timeline.source.min()), int(timeline.source.max())
    cells = cut_ranges(len(index), index.keyframes, index.times, config.split.cell_s, max_frames=len(index))
    return [(start, end) for start, end in cells if start <= last and end > first]


class Step(ABC):
    """What all steps share."""

    name: ClassVar[str]
    whole_film: ClassVar[bool] = False
    """Whether its work is a whole film's, whichever row it is called with: then a failure is the film's."""

    def __init__(self, config: Config, work: str) -> None:
        self.config = config
        self.work = WorkFolder(work)
        self.weights = Weights(config.weights_dir)

    @staticmethod
    @abstractmethod
    def takes(row: Row) -> bool:
        """Whether the row is work for this step; every other row goes on as it is."""

    def __call__(self, row: Row) -> Iterator[Row]:
        """The rows that go on for a row it takes; the first is the row's own, and told how long the step took."""
        began = time.perf_counter()
        own, *others = self.run(row, Job.model_validate_json(row.job))
        seconds = {**own.facts.get("s", {}), self.name: round(time.perf_counter() - began, 4)}
        yield own.with_facts(s=seconds)
        yield from others

    @abstractmethod
    def run(self, row: Row, job: Job) -> Iterator[Row]:
        """The work of one row, which comes out first. Raises DubError."""

    def lease(self, job: Job) -> Lease:
        """The right to deliver the film."""
        return Lease(self.work, job.run, job.film.output)

    def recipe(self, job: Job) -> Recipe:
        """How the film's faces are redrawn."""
        return recipe_of(job.generator, job.enhance, self.config)

    def index(self, job: Job) -> VideoIndex:
        """The source's frame grid."""
        return load_index(self.work.index(job.video_key))

    def timeline(self, job: Job) -> Timeline:
        """The output's frame grid. Raises DubError as `lay_timeline` does."""
        url = self.work.index(job.video_key)
        return _timeline(url, job.film, job.dub_samples, self.config.media.limits.max_frames, job.range)

    def gops(self, job: Job) -> Gops:
        """What of the source can be copied."""
        url = self.work.gops(job.video_key)
        try:
            return Gops.from_bytes(storage.read_bytes(url))
        except (FileNotFoundError, ValueError):  # not there, or not one of ours
            made = find_gops(localize(job.video), self.index(job), self.config.media.limits)
            storage.write_bytes(url, made.to_bytes())
            return made

    def plan(self, job: Job) -> dict[str, Any]:
        """What `MakeCast` planned for the film. Raises DubError `internal` when it is gone from the work folder."""
        plan: dict[str, Any] | None = read_json(self.work.film(job.film_key, "plan.json"), "shards")
        if plan is None:
            raise DubError("internal", f"{job.film.id}: its plan is gone from the work folder; run it again")
        return plan

    def seam(self, job: Job) -> Seam | None:
        """How the film's segments are made to stand beside copied packets; None where nothing is copied."""
        seam = self.plan(job)["seam"]
        return None if seam is None else Seam.model_validate(seam)

    def made(self, job: Job) -> set[str]:
        """Keys of the film's segments that are there, each with its marker."""
        names = set(storage.names(self.work.segments(job.video_key)))
        marked = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        return {key for key in marked if f"{key}.mp4" in names}

    def marker(self, job: Job, key: str) -> dict[str, Any] | None:
        """What is told of a finished segment; None when it has to be made."""
        told: dict[str, Any] | None = read_json(self.work.marker(job.video_key, key), "frames")
        return told if storage.exists(self.work.segment(job.video_key, key)) else None

    def passed(self, job: Job) -> set[str]:
        """Keys of the film's shards that this run has passed through."""
        if not job.pass_through:
            return set()
        return {name.removesuffix(".json") for name in storage.names(self.work.passed(job.film_key, job.run))}

    def landed(self, job: Job) -> bool:
        """Whether every shard of the film has its segment."""
        there = self.made(job) | self.passed(job)
        return all(shard["copied"] or shard["key"] in there for shard in self.plan(job)["shards"])

    def cast(self, job: Job) -> Cast:
        """Whose lips are painted, on the output's grid."""
        return _load_cast(self.work.film(job.film_key, "cast.npz"))
