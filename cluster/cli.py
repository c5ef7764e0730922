"""The command `dubline`: the job's own commands (`pipeline.cli`) and those about clusters, joined.

`python -m pipeline` has the job's own commands only: it is what runs on a cluster, as the driver of a submitted job.
`python -m cluster` is the whole command, for a checkout without the entry point.
"""

from typing import Final

import typer

from cluster.deploy.command import manifest
from cluster.jobs_cli import app as jobs_app
from pipeline import cli as job

app: Final = typer.Typer()  # the commands about clusters alone
app.add_typer(jobs_app)
app.command()(manifest)


def joined() -> typer.Typer:
    """The whole command: what a job has, then what clusters need."""
    whole = typer.Typer(**job.APPEARANCE)
    whole.add_typer(job.app)
    whole.add_typer(app)
    return whole


def main() -> None:
    """The command, with the exit status of design section 5."""
    job.main(joined())
