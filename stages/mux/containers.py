"""What the four containers of a delivery hold: what FFmpeg 9's muxers take, tried one by one, and what players play."""

from pathlib import Path
from typing import Final

from stages.errors import DubError
from stages.media.encoders import ENCODERS
from stages.mux.settings import MuxSettings

SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm")
MATROSKA: Final = (".mkv", ".webm")
"""Count time in milliseconds."""
UNKNOWN: Final = "unknown"
"""A codec that FFmpeg has no name for."""

_PICTURES = {suffix: {made.codec for made in ENCODERS.values() if suffix in made.suffixes} for suffix in SUFFIXES}
_PCM_IN_MP4 = {f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")}
_MOV_AUDIO = {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "vorbis", "dts"}
_AUDIO = {  # Matroska takes every one that it has a name for
    ".mp4": {*_MOV_AUDIO, *_PCM_IN_MP4, "flac", "opus"},
    ".mov": _MOV_AUDIO,
    ".webm": {"opus", "vorbis"},
}
_PCM = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}
_PLAYED = {
    # Every phone, browser and TV plays AAC and MP3, TVs and QuickTime Dolby's two, browsers and phones Opus. PCM, FLAC,
    # ALAC, Vorbis and DTS are written into an MP4 without complaint, and then stay silent in most players.
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus"},
    # QuickTime and the editing programs that MOV is for: theirs are PCM and ALAC as well.
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", *_PCM, "pcm_s16be", "pcm_s24be"},
    # Whoever plays Matroska brings all decoders: nothing is gained by another generation.
    ".mkv": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "flac", "alac", "opus", "vorbis", *_PCM},
    # WebM is these two by definition.
    ".webm": {"opus", "vorbis"},
}
_TEXT = {"subrip", "ass", "webvtt", "text", "mov_text"}
_MKV_SUBTITLES = {"subrip", "ass", "webvtt", "text", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}


def suffix_of(output: str) -> str:
    """The container's suffix, in small letters."""
    return Path(output).suffix.lower()


def check_deliverable(output: str, encoder: str, settings: MuxSettings) -> None:
    """Refuse before any work what the container cannot carry: DubError `unsupported`.

    `encoder`: what the segments are encoded with (`stages.media.encode.encoder_for`), or their codec.
    """
    suffix = suffix_of(output)
    if suffix not in SUFFIXES:
        raise DubError("unsupported", f"{output}: films are delivered as {', '.join(SUFFIXES)}")
    picture = ENCODERS[encoder].codec if encoder in ENCODERS else encoder
    if picture not in _PICTURES[suffix]:
        can = ", ".join(sorted(_PICTURES[suffix]))
        raise DubError("unsupported", f"{output}: {suffix} cannot carry {picture}, only {can}; set encode.codec")
    sound = settings.audio_codec.removeprefix("lib")
    if sound != "auto" and not carries_audio(suffix, sound):
        raise DubError("unsupported", f"{output}: {suffix} cannot carry {sound}; change mux.audio_codec or the output")


def carries_audio(suffix: str, codec: str) -> bool:
    """Whether a track of this codec can be copied into the container."""
    if suffix == ".mkv":
        return codec != UNKNOWN
    return codec in _AUDIO[suffix] or (suffix == ".mov" and codec.startswith("pcm_"))


def plays_audio(suffix: str, codec: str) -> bool:
    """Whether the container's ordinary players play this codec."""
    return codec in _PLAYED[suffix]


def audio_encoder(suffix: str) -> str:
    """What a dub is encoded with that cannot be copied."""
    return "libopus" if suffix == ".webm" else "aac"


def subtitle_encoder(suffix: str, codec: str) -> str | None:
    """`copy`, or the encoder of the container's own text format; None where there is no way."""
    if suffix == ".mkv":
        return "srt" if codec == "mov_text" else "copy" if codec in _MKV_SUBTITLES else None
    own = "webvtt" if suffix == ".webm" else "mov_text"
    return "copy" if codec == own else own if codec in _TEXT else None


def carries_cover(suffix: str) -> bool:
    """Whether a cover picture can come along: MOV and WebM have no place for one."""
    return suffix in (".mp4", ".mkv")


def carries_data(suffix: str, codec: str) -> bool:
    """Whether a data track can be copied: of those that FFmpeg reads, MP4 and MOV take the one of action cameras."""
    return suffix in (".mp4", ".mov") and codec == "bin_data"
