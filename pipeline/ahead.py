"""How far a run plans ahead: films are begun as the stages behind have room for them.

Ray Data holds a stage back by the bytes behind it, and rows without pixels have hardly any: left alone it splits the
whole manifest and finds all its faces before it has painted the first film (reference ray.md 3.2). That fills the work
folder and keeps the first film waiting. So the first stage begins a film only while few are under way, or too few rows
wait to keep the workers busy.
"""

import itertools
import math
from typing import Any

from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)

from pipeline.rows import Row
from pipeline.steps.passthrough import gave_up

_CONFIG_KEY = "dubline.films_under_way"
_ROWS_A_WORKER = 2  # one under way, and one waiting for each: what Ray Data hands an actor ahead of time


class FilmsUnderWay:
    """Counts the films of one pass that have ended, and says whether another may begin.

    `always`: films that may be under way whatever waits. `workers`: most actors that the stages behind may have.
    `rows_a_block`: at most; Ray Data counts blocks. `films_a_block`: so many begin together.
    """

    def __init__(self, always: int, workers: int, rows_a_block: int = 1, films_a_block: int = 1) -> None:
        self._always, self._room = always, math.ceil(_ROWS_A_WORKER * workers / rows_a_block)
        self._films_a_block = films_a_block
        self._ended: set[str] = set()
        self._lost = 0
        self.most = 0
        """Films that were under way at once, at most."""

    def add(self, row: Row) -> None:
        """One row that came out of the graph. A film that waits for a shard to be passed through is over for now."""
        if row.failed or (row.kind == "film" and row.code) or gave_up(row):
            self._ended.add(row.film)

    def may_begin(self, begun: int, waiting: int, idle: bool) -> bool:
        """Whether another block of films may begin. `begun`: blocks of them so far; `waiting`: blocks that wait for a
        worker; `idle`: nothing is anywhere in the graph, so that what has not ended by now was lost with a machine."""
        begun_films = begun * self._films_a_block
        if idle:
            self._lost = max(0, begun_films - len(self._ended))
        under_way = begun_films - len(self._ended) - self._lost
        if under_way + self._films_a_block > self._always and waiting >= self._room:
            return False
        self.most = max(self.most, under_way + self._films_a_block)
        return True


class FilmsAhead(BackpressurePolicy):  # type: ignore[misc]
    """Asks `FilmsUnderWay` before Ray Data begins a film. It lives in the driver, with the executor.

    Of all that is ours, only this sees Ray Data's operators while they work: here, too, they are made to forget what
    each block was like, 1.3 KB of it, which they keep for statistics that nobody asks for.
    """

    def __init__(self, data_context: Any, topology: Any, resource_manager: Any) -> None:
        super().__init__(data_context, topology, resource_manager)
        self._films = _OF_RUNS.get(data_context.get_config(_CONFIG_KEY))

    def can_add_input(self, op: Any) -> bool:
        """Whether `op` may take another row: always, but for the stage that begins films."""
        for blocks in op.get_stats().values():
            blocks.clear()
        if self._films is None or any(source.input_dependencies for source in op.input_dependencies):
            return True
        stages = [state for other, state in self._topology.items() if other.input_dependencies]
        waiting = sum(state.total_enqueued_input_blocks() for state in stages if state.op is not op)
        busy = sum(state.op.num_active_tasks() for state in stages)
        # What came out and was not read yet has not ended for us.
        coming = sum(state.total_enqueued_output_blocks() for state in stages)
        return self._films.may_begin(op.metrics.num_tasks_submitted, waiting, idle=waiting + busy + coming == 0)


_OF_RUNS: dict[int, FilmsUnderWay] = {}
_NUMBERS = itertools.count()


def hold_back(context: Any, films: FilmsUnderWay) -> int:
    """Make Ray Data ask `films`, in the datasets made under `context`. Returns what `forget` wants.

    The context travels to the workers with every task, and the counting must stay here: it gets a number.
    """
    number = next(_NUMBERS)
    _OF_RUNS[number] = films
    context.set_config(_CONFIG_KEY, number)
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ENABLED_BACKPRESSURE_POLICIES, FilmsAhead])
    return number


def forget(number: int) -> None:
    """The pass is over."""
    del _OF_RUNS[number]
