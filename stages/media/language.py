"""BCP-47 tags as the three letters that containers store."""

import langcodes

# QuickTime numbers its languages in a table of its own. FFmpeg knows that table by the letters of ISO 639-2/B, but for
# these four.
_QUICKTIME_T = {"fra", "ron", "ces", "slk"}


def iso639_2(tag: str, suffix: str = ".mp4") -> str | None:
    """The letters a container has for a language: MP4 `deu`, MKV and MOV `ger`; None when there are none.

    `pt-BR` -> `por`: what the letters do not say is lost. MP4 packs ISO 639-2/T, Matroska is defined by 639-2/B, and
    ffmpeg drops what it does not know without a word (reference media.md 3.1, 3.7).
    """
    try:
        language = langcodes.Language.get(tag)
        code = language.to_alpha3()
        if suffix == ".mp4" or (suffix == ".mov" and code in _QUICKTIME_T):
            return code
        return language.to_alpha3(variant="B")
    except (LookupError, ValueError):  # no such language; not a tag at all
        return None
