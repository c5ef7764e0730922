"""How large the machines are, how many, and what of them Ray is told: the arithmetic behind every manifest.

`docs/deploy.md` has the table of these numbers.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from cluster.deploy.options import DeployOptions, WorkerOptions
from pipeline.config import Config
from pipeline.feeding import feed, gflop
from pipeline.film import Film
from pipeline.licences import weights_in_use
from pipeline.overrides import ConfigError
from pipeline.pools import NEEDS
from pipeline.recipe import MAX_PAYLOAD, Recipe, recipe_of
from stages.weights import REGISTRY

_GIB: Final = 2**30
WORKER_GIB: Final = 2.0
"""Of one CPU worker: 1.5 GiB measured with every stage in one process on 1920x1080 (docs/speed.md), a quarter on top
(ray.md 3.1). A worker reserves a core or two, so that there is at most one a core."""
GPU_HOST_GIB: Final = 4.0
"""Host memory of a worker on a GPU besides its weights: torch, CUDA's context, a batch on its way."""
RAY_GIB: Final = 1.0
"""Raylet, agents, idle workers of one machine."""
PAYLOADS: Final = 3
"""Rows of `MAX_PAYLOAD` that a worker has in the object store: two waiting for it, one on its way out (ray.md 3.5)."""
STORE_SHARE: Final = 0.5
"""Of the object store Ray Data uses half (ray.md 1)."""
CACHE_SHARE: Final = 0.6
"""Of the scratch disk for copies of remote files; the rest is for films being joined and what Ray spills."""
MOST_CPU: Final = 16
"""CPU machines at most where nobody says how many."""
ALONE_CPU: Final = 4
"""CPU machines where there is no GPU to feed and nobody says how many."""


@dataclass(frozen=True)
class Group:
    """A group of like machines, and what Ray is told of one of them."""

    name: Literal["cpu", "gpu"]
    cpus: int
    """Cores there are."""
    ray_cpus: int
    """Cores Ray may give away: on GPU machines fewer, so that those that feed the GPUs stay theirs."""
    gpus: int
    memory_gib: int
    """With the object store, which is memory."""
    store_gib: float
    scratch_gib: int
    least: int
    most: int
    options: WorkerOptions

    @property
    def store_bytes(self) -> int:
        """Of the object store."""
        return int(self.store_gib * _GIB)


def groups(options: DeployOptions, config: Config, stands: bool = False) -> list[Group]:
    """The groups of workers that there are, CPU machines first. `stands`: the cluster is there before and after a run.

    Raises ConfigError where a machine has too little memory for its workers, or too few cores.
    """
    recipe, cluster = default_recipe(config), options.cluster
    gpu, cpu = cluster.gpu, cluster.cpu
    most_gpu = gpu.most
    fed = _ray_cpus(gpu) * most_gpu
    most_cpu = (
        _most_cpu(cpu, fed, feeding_cores(recipe, config) * gpu.gpus * most_gpu) if cpu.most is None else cpu.most
    )
    made = []
    if most_cpu:
        made.append(_group("cpu", cpu, cpu.least or 0, most_cpu, recipe, config))
    if most_gpu:
        made.append(_group("gpu", gpu, int(stands) if gpu.least is None else gpu.least, most_gpu, recipe, config))
    if not made:
        raise ConfigError("cluster: cpu.most and gpu.most are 0: there would be no machine to work")
    return made


def default_recipe(config: Config) -> Recipe:
    """What most films of a night are dubbed with."""
    return recipe_of(config.lips.generator, config.enhance.model, config)


def feeding_cores(recipe: Recipe, config: Config) -> float:
    """CPU cores that feed one GPU (pipeline/feeding.py); 0 where the generator tells nothing or needs no GPU."""
    return feed(recipe, config).cores if gflop(recipe) else 0.0


def weight_names(options: DeployOptions, config: Config) -> list[str]:
    """Names of the registry's files that machines fetch before they begin; none where a folder or volume has them.

    Raises ConfigError for one that nobody publishes and that has no URL: it would be missed at night.
    """
    names = options.weights.names
    if options.weights.folder or options.weights.claim:
        return []
    if names is None:
        film = Film(id="any", video="any.mp4", audio="any.wav", output="any-dubbed.mp4")
        names = [spec for spec in weights_in_use([film], config) if spec in REGISTRY]
        if config.faces.detector == "auto":  # which looks for it, and takes Haar without
            names.insert(0, "yunet")
    names = list(dict.fromkeys([*names, *options.weights.urls]))
    nowhere = [name for name in names if name not in options.weights.urls and REGISTRY[name].url is None]
    if nowhere:
        raise ConfigError(
            f"weights: {', '.join(nowhere)}: no public place has them; say where to fetch them from "
            f"(--set weights.urls.{nowhere[0]}=https://...), or what holds them (weights.folder, weights.claim)"
        )
    return names


def cache_gb(scratch_gib: int) -> int:
    """$DUBLINE_CACHE_GB of a machine."""
    return int(scratch_gib * _GIB / 1e9 * CACHE_SHARE)


def _most_cpu(cpu: WorkerOptions, fed: float, wanted: float) -> int:
    if not wanted:
        return ALONE_CPU
    return max(1, cpu.least or 0, min(MOST_CPU, math.ceil((wanted - fed) / (cpu.cpus - 1))))


def _ray_cpus(machine: WorkerOptions) -> int:
    # A worker of lips on a GPU reserves no core (`plan_pools`) and uses what `NEEDS` says.
    kept = math.ceil(machine.gpus * NEEDS["lips"])
    return max(2, machine.cpus - kept)


def _group(
    name: Literal["cpu", "gpu"], options: WorkerOptions, least: int, most: int, recipe: Recipe, config: Config
) -> Group:
    ray_cpus = _ray_cpus(options)
    store = math.ceil(ray_cpus * PAYLOADS * MAX_PAYLOAD / STORE_SHARE / _GIB * 10) / 10
    hosted = options.gpus * (GPU_HOST_GIB + _weights_gib(recipe, config))
    needed = math.ceil(ray_cpus * WORKER_GIB + hosted + store + RAY_GIB)
    memory = options.memory_gib if options.memory_gib is not None else needed
    if memory < needed:
        raise ConfigError(
            f"cluster.{name}.memory_gib: {memory} GiB are too few for {options.cpus} cores and {options.gpus} GPUs, "
            f"whose workers take {needed}; leave it empty, or take fewer cores"
        )
    if least > most:
        raise ConfigError(f"cluster.{name}: least ({least}) is more than most ({most})")
    return Group(name, options.cpus, ray_cpus, options.gpus, memory, store, options.scratch_gib, least, most, options)


def _weights_gib(recipe: Recipe, config: Config) -> float:
    """What a worker reads into memory before it goes to its GPU."""
    return sum(REGISTRY[name].size or 0 for name in recipe.weights(config) if name in REGISTRY) / _GIB
