"""What the command says on a terminal or into a log."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from pipeline.estimate import disks, readable_size, total
from pipeline.logs import LOGGERS, JsonLines, Printed, Style, about
from pipeline.plan import PlannedFilm
from pipeline.report import RunReport
from pipeline.report_files import page_of
from pipeline.report_html import exit_meaning
from stages.urls import without_secrets

_log = logging.getLogger(__name__)
_LOG_COLUMNS = 160  # in a log, lines are as long as they need to be
out = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _LOG_COLUMNS)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def _print(line: str) -> None:
    out.print(without_secrets(line))


@contextmanager
def telling(style: Style = "plain") -> Iterator[None]:
    """While the block runs, what is logged from `info` up is printed, a line each: what `pipeline` has to say to the
    user, or as JSON lines everything."""
    json_lines = style == "json"
    names = LOGGERS if json_lines else ("pipeline",)
    formatter = JsonLines() if json_lines else logging.Formatter("%(message)s")
    handler = Printed(formatter, typer.echo if json_lines else _print)
    loggers = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in loggers:
            logger.removeHandler(handler)
            logger.setLevel(level)


def tell_report(report: RunReport) -> None:
    """How a run ended as log records, one a film."""
    with about(run=report.run):
        for film in report.all_films:
            facts = {"film": film.id or f"line {film.line}", "code": film.code, "frames": film.frames}
            level = logging.WARNING if film in report.failed else logging.INFO
            _log.log(level, "%s: %s", film.code, film.message or film.output, extra={"facts": facts})
        good = len(report.all_films) - len(report.failed)
        _log.info(
            "%d of %d films delivered in %.1f s; report: %s", good, len(report.all_films), report.wall_s, report.url
        )


def print_report(report: RunReport) -> None:
    """How a run ended, film by film, and where its report is."""
    table = Table("film", "code", "frames", "painted", "shards made", Column("output", overflow="fold"))
    for film in report.all_films:
        where = "" if film in report.failed else film.output
        shards = f"{film.shards_made} of {film.shards}" if film.shards else "-"
        columns = (film.id or f"line {film.line}", film.code, str(film.frames), str(film.painted), shards, where)
        table.add_row(*(Text(column) for column in columns))
    out.print(table)
    for film in report.all_films:
        if film.message:
            out.print(_named(film.id, film.message))
        for note in film.notes:
            out.print(f"{film.id}: {note}")
    good = len(report.all_films) - len(report.failed)
    kept = sum(film.kept for film in report.all_films)
    there = f" ({kept} of them there already)" if kept else ""
    told = f"{good} of {len(report.all_films)} films delivered in {report.wall_s:.1f} s{there}"
    out.print(f"{told}: {exit_meaning(report)[1]}")
    out.print(f"report: {page_of(report)}")


def print_plan(films: list[PlannedFilm], work: str) -> None:
    """What a run would do, film by film, what is in its way, and the room it would take."""
    table = Table("film", "frames", "length", "picture", "cells", "shards", "problem")
    for film in films:
        table.add_row(*(Text(column) for column in film.columns()))
    out.print(table)
    for film in films:
        if film.problem:  # whole lines: in a column of a narrow terminal nobody could read them
            out.print(_named(film.id, film.problem.partition(": ")[2]))
    good = [film for film in films if not film.problem]
    frames, shards = sum(film.frames for film in good), sum(film.shards for film in good)
    out.print(f"{len(good)} of {len(films)} films can be dubbed: {frames} frames in {shards} shards")
    print_room(good, work)


def _named(film: str, message: str) -> str:
    """A message with the film's name, or its line in the manifest, in front of it."""
    return message if message.startswith((f"{film}: ", "line ")) else f"{film}: {message}"


def print_room(films: list[PlannedFilm], work: str) -> None:
    """What the films would take on disks, and whether they have it."""
    room = total(film.room for film in films)
    size = readable_size
    out.print(
        f"work folder: about {size(room.work)} (segments {size(room.segments)}, speech {size(room.speech)}, "
        f"faces and the like {size(room.faces)}); outputs: about {size(room.output)}"
    )
    out.print(
        f"scratch on a node: up to about {size(room.joining + room.copies)} (joining films {size(room.joining)}, "
        f"copies of remote files {size(room.copies)})"
    )
    for disk in disks(room, work, [(film.output, film.room.output) for film in films]):
        what = f"{', '.join(disk.holds)} need about {size(disk.needed)}, {size(disk.free)} are free ({disk.folder})"
        out.print(f"{'fits' if disk.fits else 'WARNING: does not fit'}: {what}")


def stop(error: Exception) -> NoReturn:
    """Say what is wrong and end with status 1."""
    err.print(without_secrets(f"dubline: {error}"))
    raise typer.Exit(1) from error
