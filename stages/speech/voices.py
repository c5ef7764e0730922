"""Which of the voices espeak-ng has is meant by a row's `language` and `voice`."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stages.errors import DubError

_SHOWN: Final = 5
"""Close matches that an error names."""
_LIKENESS: Final = 0.5
"""How like a name must be to be one of them, from 0 to 1."""


@dataclass(frozen=True)
class Voice:
    """One voice or variant that espeak-ng lists."""

    name: str
    """As people call it: `English (America)`, `female3`."""
    identifier: str
    """The file espeak-ng knows it by: `gmw/en-US`, `!v/f3`."""
    languages: tuple[tuple[int, str], ...]
    """What it speaks, lower-case, with espeak's priority: the lowest is the best for that language."""

    @property
    def file(self) -> str:
        """The last part of the identifier."""
        return self.identifier.rsplit("/", 1)[-1]

    def is_called(self, wanted: str) -> bool:
        """Whether a name given by a user means this voice."""
        names = (self.name.strip(), self.identifier, self.file)
        return wanted.casefold() in {n.casefold() for n in names}


def choose_voice(voices: Sequence[Voice], variants: Sequence[Voice], language: str, voice: str) -> str:
    """The name to give to espeak-ng: a voice's identifier, with `+variant` where one is asked for.

    `language` is BCP-47; its subtags are dropped from the right until a voice speaks what is left (`de-AT` is
    spoken by `de`). `voice`, unless empty, is a voice's name, a variant's, or both as `name+variant`; a named
    voice decides over `language`.
    Raises DubError `bad_row` with close matches: espeak-ng itself would go on in another voice.
    """
    base, _, variant = voice.strip().partition("+")
    if not variant and _called(voices, base) is None and _called(variants, base) is not None:
        base, variant = "", base
    if base:
        found = _called(voices, base) or _best(voices, base.lower())
        if found is None:
            raise _unknown("voice", base, [*voices, *variants])
    else:
        found = _speaking(voices, language)
        if found is None:
            raise _unknown("language", language, voices)
    if not variant:
        return found.identifier
    shape = _called(variants, variant)
    if shape is None:
        raise _unknown("voice variant", variant, variants)
    return f"{found.identifier}+{shape.file}"


def _called(voices: Sequence[Voice], wanted: str) -> Voice | None:
    return next((voice for voice in voices if voice.is_called(wanted)), None)


def _speaking(voices: Sequence[Voice], language: str) -> Voice | None:
    subtags = language.strip().replace("_", "-").lower().split("-")
    tags = ("-".join(subtags[:count]) for count in range(len(subtags), 0, -1))
    return next((voice for tag in tags if (voice := _best(voices, tag)) is not None), None)


def _best(voices: Sequence[Voice], tag: str) -> Voice | None:
    """The voice that speaks this very tag with the best priority; the first of equals."""
    ranked = [(rank, n) for n, v in enumerate(voices) for rank, spoken in v.languages if spoken == tag]
    return voices[min(ranked)[1]] if ranked else None


def _unknown(what: str, wanted: str, voices: Sequence[Voice]) -> DubError:
    shown: dict[str, str] = {}
    for voice in voices:
        tags = [tag for _, tag in voice.languages if tag != "variant"]
        name = voice.name.strip()
        shown |= {tag: tag for tag in tags}
        if what == "language":
            shown.setdefault(name.split()[0].casefold(), f"{tags[0]} ({name})")
        else:
            shown |= {name.casefold(): name, voice.file.casefold(): voice.file}
    close = difflib.get_close_matches(wanted.strip().casefold(), shown, _SHOWN, _LIKENESS)
    hint = "near it: " + ", ".join(dict.fromkeys(shown[key] for key in close)) if close else "none is near it"
    return DubError("bad_row", f"espeak-ng has no {what} {wanted!r}; {hint}")
