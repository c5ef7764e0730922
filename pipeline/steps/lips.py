"""Crops + speech -> patches, and the masks under which they are seen."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline import pictures
from pipeline.config import Config
from pipeline.job import Job
from pipeline.kept import kept_latents, kept_masks
from pipeline.recipe import Recipe
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.arrays import F32, U8
from stages.crops.types import FaceStack
from stages.errors import DubError
from stages.lips.opening import openings, strongest
from stages.lips.parsing.masks import blend_masks
from stages.lips.parsing.settings import parsing_key
from stages.lips.types import Encodes, Generator
from stages.media.node_cache import localize
from stages.settings import digest
from stages.speech.hearing import Hears, Windows, load_whisper, windows_of
from stages.speech.samples import Samples
from stages.speech.whisper import WhisperFeatures

if TYPE_CHECKING:
    from stages.lips.parsing.parser import FaceParser


class DrawLips(Step):
    """Crops + speech -> patches and masks."""

    name = "lips"

    def __init__(self, config: Config, work: str) -> None:
        super().__init__(config, work)
        self._generators: dict[str, Generator] = {}
        self._heard: dict[tuple[str, Hears], Windows] = {}  # the last dub's: a neighbouring shard hears much of it too

    @cached_property
    def parser(self) -> "FaceParser":
        """The face parser, loaded."""
        from stages.lips.parsing.parser import FaceParser  # torch only where it is needed

        settings = self.config.lips.parsing
        return FaceParser.from_settings(settings, self.weights.path(settings.weights), self.config.lips.device)

    @cached_property
    def ears(self) -> WhisperFeatures:
        """The speech encoder, loaded."""
        return load_whisper(self.config.speech.whisper, self.weights, self.config.lips.device)

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.waits and len(row.payload) > 0

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        recipe, stack = self.recipe(job), FaceStack.from_bytes(row.payload)
        generator = self._generators.get(job.generator)
        if generator is None:
            generator = self._generators[job.generator] = recipe.spec.load(self.weights)
        drawn = self._draw(job, recipe, generator, stack)
        masks = self._masks(job, recipe, stack) if recipe.parsed else None
        scores = openings(stack.pixels, drawn, stack.crop_landmarks)
        # Counted from the shard's beginning: another film may have the same shard at another place.
        found = strongest(stack.frames - row.start, scores, pictures.MOMENTS, pictures.APART)
        patches = replace(stack, pixels=drawn, masks=masks)
        if not recipe.enhanced:
            patches = replace(patches, context=None, context_boxes=None)
        # A parser that kept masks have spared is not loaded for its notes.
        parser = self.__dict__.get("parser")
        notes = [*row.facts.get("notes", []), *generator.notes, *(parser.notes if parser and recipe.parsed else [])]
        row = row.with_facts(openings=found, **({"notes": notes} if notes else {}))
        yield replace(row, payload=patches.to_bytes())

    def _draw(self, job: Job, recipe: Recipe, generator: Generator, stack: FaceStack) -> U8:
        """uint8 [m, px, px, 3] BGR."""
        speech: F32 = self._windows(job.speech_key, recipe.spec.hears).at(
            self.timeline(job).times[stack.frames] + recipe.spec.speech_shift_s
        )
        landmarks = stack.crop_landmarks
        if job.kept and isinstance(generator, Encodes):
            seen = hashlib.sha256(stack.pixels.tobytes()).hexdigest()
            url = self.work.kept(job.video_key, digest("latents", recipe.spec.key(self.weights), seen))
            latents = kept_latents(
                url, len(stack.pixels), lambda: generator.encode(stack.pixels), lambda: not generator.notes
            )
            drawn = generator.generate(stack.pixels, speech, landmarks, latents)
        else:
            drawn = generator.generate(stack.pixels, speech, landmarks)
        if drawn.dtype != np.uint8 or drawn.shape != stack.pixels.shape:
            told = f"{drawn.dtype}{list(drawn.shape)} instead of uint8{list(stack.pixels.shape)}"
            raise DubError("internal", f"generator {job.generator} gave back {told}")
        return drawn

    def _windows(self, speech_key: str, hears: Hears) -> Windows:
        windows = self._heard.get((speech_key, hears))
        if windows is None:
            samples = Samples.open(localize(self.work.speech(speech_key, ".npy")))
            windows = windows_of(hears, samples, self.config.speech, None if hears == "mel" else self.ears)
            self._heard.clear()
            self._heard[speech_key, hears] = windows
        return windows

    def _masks(self, job: Job, recipe: Recipe, stack: FaceStack) -> U8:
        """uint8 [m, MASK_PX, MASK_PX] on the grid of the boxes."""
        settings, mode = self.config.lips.parsing, recipe.mask
        context, places = stack.context, stack.context_boxes
        assert context is not None
        assert places is not None
        assert mode != "landmarks"

        def make() -> U8:
            return blend_masks(self.parser.classes(context), places, stack.boxes, mode, settings)

        if not job.kept:
            return make()
        seen = hashlib.sha256(b"".join(a.tobytes() for a in (context, places, stack.boxes))).hexdigest()
        key = digest("masks", parsing_key(settings, mode, self.config.lips.device, self.weights), seen)
        return kept_masks(self.work.kept(job.video_key, key), len(stack.boxes), make)
