"""What a run did: one record a film, one a shard, as JSON in the work folder.

The driver keeps one small record a film; shards go to a file as they come, so its memory does not grow with them.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import IO, Any

from pipeline.film import Film
from pipeline.rates import Rates
from pipeline.rows import Row
from pipeline.steps.passthrough import gave_up
from stages.errors import DubError
from stages.urls import without_secrets

DELIVERED = ("ok", "ok_passthrough", "no_face")
"""Codes of films that are at their output."""


@dataclass
class FilmReport:
    """How one film ended."""

    id: str
    output: str = ""
    line: int = 0
    """Of the manifest; 0 where the row is a film's."""
    code: str = ""
    message: str = ""
    stage: str = ""
    frames: int = 0
    length_s: float = 0.0
    painted: int = 0
    painted_s: list[list[float]] = field(default_factory=list)
    """[start, end] in seconds of the stretches in which a face is painted."""
    pictures: list[dict[str, Any]] = field(default_factory=list)
    """At the strongest mouth openings: `time_s`, and the files `before` and `after`, relative to the work folder."""
    copied: int = 0
    """Frames whose packets are the source's own (`encode.render`)."""
    shots: int = 0
    shards: int = 0
    shards_made: int = 0
    cells: int = 0
    cells_detected: int = 0
    """Cells whose faces were not in the cache."""
    faces: int = 0
    """Faces found in the cells detected in this run."""
    landmarks_located: int = 0
    bytes: int = 0
    sound: str = ""
    """How the dub came into the film: copied, or encoded and why."""
    loudness: dict[str, Any] = field(default_factory=dict)
    """EBU R128 of the source's first audio track, the dub and what was delivered (`stages.mux.mux.Delivery`)."""
    kept: bool = False
    """The output was there already, from the same film and settings."""
    consent: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage."""
    notes: list[str] = field(default_factory=list)
    passed_through: list[dict[str, Any]] = field(default_factory=list)
    """Stretches that are not painted because their shards failed: start_s, end_s, code, message."""


_OF_FILM_ROWS = (
    "frames",
    "length_s",
    "painted",
    "copied",
    "painted_s",
    "pictures",
    "shots",
    "shards",
    "cells",
    "bytes",
    "kept",
    "passed_through",
    "output",
    "sound",
    "loudness",
)
"""Facts of a film's row that are fields of its report under the same name."""


class RunReport:
    """Collects the rows of a run. Use as a context manager: the shards wait in a temporary file."""

    def __init__(self, run: str, settings: Mapping[str, Any], passes_through: bool = False) -> None:
        self.run, self.settings = run, dict(_without_secrets(settings))
        self._passes_through = passes_through
        self._gave_up: dict[str, dict[int, Row]] = {}
        """By film and first frame: shards that can be passed through, which is the end of no film yet."""
        self.films: dict[str, FilmReport] = {}
        self.bad_rows: list[FilmReport] = []
        self.held: dict[str, Row] = {}
        """Films of the pass under way whose outputs another run is at work on."""
        self.url = ""
        """Where it was written."""
        self.wall_s = 0.0
        self.rates = Rates()
        self._shards: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self.shards_done = 0
        self.tally: dict[tuple[str, str], tuple[int, int]] = {}
        """(shards, frames) that ended, by code and `how_made`; without those of `given_up`."""

    def __enter__(self) -> "RunReport":
        return self

    def __exit__(self, *_: object) -> None:
        self._shards.close()

    def expect(self, film: Film) -> None:
        """A film the run is to deliver."""
        self.films[film.id] = FilmReport(film.id, film.output, consent=film.consent)

    def refuse(self, line: int, film_id: str, message: str) -> None:
        """A row of the manifest that is not a film."""
        self.bad_rows.append(
            FilmReport(film_id, line=line, code="bad_row", message=without_secrets(message), stage="manifest")
        )

    def add(self, row: Row) -> None:
        """One row of the flow."""
        film = self.films[row.film]
        self.rates.add(row)
        for stage, seconds in row.facts.get("s", {}).items():
            film.seconds[stage] = round(film.seconds.get(stage, 0.0) + seconds, 4)
        film.notes += [note for note in row.facts.get("notes", []) if note not in film.notes]
        film.faces += row.facts.get("faces", 0)
        film.landmarks_located += row.facts.get("landmarks_located", 0)
        if self._passes_through and gave_up(row):
            self._gave_up.setdefault(row.film, {})[row.start] = row
            return
        if row.code == "held":
            self.held[row.film] = row
            film.notes += [row.message] if row.message not in film.notes else []
            return
        if row.failed:
            if film.code in ("", *DELIVERED):
                film.code, film.message, film.stage = row.code, row.message, row.stage
        elif row.kind == "film":
            for name in _OF_FILM_ROWS:
                setattr(film, name, row.facts.get(name, getattr(film, name)))
            if row.code and not film.code:
                film.code = row.code
                self._gave_up.get(row.film, {}).clear()
        elif row.kind == "cell":
            film.cells_detected += "cache_hit" in row.facts and not row.facts["cache_hit"]
        if row.kind == "shard" and (row.failed or "frames" in row.facts):
            if row.facts.get("kept") and row.film in self._gave_up:
                return  # told when it was made, earlier in this run
            self.shards_done += 1
            there = row.facts.get("kept", False) or row.facts.get("copied", False)
            film.shards_made += row.code == "ok" and not there
            record = _shard(row)
            kind = row.code, how_made(record)
            shards, frames = self.tally.get(kind, (0, 0))
            self.tally[kind] = shards + 1, frames + record.get("frames", 0)
            self._shards.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def unfinished(self) -> list[str]:
        """Ids of films that neither came out nor failed."""
        return [film.id for film in self.films.values() if not film.code]

    def gave_up(self, film_id: str) -> Row | None:
        """The first shard that keeps an unfinished film from being delivered."""
        return next(iter(self._gave_up.get(film_id, {}).values()), None)

    @property
    def given_up(self) -> list[Row]:
        """Shards that could be passed through, and were not."""
        return [row for film in self._gave_up.values() for row in film.values()]

    @property
    def all_films(self) -> list[FilmReport]:
        """Films in the manifest's order, then the rows that were none."""
        return [*self.films.values(), *self.bad_rows]

    @property
    def failed(self) -> list[FilmReport]:
        """What was not delivered."""
        return [film for film in self.all_films if film.code not in DELIVERED]

    def exit_code(self, fail_on: str) -> int:
        """0 or 2 (design section 5)."""
        failed = len(self.failed)
        gave_up = any(film.code == "ok_passthrough" for film in self.all_films)
        bad = {"any": failed > 0 or gave_up, "all": failed == len(self.all_films), "never": False}[fail_on]
        return 2 if bad else 0

    def shards(self) -> Iterator[dict[str, Any]]:
        """The records of the shards, as they came; those that gave up for good last."""
        self._shards.seek(0)
        for line in self._shards:
            yield json.loads(line)
        self._shards.seek(0, 2)
        for row in self.given_up:
            yield _finite(_shard(row))

    def write(self, file: IO[str]) -> None:
        """The whole report as JSON: one line a shard, so that `read` and others need not hold them all."""
        head = {
            "run": self.run,
            "wall_s": round(self.wall_s, 3),
            "settings": self.settings,
            "films": [asdict(film) for film in self.all_films],
        }
        file.write(json.dumps(_finite(head), indent=1, allow_nan=False)[:-2] + f",\n{_SHARDS}")
        for number, shard in enumerate(self.shards()):
            file.write(("," if number else "") + "\n  " + json.dumps(shard))
        file.write("\n ]\n}\n")

    @classmethod
    def read(cls, lines: Iterable[str], name: str) -> "RunReport":
        """The report that `write` wrote. `name` is for messages. Raises DubError `decode_error`."""
        lines, head = iter(lines), []
        for line in lines:
            if line.rstrip() == _SHARDS:
                break
            head.append(line)
        known = {field.name for field in fields(FilmReport)}
        try:
            told = json.loads("".join(head).rstrip().removesuffix(",") + "}")
            report = cls(told["run"], told["settings"])
            report.wall_s = told["wall_s"]
            for columns in told["films"]:
                film = FilmReport(**{key: value for key, value in columns.items() if key in known})
                if film.line:
                    report.bad_rows.append(film)
                else:
                    report.films[film.id] = film
            for line in lines:
                if line.rstrip() == " ]":
                    break
                report._shards.write(json.dumps(json.loads(line.rstrip().removesuffix(","))) + "\n")
                report.shards_done += 1
        except (ValueError, KeyError, TypeError) as error:
            raise DubError("decode_error", f"{name}: is not the report of a run, or damaged: {error}") from error
        return report


_SHARDS = ' "shards": ['
"""The line of report.json after which every line is a shard."""


def _finite(value: Any) -> Any:
    """Plain data with None for what JSON has no number for: the loudness of silence is minus infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _without_secrets(value: Any) -> Any:
    """Plain data whose texts have no URLs with passwords or signatures in them."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list | tuple) else value


def how_made(shard: Mapping[str, Any]) -> str:
    """Where a shard's frames come from, of its record in the report: made, kept from an earlier run, or copied."""
    return "kept" if shard.get("kept") else "copied" if shard.get("copied") else "made"


def _shard(row: Row) -> dict[str, Any]:
    return {
        "film": row.film,
        "start": row.start,
        "end": row.end,
        "key": row.key,
        "code": row.code,
        "message": row.message,
        "stage": row.stage,
        "faces": row.facts.get("painted", 0),
        "kept": row.facts.get("kept", False),
        **{name: value for name, value in row.facts.items() if name != "painted"},
    }
