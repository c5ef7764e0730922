"""When a row's film is painted."""

from pipeline.film import Film
from stages.cast.spans import LARGEST_FILE, Span, merged, subtitle_spans
from stages.errors import DubError
from stages.media import storage


def read_spans(film: Film) -> tuple[Span, ...] | None:
    """The row's spans or its subtitle's, ascending and apart; None: all the time.

    Raises DubError: `not_found`, `bad_row` for what is no subtitle, or one whose times make no sense.
    """
    if not isinstance(film.spans, str):
        return film.spans and merged(film.spans)
    try:
        return merged(subtitle_spans(storage.read_bytes(film.spans, LARGEST_FILE)))
    except FileNotFoundError as error:
        raise DubError("not_found", f"{film.id}: spans {film.spans}: there is no such file") from error
    except ValueError as error:
        raise DubError("bad_row", f"{film.id}: spans {film.spans}: {error}") from error
