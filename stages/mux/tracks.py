"""Which of a film's other tracks its delivery carries, with what tags, and a note for each that it does not."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from stages.media.language import iso639_2
from stages.media.open import open_media, video_stream
from stages.media.ranges import MediaSource
from stages.media.settings import TRUSTED
from stages.mux.containers import (
    MATROSKA,
    UNKNOWN,
    carries_audio,
    carries_cover,
    carries_data,
    subtitle_encoder,
    suffix_of,
)
from stages.mux.settings import MuxSettings

_STALE = {"language", "encoder", "vendor_id", "duration", "bps", "number_of_frames", "number_of_bytes"}
"""Tags (small letters) that writers make themselves, or that say what the source's packets were."""
_NO_FLAGS = Disposition(0)
_COVER_TYPES = {"mjpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif", "webp": "webp", "tiff": "tiff"}


@dataclass(frozen=True)
class Track:
    """One track of the delivery, as it is planned."""

    kind: str
    """video, audio, subtitle, attachment, data, or cover."""
    name: str
    """For messages, by its place in the source: `subtitle track 0`."""
    source: int | None = None
    """Its number among all of the source's streams; None for the picture and the dub."""
    encoder: str = "copy"
    tags: Mapping[str, str] = field(default_factory=dict)
    """Everything that is written about it but the language."""
    language: str | None = None
    """The letters that the container stores."""
    flags: Disposition = _NO_FLAGS
    cover: bytes | None = None
    """The file of a cover that Matroska keeps as an attachment."""


@dataclass
class Carried:
    """What goes into the delivery besides picture and dub."""

    tracks: list[Track] = field(default_factory=list)
    """In the order of the delivery."""
    tags: dict[str, str] = field(default_factory=dict)
    """The film's own: title, comment."""
    chapters: list[Any] = field(default_factory=list)
    """As PyAV tells them: start, end, time_base, metadata."""
    picture_tags: dict[str, str] = field(default_factory=dict)
    """What the source says about its picture: title, timecode."""
    left_out: list[str] = field(default_factory=list)
    """A note for every track that the container cannot carry, or not as it is."""
    notes: list[str] = field(default_factory=list)
    """What else has changed, and why."""

    def until(self, end_s: float) -> "Carried":
        """With the chapters that begin before the film's end."""
        return replace(self, chapters=[c for c in self.chapters if c["start"] * c["time_base"] < end_s])


def delivered_as(video: MediaSource, output: str, settings: MuxSettings) -> tuple[str, list[str]]:
    """Where a film is delivered, and the notes why not where its row says.

    With `mux.container: auto` it is a .mkv of the same name, where that carries more of the source's tracks.
    """
    suffix = suffix_of(output)
    if settings.container == "named" or suffix == ".mkv":
        return output, []
    lost = carry(video, suffix, settings).left_out
    if not lost or len(carry(video, ".mkv", settings).left_out) >= len(lost):
        return output, []
    instead = f"{output[: -len(suffix)]}.mkv"
    return instead, [f"delivered as {Path(instead).name}, because in {suffix}: {'; '.join(lost)}"]


def carry(video: MediaSource, suffix: str, settings: MuxSettings) -> Carried:
    """Go through every track of the source but the film's picture."""
    out = Carried()
    covers: list[Track] = []  # Matroska's attachments come after everything that is copied
    with open_media(video, TRUSTED) as container:
        film = video_stream(container, video)
        out.tags, out.chapters = dict(container.metadata), list(container.chapters())
        out.picture_tags = tags_of(film)
        numbers: Counter[str] = Counter()
        for stream in container.streams:
            kind = kind_of(stream)
            name = f"{kind} track {numbers[kind]}"
            numbers[kind] += 1
            if stream is film or (kind == "audio" and not settings.keep_original_audio) or is_chapters(stream):
                continue
            if kind == "data" and "timecode" in stream.metadata:
                _keep_timecode(out, name, stream, suffix)
                continue
            track = _track(kind, name, stream, suffix, out)
            if track is not None and kind == "cover" and suffix in MATROSKA:
                covers.append(_attached(track, container, stream))
            elif track is not None:
                out.tracks.append(track)
    out.tracks += covers
    return out


def kind_of(stream: Stream) -> str:
    """PyAV's type of a stream, and `cover` for a still picture that comes with the film."""
    return "cover" if stream.disposition & Disposition.attached_pic else stream.type


def is_chapters(stream: Stream) -> bool:
    """MP4 shows its chapters as a data track besides; they are copied as chapters (media.md 7.3)."""
    return stream.type == "data" and stream.discard == Discard.all


def tags_of(stream: Stream) -> dict[str, str]:
    """A stream's tags, without those that its writer makes or that were true of its old packets only."""
    tags = dict(stream.metadata)
    if "name" in tags:  # what FFmpeg writes a title as in MP4, and does not read as one
        tags.setdefault("title", tags.pop("name"))
    return {k: v for k, v in tags.items() if k.lower() not in _STALE and not k.startswith("_STATISTICS")}


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of a codec; of an attachment its file's name."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    return getattr(stream, "name", None) or UNKNOWN


def amount(stream: Stream, packet: Any) -> int:
    """What a packet counts for: one, or its bytes where it is PCM, which every container parts as it likes."""
    return int(packet.size) if codec_of(stream).startswith("pcm_") else 1


def container_language(tag: str | None, suffix: str) -> str | None:
    """The letters for a track's language; None where there are none, or it is not known."""
    code = iso639_2(tag or "und", suffix)
    return None if code == "und" else code


def flag_names(flags: Disposition) -> list[str]:
    """ffmpeg's words for dispositions."""
    return [str(flag.name) for flag in Disposition if flag & flags]


def _track(kind: str, name: str, stream: Stream, suffix: str, out: Carried) -> Track | None:
    codec = codec_of(stream)
    encoder = _encoder(kind, codec, suffix)
    if encoder is None:
        out.left_out.append(f"{name} ({codec}) left out: {_reason(kind, suffix)}")
        return None
    if kind == "subtitle" and codec == "ass" and encoder != "copy":
        out.left_out.append(f"{name} (ass): its styles are lost in {suffix}")
    own = getattr(stream, "language", None)
    language = container_language(own, suffix)
    if own and "-" in own and language is not None:
        out.notes.append(f"{name}: its language {own!r} is stored as {language!r}")
    # The dub is what a player plays; what else the source's tracks are, they stay.
    flags = stream.disposition & ~Disposition.default if kind == "audio" else stream.disposition
    return Track(kind, name, stream.index, encoder, tags_of(stream), language, flags)


def _encoder(kind: str, codec: str, suffix: str) -> str | None:
    """What ffmpeg makes a track with: `copy` nearly always; None where the container has no room for it."""
    if kind == "subtitle":
        return subtitle_encoder(suffix, codec)
    carried = {
        "audio": carries_audio(suffix, codec),
        "cover": carries_cover(suffix) and codec in _COVER_TYPES,
        "attachment": suffix == ".mkv",
        "data": carries_data(suffix, codec),
    }
    return "copy" if carried.get(kind, False) else None


def _reason(kind: str, suffix: str) -> str:
    return "a film has one picture" if kind == "video" else f"{suffix} cannot carry it"


def _keep_timecode(out: Carried, name: str, stream: Stream, suffix: str) -> None:
    """A timecode track is one number: the writer makes it anew from the picture's tag."""
    timecode = out.picture_tags.setdefault("timecode", stream.metadata["timecode"])
    if timecode != stream.metadata["timecode"]:
        out.left_out.append(f"{name} (timecode {stream.metadata['timecode']}) left out: the picture has another")
    elif suffix in MATROSKA:
        out.notes.append(f"{name} (timecode {timecode}) is kept as a tag: {suffix} has no timecode tracks")


def _attached(track: Track, container: InputContainer, stream: Stream) -> Track:
    """A cover as the attachment that Matroska keeps it as: its file, a name and a type."""
    container.seek(0)
    data = next((bytes(packet) for packet in _packets(container, stream)), b"")
    kind = _COVER_TYPES[codec_of(stream)]
    given = {key.lower(): value for key, value in track.tags.items()}
    name = given.get("filename") or f"cover.{'jpg' if kind == 'jpeg' else kind}"
    tags = {**track.tags, "filename": name, "mimetype": given.get("mimetype") or f"image/{kind}"}
    return Track(track.kind, track.name, None, "copy", tags, None, Disposition.attached_pic, data)


def _packets(container: InputContainer, stream: Stream) -> Iterator[Any]:
    return (packet for packet in container.demux(stream) if packet.size)
