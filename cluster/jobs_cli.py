"""`dubline submit`, `dubline status`, `dubline stop`."""

import re
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from cluster.jobs import Jobs, Try
from cluster.upload import Packages, upload
from pipeline.cli import ConfigFile, Manifest, Overrides
from pipeline.manifest import ManifestError
from pipeline.overrides import ConfigError
from pipeline.terminal import err, out, stop
from stages.errors import DubError
from stages.urls import without_secrets

app: Final = typer.Typer()
Address = Annotated[
    str,
    typer.Option(
        "--address", "-a", envvar="RAY_API_SERVER_ADDRESS", help="URL of the dashboard of the cluster's head."
    ),
]
_HERE: Final = "http://127.0.0.1:8265"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MEANING: Final = {
    0: "every film delivered",
    1: "the job could not start",
    2: "some film failed",
    130: "stopped",
}
_LAST_LINES: Final = 5


@app.command()
def submit(
    manifest: Manifest,
    options: Annotated[
        list[str] | None, typer.Argument(help="After «--»: more options of `dubline run`, such as --fail-on all.")
    ] = None,
    work: Annotated[
        str, typer.Option("--work", "-w", help="Work folder: a URL, or an absolute path that every machine sees.")
    ] = ...,  # type: ignore[assignment]  # typer's way to say that it is required
    config: ConfigFile = None,
    overrides: Overrides = None,
    address: Address = _HERE,
    submission_id: Annotated[
        str | None,
        typer.Option(help="The job's name. What is running, or ended well, under it is not started again."),
    ] = None,
    packages: Annotated[
        Packages,
        typer.Option(help="image: the machines have what dubline needs. pinned: Ray installs this machine's versions."),
    ] = "image",
    environment: Annotated[
        list[str] | None,
        typer.Option("--env", help="A variable for the job's processes; no secrets. May be repeated.", metavar="A=B"),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job.")] = False,
) -> None:
    """Run a manifest as a job of a Ray cluster, and follow it.

    Exit status: the driver's own, as of `run`; 130 when the job was stopped. Ctrl-C stops following, not the job.
    A token is taken from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Examples:

        dubline submit night.jsonl --address http://head:8265 --config configs/wav2lip.yaml --work s3://bucket/work

        dubline submit s3://bucket/night.jsonl --work s3://bucket/work --submission-id night-2026-03-14 -- --fail-on all
    """
    name = submission_id or f"dubline-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if not _NAME.fullmatch(name):
        raise typer.BadParameter("letters, digits, «.», «_» and «-», 100 at most", param_hint="--submission-id")
    if options and not options[0].startswith("-"):
        raise typer.BadParameter(f"one manifest at a time; {options[0]!r} is no option of run", param_hint="options")
    try:
        variables = dict(_variable(text) for text in environment or [])
        with upload(manifest, config, work, overrides or [], options or [], packages, variables) as job:
            jobs = Jobs(address)
            made = jobs.submit(name, job)
        told = {
            "new": "submitted",
            "again": "submitted again, as the last try did not end well; what it finished is kept",
            "running": "is going on already: not started again",
            "done": "has ended well already: not started again",
        }
        out.print(f"{made.job}: {told[made.how]}")
        if no_wait and made.how != "done":
            out.print(f"follow it: dubline status {made.job} --follow --address {jobs.address}")
            return
    except (ManifestError, ConfigError, DubError) as error:
        stop(error)
    _follow(jobs, made.job)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="Submission id. Default: a list of all.")] = None,
    address: Address = _HERE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what it says until it ends.")] = False,
) -> None:
    """Say what jobs a cluster has, or how one of them is doing.

    Exit status: 0, whatever became of the job; with --follow, the job's own.

    Examples:

        dubline status --address http://head:8265

        dubline status night-2026-03-14 --follow
    """
    if follow and job is None:
        raise typer.BadParameter("which job? `dubline status` lists them", param_hint="--follow")
    try:
        jobs = Jobs(address)
        found = [jobs.find(job)] if job is not None else jobs.all()
        lines = jobs.log(found[0].id).splitlines()[-_LAST_LINES:] if job is not None and not follow else []
    except DubError as error:
        stop(error)
    if follow and job is not None:
        _follow(jobs, found[0].id)
    if not found:
        out.print(f"{jobs.address} has no jobs")
        return
    table = Table("job", "state", "began (UTC)", "took", "command")
    for one in found:
        table.add_row(*(Text(column) for column in _columns(one, time.time())))
    out.print(table)
    for line in lines:
        out.print(line)


@app.command("stop")
def stop_job(
    job: Annotated[str, typer.Argument(metavar="ID", help="Submission id.")],
    address: Address = _HERE,
) -> None:
    """Stop a job: its driver writes its report and ends. Submitting the job again goes on where it stopped.

    Example:

        dubline stop night-2026-03-14 --address http://head:8265
    """
    try:
        jobs = Jobs(address)
        found = jobs.find(job)
        ran = jobs.stop(found.id)
    except DubError as error:
        stop(error)
    out.print(f"{found.id}: stopped" if ran else f"{found.id}: had ended already: {_meaning(found)}")


def _follow(jobs: Jobs, job: str) -> None:
    """Show what a job says until it ends, and end with its status."""
    try:
        code = jobs.follow(job, lambda text: typer.echo(text, nl=False))
    except DubError as error:
        stop(error)
    except KeyboardInterrupt:
        err.print(f"\nno longer following {job}; it goes on")
        err.print(f"stop it: dubline stop {job} --address {jobs.address}")
        err.print(f"follow it again: dubline status {job} --follow --address {jobs.address}")
        raise typer.Exit(130) from None
    out.print(f"{job}: {_said(code)}")
    raise typer.Exit(code)


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not given or not name.isidentifier():
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--env")
    return name, value


def _columns(one: Try, now: float) -> tuple[str, str, str, str, str]:
    took = round((one.ended or now) - one.began)
    began = datetime.fromtimestamp(one.began, UTC)
    return (
        one.id,
        _meaning(one),
        f"{began:%Y-%m-%d %H:%M:%S}",
        f"{took // 60}:{took % 60:02d}",
        without_secrets(one.command),
    )


def _meaning(one: Try) -> str:
    return one.state.lower() if one.code is None else _said(one.code)


def _said(code: int) -> str:
    return f"{code}, {_MEANING.get(code, 'the driver was ended from outside or never began')}"
