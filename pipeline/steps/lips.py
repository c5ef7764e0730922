"""Crops + speech -> patches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline import pictures
from pipeline.config import Config
from pipeline.job import Job
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.crops.types import FaceStack
from stages.lips.lips import build_generator, crop_landmarks, redraw
from stages.lips.opening import openings, strongest
from stages.lips.types import Generator
from stages.media import storage
from stages.speech.mel import MelWindows
from stages.speech.samples import Samples


class DrawLips(Step):
    """Crops + speech -> patches."""

    name = "lips"

    def __init__(self, config: Config, work: str) -> None:
        super().__init__(config, work)
        self._generators: dict[str, Generator] = {}

    def takes(self, row: Row) -> bool:  # noqa: D102
        return row.waits and len(row.payload) > 0

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        generator = self._generators.get(job.generator)
        if generator is None:
            generator = self._generators[job.generator] = build_generator(job.generator, self.config.lips, self.weights)
        stack = FaceStack.from_bytes(row.payload)
        samples = Samples.open(storage.localize(self.work.speech(job.speech_key, ".npy")))
        windows = MelWindows(samples, self.config.speech.mel_padding)
        times = self.timeline(job).times[stack.frames]
        patches = redraw(generator, stack, windows.at(times + generator.speech_shift_s))
        scores = openings(stack.pixels, patches.pixels, crop_landmarks(stack))
        # Counted from the shard's beginning: another film may have the same shard at another place.
        found = strongest(stack.frames - row.start, scores, pictures.MOMENTS, pictures.APART)
        facts: dict[str, Any] = {"openings": found}
        notes = list(getattr(generator, "notes", []))
        yield replace(row, payload=patches.to_bytes()).with_facts(**facts, **({"notes": notes} if notes else {}))
