"""What a submitted job brings along: its code, a local manifest and config, and where its packages come from."""

import hashlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from packaging.requirements import Requirement

import pipeline
import stages
from pipeline.config import load_config, preset
from pipeline.locate import base_of
from pipeline.manifest import ManifestError, read_manifest
from stages.errors import DubError
from stages.media import storage
from stages.urls import has_secrets, is_secret

Packages = Literal["image", "pinned"]

_FILES: Final = "job"
"""Folder of the upload with the files that are the job's own; no name in it can be taken for an option."""
DRIVER: Final = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
"""Variables of a job: Ray kills a stopped driver after 3 s; the report of an interrupted run takes longer."""
_FILE_SYSTEMS: Final = ("s3fs", "gcsfs", "adlfs")


@dataclass(frozen=True)
class Upload:
    """A job as it is handed to Ray."""

    entrypoint: str
    """A command for the shell, to be run in the uploaded folder."""
    runtime_env: dict[str, Any]
    digest: str
    """Of what is asked for: command, manifest and config, where they are local. The code does not count."""


@contextmanager
def upload(
    manifest: str,
    config: str | None,
    work: str,
    overrides: Sequence[str] = (),
    options: Sequence[str] = (),
    packages: Packages = "image",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Upload]:
    """The job `dubline run MANIFEST ...`, in a folder that is gone after the block.

    A local manifest or config is checked and comes with the upload, a URL is left to the driver. Relative paths of a
    local manifest mean what they mean here, so its files must be on a file system that the cluster shares. `options`:
    more words for `dubline run`. `environment`: variables for the job's processes; whoever may see a job sees them.
    Raises ManifestError, ConfigError, DubError `bad_row` (a work folder that no machine would find again, a secret).
    """
    _check_work(work)
    variables = dict(environment or {})
    secret = [name for name, value in variables.items() if is_secret(name, value) or has_secrets(value)]
    secret += [word for word in (manifest, config or "", work, *overrides, *options) if has_secrets(word)]
    if secret:
        raise DubError(
            "bad_row",
            f"{secret[0]} looks like a secret, and all who may see a job see its command and variables: put it into "
            "the environment of the cluster's machines, or give them a role",
        )
    with storage.scratch_folder() as folder:
        for package in (pipeline, stages):
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        files: list[Path] = []
        command = ["python", "-m", "pipeline", "run"]
        settings = None if config is not None and not storage.is_local(config) else load_config(config, overrides)
        if storage.is_local(manifest):
            read = read_manifest(manifest, settings.run.roots if settings else ())
            if not read.films:
                problems = "\n".join(f"  {problem}" for problem in read.problems)
                raise ManifestError(f"no film can be dubbed:\n{problems}")
            files.append(_take(manifest, folder))
            command += [f"{_FILES}/{files[-1].name}", "--base", base_of(manifest)]
        else:
            command.append(manifest)
        if config is not None and storage.is_local(config):
            files.append(_take(preset(config), folder))
            command += ["--config", f"{_FILES}/{files[-1].name}"]
        elif config is not None:
            command += ["--config", config]
        command += ["--work", work, *(word for override in overrides for word in ("--set", override)), *options]
        runtime: dict[str, Any] = {"working_dir": str(folder)}
        runtime["env_vars"] = {**DRIVER, **variables}
        if packages == "pinned":
            runtime["pip"] = pinned()
        entrypoint = shlex.join(command)
        hasher = hashlib.sha256(entrypoint.encode())
        for file in files:
            hasher.update(hashlib.sha256(file.read_bytes()).digest())
        yield Upload(entrypoint, runtime, hasher.hexdigest())


def pinned() -> list[str]:
    """What dubline needs, all extras but `dev`, in exactly the versions that are installed here. Ray is the cluster's.

    Raises DubError `unsupported` where dubline is not installed.
    """
    try:
        declared = [Requirement(line) for line in metadata.requires("dubline") or []]
        extras = [extra for extra in metadata.metadata("dubline").get_all("Provides-Extra") or [] if extra != "dev"]
    except metadata.PackageNotFoundError as error:
        raise DubError("unsupported", "dubline is not installed here: no versions to pin (pip install .)") from error
    names = [
        need.name
        for need in declared
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ["", *extras])
    ]
    return sorted(
        # A local version («+cpu») is in no registry.
        f"{name}=={version.partition('+')[0]}"
        for name in {*names, *_FILE_SYSTEMS} - {"ray", "dubline"}
        if (version := _installed(name)) is not None
    )


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_work(work: str) -> None:
    """A relative folder would be one of the upload's copy, and gone with it."""
    if storage.is_local(work) and not storage.local_path(work).is_absolute():
        raise DubError("bad_row", f"--work {work}: give a URL, or an absolute path that every machine sees the same")


def _take(url: str, folder: Path) -> Path:
    """The upload's copy of a local file."""
    source = storage.local_path(url)
    target = folder / _FILES / source.name
    target.parent.mkdir(exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise DubError("not_found", f"{url}: cannot be read: {error.strerror or error}") from error
    return target
