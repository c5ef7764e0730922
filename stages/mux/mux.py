"""Joined picture + dub + the source's other tracks -> the film, checked, published whole or not at all."""

import errno
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
import imageio_ffmpeg

from stages.errors import DubError
from stages.media import storage
from stages.media.index import index_video
from stages.media.language import iso639_2
from stages.media.open import FORMATS, PROTOCOLS, open_media
from stages.media.timeline import Timeline
from stages.mux.copied import Piece
from stages.mux.settings import MuxSettings
from stages.mux.smart import Smart, join_film
from stages.mux.tracks import TRUSTED, Carried, carry, check_deliverable, missing_languages

STAGE_VERSION = 2
_SAFE = {"protocol_whitelist": PROTOCOLS, "format_whitelist": FORMATS}
_MATROSKA_CLOCK_S = Fraction(1, 2000)  # MKV rounds times to the millisecond (media.md 7.1)
_END_S = Fraction(1, 1000)  # and so do edit lists the film's end
# As `decode_dub` hears them: these count from 0, all others' clocks begin wherever their first packet does.
_FROM_ZERO = {"mov", "matroska", "avi"}


@dataclass(frozen=True)
class Delivery:
    """What was published."""

    size: int
    """Bytes."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the report must know: tracks left out, rounded times."""
    copied: int = 0
    """Frames whose packets are the source's own."""


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
    pieces: Sequence[Piece],
    timeline: Timeline,
    video: Path,
    dub: Dub,
    output: str,
    settings: MuxSettings,
    smart: Smart | None = None,
) -> Delivery:
    """Join the pieces, encode the dub once, add the source's other tracks, check every pts, publish at `output`.

    `smart`: where pieces are copied. Raises DubError: `unsupported` when the container cannot carry it, `timeout`,
    `internal` when ffmpeg fails or the result is not exactly the film.
    """
    suffix = Path(output).suffix.lower()
    with storage.scratch_folder() as scratch:
        picture = scratch / "picture.mp4"
        copied, told = join_film(pieces, timeline, picture, smart)
        check_deliverable(output, _codec(picture), settings)
        carried = Carried() if timeline.excerpt else carry(video, suffix, settings)
        notes = [*told, *_name_language(dub.language, carried, suffix), *carried.notes]
        if timeline.zero_s and not timeline.excerpt:
            notes.append(f"the source's clock begins at {timeline.zero_s:.3f} s, and so does the film's")
        with storage.publishing(output, suffix) as partial:
            _run(_command(picture, video, timeline, dub, carried, partial, settings), settings)
            picture.unlink()
            notes += _check(partial, timeline, suffix)
            notes += missing_languages(partial, carried.languages)
            size = partial.stat().st_size
    return Delivery(size, notes, copied)


def _name_language(tag: str | None, carried: Carried, suffix: str) -> list[str]:
    """Enter the dub's language, and a note where the letters say less than the tag."""
    if tag is None:
        return []
    code = iso639_2(tag, suffix)
    if code is None:
        return [f"language {tag!r} has no ISO 639 code: the dub's track is without a language"]
    carried.languages["a:0"] = code
    return [f"language {tag!r} is stored as {code!r}"] if "-" in tag else []


def _command(
    picture: Path,
    video: Path,
    timeline: Timeline,
    dub: Dub,
    carried: Carried,
    target: Path,
    settings: MuxSettings,
) -> list[str]:
    """ffmpeg's arguments. Inputs: 0 the picture, 1 the dub, 2 the source."""
    # Always given, so that a dub out of the source itself is an input of its own: ffmpeg-python merges equal ones.
    sound = {"itsoffset": f"{timeline.zero_s - _begins_s(dub.path):.6f}"}
    end_s = float(timeline.end_pts * timeline.time_base)
    if dub.trim:
        sound["t"] = f"{max(0.0, end_s - timeline.zero_s):.6f}"
    source = ffmpeg.input(f"file:{video}", **_SAFE)
    inputs = [
        ffmpeg.input(f"file:{picture}", **_SAFE)["v:0"],
        ffmpeg.input(f"file:{dub.path}", **_SAFE, **sound)[f"a:{dub.track}"],
        # A source whose tracks all stay behind is an input still, for its metadata and chapters.
        *(source[track] for track in carried.maps or ["v:9999?"]),
    ]
    options: dict[str, str] = {
        "c": "copy",
        "bsf:v:0": _durations(timeline),
        "c:a:0": settings.audio_codec,
        # Holes in a dub are silence, as its mouths have it; nothing is stretched.
        "filter:a:0": "aresample=async=1",
        # The dub is what a player plays; what else the source's tracks are, they stay.
        "disposition:a": "-default",
        "disposition:a:0": "+default",
        "map_metadata": "2",
        "map_chapters": "2",
        **carried.options,
    }
    if timeline.end_pts < timeline.index.end_pts:
        options["t"] = f"{end_s:.6f}"  # the other tracks and the chapters end with the picture
    if timeline.excerpt:
        # By a filter: with -copyts, -ss counts on the clock that -itsoffset has moved. Chapters are the film's.
        options |= {"filter:a:0": f"atrim=start=0:end={end_s:.6f},aresample=async=1", "map_chapters": "-1"}
    if settings.audio_codec in {"aac", "libopus"}:
        options["b:a:0"] = f"{settings.audio_bitrate_kbps}k"
    for place, language in {**carried.languages, "v:0": iso639_2(timeline.picture.language or "und")}.items():
        if language not in (None, "und"):
            options[f"metadata:s:{place}"] = f"language={language}"
    if target.suffix in {".mp4", ".mov"}:
        options["movflags"] = "+faststart"
        if _codec(picture) == "hevc":
            options["tag:v"] = "hvc1"  # players of Apple's know HEVC by no other tag (media.md 3.7)
    command = ffmpeg.output(*inputs, f"file:{target}", **options)
    # Without copyts ffmpeg moves every input to 0 by itself, and picture and sound apart (media.md 7.3).
    command = command.global_args("-copyts", "-nostdin", "-y", "-hide_banner", "-loglevel", "error")
    return [imageio_ffmpeg.get_ffmpeg_exe(), *command.get_args()]


def _durations(timeline: Timeline) -> str:
    """A bitstream filter that lets no picture stay past the film's end.

    Read from an MP4, a packet's duration is the distance to the next one in decode order: the last picture's may be
    several frames. pts and dts are named because setts sets what is not named to the dts.
    """
    end = timeline.end_pts * timeline.time_base.numerator
    return f"setts=pts=PTS:dts=DTS:duration=min(DURATION\\,{end}-PTS)"


def _run(arguments: list[str], settings: MuxSettings) -> None:
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=settings.timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise DubError(
            "timeout", f"the final mux took longer than {settings.timeout_s:.0f} s (mux.timeout_s)"
        ) from error
    if done.returncode:
        if b"No space left on device" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # `publishing` knows which disk
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise DubError("internal", f"ffmpeg could not write the film: {' / '.join(tail)}")


def _codec(path: Path) -> str:
    with open_media(path, TRUSTED) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def _begins_s(dub: Path) -> float:
    """The moment of the dub's own clock that is its sample 0."""
    with open_media(dub, TRUSTED) as container:
        if _FROM_ZERO & set(container.format.name.split(",")):
            return 0.0
        return (container.start_time or 0) / av.time_base


def _check(path: Path, timeline: Timeline, suffix: str) -> list[str]:
    """Compare every pts of the finished file, and its end, with the timeline's."""
    made = index_video(str(path), TRUSTED)
    if len(made) != len(timeline):
        raise DubError("internal", f"the finished film has {len(made)} frames, the timeline {len(timeline)}")
    if made.picture.rotation != timeline.picture.rotation:
        raise DubError("internal", f"{path.suffix} does not keep that the film is turned; deliver it as .mp4")
    error_s = max(
        abs(int(p) * made.time_base - int(q) * timeline.time_base) for p, q in zip(made.pts, timeline.pts, strict=True)
    )
    if error_s > (_MATROSKA_CLOCK_S if suffix == ".mkv" else 0):
        raise DubError("internal", f"frame times of the finished film are off by up to {float(error_s) * 1e3:.3f} ms")
    end_s = abs(made.end_pts * made.time_base - timeline.end_pts * timeline.time_base)
    if end_s > _END_S:
        raise DubError("internal", f"the finished film's picture ends {float(end_s) * 1e3:.3f} ms off")
    return [f"frame times rounded by up to {float(error_s) * 1e3:.2f} ms: MKV keeps milliseconds"] if error_s else []
