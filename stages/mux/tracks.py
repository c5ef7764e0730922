"""Which of a film's other tracks its delivery carries, and a note for each that it does not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from av.stream import Stream

from stages.errors import DubError
from stages.media.open import open_media, video_stream
from stages.media.settings import MediaLimits
from stages.mux.settings import MuxSettings

TRUSTED: Final = MediaLimits(max_pixels=2**31 - 1, max_frames=10**12)
"""Limits for our own files, and for sources whose own limits let them through earlier."""

# What FFmpeg 9's muxers take by stream copy, tried one by one; Matroska takes everything but `mov_text`.
_PCM_IN_MP4 = {f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")}
_MOV_AUDIO = {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "vorbis", "dts"}
_MP4_AUDIO = {*_MOV_AUDIO, *_PCM_IN_MP4, "flac", "opus"}
_TEXT = {"subrip", "ass", "webvtt", "text", "mov_text"}
_ENCODED_AS = {"libopus": "opus"}


@dataclass
class Carried:
    """How a source's tracks go into the delivery."""

    maps: list[str] = field(default_factory=list)
    """ffmpeg's specifiers of the source's tracks, in the order of the delivery."""
    options: dict[str, str] = field(default_factory=dict)
    """ffmpeg's output options for them."""
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
        numbers = {"audio": 0, "subtitle": 0, "attachment": 0}
        subtitles = 0
        for stream in container.streams:
            if stream is film:
                continue
            number = numbers.get(stream.type, 0)
            numbers[stream.type] = number + 1
            codec = _codec(stream)
            what = f"{stream.type} track {number} ({codec})"
            if stream.type == "audio":
                if settings.keep_original_audio:
                    _take(out, f"a:{number}", _carries_audio(suffix, codec), what, suffix)
            elif stream.type == "subtitle":
                encoder = _subtitle_encoder(suffix, codec)
                _take(out, f"s:{number}", encoder is not None, what, suffix)
                if encoder is not None:
                    out.options[f"c:s:{subtitles}"] = encoder
                    subtitles += 1
                    if codec == "ass" and encoder != "copy":
                        out.notes.append(f"{what}: its styles are lost in {suffix}")
            elif stream.type == "attachment":
                _take(out, f"t:{number}", suffix == ".mkv", what, suffix)
            elif stream.type != "data" or not has_chapters:
                # MP4 shows its chapters as a data track besides; they are copied as chapters (media.md 7.3).
                out.notes.append(f"{what} left out: not built yet")
    return out


def _take(out: Carried, specifier: str, carried: bool, what: str, suffix: str) -> None:
    if carried:
        out.maps.append(specifier)
    else:
        out.notes.append(f"{what} left out: {suffix} cannot carry it")


def _carries_audio(suffix: str, codec: str) -> bool:
    if suffix == ".mov":
        return codec in _MOV_AUDIO or codec.startswith("pcm_")
    return codec in _MP4_AUDIO or suffix == ".mkv"


def _subtitle_encoder(suffix: str, codec: str) -> str | None:
    """`copy`, or the encoder of the container's own text format; None where there is no way."""
    if suffix == ".mkv":
        return "srt" if codec == "mov_text" else "copy"
    if codec == "mov_text":
        return "copy"
    return "mov_text" if codec in _TEXT else None


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
