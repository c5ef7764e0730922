"""How many workers each stage gets, and whether the job can run here at all.

Ray Data's own operators (repartition, reads) ask for one whole CPU each; pools that pin all of them leave the job
waiting without a word (reference ray.md 3.4). Where Ray puts an actor is its own matter, so one CPU of every machine is
kept free: then one is free wherever the actors land.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NEEDS = {"faces": 1.0, "crops": 1.0, "lips": 2.0, "composite": 2.0}
"""CPUs one worker of a stage really uses, measured on 1080p: where there are enough, this is what it reserves."""
_AT_LEAST = {"faces": 2}
"""A film's shards wait for all its cells: on a small machine one worker would leave its other cores idle until then."""
TASK_CPUS = 0.25
"""What a split, cast or mux task reserves."""


class PreflightError(Exception):
    """The cluster cannot run the job; the message says why and what to do."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Pool:
    """One stage's actors."""

    cpus: float
    """Logical CPUs of one actor."""
    gpus: float
    """GPUs of one actor."""
    min_size: int
    max_size: int


def plan_pools(nodes: Sequence[Node], workers: int | None, lips_on_gpu: bool) -> Mapping[str, Pool]:
    """Pool sizes for a cluster; `workers` fixes the CPU pools' size.

    On few CPUs the workers share them: each reserves a fraction. Raises PreflightError when even one worker a
    stage and the CPUs kept free do not fit, or a GPU is asked for and there is none.
    """
    gpus = sum(node.gpus for node in nodes)
    if lips_on_gpu and gpus < 1:
        raise PreflightError(
            "lips.wav2lip.device is cuda, but the cluster has no GPU: set it to cpu, or join a GPU machine to it"
        )
    spare = [max(0.0, node.cpus - 1) for node in nodes]
    usable, largest = sum(spare), max(spare, default=0.0)
    # What one machine less has room for: the workers of a lost one start again on the others, beside theirs.
    safe = usable - largest if usable - largest >= 1 else usable
    if usable < 1:
        shapes = ", ".join(f"{node.cpus:g}" for node in nodes)
        raise PreflightError(
            f"the cluster's machines have {shapes} CPU(s); Ray Data needs one for its own operators beside the "
            "workers': use a machine with 2 or more, or run with --executor inline"
        )
    at_least = {stage: workers or _AT_LEAST.get(stage, 1) for stage in NEEDS}
    in_all = sum(NEEDS[stage] * size for stage, size in at_least.items())
    share = min(1.0, safe / in_all, largest / max(NEEDS.values()))
    pools = {}
    for stage, need in NEEDS.items():
        # Floor to hundredths: the sum must stay below what is there.
        reserved = max(0.01, int(need * share * 100) / 100)
        pools[stage] = Pool(reserved, 0.0, at_least[stage], workers or max(at_least[stage], int(usable // need)))
    if lips_on_gpu:
        pools["lips"] = Pool(min(1.0, pools["lips"].cpus), 1.0, 1, int(gpus))
    in_all = sum(pool.cpus * pool.min_size for pool in pools.values())
    if in_all > usable + 1e-6:
        raise PreflightError(
            f"{workers or 1} worker(s) a stage need {in_all:.1f} CPUs, and the cluster has {usable:g} beside one kept "
            "free on each machine: lower run.workers"
        )
    return pools
