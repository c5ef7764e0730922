"""The command `dubline manifest`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.deploy.files import Kind, load_options, render
from pipeline.config import load_config
from pipeline.overrides import ConfigError
from pipeline.terminal import err, out, stop
from stages.errors import DubError
from stages.media.storage import write_bytes

_ONE = (
    "kuberay: all four for Kubernetes; launcher: AWS or GCP (launcher.cloud); docker: Dockerfile and what goes with it."
)


def manifest(
    kind: Annotated[Kind, typer.Argument(help=_ONE)],
    films: Annotated[str, typer.Argument(metavar="[MANIFEST]", help="Manifest of the films: job.manifest.")] = "",
    work: Annotated[str, typer.Option("--work", "-w", help="Work folder: job.work.")] = "",
    image: Annotated[str, typer.Option("--image", help="Container image: image.name.")] = "",
    options: Annotated[
        Path | None, typer.Option("--options", "-o", help="YAML file of options (docs/deploy.md).")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="One option, as a.b=value. May be repeated.", metavar="A.B=V"),
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder to write into; else to standard output.")] = None,
) -> None:
    """Write the files that run dubline every night: for KubeRay, Kubernetes, systemd, Ray's launcher, Docker.

    They hold no secret: machines have rights of their own. docs/deploy.md goes through each way, and says of every
    number where it comes from.

    Examples:

        dubline manifest raycronjob s3://bucket/night.jsonl --work s3://bucket/work --image registry/dubline:1

        dubline manifest launcher --image registry/dubline:1 --set launcher.cloud=gcp --set launcher.project=dubs-1

        dubline manifest systemd /data/night.jsonl --work /data/work --set 'schedule.cron=30 21 * * mon-fri'
    """
    given = {"job.manifest": films, "job.work": work, "image.name": image}
    try:
        chosen = load_options(
            options, [*(overrides or []), *(f"{key}={json.dumps(value)}" for key, value in given.items() if value)]
        )
        files = render(kind, chosen, load_config(chosen.job.config, chosen.job.overrides))
        for name, text in files.items():
            if folder is None:
                out.file.write(text if len(files) == 1 else f"# {name}\n{text}")
            else:
                write_bytes(str(folder / name), text.encode())
                err.print(f"wrote {folder / name}")
    except (ConfigError, DubError, OSError) as error:
        stop(error)
