"""Shard -> + crops of the chosen face."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from pipeline import keys
from pipeline.job import Job
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.crops.crops import Crops
from stages.crops.landmarks.settings import build as build_landmarker
from stages.crops.landmarks.types import Landmarker
from stages.crops.track import LandmarkCache
from stages.media.ranges import read_from


class CutCrops(Step):
    """Shard -> + crops of the chosen face."""

    name = "crops"

    @cached_property
    def landmarker(self) -> Landmarker:
        """The landmark model, loaded."""
        return build_landmarker(self.config.crops.landmarks, self.weights)

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.waits and row.facts["painted"] > 0

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        if self.marker(job, row.key) is not None:
            yield row  # another film of this run has the same shard, and made it
            return
        stage = Crops(self.config.crops, self.config.media, self.landmarker, self.recipe(job).crop)
        cache = LandmarkCache(self.work.landmarks(job.video_key), keys.landmarks_key(self.config, self.weights))
        video = read_from(job.video)
        cut = stage(video, self.timeline(job), self.cast(job), row.start, row.end, cache)
        assert cut.stack is not None
        yield replace(row, payload=cut.stack.to_bytes()).with_facts(landmarks_located=cut.located)
