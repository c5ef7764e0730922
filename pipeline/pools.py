"""How many workers each stage gets, and whether the job can run here at all.

Films are split, cast and muxed by tasks; pools that pin all CPUs leave those, and the job, waiting without a word
(reference ray.md 3.4). Where Ray puts an actor is its own matter, so one CPU of every machine is kept free: then one is
free wherever the actors land.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

NEEDS = {"faces": 1.0, "crops": 1.0, "lips": 2.0, "enhance": 2.0, "composite": 2.0}
"""CPUs one worker of a stage really uses, measured on 1080p: where there are enough, this is what it reserves."""
_AT_LEAST = {"faces": 2}
"""A film's shards wait for all its cells: on a small machine one worker would leave its other cores idle until then."""
OPTIONAL = ("enhance",)
"""Stages that get no workers unless a film asks for them."""
_ROOM_TO_GROW = 1.5
"""Most workers of a stage, over what its measured share would be: films differ."""
_SIDE_BY_SIDE = {"crops": 4}
"""Workers of a stage beside each other on one GPU: those that decode and cut out on a core of their own, 65 frames/s at
1080p, and only look through a network now and then."""
TASK_CPUS = 0.245
"""What a split, cast or mux task reserves. No pool does: Ray Data would fuse the task with its actors (ray.md 3.3)."""
_MOST_TASKS = 8
_FIRST_WORKERS = 0.75
"""Of the CPUs there are, what the first workers reserve at most. Ray Data sets CPUs aside stage after stage: half of
all in equal parts, and one worker or task at least. Where those before the mux take all, it gets none."""


class PreflightError(Exception):
    """The cluster cannot run the job; the message says why and what to do."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    cpus: float
    gpus: float
    name: str = ""
    """Ray's name for it."""
    gpu_gib: float = 0.0
    """Memory of each of its GPUs in GiB; 0: not known."""


@dataclass(frozen=True)
class Pool:
    """One stage's actors."""

    cpus: float
    """Logical CPUs of one actor."""
    gpus: float
    """GPUs of one actor; a fraction where it shares one."""
    min_size: int
    max_size: int


def plan_pools(
    nodes: Sequence[Node],
    workers: int | None = None,
    optional: Collection[str] = (),
    on_gpu: Mapping[str, float] | None = None,
    costs: Mapping[str, float] | None = None,
) -> Mapping[str, Pool]:
    """Pool sizes for a cluster; `workers` fixes the CPU pools' size.

    `optional`: the stages of `OPTIONAL` that are wanted. `on_gpu`: the stages that run on a GPU, each with the GiB that
    one of its workers takes there. `costs`: seconds of a worker for one frame, by stage, as measured
    (`pipeline.rates`): with them no pool grows far beyond its share, else any may take all there is. On few CPUs the
    workers share them: each reserves a fraction. Raises PreflightError when even one worker a stage and the CPUs kept
    free do not fit, or a GPU is asked for and there is none.
    """
    needs = {stage: need for stage, need in NEEDS.items() if stage not in OPTIONAL or stage in optional}
    shares = share_gpus(nodes, on_gpu or {})
    spare = [max(0.0, node.cpus - 1) for node in nodes]
    usable, largest = sum(spare), max(spare, default=0.0)
    # What one machine less has room for: the workers of a lost one start again on the others, beside theirs.
    safe = usable - largest if usable - largest >= 1 else usable
    if usable < 1:
        shapes = ", ".join(f"{node.cpus:g}" for node in nodes)
        raise PreflightError(
            f"the cluster's machines have {shapes} CPU(s); one is for the tasks that split, cast and mux films, beside "
            "the workers': use a machine with 2 or more, or run with --executor inline"
        )
    at_least = {stage: workers or _AT_LEAST.get(stage, 1) for stage in needs}
    in_all = sum(need * at_least[stage] for stage, need in needs.items())
    share = min(1.0, _FIRST_WORKERS * safe / in_all, largest / max(needs.values()))
    pools = {}
    for stage, need in needs.items():
        # Floor to hundredths: the sum must stay below what is there.
        reserved = max(0.01, int(need * share * 100) / 100)
        pools[stage] = Pool(reserved, 0.0, at_least[stage], workers or max(at_least[stage], int(usable // need)))
    if costs and not workers:
        balanced = balance(usable, {stage: most for stage, (_, most) in shares.items()}, costs, needs)
        for stage, most in balanced.items():
            size = max(at_least[stage], min(pools[stage].max_size, math.ceil(_ROOM_TO_GROW * most)))
            pools[stage] = replace(pools[stage], max_size=size)
    for stage, (gpus, most) in shares.items():
        side_by_side = _SIDE_BY_SIDE.get(stage, 1)
        share = math.floor(gpus / side_by_side * 100) / 100 if side_by_side > 1 else gpus
        # Who has more than half of every GPU begins on all of them: smaller shares would fill one up before it comes.
        least = most if 0.5 < gpus < 1 else 1
        # Who only draws has its place wherever its GPU is: by the time that machine is there, or is back, workers on
        # CPUs may have taken its last core, and the rest would wait for a GPU that waits for them.
        cpus = min(1.0, pools[stage].cpus) if side_by_side > 1 else 0.0
        pools[stage] = Pool(cpus, share, least, most * side_by_side)
    in_all = sum(pool.cpus * pool.min_size for pool in pools.values())
    if in_all > usable + 1e-6:
        raise PreflightError(
            f"{workers or 1} worker(s) a stage need {in_all:.1f} CPUs, and the cluster has {usable:g} beside one kept "
            "free on each machine: lower run.workers"
        )
    return pools


def tasks_at_once(cpus: float) -> int:
    """Films that are split, cast or muxed side by side: more than there are cores are only more processes to start."""
    return max(2, min(_MOST_TASKS, int(cpus)))


def balance(
    cpus: float, gpu_workers: Mapping[str, int], costs: Mapping[str, float], needs: Mapping[str, float] = NEEDS
) -> dict[str, float]:
    """How many workers of each stage on CPUs keep up with each other, and with those on GPUs.

    `gpu_workers`: workers of the stages on GPUs; each still takes a core. `costs`: as of `plan_pools`; stages without
    one, of which nothing is known, are left out.
    """
    rate = frame_rate(cpus, gpu_workers, costs, needs)
    return {stage: rate * costs[stage] for stage in needs if stage in costs and stage not in gpu_workers}


def frame_rate(
    cpus: float, gpu_workers: Mapping[str, int], costs: Mapping[str, float], needs: Mapping[str, float] = NEEDS
) -> float:
    """Frames/s that the cores and the GPUs of a cluster can make at best: the lesser of what either can."""
    on_cpu = sum(costs[stage] * need for stage, need in needs.items() if stage in costs and stage not in gpu_workers)
    on_cpu += sum(costs[stage] for stage in gpu_workers if stage in costs)
    limits = [workers / costs[stage] for stage, workers in gpu_workers.items() if costs.get(stage)]
    return min([*limits, cpus / on_cpu]) if on_cpu else 0.0


def share_gpus(nodes: Sequence[Node], on_gpu: Mapping[str, float]) -> dict[str, tuple[float, int]]:
    """(GPUs of one worker, most workers) of each stage that runs on GPUs.

    Stages whose memory fits side by side share every GPU. Where it does not, or is not known, each has GPUs of its own;
    with fewer GPUs than stages they share all the same, and take smaller batches when memory runs out. Raises
    PreflightError when there is no GPU.
    """
    if not on_gpu:
        return {}
    gpus = int(sum(node.gpus for node in nodes))
    if gpus < 1:
        raise PreflightError(
            f"{' and '.join(on_gpu)} would run on a GPU, but the cluster has none: set the device to cpu, or join a "
            "GPU machine to it"
        )
    smallest = min(node.gpu_gib for node in nodes if node.gpus)
    whole = sum(on_gpu.values())
    if len(on_gpu) > 1 and (whole <= smallest or gpus < len(on_gpu)):
        return {stage: (share, gpus) for stage, share in _filling(on_gpu).items()}
    own, rest = divmod(gpus, len(on_gpu))
    return {stage: (1.0, own + (number < rest)) for number, stage in enumerate(on_gpu)}


def _filling(on_gpu: Mapping[str, float]) -> dict[str, float]:
    """Shares of one GPU, in hundredths, by memory. They fill it, the largest more than half of it: Ray packs, and would
    put two workers of one stage onto the first GPU and none onto the next."""
    largest = max(on_gpu, key=lambda stage: on_gpu[stage])
    others = {stage: gib for stage, gib in on_gpu.items() if stage != largest}
    whole = sum(on_gpu.values())
    room = min(0.49, sum(others.values()) / whole)
    rest = {s: max(0.01, math.floor(gib / sum(others.values()) * room * 100) / 100) for s, gib in others.items()}
    return {stage: rest.get(stage, round(1 - sum(rest.values()), 2)) for stage in on_gpu}
