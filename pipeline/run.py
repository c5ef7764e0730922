"""A run from manifest to report: what `dubline run` and `pipeline.dub` do."""

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
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
from stages.crops.landmarks.settings import build as build_landmarker
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
    if storage.is_local(work):
        work = str(storage.local_path(work).absolute())  # workers have a folder of their own
    read = read_manifest(manifest, config.run.roots)
    if not read.films:
        raise ManifestError("\n".join(["no film can be dubbed:", *(f"  {problem}" for problem in read.problems)]))
    _check_weights(read.films, config)
    execute, config = _executor(executor, address, config, work, read.films)
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    with RunReport(run, config.model_dump(mode="json")) as report:
        for film in read.films:
            report.expect(film)
        for problem in read.problems:
            report.refuse(problem.line, problem.id or "", str(problem))
        if on_start is not None:
            on_start(len(read.films))
        began = time.monotonic()
        try:
            _passes(read.films, config, run, execute, report, on_row)
        finally:  # an interrupted run has a report too
            report.wall_s = time.monotonic() - began
            report.url = WorkFolder(work).run(run, "report.json")
            with storage.publishing(report.url, ".json") as path, path.open("w") as file:
                report.write(file)
    return report


def _passes(
    films: list[Film],
    config: Config,
    run: str,
    execute: Callable[[list[Row]], Iterator[Row]],
    report: RunReport,
    on_row: Callable[[Row], None] | None,
) -> None:
    """Run the films until each has come out or failed."""
    pending, lost = {film.id: film for film in films}, ""
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
            return
    for film_id in pending:
        film_report = report.films[film_id]
        film_report.code, film_report.stage = "crashed", "run"
        film_report.message = f"{film_id}: not finished after {_PASSES} passes; run the same command again. {lost}"


def _settled(config: Config) -> Config:
    """`auto` answered once for all workers: a node without the weights must fail, not look with another detector.

    Local folders become absolute, because workers have a folder of their own.
    """
    folder = config.weights_dir
    if folder is not None and storage.is_local(folder):
        folder = str(storage.local_path(folder).expanduser().absolute())
    detector = resolve_detector(config.faces, Weights(folder))
    landmarks = config.crops.landmarks.model_copy(update={"weights": _absolute(config.crops.landmarks.weights)})
    wav2lip = config.lips.wav2lip.model_copy(update={"weights": _absolute(config.lips.wav2lip.weights)})
    return config.model_copy(
        update={
            "weights_dir": folder,
            "faces": config.faces.model_copy(update={"detector": detector}),
            "crops": config.crops.model_copy(update={"landmarks": landmarks}),
            "lips": config.lips.model_copy(update={"wav2lip": wav2lip}),
        }
    )


def _absolute(spec: str | None) -> str | None:
    """A weights spec that is a local file, as an absolute path."""
    return str(Path(spec).absolute()) if spec is not None and Path(spec).is_file() else spec


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
    if config.crops.landmarks.provider in ("fan", "onnx"):
        build_landmarker(config.crops.landmarks, weights)


def _executor(
    executor: Executor, address: str | None, config: Config, work: str, films: list[Film]
) -> tuple[Callable[[list[Row]], Iterator[Row]], Config]:
    """What runs the rows, and the config with the generator's device settled."""
    uses_network = any((film.generator or config.lips.generator) == "wav2lip" for film in films)
    may_use_gpu = uses_network and config.lips.wav2lip.mode != "onnx"
    nodes = connect(address) if executor == "ray" else []
    device = config.lips.wav2lip.device
    if device == "auto":
        # On Ray an actor has the GPU it reserves, so the question is the cluster's, not this machine's.
        found = any(node.gpus >= 1 for node in nodes) if executor == "ray" else may_use_gpu and _gpu_here()
        device = "cuda" if may_use_gpu and found else "cpu"
    settled = _on_device(config, device)
    if executor == "inline":
        return lambda rows: run_inline(rows, settled, work), settled
    pools = plan_pools(nodes, config.run.workers, uses_network and device == "cuda")
    return lambda rows: run_on_ray(rows, settled, work, pools), settled


def _gpu_here() -> bool:
    import torch  # half a second and 500 MB: only when a network runs in this process anyway

    return bool(torch.cuda.is_available())
