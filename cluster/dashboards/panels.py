"""The panels of the dashboard, in the order an operator asks: does it go on, what holds it up, do machines last."""

from dataclasses import dataclass
from typing import Final

from pipeline.metrics import (
    ACTIVE,
    CACHE,
    EXPECTED,
    FILMS,
    FRAMES,
    PROGRESS,
    SHARDS,
    STAGE_FRAMES,
    STAGE_IDLE,
    STAGE_QUEUED,
    STAGE_RETRIES,
    STAGE_ROWS,
    STAGE_SECONDS,
    STARTED,
    WORK_FREE,
    Metric,
)


@dataclass(frozen=True)
class Query:
    """One PromQL expression and what its lines are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    tells: str
    unit: str
    """As Grafana names units."""
    queries: tuple[Query, ...]
    stacked: bool = False


_RUN: Final = '{run=~"$run"}'
_GPU: Final = '{stage=~"lips|enhance"}'


def _rate(metric: Metric, where: str = "", by: str = "stage") -> str:
    return f"sum by ({by}) (rate({metric.exported}{where}[5m]))"


_QUEUE: Final = (
    f"clamp_min(sum by (stage) ({STAGE_QUEUED.exported}) - "
    f"(sum by (stage) ({STAGE_ROWS.exported}) or 0 * sum by (stage) ({STAGE_QUEUED.exported})), 0)"
)

THE_RUN: Final = (
    Panel(
        "Films that ended",
        "By code, beside how many the run is to deliver.",
        "short",
        (
            Query(f"sum by (code) ({FILMS.exported}{_RUN})", "{{code}}"),
            Query(f"sum({EXPECTED.exported}{_RUN})", "to deliver"),
        ),
    ),
    Panel(
        "Shards that ended",
        "By code, and whether they were made, kept from an earlier run or copied from the source.",
        "short",
        (Query(f"sum by (code, how) ({SHARDS.exported}{_RUN})", "{{code}} {{how}}"),),
        stacked=True,
    ),
    Panel(
        "Frames a second",
        "Of shards as they end: what the run delivers.",
        "short",
        (Query(_rate(FRAMES, _RUN, "code, how"), "{{code}} {{how}}"),),
        stacked=True,
    ),
    Panel(
        "Frames passed through",
        "Not painted, because their shards failed. `dubline retry` tries them again.",
        "short",
        (Query(f'sum by (run) ({FRAMES.exported}{{run=~"$run", code="ok_passthrough"}})', "{{run}}"),),
    ),
    Panel(
        "Age, and time since a row came out",
        "Of runs that are going on.",
        "s",
        (
            Query(f"time() - {STARTED.exported}{_RUN} and on (run) {ACTIVE.exported} == 1", "age of {{run}}"),
            Query(f"time() - {PROGRESS.exported}{_RUN} and on (run) {ACTIVE.exported} == 1", "silence of {{run}}"),
        ),
    ),
    Panel(
        "What was there already",
        "Share of cells (faces) and shards (segments) that an earlier run or film had made, since the machines are up.",
        "percentunit",
        (Query(f'sum by (cache) ({CACHE.exported}{{result="hit"}}) / sum by (cache) ({CACHE.exported})', "{{cache}}"),),
    ),
)
THE_STAGES: Final = (
    Panel(
        "Frames a second by stage",
        "The lowest of crops, lips, enhance and composite is what holds the others up.",
        "short",
        (Query(_rate(STAGE_FRAMES), "{{stage}}"),),
    ),
    Panel(
        "Rows waiting for a stage",
        "Made for it and not yet worked on. It grows in front of the stage that is too slow. Rows that were lost with "
        "a machine are counted twice and stay in it.",
        "short",
        (Query(_QUEUE, "{{stage}}"),),
    ),
    Panel(
        "Wait of lips and enhance",
        "Share of their workers' time without a row: where they have GPUs, the share these stand idle.",
        "percentunit",
        (
            Query(
                f"{_rate(STAGE_IDLE, _GPU)} / ({_rate(STAGE_IDLE, _GPU)} + {_rate(STAGE_SECONDS, _GPU)})",
                "{{stage}}",
            ),
        ),
    ),
    Panel(
        "Workers at work",
        "On average, by stage.",
        "short",
        (Query(_rate(STAGE_SECONDS), "{{stage}}"),),
        stacked=True,
    ),
    Panel(
        "Seconds a row",
        "What a film, cell or shard takes in a stage; loading models is in the first ones.",
        "s",
        (Query(f"{_rate(STAGE_SECONDS)} / {_rate(STAGE_ROWS)}", "{{stage}}"),),
    ),
    Panel(
        "Rows that failed",
        "In 15 minutes, by stage and code.",
        "short",
        (Query(f'sum by (stage, code) (increase({STAGE_ROWS.exported}{{code!="ok"}}[15m]))', "{{stage}} {{code}}"),),
        stacked=True,
    ),
    Panel(
        "Rows begun again",
        "In 15 minutes, because their worker process had died.",
        "short",
        (Query(f"sum by (stage) (increase({STAGE_RETRIES.exported}[15m]))", "{{stage}}"),),
        stacked=True,
    ),
)
THE_MACHINES: Final = (
    Panel(
        "Room on disks",
        "Free in the work folder where it is on a mount, and on each machine.",
        "bytes",
        (
            Query(f"min by (run) ({WORK_FREE.exported}{_RUN})", "work folder"),
            Query("min by (instance) (ray_node_disk_free)", "{{instance}}"),
        ),
    ),
    Panel(
        "Memory in use",
        "Share of each machine's.",
        "percentunit",
        (Query("ray_node_mem_used_host / ray_node_mem_total_host", "{{instance}}"),),
    ),
    Panel(
        "GPUs at work",
        "Utilisation as the driver tells it.",
        "percent",
        (Query("avg by (instance) (ray_node_gpus_utilization)", "{{instance}}"),),
    ),
    Panel(
        "Ray's object store",
        "Crops and patches on their way; SPILLED is on disk, and should stay nothing.",
        "bytes",
        (Query("sum by (Location) (ray_object_store_memory)", "{{Location}}"),),
        stacked=True,
    ),
)
SECTIONS: Final = (("The run", THE_RUN), ("The stages", THE_STAGES), ("The machines", THE_MACHINES))
