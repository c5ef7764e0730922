"""The files of a run's report in the work folder: report.json, report.html, report.parquet, shards.parquet."""

import io
from collections.abc import Callable
from pathlib import Path

from pipeline.ledger import RUN_ID, WorkFolder
from pipeline.report import RunReport
from pipeline.report_html import write_html
from pipeline.report_tables import write_films, write_shards
from stages.errors import DubError
from stages.media import storage


def publish_report(report: RunReport, work: str) -> None:
    """Write all files of a report; report.json first, from which the others can be made again."""
    folder = WorkFolder(work)
    report.url = folder.run(report.run, "report.json")
    with storage.publishing(report.url, ".json") as path, path.open("w", encoding="utf-8") as file:
        report.write(file)
    for name, write in _VIEWS.items():
        _publish(report, work, name, write)


def stored_report(work: str, run: str | None = None) -> RunReport:
    """The report of a run, by default the last one; files that are missing beside report.json are made again.

    Raises DubError `not_found` where there is no such run, `decode_error` where its report is damaged.
    """
    folder = WorkFolder(work)
    runs = [name for name in storage.names(folder.runs) if RUN_ID.fullmatch(name)]
    if not runs:
        raise DubError("not_found", f"{work}: has no report; is it the folder that --work named?")
    if run is not None and run not in runs:
        raise DubError("not_found", f"{work}: has no run {run[:60]!r}; the last ones are {', '.join(runs[-3:])}")
    chosen = run or runs[-1]
    url = folder.run(chosen, "report.json")
    try:
        with storage.open_read(url) as binary, io.TextIOWrapper(binary, encoding="utf-8") as lines:
            report = RunReport.read(lines, url)
    except FileNotFoundError as error:
        raise DubError("not_found", f"{url}: is not there; the run was killed before it could write it") from error
    report.url = url
    there = set(storage.names(storage.join(folder.runs, chosen)))
    for name, write in _VIEWS.items():
        if name not in there:
            _publish(report, work, name, write)
    return report


def page_of(report: RunReport) -> str:
    """Where the report's page is."""
    return f"{report.url.removesuffix('.json')}.html"


def _page(report: RunReport, path: Path, work: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        write_html(report, work, file)


_VIEWS: dict[str, Callable[[RunReport, Path, str], None]] = {
    "report.html": _page,
    "report.parquet": lambda report, path, _: write_films(report, path),
    "shards.parquet": lambda report, path, _: write_shards(report, path),
}


def _publish(report: RunReport, work: str, name: str, write: Callable[[RunReport, Path, str], None]) -> None:
    with storage.publishing(WorkFolder(work).run(report.run, name)) as path:
        write(report, path, work)
