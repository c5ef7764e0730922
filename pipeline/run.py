"""A run from manifest to report: what `dubline run` and `pipeline.dub` do."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel

from pipeline import logs
from pipeline.breaker import Breaker
from pipeline.choice import choose_films
from pipeline.config import Config, RunSettings
from pipeline.connect import connect, with_gpu_memory
from pipeline.doctor import usable_cores
from pipeline.feeding import told, told_measured
from pipeline.film import Film
from pipeline.flow import ClusterError, run_inline, run_on_ray
from pipeline.job import Job
from pipeline.leases import Alive, Lease
from pipeline.ledger import WorkFolder
from pipeline.licences import check_licences, commercially
from pipeline.manifest import ManifestError, Problem, read_manifest
from pipeline.metrics import RunMeter
from pipeline.placing import mkv_taken
from pipeline.pools import plan_pools
from pipeline.rates import conditions, last_rates, write_rates
from pipeline.recipe import drawn_with, recipes_of, settle_devices
from pipeline.report import RunReport
from pipeline.report_files import publish_report
from pipeline.rows import Row
from pipeline.runs import RunRecord, find_run, write_run
from stages.crops.landmarks.settings import build as build_landmarker
from stages.errors import DubError
from stages.faces.detectors import resolve_detector, weights_digest
from stages.media import storage
from stages.weights import REGISTRY, Weights

_log = logging.getLogger(__name__)
_Given = TypeVar("_Given", bound=BaseModel)
WEIGHTS: Final = (
    ("faces", "yunet_weights"),
    ("faces", "sfd_weights"),
    ("crops", "landmarks", "weights"),
    ("speech", "whisper", "weights"),
    ("lips", "wav2lip", "weights"),
    ("lips", "musetalk", "weights"),
    ("lips", "parsing", "weights"),
    ("enhance", "weights"),
)
"""Settings that name a file or a folder of weights."""
Executor = Literal["ray", "inline"]
Execute = Callable[[list[Row]], Generator[Row, None, None]]
_ON_HAAR: Final = (
    "faces: looked for by OpenCV's cascade, which knows frontal ones only and is several times slower than YuNet "
    "(dubline weights fetch yunet: 230 KB)"
)
_PASSES = 4  # a film whose last row was lost with a node is swept up by running it again: all it made is there


def dub(
    manifest: str,
    config: Config | None = None,
    work: str = "work",
    *,
    executor: Executor = "inline",
    address: str | None = None,
    only: Sequence[str] = (),
    excerpt: tuple[float, float] | None = None,
    base: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> RunReport:
    """Dub the films of a manifest and write the run's report into the work folder.

    `only`: ids of the films to dub, instead of all. `excerpt`: dub only [start, end) in seconds since the dub began,
    into a file next to each output (`pipeline.choice.excerpt_output`).
    `base`: what relative paths are relative to, instead of the manifest's folder.
    `executor`: `ray` on the cluster at `address` (None: $RAY_ADDRESS, else one started here), or `inline` in this
    process. `on_start` is told the number of films, `on_row` every row as it comes. Failed films are in the report,
    not raised. Raises ManifestError when there is no film to dub, PreflightError when the cluster cannot run the job
    or a licence forbids it, DubError `weights_missing` when a model that every film needs is not there.
    """
    config = config or Config()
    whole = read_manifest(manifest, config.run.roots, base)
    read = choose_films(whole, only, excerpt)
    if not read.films:
        raise ManifestError("\n".join(["no film can be dubbed:", *(f"  {problem}" for problem in read.problems)]))
    record = RunRecord(read.films, config, excerpt, mkv_taken(whole.films))
    return _run(record, read.refused, work, executor, address, on_start, on_row)


def retry(
    work: str,
    run: str | None = None,
    *,
    executor: Executor = "inline",
    address: str | None = None,
    commercial: bool = False,
    log: logs.Style | None = None,
    on_start: Callable[[int], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> RunReport | None:
    """Run again the films of a run that failed or have stretches that were passed through.

    `run`: its id; None: the last one in the work folder. Rows and settings are those of that run; `commercial` asks for
    `run.commercial` on top, `log` for another `run.log`. None when all its films are well. Raises ManifestError when
    there is no such run, else as `dub` does.
    """
    record = find_run(WorkFolder(_absolute_work(work)), run)
    films = record.unwell()
    if not films:
        return None
    if commercial:
        record = replace(record, config=commercially(record.config))
    if log is not None:
        settings = record.config.run.model_copy(update={"log": log})
        record = replace(record, config=record.config.model_copy(update={"run": settings}))
    return _run(replace(record, films=films), [], work, executor, address, on_start, on_row, again=True)


def _run(
    record: RunRecord,
    refused: Sequence[Problem],
    work: str,
    executor: Executor,
    address: str | None,
    on_start: Callable[[int], None] | None,
    on_row: Callable[[Row], None] | None,
    again: bool = False,
) -> RunReport:
    films, config, work = record.films, _settled(record.config), _absolute_work(work)
    check_licences(films, config)
    _check_weights(films, config)
    if (record.config.faces.detector, config.faces.detector) == ("auto", "haar") and any(
        not film.box for film in films
    ):
        _tell([_ON_HAAR])
    record = replace(record, config=config, codes={})
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
    folder = WorkFolder(work)
    storage.check_writable(storage.join(folder.runs, run))  # before a cluster is started
    execute, settled, under = _executor(executor, address, config, work, films)
    write_run(folder, run, record)
    passes_through = config.run.on_shard_failure == "passthrough"
    with logs.about(run=run), RunReport(run, settled.model_dump(mode="json"), passes_through) as report:
        for film in films:
            report.expect(film)
        for problem in refused:
            report.refuse(problem.line, problem.id or "", str(problem))
        if on_start is not None:
            on_start(len(films))
        began = time.monotonic()
        dubs = Counter(film.video for film in films)
        jobs = [
            Job(
                film=film,
                run=run,
                generator=generator,
                enhance=enhance,
                kept=dubs[film.video] > 1,
                again=again,
                mkv_taken=film.id in record.mkv_taken,
                range=record.excerpt,
            )
            for film in films
            for generator, enhance in [drawn_with(film, config)]
        ]
        meter = RunMeter(report, work) if executor == "ray" else None

        def seen(row: Row) -> None:
            if meter is not None:
                meter.add(row)
            if on_row is not None:
                on_row(row)

        try:
            with Alive(folder, run, config.run.lease_s):
                breaker = Breaker(config.run.breaker_last, config.run.breaker_share)
                _passes(jobs, breaker, execute, report, seen, lambda: _wait(report, folder, config.run))
                _give_back(report, folder, config)
        finally:  # an interrupted run has a report too
            report.wall_s = time.monotonic() - began
            if meter is not None:
                meter.close()
            codes = {film.id: film.code for film in report.films.values()}
            write_run(folder, run, replace(record, codes=codes))
            publish_report(report, work)
            write_rates(folder, run, report.rates, under)
        for sweep in range(_PASSES):
            storage.remove_folder(folder.tried(f"{run}-{sweep}"))
    return report


def _passes(
    jobs: list[Job],
    breaker: Breaker,
    execute: Execute,
    report: RunReport,
    on_row: Callable[[Row], None],
    wait: Callable[[], bool],
) -> None:
    """Run the films until each has come out or failed, or `wait` finds that the rest stay another run's.

    A film with shards that could not be painted waits for the next pass, which passes them through: only when a pass
    is over is it known that most shards are well, and nothing ships unpainted because a model is broken.
    """
    pending, lost = {job.film.id: job for job in jobs}, ""
    for number in range(_PASSES):
        turn = [
            job.model_copy(update={"sweep": number, "pass_through": report.gave_up(film_id) is not None})
            for film_id, job in pending.items()
        ]
        report.held.clear()
        try:
            with closing(execute([Row("film", job.film.id, job.model_dump_json()) for job in turn])) as rows:
                for row in rows:
                    report.add(row)
                    breaker.add(row)
                    on_row(row)
                    if breaker.tripped:
                        break
        except ClusterError as error:
            lost = str(error)
        pending = {film_id: pending[film_id] for film_id in report.unfinished()}
        if breaker.tripped:
            _give_up(report, pending, "internal", f"{breaker.tripped}; put it right and run the same command again")
        if not pending or breaker.tripped:
            return
        if report.held.keys() >= pending.keys() and not wait():
            break
    for film_id in pending.keys() & report.held.keys():
        held = report.held[film_id]
        report.films[film_id].code, report.films[film_id].stage = "held", held.stage
        report.films[film_id].message = f"{held.message}; run the same command again when that run is over"
    pending = {film_id: pending[film_id] for film_id in report.unfinished()}
    _give_up(report, pending, "crashed", f"not finished after {_PASSES} passes; run the same command again. {lost}")


def _wait(report: RunReport, folder: WorkFolder, settings: RunSettings) -> bool:
    """Wait until no other run is at work on a held film's output any more; whether one of them is free."""
    outputs = [Job.model_validate_json(row.job).film.output for row in report.held.values()]
    _tell([f"waiting for {len(outputs)} films that another run is at work on"])
    until = time.monotonic() + settings.lease_wait_s
    while True:
        free = [output for output in outputs if not Lease(folder, report.run, output).holder()]
        if len(free) == len(outputs) or time.monotonic() >= until:
            return bool(free)
        time.sleep(min(5.0, settings.lease_s / 4))


def _give_back(report: RunReport, folder: WorkFolder, config: Config) -> None:
    """Leases of films that this run began and did not deliver."""
    for film in report.failed:
        if film.output and film.code != "held":
            mkv = [f"{film.output.rpartition('.')[0]}.mkv"] if config.mux.container == "auto" else []
            for output in {film.output, *mkv}:
                Lease(folder, report.run, output).give_back()


def _give_up(report: RunReport, films: Iterable[str], code: str, message: str) -> None:
    for film_id in films:
        report.films[film_id].code, report.films[film_id].stage = code, "run"
        report.films[film_id].message = f"{film_id}: {message}"


def _absolute_work(work: str) -> str:
    """Workers have a folder of their own."""
    return str(storage.local_path(work).absolute()) if storage.is_local(work) else work


def _settled(config: Config) -> Config:
    """`auto` answered once for all workers: a node without the weights must fail, not look with another detector.

    Local files and folders become absolute, because workers have a folder of their own.
    """
    folder = config.weights_dir
    if folder is not None and storage.is_local(folder):
        folder = str(storage.local_path(folder).expanduser().absolute())
    config = config.model_copy(update={"weights_dir": folder})
    for path in WEIGHTS:
        config = _absolute(config, *path)
    detector = resolve_detector(config.faces, Weights(folder))
    return config.model_copy(
        update={
            "faces": config.faces.model_copy(update={"detector": detector}),
            "run": config.run.model_copy(update={"log": config.run.log or logs.style_of()}),
        }
    )


def _absolute(settings: _Given, name: str, *inner: str) -> _Given:
    """The settings with a weights spec in them that is a local file or folder as an absolute path."""
    value = getattr(settings, name)
    if inner:
        return settings.model_copy(update={name: _absolute(value, *inner)})
    if value is None or value in REGISTRY or not storage.is_local(value):
        return settings
    path = storage.local_path(value).expanduser()
    return settings.model_copy(update={name: str(path.absolute())}) if path.exists() else settings


def _check_weights(films: list[Film], config: Config) -> None:
    """What no film can do without is asked for before the night, not in each of its rows."""
    weights = Weights(config.weights_dir)
    needed: list[set[str]] = []
    absent: list[DubError] = []
    for recipe in recipes_of(films, config):
        try:
            needed.append(set(recipe.weights(config)))
        except DubError as error:  # a folder that lacks files: its films say so, unless nothing is left to do
            absent.append(error)
    if not needed:
        raise absent[0]
    for spec in sorted(set.intersection(*needed)):
        weights.path(spec)
    if all(film.box is None for film in films):
        weights_digest(config.faces, weights, config.faces.detector)
    if config.crops.landmarks.provider in ("fan", "dwpose", "onnx"):
        # This machine may be the one without the GPU.
        build_landmarker(config.crops.landmarks.model_copy(update={"device": "cpu"}), weights)


def _executor(
    executor: Executor, address: str | None, config: Config, work: str, films: list[Film]
) -> tuple[Execute, Config, dict[str, Any]]:
    """What runs the rows, the config with the devices of networks settled, and what its rates hold for."""
    recipes = recipes_of(films, config)
    if executor == "inline":
        settled, on_gpu = settle_devices(config, recipes, _gpu_here)
        _tell(told(recipes, settled, list(on_gpu), usable_cores(), gpus=1))
        return lambda rows: run_inline(rows, settled, work), settled, conditions(recipes, settled)
    nodes = connect(address)
    # An actor has the GPU it reserves, so the question is the cluster's, not this machine's.
    settled, on_gpu = settle_devices(config, recipes, lambda: any(node.gpus >= 1 for node in nodes))
    if len(on_gpu) > 1:  # only who shares must know whether both fit
        nodes = with_gpu_memory(nodes)
    optional = ["enhance"] if any(recipe.enhanced for recipe in recipes) else []
    under = conditions(recipes, settled)
    measured = last_rates(WorkFolder(work), under)
    pools = plan_pools(nodes, config.run.workers, optional, on_gpu, None if measured is None else measured.stages)
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if measured is None:
        _tell(told(recipes, settled, list(on_gpu), cores, gpus))
    else:
        _tell([told_measured(measured, cores, {stage: pools[stage].max_size for stage in on_gpu})])
    return lambda rows: run_on_ray(rows, settled, work, pools), settled, under


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        _log.info("%s", line)


def _gpu_here() -> bool:
    import torch  # half a second and 500 MB: only when a network runs in this process anyway

    return bool(torch.cuda.is_available())
