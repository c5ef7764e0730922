"""How many films an hour a cluster makes, and what holds it up: from what the stages cost and the real pool sizes.

    python -m cluster.scaling docs        writes the tables of docs/scaling.md and docs/scaling.svg

Estimates with the costs of `pipeline.feeding`, which no GPU has been measured for yet; `cluster.simulate` checks the
arithmetic.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.simulate import Blocks, Film, films_an_hour, simulate
from pipeline.config import Config
from pipeline.feeding import core_ms_by_stage, feed
from pipeline.flow import films_a_block, rows_a_block
from pipeline.pools import NEEDS, Node, Pool, frame_rate, plan_pools
from pipeline.recipe import MAX_PAYLOAD, recipe_of
from pipeline.rows import MOST_BYTES

FRAMES: Final = 15_000
"""Of a film: ten minutes of 1080p at 25 frames/s, a face in every frame."""
_FPS: Final = 25
CORES: Final = (16, 32, 64, 128, 256, 512, 1024, 2048)
GPUS: Final = (0, 1, 2, 4, 8, 16, 32, 64)
FILMS: Final = 10_000
"""In the manifest: with more of them more rows travel in a block."""
DRIVER_BLOCK_S: Final = 0.0085
"""CPU seconds of the driver for one block at one stage: tests/bench/bench_many.py, 10,000 films, 19 blocks for four."""
_CORES_A_MACHINE: Final = 64
BEGIN: Final = "<!-- made by python -m cluster.scaling docs -->"
END: Final = "<!-- end -->"


@dataclass(frozen=True)
class Point:
    """A cluster and what it makes."""

    cores: int
    gpus: int
    films_an_hour: float
    held_by: str
    """`cores`, `GPUs` or `driver`."""


def config_of() -> Config:
    """What is dubbed with: MuseTalk, faces by YuNet, everything else as it comes."""
    return Config.model_validate({"lips": {"generator": "musetalk"}, "faces": {"detector": "yunet"}})


def film_of() -> Film:
    """Every film, cut as a run would cut it: in shards shorter than `split.shard_s` where a row could not hold them."""
    config = config_of()
    shard = min(round(config.split.shard_s * _FPS), recipe_of("musetalk", "none", config).longest_shard)
    return Film(FRAMES, math.ceil(FRAMES / (config.split.cell_s * _FPS)), math.ceil(FRAMES / shard))


def blocks_of(pools: Mapping[str, Pool]) -> Blocks:
    """How many rows travel together in a manifest of `FILMS`: few once they have pixels, whatever it was before."""
    recipe, film = recipe_of("musetalk", "none", config_of()), film_of()
    payload = MAX_PAYLOAD * film.frames / film.shards / recipe.longest_shard
    rows = rows_a_block(FILMS, pools)
    return Blocks(rows, min(rows, math.ceil(MOST_BYTES / payload)))


def costs(gpus: int) -> dict[str, float]:
    """Seconds of a worker for a painted frame, by stage."""
    config = config_of()
    recipe = recipe_of("musetalk", "none", config)
    on_gpu = ["lips"] if gpus else []
    found = {s: ms / 1000 / NEEDS[s] for s, ms in core_ms_by_stage(recipe, config, on_gpu).items()}
    if gpus:
        found["lips"] = 1 / feed(recipe, config).frames_per_s
    return found


def pools_of(cores: int, gpus: int) -> dict[str, Pool]:
    """The pools of such a cluster, of machines with 64 cores, as a run would size them."""
    return dict(plan_pools(nodes_of(cores, gpus), on_gpu={"lips": 20.0} if gpus else {}, costs=costs(gpus)))


def nodes_of(cores: int, gpus: int) -> list[Node]:
    """Equal machines."""
    count = math.ceil(cores / _CORES_A_MACHINE)
    return [Node(cores / count, gpus / count, gpu_gib=80) for _ in range(count)]


def usable(cores: int) -> int:
    """Cores for workers: one of each machine is kept free."""
    return cores - math.ceil(cores / _CORES_A_MACHINE)


def driver_s(blocks: Blocks) -> float:
    """CPU seconds of the driver for a film."""
    film, together = film_of(), films_a_block(blocks.rows, config_of().run.films_ahead)
    cells = film.cells + 1  # the film has a row of its own beside its cells, and goes all the way
    before = 1 + 2 * math.ceil(together * cells / blocks.rows)  # split; faces and cast
    crops = math.ceil(together * (cells + film.shards) / blocks.rows)
    pixels = math.ceil(together * film.shards / blocks.with_pixels)
    after = math.ceil(together * cells / blocks.rows) + pixels  # lips, composite and mux
    return DRIVER_BLOCK_S * (before + crops + 3 * after) / together


def predict(cores: int, gpus: int) -> Point:
    """What a cluster makes at best, once it is running."""
    workers = {"lips": pools_of(cores, gpus)["lips"].max_size} if gpus else {}
    by_cores = frame_rate(usable(cores), {"lips": 10**9} if gpus else {}, costs(gpus))
    limits = {"cores": by_cores, "driver": FRAMES / driver_s(blocks_of(pools_of(cores, gpus)))}
    if workers:
        limits["GPUs"] = workers["lips"] / costs(gpus)["lips"]
    held = min(limits, key=lambda name: limits[name])
    return Point(cores, gpus, limits[held] * 3600 / FRAMES, held)


def simulated(cores: int, gpus: int) -> float:
    """Films an hour as the simulation has them; the driver has no part in it."""
    films = max(20, min(400, round(predict(cores, gpus).films_an_hour * 2)))
    pools = pools_of(cores, gpus)
    return films_an_hour(simulate(films, film_of(), pools, costs(gpus), usable(cores), blocks_of(pools)))


def table() -> Iterator[str]:
    """Films an hour; a letter says what holds the cluster up."""
    yield "| GPUs | " + " | ".join(f"{cores:,} cores" for cores in CORES) + " |"
    yield "|---" * (len(CORES) + 1) + "|"
    for gpus in GPUS:
        points = [predict(cores, gpus) for cores in CORES]
        yield f"| {gpus} | " + " | ".join(f"{p.films_an_hour:,.2f} {p.held_by[0]}" for p in points) + " |"


CHECKED: Final = ((64, 0), (16, 1), (64, 1), (128, 4), (512, 8), (512, 64))


def check_table() -> Iterator[str]:
    """The simulation beside the model, where the driver is no limit: it has no part in the simulation."""
    yield "| cores | GPUs | model | simulation |"
    yield "|---|---|---|---|"
    for cores, gpus in CHECKED:
        model, run = predict(cores, gpus).films_an_hour, simulated(cores, gpus)
        yield f"| {cores:,} | {gpus} | {model:,.2f} | {run:,.2f} ({run / model:.2f}) |"


def picture() -> str:
    """An SVG: films an hour over cores, a line for each number of GPUs, both axes logarithmic."""
    lines = {gpus: [predict(cores, gpus).films_an_hour for cores in CORES] for gpus in GPUS}
    low = min(min(line) for line in lines.values())
    high = max(max(line) for line in lines.values())
    wide, tall, left, base = 640, 400, 60, 360

    def at(cores: int, films: float) -> tuple[float, float]:
        x = left + (wide - left - 60) * math.log(cores / CORES[0]) / math.log(CORES[-1] / CORES[0])
        return round(x, 1), round(base - (base - 20) * math.log(films / low) / math.log(high / low), 1)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" font-family="sans-serif">']
    parts.append(f'<rect width="{wide}" height="{tall}" fill="white"/>')
    for cores in CORES:
        x, _ = at(cores, low)
        parts.append(f'<text x="{x}" y="{base + 18}" font-size="11" text-anchor="middle">{cores}</text>')
    parts.append(f'<text x="{wide / 2}" y="{tall - 4}" font-size="12" text-anchor="middle">CPU cores</text>')
    for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
        _, y = at(CORES[0], 10.0**power)
        parts.append(f'<text x="{left - 8}" y="{y + 4}" font-size="11" text-anchor="end">{10.0**power:g}</text>')
        parts.append(f'<line x1="{left}" x2="{wide - 60}" y1="{y}" y2="{y}" stroke="#ddd"/>')
    parts.append('<text x="6" y="12" font-size="12">films an hour</text>')
    for number, (gpus, line) in enumerate(lines.items()):
        places = [at(cores, films) for cores, films in zip(CORES, line, strict=True)]
        points = " ".join(f"{x},{y}" for x, y in places)
        colour = f"hsl({number * 40}, 70%, 40%)"
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = places[-1]
        if number == 0 or line[-1] != list(lines.values())[number - 1][-1]:
            parts.append(f'<text x="{x + 4}" y="{y + 4}" font-size="11" fill="{colour}">{gpus} GPUs</text>')
    return "\n".join([*parts, "</svg>", ""])


def tables() -> str:
    """What stands between the marks of docs/scaling.md."""
    return "\n".join([BEGIN, "", *table(), "", *check_table(), "", END])


def main(folder: Path) -> None:
    """Write both files anew."""
    page = folder / "scaling.md"
    text = page.read_text()
    page.write_text(text[: text.index(BEGIN)] + tables() + text[text.index(END) + len(END) :])
    (folder / "scaling.svg").write_text(picture())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
