"""Joined picture + dub + the source's other tracks -> the film, checked, published whole or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ffmpeg
from av.stream import Disposition

from stages.media import storage
from stages.media.index import VideoIndex, index_video
from stages.media.open import PROTOCOLS, open_media, video_stream
from stages.media.ranges import MediaSource, whole_file
from stages.media.settings import TRUSTED
from stages.media.timeline import Timeline
from stages.mux.check import check_copy, check_pictures, check_tracks
from stages.mux.containers import MATROSKA, check_deliverable, suffix_of
from stages.mux.copied import Piece
from stages.mux.ffmpeg import arguments, media_input, run
from stages.mux.settings import MuxSettings
from stages.mux.smart import Smart, join_film
from stages.mux.sound import Clock, Dub
from stages.mux.soundtrack import Soundtrack, plan_soundtrack
from stages.mux.tags import tags_file
from stages.mux.tracks import Carried, Track, carry, codec_of, container_language, flag_names, tags_of

__all__ = ["STAGE_VERSION", "Delivery", "Dub", "mux_film"]

STAGE_VERSION = 3


@dataclass(frozen=True)
class Delivery:
    """What was published."""

    size: int
    """Bytes."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the report must know: tracks left out, rounded times."""
    copied: int = 0
    """Frames whose packets are the source's own."""
    sound: str = ""
    """How the dub came in: copied, or encoded and why."""
    loudness: dict[str, Any] = field(default_factory=dict)
    """EBU R128 of `source`, `dub`, `mix` and `delivered`: null where there is no such sound, else `integrated_lufs`,
    `true_peak_dbtp` and `range_lu` (null: silence). With `target_lufs` and `normalization` where it was changed."""


def mux_film(
    pieces: Sequence[Piece],
    timeline: Timeline,
    video: MediaSource,
    dub: Dub,
    output: str,
    settings: MuxSettings,
    smart: Smart | None = None,
    look: Callable[[Path, VideoIndex], None] | None = None,
) -> Delivery:
    """Join the pieces, bring in the dub and the source's other tracks, check the result, publish it at `output`.

    `smart`: where pieces are copied. `look` is shown the finished film, a local file with its grid, before it is
    published. Raises DubError: `unsupported` when the container cannot carry it, `timeout`, `internal` when ffmpeg
    fails or the result is not exactly the film.
    """
    suffix = suffix_of(output)
    clock = Clock(timeline.zero_s, float(timeline.end_pts * timeline.time_base), timeline.excerpt)
    with storage.scratch_folder() as scratch:
        picture = scratch / "picture.mp4"
        copied, told = join_film(pieces, timeline, picture, smart)
        check_deliverable(output, _codec(picture), settings)
        carried = carry(video, suffix, settings).until(clock.end_s)
        if timeline.excerpt:
            carried = Carried(tags=carried.tags, picture_tags=carried.picture_tags)
        sound = plan_soundtrack(dub, video, clock, suffix, settings, scratch)
        planned = _planned(timeline, dub, sound.way.encoder, carried, suffix)
        notes = [*told, *_language_note(dub.language, planned[1].language), *carried.left_out, *carried.notes]
        if timeline.zero_s and not timeline.excerpt:
            notes.append(f"the source's clock begins at {timeline.zero_s:.3f} s, and so does the film's")
        with storage.publishing(output, suffix) as partial:
            command = _command(picture, video, timeline, sound, planned, carried, partial, scratch)
            said = run(command, settings.timeout_s, "writing the film")
            picture.unlink()
            finished = index_video(str(partial), TRUSTED)
            notes += check_pictures(finished, timeline, suffix)
            notes += check_tracks(partial, planned, carried)
            if sound.copied:
                cut = dub.trim or _ends_early(timeline)
                check_copy(partial, clock.zero_s + sound.first_s, None if cut else sound.packets.count)
            heard = sound.heard(partial, said)
            if look is not None:
                look(partial, finished)
            size = partial.stat().st_size
    return Delivery(size, [*notes, *heard.notes], copied, sound.way.told, heard.facts)


def _planned(timeline: Timeline, dub: Dub, encoder: str, carried: Carried, suffix: str) -> list[Track]:
    """Every track of the delivery in its order."""
    picture = Track(
        "video",
        "the picture",
        tags=carried.picture_tags,
        language=container_language(timeline.picture.language, suffix),
        flags=Disposition.default,
    )
    with open_media(dub.path, TRUSTED) as container:
        stream = container.streams.audio[dub.track]
        tags, own = tags_of(stream), stream.language
        flags = Disposition(stream.disposition) | Disposition.default
    language = container_language(own if dub.language is None else dub.language, suffix)
    if dub.language and "-" in dub.language:  # the letters say less: where FFmpeg has no place for it, players read it
        tags["title"] = f"{tags['title']} ({dub.language})" if tags.get("title") else dub.language
    track = Track("audio", "the dub", None, encoder, tags, language, flags)
    return [picture, track, *carried.tracks]


def _language_note(tag: str | None, code: str | None) -> list[str]:
    """A note where the letters say less than the dub's tag."""
    if tag is None:
        return []
    if code is None:
        return [f"language {tag!r} has no ISO 639 code: the dub's track is without a language"]
    return [f"language {tag!r} is stored as {code!r}, and in full in the track's title"] if "-" in tag else []


def _command(
    picture: Path,
    video: MediaSource,
    timeline: Timeline,
    sound: Soundtrack,
    planned: Sequence[Track],
    carried: Carried,
    target: Path,
    scratch: Path,
) -> list[str]:
    """ffmpeg's arguments. Input 0 is the file of tags, of which nothing else is taken."""
    tags = scratch / "tags.txt"
    tags.write_bytes(tags_file(planned, carried).encode())
    others = [str(track.source) for track in carried.tracks if track.source is not None]
    source = media_input(whole_file(video)) if others else {}
    streams = [
        ffmpeg.input(f"file:{tags}", f="ffmetadata", format_whitelist="ffmetadata", protocol_whitelist=PROTOCOLS)[
            "v:9999?"
        ],
        media_input(picture)["v:0"],
        sound.stream,
        *(source[track] for track in others),
    ]
    options = {
        "c": "copy",
        "bsf:v:0": _durations(timeline),
        "map_metadata": "0",
        "map_chapters": "0",
        **_track_options(planned),
        **(_end_options(timeline, planned) if _ends_early(timeline) else {}),
        **_container_options(target.suffix, carried, _codec(picture)),
    }
    if sound.way.encoder in {"aac", "libopus"}:
        options["b:a:0"] = f"{sound.kbps}k"
    command = arguments(ffmpeg.output(*streams, f"file:{target}", **options), level=sound.level)
    at = command.index(f"file:{target}")
    return [*command[:at], *_covers(planned, scratch), *command[at:]]


def _track_options(planned: Sequence[Track]) -> dict[str, str]:
    """How each track is made, what is written about it, and what it is marked as."""
    options: dict[str, str] = {}
    for place, track in enumerate(planned):
        options[f"map_metadata:s:{place}"] = f"0:s:{place}"
        options[f"c:{place}"] = track.encoder
        if track.cover is None:
            options[f"disposition:{place}"] = "+".join(flag_names(track.flags)) or "0"
        else:  # ffmpeg takes the name of the file that it attaches
            options[f"metadata:s:{place}"] = f"filename={track.tags['filename']}"
    return options


def _end_options(timeline: Timeline, planned: Sequence[Track]) -> dict[str, str]:
    """For a picture that ends before the source's: the other tracks end with it, and so does a line begun before."""
    end_s = f"{float(timeline.end_pts * timeline.time_base):.6f}"
    cut = f"setts=pts=PTS:dts=DTS:duration=min(DURATION\\,{end_s}/TB-PTS)"
    return {"t": end_s, **{f"bsf:{place}": cut for place, track in enumerate(planned) if track.kind == "subtitle"}}


def _container_options(suffix: str, carried: Carried, codec: str) -> dict[str, str]:
    """What a container needs to be told. `codec`: the picture's."""
    if suffix in MATROSKA:
        # A run-up that the muxer does not know of must not move the whole film: it stays before 0.
        return {"avoid_negative_ts": "disabled"}
    # What Apple's cameras write has names of its own, which only this table of tags keeps.
    apple = suffix == ".mov" and any(name.startswith("com.apple.") for name in carried.tags)
    options = {"movflags": "+faststart+use_metadata_tags" if apple else "+faststart"}
    if codec == "hevc":
        options["tag:v:0"] = "hvc1"  # players of Apple's know HEVC by no other tag (media.md 3.7)
    return options


def _covers(planned: Sequence[Track], scratch: Path) -> list[str]:
    """Arguments that attach Matroska's covers, their files written to `scratch`; ffmpeg-python knows none for it."""
    given: list[str] = []
    for place, track in enumerate(planned):
        if track.cover is not None:
            file = scratch / f"cover-{place}"
            file.write_bytes(track.cover)
            given += ["-attach", f"file:{file}"]
    return given


def _ends_early(timeline: Timeline) -> bool:
    return timeline.end_pts < timeline.index.end_pts


def _durations(timeline: Timeline) -> str:
    """A bitstream filter that lets no picture stay past the film's end.

    Read from an MP4, a packet's duration is the distance to the next one in decode order: the last picture's may be
    several frames. pts and dts are named because setts sets what is not named to the dts.
    """
    end = timeline.end_pts * timeline.time_base.numerator
    return f"setts=pts=PTS:dts=DTS:duration=min(DURATION\\,{end}-PTS)"


def _codec(path: Path) -> str:
    with open_media(path, TRUSTED) as container:
        return codec_of(video_stream(container, path))
