"""The report as a page that anybody can open: one file, no script, no network.

Names and messages come from manifests and media that nobody has checked: the template escapes everything.
"""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import IO, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pipeline.config import Config
from pipeline.estimate import readable_size
from pipeline.report import DELIVERED, FilmReport, RunReport
from stages.media import storage

_PICTURED: Final = 200  # films whose pictures are in the page itself: 15 MB; the others' are links
_TOLD: Final = 1000  # delivered films with a section of their own; failed ones all have it
STAGES: Final = ("split", "faces", "cast", "crops", "lips", "enhance", "composite", "passthrough", "mux")
"""In the order the data goes through, as the columns of seconds."""

ADVICE: Final = {
    "": "The run ended before this film did. Run the same command again: it goes on where it was.",
    "ok_passthrough": "Some ranges show the source's own lips. Look at them below; `dubline retry` tries them again.",
    "bad_row": "Correct this row of the manifest and run it again.",
    "not_found": "Put the file where the row says, or correct the row.",
    "decode_error": "The file is damaged, cut short, or no media. Copy it again from where it came from.",
    "no_video": "Name a file with a picture.",
    "no_audio": "Name a file with sound, or another audio_track.",
    "no_face": "Nothing was painted. If there is a face, give its place with `box`, or lower cast.min_score.",
    "audio_longer": "Shorten the dub, or set audio_longer in the row.",
    "unsupported": "Convert the source, or change the setting that the message names.",
    "oom": "Lower split.shard_s or the number of workers, or take machines with more memory.",
    "timeout": "Run it again; if it stays, look at the storage, or raise the limit that the message names.",
    "crashed": "A worker died. Run the same command again; if it stays, try this film alone.",
    "weights_missing": "Fetch the weights: `dubline weights list` shows what is there.",
    "disk_full": "Make room on the disk that the message names, and run the same command again.",
    "unreachable": "The storage did not answer, or refused. Check address and credentials; run the same command again.",
    "held": "Another run is at work on this output. Run the same command again when it is over.",
    "internal": "This is a fault of dubline or of its installation. Run again; if it stays, report it with this page.",
}
"""What to do by a film's code, beside its own message."""


@dataclass(frozen=True)
class _Section:
    """One film as the template shows it."""

    number: int
    film: FilmReport
    pairs: list[dict[str, Any]]
    """`time_s`, and what `src` of the pictures `before` and `after` is; None where a picture is gone."""


def write_html(report: RunReport, work: str, file: IO[str]) -> None:
    """Write the page. It is rendered piece by piece, so that memory does not grow with the films' pictures."""
    films = sorted(report.all_films, key=lambda film: _rank(film.code))
    rows = list(enumerate(films, 1))
    told = [(k, film) for k, film in rows if film.code not in DELIVERED]
    told += list(islice(((k, film) for k, film in rows if film.code in DELIVERED), _TOLD))
    delivered = len(films) - len(report.failed)
    status, meaning = exit_meaning(report)
    length_s = sum(film.length_s for film in films if film.code in DELIVERED and not film.kept)
    pieces = _template().generate(
        report=report,
        rows=rows,
        sections=_sections(told, work),
        untold=len(rows) - len(told),
        told={number for number, _ in told},
        stages=[stage for stage in STAGES if any(stage in film.seconds for film in films)],
        delivered=delivered,
        delivered_codes=DELIVERED,
        status=status,
        meaning=meaning,
        length_s=length_s,
        speed=length_s / report.wall_s if report.wall_s else 0.0,
        advice=ADVICE,
        settings=list(_changed(report.settings, Config().model_dump(mode="json"))),
    )
    file.writelines(pieces)


def exit_meaning(report: RunReport) -> tuple[int, str]:
    """The run's exit status, and what it means."""
    if report.unfinished():
        return 130, "interrupted before every film was finished; the same command goes on"
    fail_on = report.settings.get("run", {}).get("fail_on", "any")
    status, failed = report.exit_code(fail_on), len(report.failed)
    unpainted = sum(film.code == "ok_passthrough" for film in report.all_films)
    problems = [f"{_films(failed)} not delivered"] if failed else []
    problems += [f"{_films(unpainted)} not painted throughout"] if unpainted else []
    if not problems:
        return status, "every film delivered"
    return status, " and ".join(problems) + ("" if status else f"; tolerated by --fail-on {fail_on}")


def _films(count: int) -> str:
    return "1 film" if count == 1 else f"{count} films"


def _rank(code: str) -> int:
    """Films that failed come first, then those with something to look at."""
    return 2 if code == "ok" else 1 if code in DELIVERED else 0


def _sections(films: list[tuple[int, FilmReport]], work: str) -> Iterator[_Section]:
    pictured = 0
    with ThreadPoolExecutor(2 * 3) as threads:
        for number, film in films:
            inline = pictured < _PICTURED
            pictured += bool(film.pictures)
            files = [moment[when] for moment in film.pictures for when in ("before", "after")]
            sources = iter(list(threads.map(lambda file: _inline(work, file), files)) if inline else map(_link, files))
            pairs = [
                {"time_s": moment["time_s"], "before": next(sources), "after": next(sources)}
                for moment in film.pictures
            ]
            yield _Section(number, film, pairs)


def _inline(work: str, name: str) -> str | None:
    """A picture of the work folder as a data: URI; None when it was cleaned away."""
    try:
        data = storage.read_bytes(storage.join(work, name))
    except (FileNotFoundError, ValueError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _link(name: str) -> str:
    """From runs/<run>/report.html."""
    return f"../../{name}"


def _changed(settings: Any, defaults: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Settings that are not the defaults, by dotted path."""
    for key, value in settings.items():
        default = defaults.get(key) if isinstance(defaults, dict) else None
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and isinstance(default, dict):
            yield from _changed(value, default, here)
        elif value != default:
            yield here, str(value)


def _clock(seconds: float) -> str:
    """3725.5 -> 1:02:05.5; tenths under a minute only matter to who looks for a frame."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def _value(value: Any, unit: str = "") -> str:
    """A fact with its unit; a dash where there was nothing to measure."""
    if value is None:
        return "-"
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": _clock, "size": readable_size, "value": _value}
    return environment.get_template("report.html.jinja")
