"""A run of a cluster that is not there, event by event: films through the real pools and the real rule of run-ahead.

Checks `cluster.scaling`, which only divides: here films are split, wait for their last cell and their last segment,
shards queue, and workers stand idle at the beginning and at the end.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.ahead import FilmsUnderWay
from pipeline.pools import NEEDS, Pool
from pipeline.rows import PAINTING, Row

_TASKS_AT_ONCE = 8  # films split or muxed side by side (pipeline.flow)


@dataclass(frozen=True)
class Film:
    """What every film of the run is like."""

    frames: int
    cells: int
    shards: int
    split_s: float = 10.0
    mux_s: float = 20.0


@dataclass
class _Stage:
    name: str
    workers: int
    cores: float
    """Of one busy worker."""
    seconds: float
    """For one row."""
    waiting: deque[int] = field(default_factory=deque)
    """Numbers of the films whose rows wait."""
    busy: int = 0


def simulate(films: int, film: Film, pools: Mapping[str, Pool], costs: Mapping[str, float], cores: float) -> float:
    """Films per hour between the first and the last tenth of the films that come out.

    `costs`: seconds of a worker for one frame, by stage; `cores`: that workers share.
    """
    stages = list(_stages(film, pools, costs))
    by_name = {stage.name: stage for stage in stages}
    by_name["split"].waiting.extend(range(films))
    gate = FilmsUnderWay(16, sum(pool.max_size for pool in pools.values()))
    left = {"faces": [film.cells] * films, "composite": [film.shards] * films}
    order = [stage.name for stage in stages]
    free, now, begun = cores, 0.0, 0
    events: list[tuple[float, int, str, int]] = []
    done: list[float] = []

    def start() -> None:
        """Give rows to workers, the end of the graph first."""
        nonlocal free, begun
        for stage in reversed(stages):
            while stage.waiting and stage.busy < stage.workers and free >= stage.cores:
                if stage.name == "split":
                    waiting = sum(len(other.waiting) for other in stages if other is not stage)
                    if not gate.may_begin(begun, waiting, idle=False):
                        break
                    begun += 1
                number = stage.waiting.popleft()
                stage.busy, free = stage.busy + 1, free - stage.cores
                heapq.heappush(events, (now + stage.seconds, len(done), stage.name, number))

    def land(name: str, number: int) -> None:
        """Send a row on that a worker has finished."""
        if name == "mux":
            done.append(now)
            gate.add(Row("film", str(number), "", code="ok"))
            return
        if name in left:
            left[name][number] -= 1
            if left[name][number]:
                return
        following = order[order.index(name) + 1]
        # Where a film fans out, all its rows come at once.
        rows = {"split": film.cells, "faces": film.shards}.get(name, 1)
        by_name[following].waiting.extend([number] * rows)

    start()
    while events:
        now, _, name, number = heapq.heappop(events)
        by_name[name].busy, free = by_name[name].busy - 1, free + by_name[name].cores
        land(name, number)
        start()
    first, last = films // 10, films - films // 10 - 1
    return (last - first) / (done[last] - done[first]) * 3600


def _stages(film: Film, pools: Mapping[str, Pool], costs: Mapping[str, float]) -> Iterator[_Stage]:
    yield _Stage("split", _TASKS_AT_ONCE, 0.0, film.split_s)
    yield _Stage("faces", pools["faces"].max_size, NEEDS["faces"], costs["faces"] * film.frames / film.cells)
    for name in PAINTING:
        if name in costs:
            cores = 1.0 if pools[name].gpus else NEEDS[name]
            yield _Stage(name, pools[name].max_size, cores, costs[name] * film.frames / film.shards)
    yield _Stage("mux", _TASKS_AT_ONCE, 0.0, film.mux_s)
