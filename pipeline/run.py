"""A run from manifest to report: what `dubline run` and `pipeline.dub` do."""

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

from pipeline.config import Config
from pipeline.connect import connect
from pipeline.film import Film
from pipeline.flow import ClusterError, run_inline, run_on_ray
from pipeline.job import Job
from pipeline.ledger import WorkFolder
from pipeline.manifest import ManifestError, read_manifest
from pipeline.pools import plan_pools
from pipeline.report import RunReport
from pipeline.rows import Row
from stages.faces.detectors import resolve_detector, weights_digest
from stages.lips.lips import GENERATORS
from stages.media import storage
from stages.weights import Weights

Executor = Literal["ray", "inline"]
_PASSES = 3  # a film whose last row was lost with a node is swept up by running it again: all it made is there


def dub(
    manifest: str,
    config: Config | None = None,
    work: str = "work",
    *,
    executor: Executor = "inline",
    address: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> RunReport:
    """Dub every film of a manifest and write the run's report into the work folder.

    `executor`: `ray` on the cluster at `address` (None: $RAY_ADDRESS, else one started here), or `inline` in this
    process. `on_start` is told the number of films, `on_row` every row as it comes. Failed films are in the report,
    not raised. Raises ManifestError when there is no film to dub, PreflightError when the cluster cannot run the job,
    DubError `weights_missing` when a model that every film needs is not there.
    """
    config = _settled(config or Config())
    read = read_manifest(manifest)
    if not read.films:
        raise ManifestError("\n".join(["no film can be dubbed:", *(f"  {problem}" for problem in read.problems)]))
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    with RunReport(run, config.model_dump(mode="json")) as report:
        for film in read.films:
            report.expect(film)
        for problem in read.problems:
            report.refuse(problem.line, problem.id or "", str(problem))
        _check_weights(read.films, config)
        if on_start is not None:
            on_start(len(read.films))
        began = time.monotonic()
        execute = _executor(executor, address, config, work, read.films)
        pending, lost = {film.id: film for film in read.films}, ""
        for number in range(_PASSES):
            jobs = [_job(film, config, f"{run}-{number}") for film in pending.values()]
            try:
                for row in execute(jobs):
                    report.add(row)
                    if on_row is not None:
                        on_row(row)
            except ClusterError as error:
                lost = str(error)
            pending = {film_id: pending[film_id] for film_id in report.unfinished()}
            if not pending:
                break
        for film_id in pending:
            film_report = report.films[film_id]
            film_report.code, film_report.stage = "crashed", "run"
            film_report.message = f"{film_id}: not finished after {_PASSES} passes; run the same command again. {lost}"
        report.wall_s = time.monotonic() - began
        report.url = WorkFolder(work).run(run, "report.json")
        with storage.publishing(report.url, ".json") as path, path.open("w") as file:
            report.write(file)
    return report


def _settled(config: Config) -> Config:
    """`auto` answered once for all workers: a node without the weights must fail, not look with another detector."""
    detector = resolve_detector(config.faces, Weights(config.weights_dir))
    return config.model_copy(update={"faces": config.faces.model_copy(update={"detector": detector})})


def _on_device(config: Config, device: str) -> Config:
    wav2lip = config.lips.wav2lip.model_copy(update={"device": device})
    return config.model_copy(update={"lips": config.lips.model_copy(update={"wav2lip": wav2lip})})


def _job(film: Film, config: Config, run: str) -> Row:
    job = Job(film=film, run=run, generator=film.generator or config.lips.generator)
    return Row(kind="film", film=film.id, job=job.model_dump_json())


def _check_weights(films: list[Film], config: Config) -> None:
    """What no film can do without is asked for before the night, not in each of its rows."""
    weights = Weights(config.weights_dir)
    if all(GENERATORS[film.generator or config.lips.generator].needs_weights for film in films):
        weights.path(config.lips.wav2lip.weights)
    if all(film.box is None for film in films):
        weights_digest(config.faces, weights, config.faces.detector)
    if config.crops.landmarks.weights_spec is not None:
        weights.path(config.crops.landmarks.weights_spec)


def _executor(
    executor: Executor, address: str | None, config: Config, work: str, films: list[Film]
) -> Callable[[list[Row]], Iterator[Row]]:
    if executor == "inline":
        return lambda rows: run_inline(rows, config, work)
    cpus, gpus = connect(address)
    uses_network = any((film.generator or config.lips.generator) == "wav2lip" for film in films)
    device = config.lips.wav2lip.device
    if device == "auto":
        # Ray shows an actor only the GPUs it reserves, so the question is the cluster's, not the worker's.
        device = "cuda" if gpus >= 1 else "cpu"
    pools = plan_pools(cpus, gpus, config.run.workers, uses_network and device == "cuda")
    return lambda rows: run_on_ray(rows, _on_device(config, device), work, pools)
