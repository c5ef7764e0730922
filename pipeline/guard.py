"""What stands round every step: whatever goes wrong with a row becomes a row with a code, and the rest goes on.

Exceptions are caught here. Crashes and hangs end the worker process; the ledger (`pipeline.attempts`) counts them, and
here a row that has had its tries is given up without touching its input again.
"""

import time
import traceback
from dataclasses import asdict, replace
from typing import Final

from pipeline import logs
from pipeline.attempts import Attempt, Attempts, verdict
from pipeline.feeding import CORE_GFLOPS, stage_gflop
from pipeline.job import Job
from pipeline.metrics import StepMeter
from pipeline.quarantine import SWALLOWED, put_away
from pipeline.rows import Row
from pipeline.steps.base import Step
from stages.errors import DubError
from stages.media import storage
from stages.urls import without_secrets

_PATIENCE: Final = 5.0
"""How much longer than estimated a network may take on a CPU: cores are slower, and shared with other workers."""


def guarded(step: Step, row: Row, ledger: Attempts | None = None, meter: StepMeter | None = None) -> list[Row]:
    """The rows that go on for a row; one that is no work for the step goes on untouched.

    With a ledger (on Ray) the step has a deadline and its tries are counted; in the user's own process a crash or a
    hang is the user's to see. With a meter all of it is counted.
    """
    if not step.takes(row):
        return [row]
    job = Job.model_validate_json(row.job)
    with logs.about(**logs.facts_of(step.name, row, job)):
        made = _tried(step, row, job, ledger, meter)
        if meter is not None:
            meter.ended(row, made)
        _tell(step.name, made)
    return made


def _tell(stage: str, made: list[Row]) -> None:
    failed = next((out for out in made if out.failed and out.stage == stage), None)
    if failed is not None:
        logs.rows.warning("%s: %s", failed.code, failed.message, extra={"facts": {"code": failed.code}})
    else:
        seconds = made[0].facts.get("s", {}).get(stage, 0.0)
        logs.rows.info("done in %.2f s", seconds, extra={"facts": {"seconds": seconds}})


def _tried(step: Step, row: Row, job: Job, ledger: Attempts | None, meter: StepMeter | None) -> list[Row]:
    try:
        if ledger is None:
            return list(step(row))
        died = ledger.died(step.name, row, job)
        if meter is not None:
            meter.begun(retried=0 < len(died) < step.config.run.max_attempts)
        if died:
            logs.rows.warning("its worker died %d times, last on %s", len(died), died[-1].host)
        if len(died) >= step.config.run.max_attempts:
            return _failed(step, row, job, *verdict(died, row), attempts=died)
        with ledger.under_way(step.name, row, job, deadline_s(step, row, job)):
            return list(step(row))
    except DubError as error:
        return _failed(step, row, job, error.code, error.message, error)
    except MemoryError as error:
        message = f"{row.film}: not enough memory; lower split.shard_s or the workers"
        return _failed(step, row, job, "oom", message, error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in storage.NO_ROOM:
            message = f"{row.film}: no room left to write ({error}); make room and run the same command again"
            return _failed(step, row, job, "disk_full", message, error)
        where = "".join(traceback.format_exception(error)[-3:]).strip()
        return _failed(step, row, job, "internal", f"{row.film}: {type(error).__name__}: {error}\n{where}", error)


def deadline_s(step: Step, row: Row, job: Job) -> float:
    """How long a step may work on a row."""
    settings = step.config.run
    if step.whole_film:
        return settings.deadline_film_s
    index, frames = step.index(job), row.end - row.start
    film_s = settings.deadline_per_s * frames * index.duration_s / len(index)
    return settings.deadline_base_s + film_s + _PATIENCE * frames * _network_s(step, job)


def _network_s(step: Step, job: Job) -> float:
    """Seconds of one core that a step's networks take for a frame; those on a GPU are within the rest."""
    devices = {"lips": step.config.lips.device, "enhance": step.config.enhance.device}
    if devices.get(step.name, "cuda") == "cuda":
        return 0.0
    return stage_gflop(step.recipe(job), step.name) / CORE_GFLOPS


def _failed(
    step: Step,
    row: Row,
    job: Job,
    code: str,
    message: str,
    error: BaseException | None = None,
    attempts: list[Attempt] | None = None,
) -> list[Row]:
    """The failure's rows. What nobody could foresee is put into quarantine, with all there is to look into it."""
    message = without_secrets(message)
    if code in SWALLOWED:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        try:
            put_away(
                step.work,
                row,
                job,
                stage=step.name,
                code=code,
                message=message,
                traceback=trace,
                attempts=[asdict(attempt) for attempt in attempts or []],
                at=time.time(),
            )
        except (OSError, DubError) as full:  # the row must come out, or the run would not end
            message += f" (and it could not be put into quarantine: {full})"
    if step.whole_film and row.kind != "film":
        # The cell or shard that landed last is whole; what failed is its film.
        whole = replace(row, code=row.code or "ok", ready=False, payload=b"")
        return [whole, Row("film", row.film, row.job, code=code, message=message, stage=step.name)]
    return [replace(row, code=code, message=message, stage=step.name, ready=False, payload=b"")]
