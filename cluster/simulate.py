"""A run of a cluster that is not there, event by event: films through the real pools and the real rule of run-ahead.

Checks `cluster.scaling`, which only divides: here films are split, wait for their last cell and their last segment,
rows travel by the block and queue, and workers stand idle at the beginning and at the end.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from pipeline.ahead import FilmsUnderWay
from pipeline.pools import NEEDS, Pool, tasks_at_once
from pipeline.rows import PAINTING, Row


@dataclass(frozen=True)
class Film:
    """What every film of the run is like."""

    frames: int
    cells: int
    shards: int
    split_s: float = 10.0
    mux_s: float = 20.0


@dataclass(frozen=True)
class Blocks:
    """How many rows travel together, at most; one worker does them one after the other."""

    rows: int = 1
    """Cells, and shards on their way to be cut out (`pipeline.flow.rows_a_block`)."""
    with_pixels: int = 1
    """Shards with their crops or patches: blocks are full by their bytes too (`pipeline.rows.pack`)."""


@dataclass
class _Stage:
    name: str
    workers: int
    cores: float
    """Of one busy worker."""
    seconds: float
    """For one row."""
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    """Blocks that wait: the number of the film, and how many of its rows."""
    busy: int = 0


def films_an_hour(ended: list[float]) -> float:
    """Between the first and the last tenth of the films that come out; `ended`: when each did, in seconds."""
    first, last = len(ended) // 10, len(ended) - len(ended) // 10 - 1
    return (last - first) / (ended[last] - ended[first]) * 3600


def simulate(
    films: int, film: Film, pools: Mapping[str, Pool], costs: Mapping[str, float], cores: float, blocks: Blocks
) -> list[float]:
    """When each of the films comes out, in seconds from the beginning.

    `costs`: seconds of a worker for one frame, by stage; `cores`: that workers share.
    """
    stages = list(_stages(film, pools, costs, tasks_at_once(cores)))
    by_name = {stage.name: stage for stage in stages}
    by_name["split"].waiting.extend((number, 1) for number in range(films))
    gate = FilmsUnderWay(16, sum(pool.max_size for pool in pools.values()), blocks.rows)
    left = {"faces": [film.cells] * films, "composite": [film.shards] * films}
    order = [stage.name for stage in stages]
    free, now, begun = cores, 0.0, 0
    events: list[tuple[float, int, str, int, int, bool]] = []
    numbers = count()
    done: list[float] = []

    def start() -> None:
        """Give blocks to workers, the end of the graph first."""
        nonlocal free, begun
        for stage in reversed(stages):
            while stage.waiting and stage.busy < stage.workers and free >= stage.cores:
                if stage.name == "split":
                    waiting = sum(len(other.waiting) for other in stages if other is not stage)
                    if not gate.may_begin(begun, waiting, idle=False):
                        break
                    begun += 1
                number, rows = stage.waiting.popleft()
                stage.busy, free = stage.busy + 1, free - stage.cores
                at = now
                # What has pixels goes on as soon as it is a block of its own.
                pieces = _cut(rows, blocks.with_pixels) if stage.name in PAINTING[:-1] else [rows]
                for piece in pieces:
                    at += piece * stage.seconds
                    rows -= piece
                    heapq.heappush(events, (at, next(numbers), stage.name, number, piece, not rows))

    def land(name: str, number: int, rows: int) -> None:
        """Send on what a worker has finished."""
        if name == "mux":
            done.append(now)
            gate.add(Row("film", str(number), "", code="ok"))
            return
        sent = [rows]
        if name == "split":  # where a film fans out, all its rows come at once
            sent = _cut(film.cells, blocks.rows)
        if name in left:
            left[name][number] -= rows
            if left[name][number]:
                return
            sent = _cut(film.shards, blocks.rows) if name == "faces" else [1]
        by_name[order[order.index(name) + 1]].waiting.extend((number, block) for block in sent)

    start()
    while events:
        now, _, name, number, rows, last = heapq.heappop(events)
        if last:
            by_name[name].busy, free = by_name[name].busy - 1, free + by_name[name].cores
        land(name, number, rows)
        start()
    return done


def _cut(rows: int, most: int) -> list[int]:
    return [min(most, rows - first) for first in range(0, rows, most)]


def _stages(film: Film, pools: Mapping[str, Pool], costs: Mapping[str, float], tasks: int) -> Iterator[_Stage]:
    yield _Stage("split", tasks, 0.0, film.split_s)
    yield _Stage("faces", pools["faces"].max_size, NEEDS["faces"], costs["faces"] * film.frames / film.cells)
    for name in PAINTING:
        if name in costs:
            cores = 1.0 if pools[name].gpus else NEEDS[name]
            yield _Stage(name, pools[name].max_size, cores, costs[name] * film.frames / film.shards)
    yield _Stage("mux", tasks, 0.0, film.mux_s)
