"""What gave up, with everything needed to look into it."""

import platform
from collections.abc import Collection
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.job import Job
from pipeline.ledger import WorkFolder, read_json, write_json
from pipeline.rows import Row
from stages.media import storage

SWALLOWED = ("internal", "oom", "timeout", "crashed")
"""Failures that say nothing about the film: a shard that ends so can go on unpainted, and may be tried again."""
_PACKAGES = ("dubline", "ray", "av", "numpy", "opencv-python", "torch", "onnxruntime", "imageio-ffmpeg")


def put_away(work: WorkFolder, row: Row, job: Job, **facts: Any) -> None:
    """Write the record of a row that failed. `facts`: stage, code, message, traceback, attempts."""
    columns = {name: value for name, value in row.to_dict().items() if name not in ("payload", "job", "facts")}
    record = {
        "run": job.run,
        "film": row.film,
        **facts,
        "row": {**columns, "facts": dict(row.facts)},
        "job": job.model_dump(mode="json"),
        "versions": _versions(),
    }
    name = row.key or f"{facts['stage']}-{row.kind}-{row.start:08d}-{row.end:08d}"
    write_json(work.quarantine(job.film_key or row.film, name), record)


def put_away_in(work: WorkFolder, job: Job, key: str) -> dict[str, Any] | None:
    """The record of a shard of this film that failed in this run."""
    record = read_json(work.quarantine(job.film_key, key), "run", "code", "message", "stage")
    return record if record is not None and record["run"] == job.run else None


def release(work: WorkFolder, job: Job, but: Collection[str]) -> None:
    """Remove the records of a film that is delivered, but for the shards with these keys."""
    for film in (job.film_key, job.film.id):
        folder = work.quarantined(film)
        for name in storage.names(folder):
            if name.removesuffix(".json") not in but:
                storage.remove(storage.join(folder, name))


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            found[package] = ""
    return found
