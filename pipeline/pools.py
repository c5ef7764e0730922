"""How many workers each stage gets, and whether the job can run here at all.

Ray Data's own operators (repartition, reads) ask for one whole CPU each; pools that pin all of them leave the job
waiting for 30 minutes without a word (reference ray.md 3.4). So one CPU is always kept free.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NEEDS = {"faces": 1.0, "crops": 1.0, "lips": 2.0, "composite": 2.0}
"""CPUs one worker of a stage really uses, measured on 1080p: where there are enough, this is what it reserves."""
FREE_CPUS = 1.0
"""Kept for Ray Data's own operators and the short tasks (split, cast, mux)."""
TASK_CPUS = 0.25
"""What a split, cast or mux task reserves."""


class PreflightError(Exception):
    """The cluster cannot run the job; the message says why and what to do."""


@dataclass(frozen=True)
class Pool:
    """One stage's actors."""

    cpus: float
    """Logical CPUs of one actor."""
    gpus: float
    """GPUs of one actor."""
    min_size: int
    max_size: int


def plan_pools(cpus: float, gpus: float, workers: int | None, lips_on_gpu: bool) -> Mapping[str, Pool]:
    """Pool sizes for a cluster of `cpus` and `gpus`; `workers` fixes the CPU pools' size.

    On few CPUs the workers share them: each reserves a fraction. Raises PreflightError when even one worker a
    stage and the CPU kept free do not fit, or a GPU is asked for and there is none.
    """
    if lips_on_gpu and gpus < 1:
        raise PreflightError(
            "lips.wav2lip.device is cuda, but the cluster has no GPU: set it to cpu, or join a GPU machine to it"
        )
    usable = cpus - FREE_CPUS
    if usable < 1:
        raise PreflightError(
            f"the cluster has {cpus:g} CPU(s); Ray Data needs 2 (one for its own operators): "
            "add CPUs, or run with --executor inline"
        )
    at_least = workers or 1
    share = min(1.0, usable / (at_least * sum(NEEDS.values())))
    pools = {}
    for stage, need in NEEDS.items():
        # Floor to hundredths: the sum must stay below what is there.
        reserved = max(0.01, int(need * share * 100) / 100)
        most = workers or max(1, int(usable // need))
        pools[stage] = Pool(reserved, 0.0, at_least, most)
    if lips_on_gpu:
        pools["lips"] = Pool(min(1.0, pools["lips"].cpus), 1.0, 1, max(1, int(gpus)))
    reserved_in_all = sum(pool.cpus * pool.min_size for pool in pools.values())
    if reserved_in_all > usable + 1e-6:
        raise PreflightError(
            f"{at_least} worker(s) a stage need {reserved_in_all:.1f} CPUs beside the one kept free, and the cluster "
            f"has {cpus:g}: lower run.workers"
        )
    return pools
