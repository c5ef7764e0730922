"""BCP-47 tags as the three letters that containers store."""

import langcodes


def iso639_2(tag: str) -> str | None:
    """`de`, `pt-BR` -> `deu`, `por` (ISO 639-2/T); None when there is no such code.

    MP4 keeps three packed letters, and ffmpeg drops what it does not know without a word (reference media.md 3.1).
    """
    try:
        return langcodes.Language.get(tag).to_alpha3()
    except (LookupError, ValueError):  # no such language; not a tag at all
        return None
