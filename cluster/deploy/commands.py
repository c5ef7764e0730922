"""The command lines that manifests run."""

from pathlib import PurePosixPath
from typing import Final

from cluster.deploy.options import DeployOptions
from pipeline.overrides import ConfigError

HOME: Final = "/opt/dubline"
"""Folder of the image that holds the configs."""
WEIGHTS: Final = "/weights"
SCRATCH: Final = "/scratch"
NO_JOB: Final = "job.manifest and job.work must be said: the films, and a folder that every machine can write"


def run_command(options: DeployOptions, home: str = HOME) -> list[str]:
    """`dubline run` of the night's films, as the driver on the cluster. Raises ConfigError without a job."""
    return ["dubline", "run", *_job(options, home), f"--fail-on={options.job.fail_on}"]


def submit_command(options: DeployOptions, address: str, home: str = HOME, name: str = "") -> list[str]:
    """`dubline submit` of the night's films to a standing cluster, as the job `name`. Raises ConfigError without a
    job."""
    named = [f"--submission-id={name}"] if name else []
    fail_on = f"--fail-on={options.job.fail_on}"
    return ["dubline", "submit", *_job(options, home), f"--address={address}", *named, "--", fail_on]


def fetch_commands(options: DeployOptions, names: list[str]) -> list[list[str]]:
    """`dubline weights fetch` for every file: one for those with a URL of their own each, one for the rest."""
    own = options.weights.urls
    plain = [name for name in names if name not in own]
    fetch = ["dubline", "weights", "fetch"]
    commands = [[*fetch, *plain]] if plain else []
    return commands + [[*fetch, name, f"--url={own[name]}"] for name in names if name in own]


def _job(options: DeployOptions, home: str) -> list[str]:
    job = options.job
    if not job.manifest or not job.work:
        raise ConfigError(NO_JOB)
    config = str(PurePosixPath(home) / job.config)
    return [job.manifest, f"--config={config}", f"--work={job.work}", *(f"--set={each}" for each in job.overrides)]
