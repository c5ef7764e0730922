"""The commands of the job itself: `python -m pipeline`, which runs on a cluster too. `cluster.cli` joins its own."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

import typer

from pipeline.choice import parse_range
from pipeline.clean import clean, parse_age
from pipeline.config import Config, RunSettings, load_config
from pipeline.demo import make_demo
from pipeline.doctor import checks, usable_cores
from pipeline.estimate import readable_size
from pipeline.logs import Style, style_of
from pipeline.manifest import ManifestError
from pipeline.overrides import ConfigError
from pipeline.plan import plan_films
from pipeline.pools import Node, PreflightError, plan_pools
from pipeline.progress import Progress
from pipeline.report import RunReport
from pipeline.report_files import stored_report
from pipeline.rows import Row
from pipeline.run import dub
from pipeline.run import retry as run_again
from pipeline.terminal import err, out, print_plan, print_report, stop, tell_report, telling
from pipeline.weights_cli import WeightsDir, weights_app
from stages.errors import DubError
from stages.weights import Weights

APPEARANCE: Final[dict[str, Any]] = {
    "no_args_is_help": True,
    "add_completion": False,
    "rich_markup_mode": "markdown",
    "help": "Dub films: new speech in, redrawn lips out, every frame at its own time.",
}
app = typer.Typer(**APPEARANCE)
app.add_typer(weights_app, name="weights")
_Told = TypeVar("_Told")
_UsageError: Any = typer.BadParameter.__bases__[0]  # of the click that typer brings along
Manifest = Annotated[str, typer.Argument(help="JSONL, CSV or Parquet, a path or any fsspec URL.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file, such as configs/wav2lip.yaml. Path or URL.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="One setting, as a.b=value. May be repeated.", metavar="A.B=V")
]
Work = Annotated[str, typer.Option("--work", "-w", help="Work folder: caches, segments, reports. Path or URL.")]
Log = Annotated[
    Literal["plain", "json"] | None,
    typer.Option(help="Log lines as they are, or as JSON. Default: $DUBLINE_LOG, else plain."),
]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="Refuse weights whose licence does not clearly allow commercial use.")
]


@app.command()
def run(
    manifest: Manifest,
    config: ConfigFile = None,
    work: Work = "work",
    overrides: Overrides = None,
    executor: Annotated[Literal["ray", "inline"], typer.Option(help="On a Ray cluster, or in this process.")] = "ray",
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, such as auto. Default: $RAY_ADDRESS, else one is started here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    fail_on: Annotated[
        Literal["any", "all", "never"] | None, typer.Option(help="Which failed films make the exit status 2.")
    ] = None,
    container: Annotated[
        Literal["named", "auto"] | None,
        typer.Option(help="auto: a film whose container cannot carry a track of the source is delivered as .mkv."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Dub only the film with this id. May be repeated.", metavar="ID")
    ] = None,
    excerpt: Annotated[
        str | None,
        typer.Option("--range", help="Dub only these seconds, into a file next to the output.", metavar="10:00-10:05"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="What relative paths of the manifest are relative to. Default: the manifest's folder."),
    ] = None,
    commercial: Commercial = False,
    log: Log = None,
) -> None:
    """Dub every film of a manifest.

    Exit status: 0 every film delivered, 1 the job could not start, 2 some film failed, 130 interrupted.
    A second run goes on where the first one stopped.

    Examples:

        dubline run night.jsonl --config configs/wav2lip.yaml --work work

        dubline run night.csv --set encode.preset=veryfast --set composite.blend=feather --executor inline

        dubline run night.jsonl --only lecture-07-de --range 10:00-10:05
    """
    extra = [f"run.overwrite={str(overwrite).lower()}"] if overwrite else []
    extra += [f"run.fail_on={fail_on}"] if fail_on else []
    extra += [f"mux.container={container}"] if container else []
    extra += ["run.commercial=true"] if commercial else []
    extra += [f"run.log={log}"] if log else []
    settings = _config(config, [*(overrides or []), *extra])
    try:
        seconds = parse_range(excerpt) if excerpt is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--range") from error
    report = _dub(manifest, settings, work, executor, address, only or [], seconds, base)
    _ended(report, settings.run.log or style_of())
    raise typer.Exit(report.exit_code(settings.run.fail_on))


@app.command()
def retry(
    work: Annotated[str, typer.Argument(help="Work folder of the run. Path or URL.")],
    run: Annotated[str | None, typer.Option("--run", help="The run's id. Default: the last one.")] = None,
    executor: Annotated[Literal["ray", "inline"], typer.Option(help="On a Ray cluster, or in this process.")] = "ray",
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, such as auto. Default: $RAY_ADDRESS, else one is started here.")
    ] = None,
    commercial: Commercial = False,
    log: Log = None,
) -> None:
    """Run again what a run could not deliver, or delivered with stretches that were passed through unpainted.

    Rows and settings are the run's own. Exit status as of `run`.

    Example:

        dubline retry work
    """
    style = log or style_of()
    report = _watched(
        RunSettings().progress_s,
        style,
        lambda on_start, on_row: run_again(
            work,
            run,
            executor=executor,
            address=address,
            commercial=commercial,
            log=style,
            on_start=on_start,
            on_row=on_row,
        ),
    )
    if report is None:
        out.print("every film of that run is well")
        return
    _ended(report, style)
    raise typer.Exit(report.exit_code(report.settings["run"]["fail_on"]))


@app.command()
def plan(
    manifest: Manifest,
    config: ConfigFile = None,
    overrides: Overrides = None,
    work: Work = "work",
    commercial: Commercial = False,
) -> None:
    """Say what a run would do: frames, cells, shards, problems, and the room it would take.

    Looks at headers and first frames, writes nothing. Sizes are estimates, for a work folder without anything of these
    films in it; where they do not fit, there is a warning.

    Example:

        dubline plan night.jsonl --config configs/wav2lip.yaml --work /data/work
    """
    settings = _config(config, [*(overrides or []), *(["run.commercial=true"] if commercial else [])])
    try:
        with telling():
            films = list(plan_films(manifest, settings, work))
    except (ManifestError, PreflightError, DubError) as error:
        stop(error)
    print_plan(films, work)
    raise typer.Exit(2 if any(film.problem for film in films) else 0)


@app.command("report")
def show_report(
    work: Annotated[str, typer.Argument(help="Work folder of the run. Path or URL.")],
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Which run; the last one by default.")] = None,
) -> None:
    """Say again how a run ended, and where its page with pictures is.

    Files that are missing beside report.json (report.html, report.parquet, shards.parquet) are made again.

    Examples:

        dubline report work

        dubline report s3://bucket/work 20260314-220501-000318-3f9a
    """
    try:
        print_report(stored_report(work, run_id))
    except DubError as error:
        stop(error)


@app.command("clean")
def clean_work(
    work: Annotated[str, typer.Argument(help="Work folder. Path or URL.")],
    older_than: Annotated[str, typer.Option("--older-than", help="Age of the last use.", metavar="14d")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also what films need that were begun and never finished.")
    ] = False,
) -> None:
    """Remove from a work folder what no run has used for long.

    Segments, caches, reports of old runs, and what killed processes left. What an unfinished film needs stays; finished
    films and other people's files are never touched. Not while a run is going on with films that old.

    Examples:

        dubline clean work --older-than 14d --dry-run

        dubline clean s3://bucket/work --older-than 36h
    """
    try:
        cleaned = clean(work, parse_age(older_than), dry_run=dry_run, unfinished=unfinished)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error
    except (DubError, OSError) as error:
        stop(error)
    for kind, files in cleaned.files.items():
        out.print(f"{kind}: {files} files, {readable_size(cleaned.bytes[kind])}")
    verb = "would go" if dry_run else "removed"
    out.print(f"{verb}: {sum(cleaned.files.values())} files, {readable_size(sum(cleaned.bytes.values()))}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    executor: Annotated[Literal["ray", "inline"], typer.Option(help="How the dub is run.")] = "ray",
) -> None:
    """Make a small lecture film and dub it into German and Spanish: no download, no GPU.

    Example:

        dubline demo --folder /tmp/demo --executor inline
    """
    made = make_demo(folder)
    out.print(f"made {made.film} and {made.manifest}")
    settings = Config.model_validate({"run": {"overwrite": True}})
    report = _dub(str(made.manifest), settings, str(folder / "work"), executor, None)
    print_report(report)
    if report.failed:
        raise typer.Exit(2)
    picture = made.compare()
    out.print(f"before and after: {picture}")


@app.command()
def doctor(weights_dir: WeightsDir = None) -> None:
    """Check this machine: Python, libraries, ffmpeg, codecs, GPU, weights, and the workers a run would use."""
    found = checks(Weights(weights_dir))
    for check in found:
        out.print(f"{'ok  ' if check.ok else 'MISS'} {check.name}: {check.detail}")
        if not check.ok and check.advice:
            out.print(f"     -> {check.advice}")
    pools = plan_pools([Node(max(2, int(usable_cores())), 0)])
    for stage, pool in pools.items():
        workers = f"{pool.min_size} to {pool.max_size}" if pool.min_size < pool.max_size else str(pool.max_size)
        out.print(f"     workers of {stage}: {workers}, {pool.cpus:g} CPUs each")
    raise typer.Exit(0 if all(check.ok for check in found) else 1)


def _config(path: str | None, overrides: list[str] | None) -> Config:
    try:
        return load_config(path, overrides or [])
    except ConfigError as error:
        stop(error)


def _dub(
    manifest: str,
    config: Config,
    work: str,
    executor: Literal["ray", "inline"],
    address: str | None,
    only: Sequence[str] = (),
    excerpt: tuple[float, float] | None = None,
    base: str | None = None,
) -> RunReport:
    return _watched(
        config.run.progress_s,
        config.run.log or style_of(),
        lambda on_start, on_row: dub(
            manifest,
            config,
            work,
            executor=executor,
            address=address,
            only=only,
            excerpt=excerpt,
            base=base,
            on_start=on_start,
            on_row=on_row,
        ),
    )


def _ended(report: RunReport, style: Style) -> None:
    if style == "json":
        with telling(style):
            tell_report(report)
    else:
        print_report(report)


def _watched(
    progress_s: float, style: Style, call: Callable[[Callable[[int], None], Callable[[Row], None]], _Told]
) -> _Told:
    """Run films with a progress line; what keeps a job from starting becomes exit status 1, an interrupt 130."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    # `ray job stop` and `kill` send SIGTERM: the same way out as Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    shown: list[Progress] = []
    try:
        say = logging.getLogger("pipeline.progress").info if style == "json" else None
        with telling(style), ExitStack() as stack:
            return call(
                lambda films: shown.append(stack.enter_context(Progress(films, out, progress_s, say=say))),
                lambda row: shown[0].add(row),
            )
    except (ManifestError, PreflightError, DubError, OSError) as error:  # OSError: no cluster there, no room to write
        stop(error)
    except KeyboardInterrupt:
        err.print("interrupted; run the same command again to go on")
        raise typer.Exit(130) from None


def main(commands: typer.Typer = app) -> None:
    """`commands`, with the exit status of design section 5: a usage error is 1, because 2 means a failed film."""
    try:
        status = commands(prog_name="dubline", standalone_mode=False)
    except typer.Abort:
        status = 130
    except _UsageError as error:
        error.show()
        status = 1
    sys.exit(status)
