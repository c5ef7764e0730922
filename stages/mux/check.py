"""The finished file held against what was planned: every frame's time, every track and what is said about it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from av.container import InputContainer
from av.stream import Disposition, Stream

from stages.errors import DubError
from stages.media.chroma import UNSPECIFIED
from stages.media.index import UNTAGGED, Picture, VideoIndex
from stages.media.language import iso639_2
from stages.media.open import open_media
from stages.media.planes import range_of
from stages.media.settings import TRUSTED
from stages.media.timeline import Timeline
from stages.mux.containers import MATROSKA
from stages.mux.tracks import Carried, Track, amount, flag_names, is_chapters, kind_of, tags_of

_MATROSKA_CLOCK_S: Final = Fraction(1, 2000)  # MKV rounds times to the millisecond (media.md 7.1)
_END_S: Final = Fraction(1, 1000)  # and so do edit lists the film's end
_DUB_S: Final = 0.002
"""A millisecond of Matroska's clock, and one of an edit list's."""
_HEARD: Final = ("video", "audio", "subtitle")
"""Kinds of tracks without which a delivery is not the film."""
_OF_THE_FILE: Final = {"encoder", "major_brand", "minor_version", "compatible_brands", "creation_time", "duration"}
_TOLD: Final = ("title", "timecode")
"""Tags whose loss a reader of the report must know of."""
_COMES_ALONG: Final = Disposition.captions | Disposition.descriptions
"""MP4 has one word for captions and the hearing impaired, and one for descriptions and the visually impaired."""


def check_pictures(made: VideoIndex, timeline: Timeline, suffix: str) -> list[str]:
    """Compare every pts of the finished file, and its end, with the timeline's. Raises DubError `internal`."""
    if len(made) != len(timeline):
        raise DubError("internal", f"the finished film has {len(made)} frames, the timeline {len(timeline)}")
    if made.picture.rotation != timeline.picture.rotation:
        raise DubError("internal", f"{suffix} does not keep that the film is turned; deliver it as .mp4")
    error_s = max(
        abs(int(p) * made.time_base - int(q) * timeline.time_base) for p, q in zip(made.pts, timeline.pts, strict=True)
    )
    if error_s > (_MATROSKA_CLOCK_S if suffix in MATROSKA else 0):
        raise DubError("internal", f"frame times of the finished film are off by up to {float(error_s) * 1e3:.3f} ms")
    end_s = abs(made.end_pts * made.time_base - timeline.end_pts * timeline.time_base)
    if end_s > _END_S:
        raise DubError("internal", f"the finished film's picture ends {float(end_s) * 1e3:.3f} ms off")
    notes = [f"frame times rounded by up to {float(error_s) * 1e3:.2f} ms: MKV keeps milliseconds"] if error_s else []
    return [*notes, *_lost_facts(made.picture, timeline.picture, suffix)]


def _lost_facts(made: Picture, source: Picture, suffix: str) -> list[str]:
    """A note for what the source says of its pictures and the delivery does not. Raises DubError `internal`: range."""
    if range_of(made.color_range, made.pix_fmt) != range_of(source.color_range, source.pix_fmt):
        raise DubError("internal", f"{suffix} does not keep the pictures' range with {made.codec}; deliver it as .mp4")
    facts = {
        "matrix": (made.matrix, source.matrix),
        "primaries": (made.primaries, source.primaries),
        "transfer": (made.transfer, source.transfer),
        # What says nothing has square pixels, and its chroma at the left.
        "sample aspect ratio": tuple(f"{p.sar[0] or 1}:{p.sar[1]}" for p in (made, source)),
        "place of chroma samples": tuple("left" if p.chroma == UNSPECIFIED else p.chroma for p in (made, source)),
    }
    return [
        f"the picture's {what} was {was} and is {now}: {made.codec} in {suffix} does not keep it"
        for what, (now, was) in facts.items()
        if now != was and was != UNTAGGED
    ]


def check_tracks(path: Path, planned: Sequence[Track], carried: Carried) -> list[str]:
    """A note for whatever of the plan is not in the finished file.

    Raises DubError `internal` when the number of its pictures, sounds or subtitles is another.
    """
    suffix = path.suffix
    wanted: dict[str, list[Track]] = defaultdict(list)
    for track in planned:
        wanted[track.kind].append(track)
    notes: list[str] = []
    with open_media(path, TRUSTED) as container:
        there: dict[str, list[Stream]] = defaultdict(list)
        for stream in container.streams:
            if not is_chapters(stream) and not (stream.type == "data" and "timecode" in stream.metadata):
                there[kind_of(stream)].append(stream)
        for kind in {**wanted, **there}:
            if len(there[kind]) == len(wanted[kind]):
                for number, (track, stream) in enumerate(zip(wanted[kind], there[kind], strict=True)):
                    notes += _differences(number, track, stream, suffix)
                continue
            counts = f"{len(there[kind])} {kind} tracks are in the finished film, {len(wanted[kind])} were planned"
            if kind in _HEARD:
                raise DubError("internal", counts)
            notes.append(counts)
        notes += _film_differences(container, carried, suffix)
    return notes


def check_copy(path: Path, first_s: float, count: int | None) -> None:
    """Make sure that a copied dub begins where it should, and is whole.

    `count` of its packets, or where it is PCM, which every container parts as it likes, of its bytes; None: some were
    cut off. Raises DubError `internal`.
    """
    with open_media(path, TRUSTED) as container:
        dub = container.streams.audio[0]
        first, found = None, 0
        for packet in container.demux(dub):
            if packet.size:
                first = packet.pts if first is None else first
                found += amount(dub, packet)
        begins_s = float(first * (dub.time_base or 0)) if first is not None else None
    if begins_s is None or abs(begins_s - first_s) > _DUB_S or count not in (None, found):
        raise DubError(
            "internal",
            f"the copied dub begins at {begins_s} s as {found} packets, not at {first_s:.4f} s as {count}",
        )


def _differences(number: int, track: Track, stream: Stream, suffix: str) -> Iterator[str]:
    if track.language is not None:
        found = iso639_2(getattr(stream, "language", None) or "und")
        if found != iso639_2(track.language):
            yield (f"{track.kind} track {number} is without its language: {suffix} has none called {track.language}")
    said, tags = _by_name(track.tags), _by_name(tags_of(stream))
    for name in _TOLD:
        if name in said and tags.get(name) != said[name]:
            yield f"{track.name}: its {name} {said[name]!r} is lost in {suffix}"
    if track.kind in ("data", "attachment", "cover"):
        return
    lost, gained = track.flags & ~stream.disposition, stream.disposition & ~track.flags & ~_COMES_ALONG
    if lost:
        yield f"{track.name} is no longer marked as {', '.join(flag_names(lost))}: {suffix} has no such mark"
    if gained:
        yield f"{track.name} is marked as {', '.join(flag_names(gained))} in {suffix}"


def _film_differences(container: InputContainer, carried: Carried, suffix: str) -> Iterator[str]:
    there = _by_name(container.metadata)
    lost = [name for name in carried.tags if name.lower() not in {**there, **dict.fromkeys(_OF_THE_FILE)}]
    if lost:
        yield f"metadata left out: {', '.join(lost)}: {suffix} has no place for it"
    made, wanted = ([_chapter(c) for c in chapters] for chapters in (container.chapters(), carried.chapters))
    if len(made) != len(wanted):
        yield f"{len(made)} of {len(wanted)} chapters are in the finished film"
    elif any(abs(a[0] - b[0]) > _END_S or a[1] != b[1] for a, b in zip(made, wanted, strict=True)):
        yield f"chapters are not quite as they were in {suffix}"


def _chapter(chapter: Mapping[str, Any]) -> tuple[Fraction, str]:
    return Fraction(chapter["start"] * chapter["time_base"]), chapter["metadata"].get("title", "")


def _by_name(tags: Mapping[str, str]) -> dict[str, str]:
    """Containers write names as they please: Matroska's are in capitals."""
    return {name.lower(): value for name, value in tags.items()}
