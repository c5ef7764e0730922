"""The whole graph on one page, and its in-process twin.

    films -> split -> [cells] -> faces -> cast -> [shards] -> crops -> lips -> enhance -> composite -> passthrough
        -> mux -> rows

Ray Data's parallelism is blocks, not rows (reference ray.md 3.3), so a block is one row, or few where there are many
films (`rows_a_block`); a worker does them one by one. Steps that load models are actors, the others tasks. There is no
barrier: the row that lands last carries its film on (`ready`), and the driver reads small rows as they come. Round each
step stands the guard (`pipeline.guard`): on Ray with the ledger of crashes and a deadline, in this process without.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from pipeline.attempts import Attempts
from pipeline.config import Config
from pipeline.guard import guarded
from pipeline.ledger import WorkFolder
from pipeline.logs import log_worker
from pipeline.metrics import STAGE_QUEUED, Sample, StepMeter, send
from pipeline.pools import OPTIONAL, TASK_CPUS, Pool, tasks_at_once
from pipeline.rows import SCHEMA, Row, pack, unpack
from pipeline.steps.base import Step
from pipeline.steps.cast import MakeCast
from pipeline.steps.composite import PaintSegment
from pipeline.steps.crops import CutCrops
from pipeline.steps.enhance import EnhanceFaces
from pipeline.steps.faces import FindFaces
from pipeline.steps.lips import DrawLips
from pipeline.steps.mux import MuxFilm
from pipeline.steps.passthrough import PassThrough
from pipeline.steps.split import Split

STEPS: tuple[type[Step], ...] = (
    Split,
    FindFaces,
    MakeCast,
    CutCrops,
    DrawLips,
    EnhanceFaces,
    PaintSegment,
    PassThrough,
    MuxFilm,
)
"""In the order the data goes through."""
_MOST_ROWS: Final = 16
"""In a block. What the driver does it does for blocks; a worker that dies has at most so many shards begun again."""
_SHARDS_A_FILM: Final = 4  # at least, as a rule


def run_inline(films: Iterable[Row], config: Config, work: str) -> Generator[Row, None, None]:
    """The graph in this process: the same steps on the same rows, one after the other."""
    rows: Iterator[Row] = iter(films)
    for kind in STEPS:
        rows = _each(kind(config, work), rows)
    yield from rows


def run_on_ray(
    films: Iterable[Row], config: Config, work: str, pools: Mapping[str, Pool]
) -> Generator[Row, None, None]:
    """The graph on the Ray cluster this process is connected to."""
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    from pipeline.ahead import FilmsUnderWay, forget, hold_back

    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = 3
    # Its watch ends a whole night over one long mux; mux.timeout_s watches that.
    context.execution_no_progress_timeout_s = -1
    # Every row of Ray Data's is a block by itself: which of ours travel together is for `pack` to say.
    context.target_max_block_size = 1
    rows = list(films)
    together = rows_a_block(len(rows), pools)
    begun_together = films_a_block(together, config.run.films_ahead)
    workers = sum(pool.max_size for pool in pools.values())
    under_way = FilmsUnderWay(config.run.films_ahead, workers, together, begun_together)
    number = hold_back(context, under_way)
    at_once = tasks_at_once(ray.cluster_resources().get("CPU", 0.0))
    told = {"config": config.model_dump_json(), "work": work, "together": together}
    # A batch is a block, which workers may look at without a copy.
    blocks: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "zero_copy_batch": True}
    with ray.data.DataContext.current(context):
        send([Sample(STAGE_QUEUED, len(rows), (Split.name,))])
        data = ray.data.from_arrow(list(pack(rows, begun_together)))
        for kind in STEPS:
            pool = pools.get(kind.name)
            if pool is not None:
                data = data.map_batches(
                    Worker,
                    fn_constructor_kwargs={"kind": kind, **told},
                    num_cpus=pool.cpus,
                    num_gpus=pool.gpus,
                    compute=ActorPoolStrategy(min_size=pool.min_size, max_size=pool.max_size),
                    **blocks,
                )
            elif kind.name not in OPTIONAL:  # else no film asks for it
                data = data.map_batches(
                    run_task,
                    fn_kwargs={"kind": kind, **told},
                    num_cpus=TASK_CPUS,
                    compute=TaskPoolStrategy(size=at_once),
                    **blocks,
                )
        try:
            # Not `iter_batches`: it keeps every row back until the next one is there, and every five seconds it pickles
            # what it knows of all the films.
            for bundle in data.iter_internal_ref_bundles():
                for block in ray.get(bundle.block_refs):
                    for row in unpack(block):
                        under_way.add(row)
                        yield row
        except ray.exceptions.RayError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ClusterError(f"Ray gave up: {reason}") from error
        finally:
            forget(number)


def rows_a_block(films: int, pools: Mapping[str, Pool]) -> int:
    """How many cells or shards travel together, at most: so few that every worker of a stage has two blocks for each
    shard of a film, and none stands idle for long while others finish the last ones. `films`: in the run."""
    return max(1, min(_MOST_ROWS, films // (2 * max(pool.max_size for pool in pools.values()))))


def films_a_block(rows: int, ahead: int) -> int:
    """How many films begin together where up to `rows` shards travel together and `ahead` films may be under way."""
    return max(1, min(ahead, rows // _SHARDS_A_FILM))


class ClusterError(Exception):
    """Ray ended the job; what was finished is in the work folder."""


class Worker:
    """A step in a Ray actor: made once, called with one block after the other."""

    def __init__(self, kind: type[Step], config: str, work: str, together: int) -> None:
        self._step, self._ledger, self._together = _make(kind, config, work), _ledger(work), together
        self._meter = _meter(self._step, waits=True)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """What becomes of its rows, one after the other."""
        yield from pack(_each(self._step, unpack(block), self._ledger, self._meter), self._together)


def run_task(block: pa.Table, kind: type[Step], config: str, work: str, together: int) -> Iterator[pa.Table]:
    """A step in a Ray task: the same."""
    rows = list(unpack(block))  # without pixels
    if not any(kind.takes(row) for row in rows):  # most are not: nothing is made for them
        yield block
        return
    step = _make(kind, config, work)
    yield from pack(_each(step, rows, _ledger(work), _meter(step, waits=False)), together)


def _each(
    step: Step, rows: Iterable[Row], ledger: Attempts | None = None, meter: StepMeter | None = None
) -> Iterator[Row]:
    for row in rows:
        yield from guarded(step, row, ledger, meter)


def _make(kind: type[Step], config: str, work: str) -> Step:
    settings = Config.model_validate_json(config)
    log_worker(settings.run.log or "plain")
    return kind(settings, work)


def bound_for(row: Row, after: type[Step]) -> str:
    """The stage that a row is work for once it has left the step `after`; empty: it goes to the driver."""
    onward = STEPS[[kind.name for kind in STEPS].index(after.name) + 1 :]
    return next((kind.name for kind in onward if kind.takes(row)), "")


def _meter(step: Step, waits: bool) -> StepMeter:
    return StepMeter(step.name, lambda row: bound_for(row, type(step)), waits)


def _ledger(work: str) -> Attempts:
    """The crash ledger of this Ray worker."""
    import ray

    def living() -> set[str]:
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    return Attempts(WorkFolder(work), ray.get_runtime_context().get_node_id(), living)


assert set(SCHEMA.names) == set(Row.__dataclass_fields__)
