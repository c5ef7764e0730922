"""One row of a manifest: the columns, what they may hold, and what to say when they hold something else."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from stages.cast.spans import Span, check_spans
from stages.lips.generators import check_generator

LOCATIONS: Final = ("video", "audio", "background", "spans", "output")
"""Columns that name a file, where they hold text."""

# RFC 5646: language, up to three extlangs, script, region, variants, extensions, private use.
_LANGUAGE = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LONGEST_TEXT: Final = 100_000  # characters: two hours of speech, and under csv's limit of a cell (131,072)
_LARGEST_BOX_PX: Final = 1 << 16  # more than any video has


def _check_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("must be 1 to 100 of A-Z a-z 0-9 . - _ and begin with a letter, a digit or _ (it names files)")
    return value


def _check_language(value: str) -> str:
    """The tag as RFC 5646 2.1.1 writes it: pt-BR, zh-Hant-TW."""
    match = _LANGUAGE.fullmatch(value.lower()) if value.isascii() and len(value) <= 35 else None
    if match is None:
        raise ValueError(f"{value[:40]!r} is not a language tag like de, pt-BR or zh-Hant")
    tag = value.lower()
    if match["script"]:
        start, end = match.span("script")
        tag = tag[:start] + tag[start:end].title() + tag[end:]
    if match["region"]:
        start, end = match.span("region")
        tag = tag[:start] + tag[start:end].upper() + tag[end:]
    return tag


def _check_text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"has {len(value)} characters; the most is {_LONGEST_TEXT}")
    return _check_unicode(value)


def _check_unicode(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode (half of a surrogate pair)") from None
    return value


def _check_name(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if len(value) > 1000:
        raise ValueError(f"has {len(value)} characters; the most is 1000")
    if any(c < " " or c == "\x7f" for c in value):
        raise ValueError("has a control character in it (a line break, a tab or NUL)")
    return _check_unicode(value)


def _check_box(value: Any) -> Any:
    if not (isinstance(value, list | tuple) and len(value) == 4 and all(type(v) is int for v in value)):
        raise ValueError("must be [top, bottom, left, right], four whole numbers of pixels")
    top, bottom, left, right = value
    if not (0 <= top < bottom <= _LARGEST_BOX_PX and 0 <= left < right <= _LARGEST_BOX_PX):
        raise ValueError(f"{list(value)}: must have 0 <= top < bottom and 0 <= left < right, in pixels")
    return tuple(value)


def _check_spans(value: Any) -> Any:
    """A list in brackets that was not one in its row is no path."""
    return value if isinstance(value, str) and not value.lstrip().startswith("[") else check_spans(value)


def _check_track(value: Any) -> Any:
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str):
        return _check_name(value)
    raise ValueError("must be the track's number, from 0, its title or its language")


def _one_of(built: tuple[str, ...], planned: tuple[str, ...] | None) -> BeforeValidator:
    """Accepts `built`; what is `planned` (None: any other text) is told apart from what is a mistake."""

    def check(value: Any) -> Any:
        if value in built or not isinstance(value, str):
            return value
        shown = repr(value[:60])
        if planned is None or value in planned:
            raise ValueError(f"{shown} is not built yet: use {' or '.join(built)}")
        raise ValueError(f"must be {' or '.join(built)}, not {shown}")

    return BeforeValidator(check)


Location = Annotated[str, Field(min_length=1)]
"""An absolute local path or URL, as `pipeline.locate.resolve` makes it from what the row says."""
Name = Annotated[str, AfterValidator(_check_name)]


class Film(BaseModel):
    """What to dub, with what, into which file. One row of a manifest, checked; locations are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    id: Annotated[str, AfterValidator(_check_id)]
    """Names the film in reports and its files in the work folder; unique in the manifest."""
    video: Location
    """The source film, or a picture."""
    output: Location
    """Where the dubbed film goes: .mp4, .mov, .mkv or .webm."""
    audio: Location | None = None
    """The new speech, an audio or video file. Either this or `text`."""
    text: Annotated[str, AfterValidator(_check_text)] | None = None
    """What the text-to-speech stage says. Either this or `audio`."""
    background: Location | None = None
    """Music and effects, an audio or video file, which the dub is mixed with; mouths do not hear it."""
    language: Annotated[str, AfterValidator(_check_language)] | None = None
    """Of the dub, BCP-47: the tag of its track, and the language that `text` is spoken in."""
    voice: Name | None = None
    """The voice that speaks `text`."""
    face: Annotated[Literal["largest"], _one_of(("largest",), None)] = "largest"
    """Whose lips are redrawn."""
    box: Annotated[tuple[int, int, int, int], BeforeValidator(_check_box)] | None = None
    """The face's rectangle in the whole film: top, bottom, left, right in pixels of the picture as players show it,
    turned by its display matrix. No detection."""
    audio_shorter: Annotated[Literal["keep", "trim"], _one_of(("keep", "trim"), ())] = "keep"
    """When the dub ends before the picture: keep the picture's length, or end picture and tracks where the dub ends."""
    audio_longer: Annotated[
        Literal["error", "trim", "freeze", "pingpong"], _one_of(("error", "trim", "freeze", "pingpong"), ())
    ] = "error"
    """When the picture ends before the dub: give up on the film, cut the dub's end off, hold the last frame, or run the
    film backwards and forwards. A picture as `video` is held for as long as the dub lasts, whatever stands here."""
    spans: Annotated[tuple[Span, ...] | Location, BeforeValidator(_check_spans)] | None = None
    """When the film is painted: [[start_s, end_s], ...] since its start, or a subtitle. None: all the time."""
    generator: Annotated[str, AfterValidator(check_generator)] | None = None
    """Who draws the lips; None: as the config says."""
    enhance: Annotated[Literal["none", "gfpgan"], _one_of(("none", "gfpgan"), ())] | None = None
    """Who sharpens the redrawn faces; None: as the config says."""
    consent: Name | None = None
    """A reference to the speaker's consent, kept in the report."""
    audio_track: Annotated[int | str, BeforeValidator(_check_track)] | None = None
    """Which audio track of `audio` is the dub: its number, from 0, or its language. None: the first."""

    @property
    def suffix(self) -> str:
        """The delivery's container, as .mp4."""
        return "." + self.output.rsplit(".", 1)[-1].lower()

    @model_validator(mode="after")
    def _check_together(self) -> "Film":
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        problems = together(given)
        if problems:
            raise ValueError("; ".join(f"{column} {message}" for column, message in problems))
        return self


def together(given: Collection[str]) -> list[tuple[str, str]]:
    """(column, message) for columns that do not go together, or have to; `given` are those with a value."""
    problems = []
    if "audio" in given and "text" in given:
        problems.append(("text", "and audio are both given: a row has one of them"))
    if "audio" not in given and "text" not in given:
        problems.append(("audio", "is missing, and so is text: a row has one of them"))
    if "voice" in given and "audio" in given:
        problems.append(("voice", "is for rows with text, this one has audio"))
    if "audio_track" in given and "audio" not in given:
        problems.append(("audio_track", "is for rows with audio"))
    return problems


def explain(error: ValidationError) -> list[tuple[str, str]]:
    """(column, message) for every field that a Film was refused for; rules between columns are left out."""
    problems: dict[str, str] = {}
    for entry in error.errors(include_url=False):
        if not entry["loc"]:
            continue
        match entry["type"]:
            case "value_error":
                message = str(entry["ctx"]["error"])
            case "missing":
                message = "is missing"
            case "string_type" | "literal_error":
                message = f"must be text, not {_kind(entry['input'])}"
            case "string_too_short":
                message = "is empty"
            case _:
                message = entry["msg"]
        problems.setdefault(str(entry["loc"][0]), message)
    return list(problems.items())


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return kinds.get(type(value), type(value).__name__)
