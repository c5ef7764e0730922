"""What the stages of a run cost, kept beside its report: `rates.json` sizes the pools of the next run.

Seconds of one worker for one frame, by stage, from the rows' own timings. They hold for the same work with the same
networks on the same devices; another picture size costs every stage on the CPU about as much more.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.config import Config
from pipeline.ledger import WorkFolder, read_json, write_json
from pipeline.recipe import Recipe
from pipeline.rows import PAINTING, Row
from stages.media import storage

_ENOUGH: Final = 200  # frames: with fewer the start of workers and their first, slow calls weigh too much
_LOOKS_BACK: Final = 30  # runs: what is older was another machine's or another version's, more likely than not


@dataclass(frozen=True)
class Measured:
    """What an earlier run saw."""

    run: str
    stages: Mapping[str, float]
    """Worker seconds for one frame of a film; frames without a face, which cost some stages nothing, are counted."""


@dataclass
class Rates:
    """Adds up what the rows of a run took."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Of workers, by stage."""
    frames: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """That a stage worked on, or passed by because nothing is painted in them."""

    def add(self, row: Row) -> None:
        """One row of the flow. What was there already, or failed, tells nothing."""
        told, facts = row.facts.get("s", {}), row.facts
        if row.failed or facts.get("kept") or facts.get("copied"):
            return
        if row.kind == "cell" and facts.get("cache_hit") is False:
            self._add("faces", told, row.end - row.start)
        elif row.kind == "shard" and "frames" in facts and (not facts.get("painted") or "lips" in told):
            for stage in PAINTING:
                self._add(stage, told, facts["frames"])

    def _add(self, stage: str, told: Mapping[str, float], frames: int) -> None:
        self.seconds[stage] += told.get(stage, 0.0)
        self.frames[stage] += frames

    @property
    def stages(self) -> dict[str, float]:
        """Worker seconds of one frame, by stage; without those that saw too few to tell."""
        return {
            stage: round(self.seconds[stage] / frames, 6)
            for stage, frames in self.frames.items()
            if frames >= _ENOUGH and self.seconds[stage] > 0
        }


def conditions(recipes: Sequence[Recipe], config: Config) -> dict[str, Any]:
    """What rates depend on, as far as the driver knows. `config`: with its devices settled."""
    landmarks = config.crops.landmarks
    return {
        "recipes": [[recipe.name, recipe.mask, recipe.enhanced] for recipe in recipes],
        "devices": {"crops": landmarks.device, "lips": config.lips.device, "enhance": config.enhance.device},
        "faces": [config.faces.detector, config.faces.stride],
        "landmarks": [landmarks.provider, landmarks.stride],
        "composite": [config.composite.blend, config.composite.threads],
        "encode": [config.encode.codec, config.encode.preset, config.encode.render, config.encode.threads],
    }


def write_rates(work: WorkFolder, run: str, rates: Rates, under: Mapping[str, Any]) -> None:
    """Keep what a run saw, unless that is nothing."""
    if not rates.stages:
        return
    write_json(work.run(run, "rates.json"), {"conditions": under, "stages": rates.stages})


def last_rates(work: WorkFolder, under: Mapping[str, Any]) -> Measured | None:
    """What the last run under the same conditions saw; None where there is none in the work folder."""
    for run in list(reversed(storage.names(work.runs)))[:_LOOKS_BACK]:
        told = read_json(work.run(run, "rates.json"), "conditions", "stages")
        if told is None or told["conditions"] != under:
            continue
        stages = told["stages"]
        if isinstance(stages, dict) and stages and all(isinstance(s, float) and 0 < s < 3600 for s in stages.values()):
            return Measured(run, stages)
    return None
