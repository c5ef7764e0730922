"""What a run was told, kept in the work folder, so that its films can be run again without manifest and config."""

import json
from dataclasses import dataclass, field

from pydantic import ValidationError

from pipeline.config import Config
from pipeline.film import LOCATIONS, Film
from pipeline.ledger import WorkFolder, read_json, write_json
from pipeline.manifest import ManifestError
from stages.media import storage
from stages.urls import HIDDEN

_WELL = ("ok", "no_face")


@dataclass(frozen=True)
class RunRecord:
    """A run."""

    films: list[Film]
    config: Config
    excerpt: tuple[float, float] | None = None
    """Only these seconds of each film."""
    mkv_taken: set[str] = field(default_factory=set)
    """Ids of films that may not be delivered as .mkv instead (`pipeline.placing`)."""
    codes: dict[str, str] = field(default_factory=dict)
    """How its films ended, by id; empty when it was killed before it could say."""

    def unwell(self) -> list[Film]:
        """The films that were not delivered, or not painted throughout."""
        return [film for film in self.films if self.codes.get(film.id) not in _WELL]


def write_run(work: WorkFolder, run: str, record: RunRecord) -> None:
    """Keep a run's films and settings, and at its end how they ended."""
    told = {
        "films": [film.model_dump(mode="json") for film in record.films],
        "config": record.config.model_dump(mode="json"),
        "codes": record.codes,
        "excerpt": record.excerpt,
        "mkv_taken": sorted(record.mkv_taken),
    }
    write_json(work.run(run, "job.json"), told)


def find_run(work: WorkFolder, run: str | None) -> RunRecord:
    """A run by its id, or the last one. Raises ManifestError: there is none, or another version wrote it."""
    # Ids begin with the time. Runs of the folder that ended before they began have no record.
    tried = [run] if run is not None else reversed(storage.names(work.runs))
    records = ((name, read_json(work.run(name, "job.json"), "films", "config", "codes")) for name in tried)
    name, told = next(((name, told) for name, told in records if told is not None), ("", None))
    if told is None:
        raise ManifestError(f"{work.runs}: there is no run {run or 'at all'}; its folder would hold a job.json")
    try:
        films = [Film.model_validate_json(json.dumps(film)) for film in told["films"]]
        config = Config.model_validate_json(json.dumps(told["config"]))
    except ValidationError as error:
        raise ManifestError(
            f"{work.run(name, 'job.json')}: not of this version of dubline; run its manifest again instead"
        ) from error
    excerpt = told.get("excerpt")
    seconds = (float(excerpt[0]), float(excerpt[1])) if excerpt else None
    signed = [film.id for film in films if any(HIDDEN in str(getattr(film, column)) for column in LOCATIONS)]
    if signed or (config.weights_dir and HIDDEN in config.weights_dir):
        raise ManifestError(
            f"{work.run(name, 'job.json')}: the URLs of {', '.join(signed[:3]) or 'the weights'} had passwords or "
            "signatures, which are never kept; run its manifest again instead"
        )
    return RunRecord(films, config, seconds, set(told.get("mkv_taken", [])), told["codes"])
