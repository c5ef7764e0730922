"""Tiny odd clips, made on the spot with PyAV: every frame carries its own number, so that a wrong one shows.

Decoding here is PyAV's plainest, one thread from the beginning to the end: what the project's own reading is held to.
"""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.arrays import F32, I64
from stages.media.planes import FORMATS, Plane, planes

SIZE = (64, 48)
CLOCK = Fraction(1, 12800)
STEP = 512
"""Ticks of `CLOCK` from one frame to the next at 25 frames a second."""
_CELL = 8
_BITS = 8


def numbered(number: int, size: tuple[int, int] = SIZE, pix_fmt: str = "yuv420p") -> VideoFrame:
    """A moving texture under a row of black and white cells that spell `number` (0..255), in any painted format."""
    frame = av.VideoFrame(*size, pix_fmt)
    peak = (1 << FORMATS[pix_fmt].bits) - 1
    for k, plane in enumerate(planes(frame)):
        rows, columns = np.arange(plane.shape[0])[:, None], np.arange(plane.shape[1])[None]
        wave = np.sin(rows * (0.21 + 0.05 * k) + columns * 0.17 + number * 0.3) + 0.4 * np.sin(rows * columns * 0.013)
        plane[:] = (peak * (0.5 + 0.25 * wave)).astype(plane.dtype)
    luma = planes(frame)[0]
    for bit in range(_BITS):
        value = 0.9 if number >> bit & 1 else 0.1
        luma[:_CELL, bit * _CELL : (bit + 1) * _CELL] = int(peak * value)
    return frame


def noise(number: int, size: tuple[int, int] = SIZE, pix_fmt: str = "yuv420p") -> VideoFrame:
    """Every sample at random: what no encoder can predict."""
    frame = av.VideoFrame(*size, pix_fmt)
    random = np.random.default_rng(number)
    for plane in planes(frame):
        plane[:] = random.integers(0, 1 << FORMATS[pix_fmt].bits, plane.shape)
    return frame


def flat(number: int, size: tuple[int, int] = SIZE, pix_fmt: str = "yuv420p") -> VideoFrame:
    """One grey."""
    frame = av.VideoFrame(*size, pix_fmt)
    for plane in planes(frame):
        plane[:] = 1 << (FORMATS[pix_fmt].bits - 1)
    return frame


def number_of(luma: Plane) -> int:
    """The number that a picture of `numbered` spells, also after lossy coding. `luma`: its Y plane."""
    cells = luma[: _CELL - 2, : _BITS * _CELL].astype(float).reshape(_CELL - 2, _BITS, _CELL)[:, :, 2:-2].mean((0, 2))
    middle = 127 if luma.dtype == np.uint8 else 511
    return int(sum(1 << bit for bit, cell in enumerate(cells) if cell > middle))


@dataclass(frozen=True)
class Sound:
    """An audio track: a tone that rises and gets louder over its length, so that a shift or a cut shows."""

    seconds: float
    starts_s: float = 0.0
    rate: int = 48000
    codec: str = "aac"
    language: str | None = None
    title: str | None = None
    hertz: float = 440.0
    hole_s: tuple[float, float] | None = None
    """No packets between these moments of the track."""

    def samples(self) -> F32:
        """float32 [n] in -1..1."""
        t = np.arange(round(self.seconds * self.rate)) / self.rate
        rise = t / max(self.seconds, 1e-9)
        return (np.sin(2 * np.pi * self.hertz * t * (1 + 3 * rise)) * (0.2 + 0.6 * rise)).astype(np.float32)


def steady(count: int, start: int = 0, step: int = STEP) -> list[int]:
    """pts at a constant distance."""
    return [start + k * step for k in range(count)]


def uneven(count: int, start: int = 0, seed: int = 0) -> list[int]:
    """pts at random distances of 1 to 3 steps."""
    gaps = np.random.default_rng(seed).integers(STEP, 3 * STEP, count)
    return (start + np.cumsum(gaps) - gaps[0]).tolist()


def clip(
    path: Path,
    pts: Iterable[int] | None = None,
    *,
    time_base: Fraction = CLOCK,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    picture: object = numbered,
    end: int | None = None,
    sounds: Sequence[Sound] = (),
    tags: dict[str, object] | None = None,
    metadata: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    format: str | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
) -> Path:
    """Write a film. `pts`, `end` (where the last frame leaves) in `time_base` units; `tags`: the codec context's.

    `mux`: options of the muxer instead of `movie_timescale`, without which MP4 rounds a start offset to 1 ms.
    `rotation`: degrees counter-clockwise that players turn it, by the display matrix.
    """
    exact = {"movie_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", format=format, options=exact if mux is None else mux) as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        stream.codec_context.options = _quick(codec, options or {})
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(rotation, mirrored)
        tracks = [_add_sound(out, sound) for sound in sounds]
        packets: list[Packet] = []
        for number, at in enumerate(steady(25) if pts is None else pts):
            frame = picture(number, size, pix_fmt)  # type: ignore[operator]
            frame.pts, frame.time_base = at, time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if end is not None:
            packets[-1].duration = end - packets[-1].pts  # MP4 ends where the last packet in coded order ends
        for track, sound in zip(tracks, sounds, strict=True):
            packets += _sound_packets(track, sound)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base if p.dts is not None else 0):
            out.mux(packet)
    return path


def _quick(codec: str, options: dict[str, str]) -> dict[str, str]:
    quick = {
        "libx264": {"preset": "veryfast", "crf": "18"},
        "libx265": {"preset": "superfast", "crf": "18", "x265-params": "log-level=none:pools=1:frame-threads=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    }.get(codec, {})
    merged = {**quick, **options}
    if codec == "libx265" and "x265-params" in options:
        merged["x265-params"] = f"{quick['x265-params']}:{options['x265-params']}"
    return merged


def _add_sound(out: av.container.OutputContainer, sound: Sound) -> AudioStream:
    track = out.add_stream(sound.codec, rate=sound.rate, layout="mono")
    assert isinstance(track, AudioStream)
    track.time_base = Fraction(1, sound.rate)
    for key, value in (("language", sound.language), ("title", sound.title)):
        if value is not None:
            track.metadata[key] = value
    return track


def _sound_packets(track: AudioStream, sound: Sound) -> list[Packet]:
    packets: list[Packet] = []
    samples, size = sound.samples(), 1024
    first = round(sound.starts_s * sound.rate)
    for at in range(0, len(samples), size):
        if sound.hole_s and sound.hole_s[0] <= at / sound.rate < sound.hole_s[1]:
            continue
        frame = AudioFrame.from_ndarray(samples[None, at : at + size], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = sound.rate, first + at, Fraction(1, sound.rate)
        packets += track.encode(frame)
    return packets + track.encode(None)


def lag_s(one: F32, other: F32, rate: int) -> float:
    """By how much `other` is later than `one`, both float32 [n] at `rate`: where they are most alike."""
    size = len(one) + len(other)
    alike = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size)), size)
    shift = int(np.argmax(alike))
    return (shift if shift < len(other) else shift - size) / rate


def audio(path: Path, sound: Sound) -> Path:
    """A file with one sound in it, as studios hand over dubs. WAV wants codec pcm_s16le."""
    with av.open(str(path), "w") as out:
        track = _add_sound(out, sound)
        for packet in _sound_packets(track, sound):
            out.mux(packet)
    return path


def shown(path: Path, track: int = 0) -> list[tuple[Fraction, list[Plane]]]:
    """Every frame a plain decode gives: its time in seconds, exactly, and copies of its planes."""
    with av.open(str(path)) as container:
        stream = container.streams.video[track]
        stream.codec_context.thread_count = 1
        return [
            (frame.pts * Fraction(stream.time_base), [p.copy() for p in planes(frame)])
            for frame in container.decode(stream)
        ]


def times(path: Path) -> list[Fraction]:
    """Every frame's time in seconds, exactly."""
    return [at for at, _ in shown(path)]


def seconds(pts: Iterable[int], time_base: Fraction = CLOCK) -> list[Fraction]:
    """pts as exact seconds."""
    return [Fraction(int(at)) * time_base for at in pts]


def same(one: Sequence[Plane], other: Sequence[Plane]) -> bool:
    """Whether two pictures are equal, sample for sample."""
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def heard(path: Path, track: int = 0) -> tuple[F32, I64, int]:
    """An audio track, decoded: float32 [n] mono, the int64 [n] sample number of each on the file's clock, its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        resampler = av.AudioResampler("fltp", "mono", stream.rate)
        values, places = [], []
        for frame in container.decode(stream):
            at = round(frame.pts * frame.time_base * stream.rate)
            for part in resampler.resample(frame):
                values.append(part.to_ndarray()[0])
                places.append(at + np.arange(part.samples))
        return np.concatenate(values).astype(np.float32), np.concatenate(places), stream.rate


def ffmpeg(*arguments: object) -> None:
    """Run the ffmpeg that the project runs."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def is_open(path: Path) -> bool:
    """Whether this process holds the file open (Linux)."""
    if not path.exists():
        return False
    held = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return any(fd.exists() and fd.samefile(path) for fd in held)


def damage(path: Path, target: Path, number: int, keep: float = 0.0) -> Path:
    """A copy that lost packet `number` of the film in coded order: zeros but for a part; cut out in MPEG-TS."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    data = bytearray(path.read_bytes())
    first, size = packets[number]
    if path.suffix == ".ts":
        del data[first : packets[number + 1][0]]
    else:
        spared = first + int(size * keep)
        data[spared : first + size] = bytes(first + size - spared)
    target.write_bytes(data)
    return target
