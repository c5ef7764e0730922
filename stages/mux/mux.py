"""Joined picture + dub + the source's sound -> the film, checked, published whole or not at all."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from stages.errors import DubError
from stages.media import storage
from stages.media.index import VideoIndex, index_video
from stages.media.open import FORMATS, PROTOCOLS, open_media
from stages.mux.join import join_segments
from stages.mux.language import iso639_2
from stages.mux.settings import MuxSettings

STAGE_VERSION = 1
_MP4_AUDIO = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "mp2"}
"""Codecs an MP4 or MOV carries by stream copy; MOV takes PCM besides."""
_MATROSKA_CLOCK_S = 0.0005  # MKV keeps times to the millisecond (media.md 7.1)


@dataclass(frozen=True)
class Delivery:
    """What was published."""

    size: int
    """Bytes."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the report must know: tracks left out, rounded times."""


@dataclass(frozen=True)
class Dub:
    """The new sound of a film."""

    path: Path
    track: int
    """Which of the file's audio streams."""
    language: str | None
    """BCP-47."""
    trim: bool
    """Cut it where the picture ends."""


def mux_film(
    segments: Sequence[Path], index: VideoIndex, video: Path, dub: Dub, output: str, settings: MuxSettings
) -> Delivery:
    """Join the segments, encode the dub once, add the source's audio, check every pts, publish at `output`.

    Raises DubError: `unsupported` when the container cannot carry it, `internal` when the result is not exactly
    the film.
    """
    suffix = Path(output).suffix.lower()
    with tempfile.TemporaryDirectory(prefix="dubline-mux-") as scratch:
        picture = Path(scratch) / "picture.mp4"
        join_segments(segments, index, picture)
        with storage.publishing(output, suffix) as partial:
            notes = _run_ffmpeg(picture, video, index, dub, partial, suffix, settings)
            picture.unlink()
            notes += _check(partial, index, suffix)
            size = partial.stat().st_size
    return Delivery(size, notes)


def _run_ffmpeg(
    picture: Path, video: Path, index: VideoIndex, dub: Dub, target: Path, suffix: str, settings: MuxSettings
) -> list[str]:
    safe = {"protocol_whitelist": PROTOCOLS, "format_whitelist": FORMATS}
    sound = {"itsoffset": f"{index.zero_s:.6f}"} if index.zero_s else {}
    if dub.trim:
        sound["t"] = f"{max(0.0, float(index.end_pts * index.time_base) - index.zero_s):.6f}"
    inputs = [
        ffmpeg.input(f"file:{picture}", **safe)["v:0"],
        ffmpeg.input(f"file:{dub.path}", **safe, **sound)[f"a:{dub.track}"],
    ]
    original, notes = _source_audio(video, suffix) if settings.keep_original_audio else ([], [])
    source = ffmpeg.input(f"file:{video}", **safe)
    inputs += [source[f"a:{number}"] for number in original]
    options: dict[str, str | int] = {
        "c:v": "copy",
        "c:a:0": settings.audio_codec,
        "disposition:a:0": "default",
        "map_metadata": "-1" if not original else "2",
        "map_chapters": "-1",
    }
    for place in range(1, len(original) + 1):
        options |= {f"c:a:{place}": "copy", f"disposition:a:{place}": "0"}
    if settings.audio_codec in {"aac", "libopus"}:
        options["b:a:0"] = f"{settings.audio_bitrate_kbps}k"
    code = iso639_2(dub.language) if dub.language else None
    if code:
        options["metadata:s:a:0"] = f"language={code}"
    if suffix in {".mp4", ".mov"}:
        options["movflags"] = "+faststart"
        if _codec(picture) == "hevc":
            options["tag:v"] = "hvc1"  # players of Apple's know HEVC by no other tag (media.md 3.7)
    command = ffmpeg.output(*inputs, str(target), **options).global_args("-copyts", "-nostdin", "-y")
    command = command.global_args("-hide_banner", "-loglevel", "error")
    arguments = [imageio_ffmpeg.get_ffmpeg_exe(), *command.get_args()]
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=settings.timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise DubError(
            "timeout", f"the final mux took longer than {settings.timeout_s:.0f} s (mux.timeout_s)"
        ) from error
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise DubError("unsupported", f"ffmpeg could not write {suffix}: {' / '.join(tail)}")
    return notes


def _codec(path: Path) -> str:
    with open_media(path) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def _source_audio(video: Path, suffix: str) -> tuple[list[int], list[str]]:
    """Which of the source's audio streams the container carries, and a note for each that it does not."""
    kept, notes = [], []
    with open_media(video) as container:
        for number, stream in enumerate(container.streams.audio):
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if suffix == ".mkv" or codec in _MP4_AUDIO or (suffix == ".mov" and codec.startswith("pcm")):
                kept.append(number)
            else:
                notes.append(f"audio track {number} ({codec}) left out: {suffix} cannot carry it")
    return kept, notes


def _check(path: Path, index: VideoIndex, suffix: str) -> list[str]:
    """Compare every pts of the finished file with the source's."""
    made = index_video(str(path))
    if len(made) != len(index):
        raise DubError("internal", f"the finished film has {len(made)} frames, the source {len(index)}")
    error_s = np.abs(made.pts * float(made.time_base) - index.pts * float(index.time_base)).max()
    if suffix == ".mkv" and error_s <= _MATROSKA_CLOCK_S + 1e-9:
        return (
            [f"frame times rounded by up to {error_s * 1e3:.2f} ms: MKV keeps milliseconds"] if error_s > 1e-9 else []
        )
    if any(int(p) * made.time_base != int(q) * index.time_base for p, q in zip(made.pts, index.pts, strict=True)):
        raise DubError("internal", f"frame times of the finished film are off by up to {error_s * 1e3:.3f} ms")
    return []
