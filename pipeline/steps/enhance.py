"""Patches -> sharper patches, where a film asks for it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.job import Job
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.crops.types import FaceStack
from stages.enhance.enhance import enhance

if TYPE_CHECKING:
    from stages.enhance.restorer import GfpganRestorer


class EnhanceFaces(Step):
    """Patches + their surroundings -> restored patches."""

    name = "enhance"

    @cached_property
    def restorer(self) -> "GfpganRestorer":
        """The network, loaded."""
        from stages.enhance.restorer import GfpganRestorer

        return GfpganRestorer.from_settings(self.config.enhance, self.weights)

    @staticmethod
    def takes(row: Row) -> bool:  # noqa: D102
        return row.waits and len(row.payload) > 0 and Job.model_validate_json(row.job).enhance != "none"

    def run(self, row: Row, job: Job) -> Iterator[Row]:  # noqa: D102
        restored = enhance(FaceStack.from_bytes(row.payload), self.restorer, self.config.enhance)
        notes = [*row.facts.get("notes", []), *self.restorer.notes]
        yield replace(row.with_facts(**({"notes": notes} if notes else {})), payload=restored.to_bytes())
