"""Some films of a manifest, and some seconds of them: `dubline run --only ID --range 10:00-10:05`."""

import difflib
import re
from collections.abc import Sequence

from pipeline.manifest import Manifest, ManifestError
from pipeline.placing import named_files

_CLOCK = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,6}(?:\.\d{1,6})?)", re.ASCII)


def parse_range(text: str) -> tuple[float, float]:
    """`10:00-10:05`, `1:02:03.5-1:02:05` or `600-605`: two moments since the dub began, in seconds.

    Raises ValueError saying what is wrong.
    """
    parts = [_CLOCK.fullmatch(part.strip()) for part in text.split("-")]
    if len(parts) != 2 or None in parts:
        raise ValueError(f"{text[:60]!r} is not a range like 10:00-10:05, 1:02:03.5-1:02:05 or 600-605 (in seconds)")
    start_s, end_s = (
        3600 * float(match[1] or 0) + 60 * float(match[2] or 0) + float(match[3]) for match in parts if match
    )
    if end_s <= start_s:
        raise ValueError(f"{text!r} ends before it has begun")
    return start_s, end_s


def choose_films(read: Manifest, only: Sequence[str], excerpt: tuple[float, float] | None) -> Manifest:
    """The films that `only` names (none: all), each with the output of its excerpt when there is one.

    Raises ManifestError for an id that is not in the manifest, naming the nearest, and for an excerpt whose file a row
    names.
    """
    films, problems = read.films, read.problems
    if only:
        ids = [film.id for film in films] + [problem.id for problem in problems if problem.id]
        for wanted in only:
            if wanted not in ids:
                near = difflib.get_close_matches(wanted, ids, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ids[:5])}"
                raise ManifestError(f"--only {wanted[:100]}: no row has this id; {hint}")
        films = [film for film in films if film.id in only]
        problems = [problem for problem in problems if problem.id in only]
    if excerpt is not None:
        films = [film.model_copy(update={"output": excerpt_output(film.output, excerpt)}) for film in films]
        taken = named_files(read.films) & {film.output for film in films}
        if taken:
            raise ManifestError(f"--range: {taken.pop()} is named by a row of the manifest; choose another range")
    return Manifest(films, problems)


def excerpt_output(output: str, excerpt: tuple[float, float]) -> str:
    """Where an excerpt goes: next to the film, `lecture.mp4` as `lecture.10m00s-10m05s.mp4`."""
    folder, slash, name = output.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return f"{folder}{slash}{stem}.{_spelled(excerpt[0])}-{_spelled(excerpt[1])}{dot}{suffix}"


def _spelled(seconds: float) -> str:
    """600.5 -> 10m00.5s: colons in names are trouble on other systems."""
    micros = round(seconds * 1_000_000)
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1_000_000)
    tail = f".{fraction:06d}".rstrip("0") if fraction else ""
    return (f"{hours}h" if hours else "") + f"{minutes:02d}m{whole:02d}{tail}s"
