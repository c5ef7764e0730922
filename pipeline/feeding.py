"""Whether the CPU cores of a cluster can feed its GPUs, and what networks cost where there is none: told at the start.

Estimates, from what a frame costs (docs/speed.md) and what chips do: they say which side waits for which, not when a
film is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.config import Config
from pipeline.pools import NEEDS, frame_rate
from pipeline.rates import Measured
from pipeline.recipe import Recipe
from stages.crops.landmarks.costs import core_ms
from stages.networks import FACE_PARSER, GFPGAN

GPU_GFLOPS: Final = 0.35 * 790e3
"""Of an H100 or H200 in bfloat16, at the 35 % that such networks reach (musetalk.md 10)."""
CORE_GFLOPS: Final = 100.0
"""Of one core with AVX-512 in float32: Wav2Lip's 7.9 GFLOP in 41 ms on two (docs/speed.md)."""
FACES_MS: Final = {"yunet": 2.0, "haar": 20.0, "sfd": 3000.0}
CUT_MS: Final = 12.0
UNTOLD_MS: Final = 5.0
"""Of a generator without a network, such as mouthwarp."""
COMPOSITE_MS: Final = {"paste": 140.0, "feather": 146.0, "seamless": 160.0}
"""ms of one core for a frame of 1080p at the default encoder settings (docs/speed.md)."""
_SLOW_S: Final = 0.5  # a frame: from here on a minute of film takes a core longer than ten


@dataclass(frozen=True)
class Feed:
    """One recipe on one GPU."""

    frames_per_s: float
    """Painted frames that the GPU draws."""
    cores: float
    """CPU cores that find, cut out, blend and encode as many at 1080p."""


def gflop(recipe: Recipe) -> float:
    """GFLOP of a painted frame in the stages that may run on a GPU; 0 where the generator does not tell."""
    return stage_gflop(recipe, "lips") + stage_gflop(recipe, "enhance") if recipe.spec.gflop else 0.0


def stage_gflop(recipe: Recipe, stage: str) -> float:
    """GFLOP of a painted frame in the networks of one stage, as far as they are known."""
    if stage == "enhance":
        return GFPGAN.gflop if recipe.enhanced else 0.0
    return recipe.spec.gflop + (FACE_PARSER.gflop if recipe.parsed else 0.0)


def core_ms_by_stage(recipe: Recipe, config: Config, on_gpu: Sequence[str]) -> dict[str, float]:
    """ms of a CPU core that a painted frame of 1080p takes in each stage that is not on a GPU, estimated."""
    ms = {
        "faces": FACES_MS.get(config.faces.detector, FACES_MS["haar"]),
        "crops": CUT_MS + core_ms(config.crops.landmarks),
        "lips": stage_gflop(recipe, "lips") / CORE_GFLOPS * 1000 or UNTOLD_MS,
        "enhance": stage_gflop(recipe, "enhance") / CORE_GFLOPS * 1000,
        "composite": COMPOSITE_MS[config.composite.blend],
    }
    return {stage: cost for stage, cost in ms.items() if cost and (stage not in on_gpu or stage == "crops")}


def feed(recipe: Recipe, config: Config) -> Feed:
    """What one GPU draws and needs."""
    frames_per_s = GPU_GFLOPS / gflop(recipe)
    ms = sum(core_ms_by_stage(recipe, config, ["lips", "enhance"]).values())
    return Feed(frames_per_s, frames_per_s * ms / 1000)


def told_measured(measured: Measured, cores: float, gpu_workers: Mapping[str, int]) -> str:
    """A line for the start of a run for which an earlier one has told what its stages cost."""
    costs = measured.stages
    ms = ", ".join(f"{stage} {seconds * 1000:,.1f}" for stage, seconds in costs.items())
    rate = frame_rate(cores, gpu_workers, costs)
    return (
        f"measured in run {measured.run}: ms of a worker a frame: {ms}; here about {rate:,.1f} frames/s at best, and "
        f"{bottleneck(cores, gpu_workers, costs)}"
    )


def bottleneck(cores: float, gpu_workers: Mapping[str, int], costs: Mapping[str, float]) -> str:
    """What a run waits for, in words."""
    rate = frame_rate(cores, gpu_workers, costs)
    held = [stage for stage, most in gpu_workers.items() if costs.get(stage) and rate * costs[stage] >= most * 0.999]
    if held:
        return f"{held[0]} on the GPUs holds the rest up: more GPUs would help, more CPU cores would not"
    stage = max((s for s in costs if s not in gpu_workers), key=lambda s: costs[s] * NEEDS.get(s, 1.0))
    waiting = "; GPUs will wait for CPUs" if gpu_workers else ""
    return f"CPU cores hold it up, {stage} takes most of them{waiting}"


def told(recipes: Iterable[Recipe], config: Config, on_gpu: Sequence[str], cores: float, gpus: float) -> list[str]:
    """Lines for the start of a run. `on_gpu`: the stages on GPUs; `cores`, `gpus`: all that there are."""
    lines = []
    for recipe in recipes:
        work = gflop(recipe)
        name = recipe.name + (" with gfpgan" if recipe.enhanced else "")
        if work and "lips" in on_gpu:
            need, there = feed(recipe, config), cores / gpus
            waits = "GPUs will wait for CPUs" if need.cores > there else "CPUs will wait for GPUs"
            lines.append(
                f"{name}: a GPU draws about {need.frames_per_s:,.0f} frames/s, and {need.cores:,.0f} CPU cores would "
                f"feed it (1080p, estimated); there are {there:,.0f} a GPU: {waits}"
            )
        seconds = sum(stage_gflop(recipe, stage) for stage in ("lips", "enhance") if stage not in on_gpu) / CORE_GFLOPS
        if seconds >= _SLOW_S:
            lines.append(
                f"{name} without a GPU: about {seconds:,.0f} s of a CPU core a frame (estimated), which is slow"
            )
        if "lips" not in on_gpu:
            ms = core_ms_by_stage(recipe, config, on_gpu)
            slowest = max(ms, key=lambda stage: ms[stage])
            lines.append(
                f"{name}: a painted frame takes about {sum(ms.values()):,.0f} ms of a CPU core (1080p, estimated), "
                f"{ms[slowest]:,.0f} of them in {slowest}, the slowest stage; {cores:g} cores paint about "
                f"{1000 * cores / sum(ms.values()):,.1f} frames/s at best"
            )
    return lines
