"""Which of a film's other tracks its delivery carries, and a note for each that it does not."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from av.stream import Stream

from stages.errors import DubError
from stages.media.language import iso639_2
from stages.media.open import open_media, video_stream
from stages.media.settings import MediaLimits
from stages.mux.settings import MuxSettings

TRUSTED: Final = MediaLimits(max_pixels=2**31 - 1, max_frames=10**12)
"""Limits for our own files, and for sources whose own limits let them through earlier."""

# What FFmpeg 9's muxers take by stream copy, tried one by one. Matroska takes every sound it has a name for.
_PCM_IN_MP4 = {f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")}
_MOV_AUDIO = {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "vorbis", "dts"}
_MP4_AUDIO = {*_MOV_AUDIO, *_PCM_IN_MP4, "flac", "opus"}
_TEXT = {"subrip", "ass", "webvtt", "text"}
_MKV_SUBTITLES = {*_TEXT, "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}
_LETTERS = {"audio": "a", "subtitle": "s", "attachment": "t"}  # ffmpeg's
_UNKNOWN = "unknown"
_ENCODED_AS = {"libopus": "opus"}


@dataclass
class Carried:
    """How a source's tracks go into the delivery."""

    maps: list[str] = field(default_factory=list)
    """ffmpeg's specifiers of the source's tracks, in the order of the delivery."""
    options: dict[str, str] = field(default_factory=dict)
    """ffmpeg's output options for them."""
    languages: dict[str, str] = field(default_factory=dict)
    """Letters for the tracks of the delivery, by ffmpeg's specifier there; the dub is `a:0`."""
    notes: list[str] = field(default_factory=list)
    """What is left out or changed, and why."""


def check_deliverable(output: str, encoder: str, settings: MuxSettings) -> None:
    """Refuse before any work what the container cannot carry: DubError `unsupported`.

    `encoder`: what the segments are encoded with (`stages.media.encode.encoder_for`).
    """
    suffix = Path(output).suffix.lower()
    if suffix not in (".mp4", ".mov", ".mkv"):
        raise DubError("unsupported", f"{output}: films are delivered as .mp4, .mov or .mkv")
    if suffix == ".mov" and encoder == "ffv1":
        raise DubError("unsupported", f"{output}: .mov cannot carry ffv1; deliver as .mp4 or .mkv")
    codec = _ENCODED_AS.get(settings.audio_codec, settings.audio_codec)
    if not _carries_audio(suffix, codec):
        raise DubError("unsupported", f"{output}: {suffix} cannot carry {codec}; change mux.audio_codec or the output")


def carry(video: Path, suffix: str, settings: MuxSettings) -> Carried:
    """Go through every track of the source but the film's picture."""
    out = Carried()
    with open_media(video, TRUSTED) as container:
        film = video_stream(container, video)
        has_chapters = bool(container.chapters())
        numbers: Counter[str] = Counter()
        places = Counter({"audio": 1})
        for stream in container.streams:
            if stream is film:
                continue
            kind, codec = stream.type, _codec(stream)
            what = f"{kind} track {numbers[kind]} ({codec})"
            letter = _LETTERS.get(kind, "d")
            source, place = f"{letter}:{numbers[kind]}", f"{letter}:{places[kind]}"
            numbers[kind] += 1
            if kind == "audio" and not settings.keep_original_audio:
                continue
            if kind == "data" and has_chapters:
                continue  # MP4 shows its chapters as a data track besides; they are copied as chapters (media.md 7.3)
            encoder = _encoder(kind, codec, suffix)
            if encoder is None:
                reason = f"{suffix} cannot carry it" if kind in _LETTERS else "not a picture, sound or text of the film"
                out.notes.append(f"{what} left out: {reason}")
                continue
            if kind == "subtitle" and codec == "ass" and encoder != "copy":
                out.notes.append(f"{what}: its styles are lost in {suffix}")
            out.maps.append(source)
            out.options[f"c:{place}"] = encoder
            places[kind] += 1
            language = iso639_2(getattr(stream, "language", None) or "und", suffix)
            if language not in (None, "und"):
                out.languages[place] = language
    return out


def missing_languages(path: Path, wanted: dict[str, str]) -> list[str]:
    """A note for every track of a finished file that is without its language."""
    notes = []
    with open_media(path, TRUSTED) as container:
        for place, language in wanted.items():
            letter, number = place.split(":")
            kind = next(kind for kind in _LETTERS if _LETTERS[kind] == letter)
            track = [stream for stream in container.streams if stream.type == kind][int(number)]
            if iso639_2(getattr(track, "language", None) or "und") != iso639_2(language):
                notes.append(f"{kind} track {number} is without its language: {path.suffix} has none called {language}")
    return notes


def _encoder(kind: str, codec: str, suffix: str) -> str | None:
    """What ffmpeg makes a track with: `copy` nearly always; None where the container has no room for it."""
    if kind == "audio":
        return "copy" if _carries_audio(suffix, codec) else None
    if kind == "subtitle":
        return _subtitle_encoder(suffix, codec)
    return "copy" if kind == "attachment" and suffix == ".mkv" else None


def _carries_audio(suffix: str, codec: str) -> bool:
    if suffix == ".mkv":
        return codec != _UNKNOWN
    if suffix == ".mov":
        return codec in _MOV_AUDIO or codec.startswith("pcm_")
    return codec in _MP4_AUDIO


def _subtitle_encoder(suffix: str, codec: str) -> str | None:
    """`copy`, or the encoder of the container's own text format; None where there is no way."""
    if suffix == ".mkv":
        return "srt" if codec == "mov_text" else "copy" if codec in _MKV_SUBTITLES else None
    return "copy" if codec == "mov_text" else "mov_text" if codec in _TEXT else None


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else _UNKNOWN
