"""The null run's steps, which say of every row on which machine each stage worked, and take their time over it."""

import time
from collections.abc import Iterator
from typing import Final

import ray

from pipeline.rows import Row
from pipeline.steps.base import Step
from pipeline.steps.passthrough import PassThrough
from tests.bench import null

_SECONDS: Final = {"crops": 0.5}
"""Rows queue up for it, so that its pool grows."""


class _Placed(Step):
    def __call__(self, row: Row) -> Iterator[Row]:
        """The rows as they are, the own one with `on`: stage -> id of the machine."""
        time.sleep(_SECONDS.get(self.name, 0.0))
        own, *others = super().__call__(row)
        yield own.with_facts(on={**row.facts.get("on", {}), self.name: ray.get_runtime_context().get_node_id()})
        yield from others


class Split(_Placed, null.NullSplit):
    pass


class Faces(_Placed, null.NullFaces):
    pass


class Cast(_Placed, null.NullCast):
    pass


class Crops(_Placed, null.NullCrops):
    pass


class Lips(_Placed, null.NullLips):
    pass


class Composite(_Placed, null.NullComposite):
    pass


class Mux(_Placed, null.NullMux):
    pass


STEPS: Final = (Split, Faces, Cast, Crops, Lips, Composite, PassThrough, Mux)
