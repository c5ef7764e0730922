"""How much room a run will need, guessed before it begins: the work folder, a node's scratch, the films themselves."""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.config import Config
from pipeline.film import Film
from stages.media import storage
from stages.media.encode import encoder_for
from stages.media.index import VideoIndex
from stages.media.node_cache import cache_limit
from stages.media.open import open_media, video_stream
from stages.media.planes import FORMATS
from stages.media.timeline import Timeline
from stages.speech.samples import RATE

_USUAL_CRF = 23.0  # what sources out of cameras, meetings and archives mostly are as good as
_HALVES = 6.0  # crf points that double or halve a size (x264's own rule of thumb)
_MOST_BITS = 0.5  # a pixel: crf 18 hardly ever needs more, however large a master is
_LOSSLESS_BITS = {"ffv1": 0.5, "prores_ks": 0.35}  # parts of the raw picture that these keep
_FACE_BYTES, _LANDMARK_BYTES, _FRAME_BYTES = 80, 68 * 2 * 4, 100  # of one look, one face's points, index and cast
_LETTERS_S = 14.0  # spoken in a second
_MUXES = 8  # films joined side by side, at worst on one node


@dataclass(frozen=True)
class Room:
    """Bytes, as estimated. They add up."""

    segments: int = 0
    speech: int = 0
    faces: int = 0
    """Detections, landmarks, indices, plans."""
    output: int = 0
    joining: int = 0
    """Scratch of one node while it puts a film together."""
    copies: int = 0
    """Of remote files, in the node cache."""

    @property
    def work(self) -> int:
        """In the work folder."""
        return self.segments + self.speech + self.faces


def total(rooms: Iterable[Room]) -> Room:
    """Of all films, of which only some are joined at once."""
    rooms = list(rooms)
    sums = {field.name: sum(getattr(room, field.name) for room in rooms) for field in fields(Room)}
    return Room(**{**sums, "joining": sum(sorted((room.joining for room in rooms), reverse=True)[:_MUXES])})


def picture_bytes(video: Path, index: VideoIndex) -> float:
    """Bytes of a source's picture: by its stated bit rate, else the whole file. `video`: a local file."""
    with open_media(video) as container:
        rate = video_stream(container, video).bit_rate
    return rate * index.duration_s / 8 if rate else video.stat().st_size


def film_room(film: Film, timeline: Timeline, source_bytes: float, config: Config, work: str) -> Room:
    """What one film will take. `timeline`: what is delivered. `source_bytes`: see `picture_bytes`."""
    segments = _segment_bytes(film, timeline, source_bytes, config)
    frames = len(timeline)
    dub_s = timeline.duration_s if film.text is None else len(film.text) / _LETTERS_S
    looks = 0 if film.box is not None else frames / config.faces.stride
    landmarks = config.crops.landmarks
    located = frames / landmarks.stride if landmarks.weights_spec is not None else 0
    output = int(segments + config.mux.audio_bitrate_kbps * 125 * timeline.duration_s)
    files = [url for url in (film.video, film.audio) if url is not None and not storage.is_local(url)]
    return Room(
        segments=segments,
        speech=int(dub_s * RATE * 4 + (dub_s * 44100 if film.text is not None else 0)),
        faces=int(looks * _FACE_BYTES + located * _LANDMARK_BYTES + frames * _FRAME_BYTES),
        output=output,
        # The joined picture, and the finished film too where it has to be carried somewhere else.
        joining=segments + (0 if storage.is_local(film.output) else output),
        copies=sum(storage.check_file(url)[0] for url in files) + (0 if storage.is_local(work) else segments),
    )


def _segment_bytes(film: Film, timeline: Timeline, source_bytes: float, config: Config) -> int:
    """All segments: from the source's bit rate and the crf, or from the pixels for encoders without a crf."""
    picture = timeline.picture
    encoder = encoder_for(picture.codec, config.encode, film.suffix)
    pixels = picture.width * picture.height * len(timeline)
    if encoder in _LOSSLESS_BITS:
        layout = FORMATS[picture.pix_fmt]
        samples = 1 + 2 / (1 << (layout.shift_x + layout.shift_y))
        return int(pixels * samples * layout.bits * _LOSSLESS_BITS[encoder] / 8)
    length = timeline.duration_s / max(timeline.index.duration_s, 1e-9)
    guess = source_bytes * length * 2 ** ((_USUAL_CRF - config.encode.crf) / _HALVES)
    return int(min(guess, pixels * _MOST_BITS / 8))


def readable_size(count: float) -> str:
    """Bytes as a person reads them: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@dataclass(frozen=True)
class Disk:
    """What a file system of this machine would have to hold."""

    holds: tuple[str, ...]
    """What is on it: work folder, scratch, outputs."""
    folder: Path
    """One of those places."""
    needed: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether it is all right, as far as one can guess."""
        return self.needed <= self.free


def disks(room: Room, work: str, outputs: Iterable[tuple[str, int]]) -> list[Disk]:
    """The file systems of this machine that a run would write to, the fullest first.

    `outputs`: locations of films and their bytes.
    """
    copies = min(room.copies, cache_limit())
    wanted = [("scratch", tempfile.gettempdir(), room.joining + copies)]
    wanted += [("work folder", work, room.work)] if storage.is_local(work) else []
    wanted += [("outputs", url, size) for url, size in outputs if storage.is_local(url)]
    held: dict[int, list[tuple[str, Path, int]]] = defaultdict(list)
    for name, url, size in wanted:
        there = _existing(storage.local_path(url).absolute())
        held[there.stat().st_dev].append((name, there, size))
    found = []
    for parts in held.values():
        names = tuple(dict.fromkeys(name for name, _, _ in parts))
        folder = parts[0][1]
        found.append(Disk(names, folder, sum(size for _, _, size in parts), shutil.disk_usage(folder).free))
    return sorted(found, key=lambda disk: disk.free - disk.needed)


def _existing(path: Path) -> Path:
    """The folder a path would be made in."""
    while not path.is_dir() or not os.access(path, os.X_OK):
        path = path.parent
    return path
